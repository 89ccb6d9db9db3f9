//! What is in the way of a backup, and of a restore.

use std::fs;
use std::path::Path;

use crate::faults::{OpenTransaction, Tmpfs, acquire, assert_refused, directory, disk_full, start_on};
use crate::support::{Cls, Server};

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_full_disk_gets_no_backup_and_keeps_nothing_of_one() {
    let disk = Tmpfs::mount("256k");
    let server = Server::start();
    let mut client = server.client();
    acquire(&mut client, "held", "k");
    disk_full::fill(&disk);
    let file = disk.file("copy").display().to_string();

    let output = server.cls().run(&["backup", &file]);

    assert_refused(&output, &format!("cannot write {file}: "));
    assert_eq!(names(disk.file("copy").parent().expect("a directory")), ["ballast"]);
    disk_full::make_room(&disk);
    assert!(server.cls().run(&["backup", &file]).status.success());
    assert_eq!(client.delete("held", "k").status, 204);
}

#[test]
fn a_full_disk_keeps_the_database_that_was_to_be_replaced() {
    let (disk, logs) = (Tmpfs::mount("20m"), directory());
    let database = disk.file("db.sqlite3");
    let server = start_on(&database, &logs);
    acquire(&mut server.client(), "held", "k");
    let copy = logs.path().join("copy").display().to_string();
    assert!(server.cls().run(&["backup", &copy]).status.success());
    let mut client = server.client();
    acquire(&mut client, "after", "k");
    let cls = server.cls().clone();
    drop((client, server));
    disk_full::fill(&disk);

    let output = cls.run(&["restore", &copy]);

    assert_refused(&output, "cannot replace ");
    disk_full::make_room(&disk);
    let kept = names(disk.file("x").parent().expect("a directory"));
    assert!(
        !kept
            .iter()
            .any(|name| name.contains("restore") || name.contains("partial")),
        "{kept:?}"
    );
    let server = start_on(&database, &logs);
    assert_eq!(server.client().delete("after", "k").status, 204);
}

#[test]
fn a_database_that_somebody_has_open_is_not_replaced() {
    for transaction in ["BEGIN; SELECT count(*) FROM resources;", "BEGIN EXCLUSIVE;"] {
        let directory = directory();
        let cls = Cls::in_directory(directory.path());
        let server = cls.start();
        assert!(cls.run(&["backup", "copy"]).status.success());
        acquire(&mut server.client(), "after", "k");
        drop(server);
        let other = OpenTransaction::begin(&directory.path().join("db.sqlite3"), transaction);

        let output = cls.run(&["restore", "copy"]);

        assert_refused(&output, "db.sqlite3 is open in another program; close it there");
        other.end();
        assert!(!directory.path().join("db.sqlite3.before-restore").exists());
        assert_eq!(cls.start().client().delete("after", "k").status, 204);
    }
}
