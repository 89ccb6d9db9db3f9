//! The file, or the directory around it, may not be written.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::faults::{
    Tmpfs, acquire, assert_refused, assert_unavailable, body, directory, failures_logged, is_held, must_run, on,
};
use crate::support::{Cls, eventually};

/// Makes a file immutable, for root too, until it is dropped.
struct Immutable(Vec<String>);

impl Immutable {
    fn make(files: &[&Path]) -> Self {
        let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        for file in &files {
            must_run("chattr", &["+i", file]);
        }
        Self(files)
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        // Else the directory could not be removed.
        let undone = Command::new("chattr").arg("-i").args(&self.0).status();
        assert!(undone.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_read_only_file_is_refused_at_start() {
    let directory = directory();
    let cls = Cls::in_directory(directory.path());
    assert!(cls.run(&["migrate"]).status.success());
    let immutable = Immutable::make(&[&directory.path().join("db.sqlite3")]);

    let output = cls.run(&["runserver", "127.0.0.1:0"]);

    assert_refused(&output, "the server needs to read and write it and its directory");
    drop(immutable);
    acquire(&mut cls.start().client(), "a", "k");
}

#[test]
fn a_read_only_directory_is_refused_at_start() {
    let disk = Tmpfs::mount("4m");
    let logs = directory();
    let cls = on(&disk.file("db.sqlite3"), &logs);
    assert!(cls.run(&["migrate"]).status.success());
    disk.remount("ro");

    let output = cls.run(&["runserver", "127.0.0.1:0"]);

    assert_refused(&output, "the server needs to read and write it and its directory");
    disk.remount("rw");
    acquire(&mut cls.start().client(), "a", "k");
}

#[test]
fn files_that_become_read_only_are_503_until_they_are_not() {
    let data = directory();
    let database = data.path().join("db.sqlite3");
    let logs = directory();
    let server = on(&database, &logs).start();
    let mut client = server.client();
    acquire(&mut client, "held", "k");
    let immutable = Immutable::make(&[&database, &data.path().join("db.sqlite3-wal")]);

    // Past several sweeps, which only read: they must not take it for cured.
    let until = std::time::Instant::now() + Duration::from_millis(2500);
    let mut refused = 0;
    while std::time::Instant::now() < until {
        assert_unavailable(&client.put(&format!("a{refused}"), &body("k", "")));
        refused += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_unavailable(&client.delete("held", "k"));
    assert_eq!(failures_logged(&server), 1, "{}", server.log());
    drop(immutable);

    eventually("it works again by itself", Duration::from_secs(3), || {
        client.delete("held", "k").status == 204
    });
    for i in 0..refused {
        assert!(!is_held(&mut client, &format!("a{i}")), "was answered 503");
    }
}
