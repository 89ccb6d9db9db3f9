//! `cls restore`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;

use super::{Desk, failure, migrations, sql_in, text};
use crate::support::{Client, Server};

const KEY: &str = r#"{"locked_by": "k"}"#;

/// No fewer tokens are skipped by a restore.
const SKIPPED_MIN: i64 = 1 << 36;

/// A database and a backup of it in `copy`: `before` is held, with and without an
/// end, and `over` was. Then the server granted `after`, and was killed, so that
/// its latest commits are in the log.
struct Story {
    desk: Desk,
    /// The token of the last grant.
    last: i64,
    /// The number of the last event.
    last_event: i64,
    /// What `before-ttl` was like.
    shown: Value,
}

impl Story {
    fn tell() -> Self {
        let desk = Desk::new();
        let mut server = desk.cls().start();
        let mut client = server.client();
        assert_eq!(client.put("over", KEY).status, 200);
        assert_eq!(client.delete("over", "k").status, 204);
        assert_eq!(client.put("before", KEY).status, 200);
        assert_eq!(
            client.put("before-ttl", r#"{"locked_by": "k", "ttl": 5000}"#).status,
            200
        );
        let shown = shown(&mut client, "before-ttl");
        desk.succeeds(&["backup", "copy"]);
        assert_eq!(client.delete("before", "k").status, 204);
        let last = client.put("after", KEY).fencing_token();
        let events = client.get("/events/?ordering=-id").json();
        let last_event = events["results"][0]["id"].as_i64().expect("a number");
        server.kill();
        Self {
            desk,
            last,
            last_event,
            shown,
        }
    }

    fn database(&self) -> PathBuf {
        self.desk.path().join("db.sqlite3")
    }

    fn kept(&self) -> PathBuf {
        self.desk.path().join("db.sqlite3.before-restore")
    }

    /// Serves what was restored, and holds it to what was backed up.
    fn require_restored(&self) {
        let server = self.desk.cls().start();
        let mut client = server.client();
        assert_eq!(client.get("/resources/after/").status, 404, "it was not granted yet");
        assert_eq!(shown(&mut client, "before-ttl"), self.shown);
        let check = client.request(
            "POST",
            "/resources/before-ttl/check/",
            &format!("{{\"fencing_token\": {}}}", self.shown["fencing_token"]),
        );
        assert_eq!(check.json()["valid"], true);
        assert_eq!(
            client.put("before", r#"{"locked_by": "other"}"#).status,
            400,
            "it is held again"
        );
        assert_eq!(client.delete("before", "k").status, 204, "and its key releases it");
        for name in ["before", "over", "after"] {
            let token = client.put(name, KEY).fencing_token();
            assert!(
                token > self.last + SKIPPED_MIN / 2,
                "{name}: {token}, and {} was granted",
                self.last
            );
            assert!(token < 1 << 53, "a JSON number for everybody: {token}");
        }
        // Whoever was told of the last event before the restore is told of those after it.
        let told = client.get(&format!("/events/?since={}", self.last_event)).json();
        assert_eq!(told["count"], 4, "{told}");
    }
}

/// A resource, without what changes as time passes.
fn shown(client: &mut Client, name: &str) -> Value {
    let mut shown = client.get(&format!("/resources/{name}/")).json();
    shown.as_object_mut().expect("an object").remove("expires_in");
    shown
}

#[test]
fn what_was_backed_up_is_served_and_no_token_is_granted_twice() {
    let story = Story::tell();
    fs::set_permissions(story.database(), fs::Permissions::from_mode(0o640)).expect("ours");

    let said = story.desk.succeeds(&["restore", "copy"]);

    let counter: i64 = story
        .desk
        .sql("SELECT fencing_token FROM server_state")
        .parse()
        .expect("a number");
    let kept = story.kept().canonicalize().expect("it is there");
    assert_eq!(
        said,
        format!(
            "Restored copy to sqlite://db.sqlite3: 3 resources, fencing tokens go on after {counter}.\n\
             What was there before is {}.\n",
            kept.display()
        )
    );
    assert_eq!(
        fs::metadata(story.database()).expect("there").permissions().mode() & 0o7777,
        0o640
    );
    assert_eq!(
        sql_in(&kept, "SELECT name FROM held_locks ORDER BY name"),
        "after\nbefore-ttl",
        "with what was in its log"
    );
    story.require_restored();
    assert!(!story.desk.path().join("copy-wal").exists(), "the copy is as it was");
}

#[test]
fn no_token_is_granted_twice_where_the_old_database_is_gone() {
    for log_stays in [false, true] {
        let story = Story::tell();
        fs::remove_file(story.database()).expect("it is there");
        if !log_stays {
            fs::remove_file(story.desk.path().join("db.sqlite3-wal")).expect("it is there");
        }

        let said = story.desk.succeeds(&["restore", "copy"]);

        assert!(!said.contains("What was there before"), "{said}");
        story.require_restored();
    }
}

#[test]
fn no_token_is_granted_twice_where_a_server_has_made_a_new_database() {
    let story = Story::tell();
    for file in ["db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm"] {
        fs::remove_file(story.desk.path().join(file)).expect("it is there");
    }
    let token = story.desk.cls().start().client().put("new", KEY).fencing_token();
    assert_eq!(token, 1);

    story.desk.succeeds(&["restore", "copy"]);

    story.require_restored();
}

#[test]
fn a_damaged_database_is_kept_with_its_log() {
    for (at, what) in [(0, "its first bytes"), (4096, "a page")] {
        let story = Story::tell();
        let mut damaged = fs::read(story.database()).expect("it is there");
        damaged[at..at + 8].fill(0xff);
        fs::write(story.database(), &damaged).expect("writable");
        let log_beside = |file: &PathBuf| PathBuf::from(format!("{}-wal", file.display()));
        if at == 4096 {
            // The log would hide the damage.
            fs::write(log_beside(&story.database()), "").expect("writable");
        }
        let log = fs::read(log_beside(&story.database())).expect("it is there");

        let said = story.desk.succeeds(&["restore", "copy"]);

        assert!(said.contains("What was there before"), "{what}: {said}");
        assert!(fs::read(story.kept()).expect("it is kept") == damaged, "{what}");
        assert!(
            fs::read(log_beside(&story.kept())).expect("it is kept") == log,
            "{what}"
        );
        story.require_restored();
    }
}

#[test]
fn restored_twice_it_goes_on_higher_and_keeps_both() {
    let story = Story::tell();
    story.desk.succeeds(&["restore", "copy"]);
    let first = story.desk.cls().start().client().put("over", KEY).fencing_token();

    let said = story.desk.succeeds(&["restore", "copy"]);

    assert!(said.contains(".before-restore-2."), "{said}");
    let second = story.desk.cls().start().client().put("over", KEY).fencing_token();
    assert!(second > first, "{first} {second}");
    assert_eq!(
        sql_in(&story.kept(), "SELECT name FROM held_locks ORDER BY name"),
        "after\nbefore-ttl"
    );
}

#[test]
fn what_expired_by_the_old_servers_clock_is_not_held_again() {
    let story = Story::tell();
    // Its wall clock was set back by two hours, which the server did not follow.
    story
        .desk
        .sql("UPDATE server_state SET clock_us = clock_us + 7200000000");

    story.desk.succeeds(&["restore", "copy"]);

    let server = story.desk.cls().start();
    assert_eq!(
        server.client().put("before-ttl", KEY).status,
        200,
        "5000 seconds are over"
    );
    assert_eq!(
        server.client().put("before", KEY).status,
        400,
        "what has no end has none"
    );
}

#[test]
fn an_old_copy_is_restored_as_it_is_and_migrated_by_the_next_command() {
    let desk = Desk::new();
    desk.succeeds(&["migrate", "0003"]);
    desk.sql("INSERT INTO resources (name, fencing_token, locked_by, acquired_at_us) VALUES ('r', 7, 'k', 1)");
    desk.succeeds(&["backup", "copy"]);
    desk.succeeds(&["migrate"]);

    let said = desk.succeeds(&["restore", "copy"]);

    let missing: Vec<_> = migrations("sqlite").into_iter().map(|(name, _)| name).skip(3).collect();
    let next = format!(
        "Its schema is older and lacks {}: run `cls migrate` next.\n",
        missing.join(", ")
    );
    assert!(said.ends_with(&next), "{said}");
    assert!(desk.succeeds(&["showmigrations"]).contains("[ ] 0004"));
    desk.succeeds(&["migrate"]);
    assert_eq!(desk.cls().start().client().delete("r", "k").status, 204);
}

#[test]
fn what_cannot_be_restored_is_refused_and_nothing_is_changed() {
    let story = Story::tell();
    let desk = &story.desk;
    let file = |name: &str| desk.path().join(name);
    let copy = fs::read(file("copy")).expect("it is there");
    let mut damaged = copy.clone();
    damaged[4096..4104].fill(0xff);
    fs::write(file("damaged"), damaged).expect("writable");
    fs::write(file("cut"), &copy[..copy.len() - 100]).expect("writable");
    fs::write(file("text"), "no database at all, and longer than a header is").expect("writable");
    fs::write(file("empty"), "").expect("writable");
    sql_in(&file("foreign"), "CREATE TABLE t (x)");
    fs::copy(file("copy"), file("newer")).expect("writable");
    sql_in(
        &file("newer"),
        "INSERT INTO __diesel_schema_migrations (version) VALUES ('0099')",
    );
    fs::create_dir(file("directory")).expect("writable");

    for (name, reason) in [
        ("damaged", "damaged cannot be restored: it is damaged ("),
        ("cut", "cut cannot be restored: it is damaged ("),
        (
            "text",
            "text cannot be restored: it is no SQLite database; nothing was changed",
        ),
        (
            "empty",
            "empty cannot be restored: it has no locks; nothing was changed",
        ),
        (
            "foreign",
            "foreign cannot be restored: it belongs to another program; nothing was changed",
        ),
        ("newer", "migration 0099, which this version of cls does not know"),
        (
            "directory",
            "directory cannot be restored: it is a directory; nothing was changed",
        ),
        ("nowhere", "nowhere cannot be restored: No such file"),
        (
            "db.sqlite3",
            "db.sqlite3 cannot be restored: it is the database itself; nothing was changed",
        ),
    ] {
        let line = desk.refuses(&desk.cls(), &["restore", name], 1);
        assert!(line.contains(reason), "{name}: {line}");
    }
}

#[test]
fn another_programs_database_is_not_replaced() {
    let story = Story::tell();
    sql_in(&story.desk.path().join("theirs"), "CREATE TABLE t (x)");
    let theirs = fs::read(story.desk.path().join("theirs")).expect("it is there");

    let cls = story.desk.cls().with("DATABASE_URL", "sqlite://theirs");
    let line = failure(&cls.run(&["restore", "copy"]), 1);

    assert!(
        line.contains("theirs belongs to another program; it was left as it is"),
        "{line}"
    );
    assert!(fs::read(story.desk.path().join("theirs")).expect("it is there") == theirs);
}

#[test]
fn a_database_that_is_served_is_not_replaced() {
    let server = Server::start_with(&[("CONNECTIONS_MAX", "16")]);
    assert!(server.cls().run(&["backup", "copy"]).status.success());
    let mut client = server.client();
    assert_eq!(client.put("after", KEY).status, 200);

    let line = failure(&server.cls().run(&["restore", "copy"]), 1);

    let owner = format!(
        "is in use by cls runserver {} (pid {}); stop it first",
        server.address,
        server.pid()
    );
    assert!(line.contains(&owner), "{line}");
    assert_eq!(client.delete("after", "k").status, 204, "it goes on");
    assert!(!server.directory().join("db.sqlite3.before-restore").exists());
}

#[test]
fn a_copy_is_restored_where_there_was_no_database_and_by_a_link() {
    let story = Story::tell();
    fs::create_dir(story.desk.path().join("there")).expect("writable");
    std::os::unix::fs::symlink("db.sqlite3", story.desk.path().join("link")).expect("writable");
    let new = story.desk.cls().with("DATABASE_URL", "sqlite://there/new.sqlite3");
    let linked = story.desk.cls().with("DATABASE_URL", "sqlite://link");

    for cls in [new, linked] {
        let output = cls.run(&["restore", "copy"]);
        assert_eq!((text(&output.stderr).as_str(), output.status.code()), ("", Some(0)));
    }

    let new = story.desk.path().join("there/new.sqlite3");
    assert_eq!(
        fs::metadata(&new).expect("it is there").permissions().mode() & 0o7777,
        0o600
    );
    assert_eq!(
        sql_in(&new, "SELECT name FROM held_locks ORDER BY name"),
        "before\nbefore-ttl"
    );
    assert!(story.desk.path().join("link").is_symlink());
    story.require_restored();
}
