//! The database file goes away while the server runs.

use std::fs;
use std::time::Duration;

use crate::faults::{OpenTransaction, acquire, assert_unavailable, body, directory, failures_logged, is_held, on, sql};
use crate::support::{Cls, eventually};

#[test]
fn a_deleted_file_is_503_and_never_made_anew() {
    let data = directory();
    let database = data.path().join("db.sqlite3");
    let logs = directory();
    let server = on(&database, &logs).start();
    let mut client = server.client();
    acquire(&mut client, "held", "k");

    fs::remove_file(&database).expect("it is there");

    for i in 0..100 {
        assert_unavailable(&client.put(&format!("a{i}"), &body("k", "")));
        assert_unavailable(&client.delete("held", "k"));
        assert!(!database.exists());
    }
    assert_eq!(client.request("GET", "/nowhere/", "").status, 404);
    assert_eq!(failures_logged(&server), 1, "{}", server.log());
    assert!(server.log().contains("is gone"), "{}", server.log());
}

#[test]
fn a_file_that_is_moved_away_and_back_is_served_again() {
    let data = directory();
    let database = data.path().join("db.sqlite3");
    let logs = directory();
    let server = on(&database, &logs).start();
    let mut client = server.client();
    let token = acquire(&mut client, "held", "k");
    let away = data.path().join("away");

    fs::rename(&database, &away).expect("it is there");
    assert_unavailable(&client.put("a", &body("k", "")));
    fs::rename(&away, &database).expect("it is there");

    eventually("it works again by itself", Duration::from_secs(3), || {
        client.put("b", &body("k", "")).status == 200
    });
    assert!(is_held(&mut client, "held"));
    assert!(!is_held(&mut client, "a"), "was answered 503");
    assert!(acquire(&mut client, "c", "k") > token);
    assert_eq!(sql(&database, "PRAGMA quick_check"), "ok\n");
}

#[test]
fn a_file_of_another_kind_in_its_place_is_503_and_left_as_it_is() {
    let newer = directory();
    let foreign = newer.path().join("foreign.sqlite3");
    sql(&foreign, "CREATE TABLE t (x); INSERT INTO t VALUES (1)");
    let unmigrated = newer.path().join("unmigrated.sqlite3");
    sql(&unmigrated, "VACUUM");

    for (what, replacement) in [
        ("empty", Vec::new()),
        (
            "text",
            b"this is not a database, but long enough to hold a header of one hundred bytes ".repeat(3),
        ),
        ("foreign", fs::read(&foreign).expect("it was made")),
        ("unmigrated", fs::read(&unmigrated).expect("it was made")),
    ] {
        let data = directory();
        let database = data.path().join("db.sqlite3");
        let logs = directory();
        let server = on(&database, &logs).start();
        let mut client = server.client();
        acquire(&mut client, "held", "k");

        let beside = data.path().join("replacement");
        fs::write(&beside, &replacement).expect("it can be written");
        fs::rename(&beside, &database).expect("it can be replaced");

        assert_unavailable(&client.put("a", &body("k", "")));
        // Past the interval after which it opens the file again.
        std::thread::sleep(Duration::from_millis(400));
        assert_unavailable(&client.put("b", &body("k", "")));
        assert!(
            fs::read(&database).expect("it is there") == replacement,
            "{what}: was changed"
        );
        assert!(
            server.log().contains("was replaced by another file"),
            "{}",
            server.log()
        );
    }
}

#[test]
fn tokens_go_on_rising_when_an_older_copy_is_put_in_place() {
    let data = directory();
    let database = data.path().join("db.sqlite3");
    let copy = data.path().join("copy");
    let logs = directory();
    let cls: Cls = on(&database, &logs);
    assert!(cls.run(&["migrate"]).status.success());
    let server = cls.start();
    let mut client = server.client();
    acquire(&mut client, "a", "k");
    sql(&database, &format!("VACUUM INTO '{}'", copy.display()));
    let copied = fs::read(&copy).expect("it was made");
    let highest = (0..10).map(|i| acquire(&mut client, &format!("b{i}"), "k")).max();

    fs::rename(&copy, &database).expect("it can be replaced");
    assert_unavailable(&client.put("c", &body("k", "")));
    // Past the interval after which it opens the file again. The log of the old file would spoil the new one.
    std::thread::sleep(Duration::from_millis(400));
    assert_unavailable(&client.put("c", &body("k", "")));
    assert!(fs::read(&database).expect("it is there") == copied);
    for stale in ["db.sqlite3-wal", "db.sqlite3-shm"] {
        fs::remove_file(data.path().join(stale)).expect("it is there");
    }

    eventually("the copy is served", Duration::from_secs(3), || {
        client.put("d", &body("k", "")).status == 200
    });
    assert!(is_held(&mut client, "a"));
    assert!(Some(acquire(&mut client, "e", "k")) > highest);
}

#[test]
fn a_log_that_was_removed_is_noticed_and_nothing_of_it_is_lost() {
    let data = directory();
    let database = data.path().join("db.sqlite3");
    let logs = directory();
    let server = on(&database, &logs).start();
    let mut client = server.client();
    acquire(&mut client, "before", "k");

    fs::remove_file(data.path().join("db.sqlite3-wal")).expect("it is there");
    assert_unavailable(&client.put("a", &body("k", "")));

    eventually("it serves again", Duration::from_secs(3), || {
        client.put("b", &body("k", "")).status == 200
    });
    let log = server.log();
    assert!(log.contains("db.sqlite3-wal is gone"), "{log}");
    let restarted = server.kill_and_restart();
    let mut client = restarted.client();
    assert!(is_held(&mut client, "before"));
    assert!(is_held(&mut client, "b"));
    assert!(!is_held(&mut client, "a"), "was answered 503, and given back");
}

#[test]
fn a_log_that_was_removed_is_kept_while_somebody_else_reads_the_database() {
    let data = directory();
    let database = data.path().join("db.sqlite3");
    let logs = directory();
    let server = on(&database, &logs).start();
    let mut client = server.client();
    for i in 0..20 {
        acquire(&mut client, &format!("before-{i}"), "k");
    }
    let reader = OpenTransaction::begin(&database, "BEGIN;\nSELECT count(*) FROM resources;");

    fs::remove_file(data.path().join("db.sqlite3-wal")).expect("it is there");
    assert_unavailable(&client.put("a", &body("k", "")));
    assert_unavailable(&client.put("b", &body("k", "")));
    reader.end();

    eventually("it serves again", Duration::from_secs(5), || {
        client.put("c", &body("k", "")).status == 200
    });
    let restarted = server.kill_and_restart();
    let mut client = restarted.client();
    for i in 0..20 {
        assert!(is_held(&mut client, &format!("before-{i}")), "before-{i}");
    }
    assert!(is_held(&mut client, "c"));
}

#[test]
fn a_copy_put_in_place_of_a_deleted_database_is_not_mixed_with_its_log() {
    let data = directory();
    let database = data.path().join("db.sqlite3");
    let copy = data.path().join("copy");
    let logs = directory();
    let cls: Cls = on(&database, &logs);
    let server = cls.start();
    let mut client = server.client();
    acquire(&mut client, "a", "k");
    sql(&database, &format!("VACUUM INTO '{}'", copy.display()));
    let copied = fs::read(&copy).expect("it was made");
    for i in 0..100 {
        acquire(&mut client, &format!("b{i}"), "k");
    }

    // Deleted, noticed and only then copied: the system may give the new file the number of the old one.
    fs::remove_file(&database).expect("it is there");
    assert_unavailable(&client.put("c", &body("k", "")));
    fs::copy(&copy, &database).expect("it can be copied");

    // Past the interval after which it opens the file again.
    std::thread::sleep(Duration::from_millis(400));
    assert_unavailable(&client.put("c", &body("k", "")));
    assert!(
        fs::read(&database).expect("it is there") == copied,
        "the old log was written into it"
    );
}
