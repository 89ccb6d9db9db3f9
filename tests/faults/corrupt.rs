//! A file that is damaged, or is something else.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::faults::{assert_refused, body, directory, sql};
use crate::support::Cls;

/// A database with some rows, all of them in the file itself.
fn database() -> (TempDir, PathBuf) {
    let directory = directory();
    let cls = Cls::in_directory(directory.path());
    let server = cls.start();
    let mut client = server.client();
    for i in 0..200 {
        let more = if i % 2 == 0 { "" } else { ", \"ttl\": 100000" };
        assert_eq!(
            client
                .put(&format!("resource-{i}"), &body("a-key-of-some-length", more))
                .status,
            200
        );
    }
    drop(client);
    drop(server);
    let file = directory.path().join("db.sqlite3");
    sql(&file, "PRAGMA wal_checkpoint(TRUNCATE)");
    (directory, file)
}

/// Starts a server on `bytes` as its database: it is refused and stays as it is.
fn assert_refused_untouched(what: &str, file: &Path, bytes: &[u8], reason: &str) {
    fs::write(file, bytes).expect("it can be written");
    // Without an end it would serve for ever where it should have refused.
    let cls = Cls::in_directory(file.parent().expect("a directory")).under(&["timeout", "20"]);

    let output = cls.run(&["runserver", "127.0.0.1:0"]);

    assert_ne!(output.status.code(), Some(124), "{what}: was served");
    assert_refused(&output, reason);
    assert!(
        fs::read(file).expect("it is there") == bytes,
        "{what}: the file was changed"
    );
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0xff;
    bytes
}

#[test]
fn damage_to_the_structure_is_refused_and_left_as_it_is() {
    let (_directory, file) = database();
    let whole = fs::read(&file).expect("it is there");
    let page = 4096;
    assert!(whole.len() > 8 * page, "{} bytes", whole.len());

    for number in 1..whole.len() / page {
        // The kind of the page, and how many cells it has.
        for at in [0, 4] {
            let damaged = flipped(&whole, number * page + at);
            assert_refused_untouched(&format!("page {number} byte {at}"), &file, &damaged, "is damaged");
        }
        let mut zeroed = whole.clone();
        zeroed[number * page..(number + 1) * page].fill(0);
        assert_refused_untouched(&format!("page {number} zeroed"), &file, &zeroed, "is damaged");
    }
}

#[test]
fn a_truncated_file_is_refused_and_left_as_it_is() {
    let (_directory, file) = database();
    let whole = fs::read(&file).expect("it is there");

    for length in [
        16,
        50,
        100,
        512,
        4096,
        8192,
        whole.len() / 2,
        whole.len() - 4096,
        whole.len() - 1,
    ] {
        assert_refused_untouched(
            &format!("{length} bytes"),
            &file,
            &whole[..length],
            "it was left as it is",
        );
    }
}

#[test]
fn what_is_not_a_database_is_refused_and_left_as_it_is() {
    let directory = directory();
    let file = directory.path().join("db.sqlite3");

    for bytes in [
        b"x".as_slice(),
        b"{\"a\": 1}",
        b"SQLite format 2\0 and more",
        &[0; 100_000],
    ] {
        assert_refused_untouched("no database", &file, bytes, "is not an SQLite database");
    }
}

#[test]
fn the_database_of_another_program_is_refused_and_left_as_it_is() {
    let directory = directory();
    let file = directory.path().join("db.sqlite3");

    for script in [
        "CREATE TABLE t (x)",
        "CREATE TABLE resources (name TEXT PRIMARY KEY, locked_by TEXT)",
        "CREATE TABLE __diesel_schema_migrations (version TEXT PRIMARY KEY, run_on TEXT); CREATE TABLE users (id)",
        "PRAGMA application_id = 7; CREATE VIEW v AS SELECT 1",
    ] {
        let _ = fs::remove_file(&file);
        sql(&file, script);
        let bytes = fs::read(&file).expect("it is there");
        assert_refused_untouched(script, &file, &bytes, "belongs to another program");
    }
}

#[test]
fn a_directory_in_its_place_is_refused() {
    let directory = directory();
    fs::create_dir(directory.path().join("db.sqlite3")).expect("it can be made");

    let output = Cls::in_directory(directory.path()).run(&["runserver", "127.0.0.1:0"]);

    assert_refused(&output, "is a directory");
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_left_as_it_is() {
    let (_directory, file) = database();
    sql(
        &file,
        "INSERT INTO __diesel_schema_migrations (version) VALUES ('9999'); PRAGMA wal_checkpoint(TRUNCATE)",
    );
    let bytes = fs::read(&file).expect("it is there");

    assert_refused_untouched("newer", &file, &bytes, "does not know");
}
