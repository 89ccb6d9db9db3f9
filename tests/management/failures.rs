//! A `DATABASE_URL` that names something else than a database of ours: every
//! command says what it found and leaves it as it was.

use std::fs;
use std::net::TcpListener;

use super::{Desk, all_shown, failure};

const COMMANDS: [&[&str]; 6] = [
    &["runserver", "127.0.0.1:0"],
    &["runserver", "127.0.0.1:0", "--no-migrate"],
    &["migrate"],
    &["migrate", "--plan"],
    &["showmigrations"],
    &["check"],
];

#[track_caller]
fn every_command_refuses(desk: &Desk, says: &str) {
    for arguments in COMMANDS {
        let line = desk.refuses(&desk.cls(), arguments, 1);
        assert!(line.contains(says), "{arguments:?}: {line}");
    }
}

#[test]
fn a_directory_is_not_a_database() {
    let desk = Desk::new();
    fs::create_dir(desk.path().join("db.sqlite3")).expect("writable");

    every_command_refuses(&desk, "db.sqlite3 is a directory; DATABASE_URL must name a file");
    desk.refuses(&desk.cls(), &["dbshell", "--", "SELECT 1"], 1);
}

#[test]
fn a_file_of_another_kind_is_not_a_database() {
    let desk = Desk::new();
    fs::write(desk.path().join("db.sqlite3"), "name,locked_by\n").expect("writable");

    every_command_refuses(&desk, "db.sqlite3 is not an SQLite database; it was left as it is");
}

#[test]
fn the_database_of_the_original_is_not_ours() {
    let desk = Desk::new();
    desk.sql("CREATE TABLE django_migrations (id INTEGER PRIMARY KEY, app TEXT, name TEXT)");

    every_command_refuses(&desk, "db.sqlite3 belongs to another program; it was left as it is");
}

#[test]
fn a_table_of_our_name_does_not_make_a_database_ours() {
    let desk = Desk::new();
    desk.sql("CREATE TABLE resources (name TEXT PRIMARY KEY, price INTEGER)");

    every_command_refuses(&desk, "db.sqlite3 belongs to another program; it was left as it is");
}

#[test]
fn a_damaged_database_is_left_as_it_is() {
    let desk = Desk::migrated();
    let path = desk.path().join("db.sqlite3");
    let mut bytes = fs::read(&path).expect("it was made");
    // The page of each table begins with its type; none is 0xFF.
    for page in 1..bytes.len() / 4096 {
        bytes[page * 4096] = 0xFF;
    }
    fs::write(&path, bytes).expect("writable");

    every_command_refuses(&desk, "it was left as it is, restore it from a backup");
}

#[test]
fn a_missing_directory_is_not_made() {
    let desk = Desk::new();
    let cls = desk.cls().with("DATABASE_URL", "sqlite://no/such/db.sqlite3");

    let commands: [&[&str]; 4] = [&["runserver"], &["runserver", "--no-migrate"], &["migrate"], &["check"]];
    for arguments in commands {
        let line = desk.refuses(&cls, arguments, 1);
        let says = "its directory does not exist; create that, or correct DATABASE_URL";
        assert!(line.contains(says), "{line}");
    }
    let line = desk.refuses(&cls, &["dbshell"], 1);
    assert!(line.contains("no/such/db.sqlite3 does not exist"), "{line}");
}

#[test]
fn a_busy_port_leaves_no_database_behind() {
    let desk = Desk::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();

    let line = desk.refuses(&desk.cls(), &["runserver", &address], 1);

    assert!(line.contains(&format!("{address} is already in use")), "{line}");
}

#[test]
fn too_few_open_files_are_said_before_anything_is_made() {
    for files in ["20", "64", "71"] {
        let desk = Desk::new();
        let limited = desk
            .cls()
            .under(&["sh", "-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")]);

        let line = desk.refuses(&limited, &["runserver", "127.0.0.1:0"], 1);

        assert!(
            line.contains(&format!("the limit of open files is {files}, too low to serve")),
            "{line}"
        );
    }
}

#[test]
fn what_cannot_be_printed_is_an_error_like_any_other() {
    let desk = Desk::new();
    let full = desk.cls().under(&["sh", "-c", "\"$0\" \"$@\" > /dev/full"]);

    for arguments in [
        &["showmigrations"][..],
        &["sqlmigrate", "0001"],
        &["migrate", "--plan"],
        &["migrate"],
    ] {
        let line = failure(&full.run(arguments), 1);
        assert!(line.contains("No space left on device"), "{arguments:?}: {line}");
    }
    assert_eq!(desk.succeeds(&["showmigrations"]), all_shown(' '), "nothing was done");
}
