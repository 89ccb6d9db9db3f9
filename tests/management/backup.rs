//! `cls backup`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{Desk, none_applied, sql_in, text};
use crate::support::{Cls, Server};

/// What was granted: the token, of which resource, and to which key.
type Grants = BTreeMap<i64, (String, String)>;

/// Acquires and releases until it is told to stop. Every third lock it keeps.
fn cycle(server: &Server, number: usize, is_over: &AtomicBool) -> Grants {
    let mut client = server.client();
    let mut grants = Grants::new();
    for step in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let (name, key) = (format!("r{number}-{step}"), format!("k{number}-{step}"));
        let answer = client.put(&name, &format!("{{\"locked_by\": \"{key}\", \"ttl\": 1000}}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        grants.insert(answer.fencing_token(), (name.clone(), key.clone()));
        if step % 3 != 0 {
            assert_eq!(client.delete(&name, &key).status, 204);
        }
    }
    grants
}

#[test]
fn a_backup_of_a_server_under_load_is_what_was_granted_by_a_moment() {
    let server = Server::start();
    let is_over = AtomicBool::new(false);
    let (backups, granted) = thread::scope(|scope| {
        let cycles: Vec<_> = (0..4)
            .map(|number| {
                let (server, is_over) = (&server, &is_over);
                scope.spawn(move || cycle(server, number, is_over))
            })
            .collect();
        let mut client = server.client();
        let mut backups = Vec::new();
        for number in 0..5 {
            let name = format!("before-{number}");
            let before = client.put(&name, r#"{"locked_by": "k"}"#).fencing_token();
            let file = format!("backup-{number}.sqlite3");
            let output = server.cls().run(&["backup", &file]);
            assert_eq!(text(&output.stderr), "");
            assert!(output.status.success());
            let after = client
                .put(&format!("after-{number}"), r#"{"locked_by": "k"}"#)
                .fencing_token();
            backups.push((server.directory().join(file), before, after, text(&output.stdout)));
        }
        is_over.store(true, Ordering::Relaxed);
        let granted: Grants = cycles
            .into_iter()
            .flat_map(|cycle| cycle.join().expect("no panic"))
            .collect();
        (backups, granted)
    });

    assert!(granted.len() > 50, "{} grants", granted.len());
    for (file, before, after, said) in backups {
        let sql = |statement: &str| sql_in(&file, statement);
        assert_eq!(sql("PRAGMA integrity_check"), "ok");
        let counter: i64 = sql("SELECT fencing_token FROM server_state").parse().expect("a number");
        assert!((before..after).contains(&counter), "{before} {counter} {after}");
        assert_eq!(sql("SELECT max(fencing_token) FROM resources"), counter.to_string());
        let count = sql("SELECT count(*) FROM resources");
        assert!(
            said.ends_with(&format!(": {count} resources, fencing tokens up to {counter}.\n")),
            "{said}"
        );
        let held = sql("SELECT fencing_token, name, locked_by FROM resources WHERE locked_by <> 'k'");
        let mut tokens = 0;
        for row in held.lines() {
            let fields: Vec<_> = row.split('|').collect();
            let token: i64 = fields[0].parse().expect("a number");
            let grant = (fields[1].to_owned(), fields[2].to_owned());
            assert_eq!(granted.get(&token), Some(&grant));
            tokens += 1;
        }
        let kept = granted.iter().filter(|(token, (name, _))| {
            let step: usize = name
                .rsplit_once('-')
                .and_then(|(_, step)| step.parse().ok())
                .expect("a step");
            **token < before && step.is_multiple_of(3)
        });
        assert!(tokens >= kept.count(), "none that was kept is missing");
    }
}

#[test]
fn a_backup_is_for_its_owner_alone_and_marked_as_ours_with_all_that_was_applied() {
    for applied in ["0001", "0003", ""] {
        let desk = Desk::new();
        let arguments = [
            &["migrate"][..],
            if applied.is_empty() {
                &[]
            } else {
                std::slice::from_ref(&applied)
            },
        ];
        desk.succeeds(&arguments.concat());
        desk.sql("PRAGMA user_version = 7");

        desk.succeeds(&["backup", "copy"]);

        let copy = desk.path().join("copy");
        assert_eq!(
            fs::metadata(&copy).expect("it is there").permissions().mode() & 0o7777,
            0o600
        );
        for statement in [
            "PRAGMA application_id",
            "PRAGMA user_version",
            "SELECT version FROM __diesel_schema_migrations ORDER BY version",
            "SELECT sql FROM sqlite_schema ORDER BY name",
        ] {
            assert_eq!(sql_in(&copy, statement), desk.sql(statement), "{statement}");
        }
        assert_eq!(sql_in(&copy, "PRAGMA application_id"), "1129075574");
        let left: Vec<_> = desk
            .content()
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| name.contains("partial"))
            .collect();
        assert_eq!(left, Vec::<String>::new());
    }
}

#[test]
fn a_file_that_is_there_is_not_overwritten() {
    let desk = Desk::migrated();
    fs::write(desk.path().join("copy"), "precious").expect("writable");
    std::os::unix::fs::symlink("nowhere", desk.path().join("link")).expect("writable");

    for name in ["copy", "link", "db.sqlite3", "."] {
        let line = desk.refuses(&desk.cls(), &["backup", name], 1);
        assert!(
            line.ends_with(" is there already, and was left as it is; choose another name"),
            "{line}"
        );
    }
}

#[test]
fn what_cannot_be_backed_up_or_written_is_refused_and_leaves_nothing() {
    let desk = Desk::new();
    let missing = desk.refuses(&desk.cls(), &["backup", "copy"], 1);
    assert!(missing.contains("db.sqlite3 does not exist"), "{missing}");
    desk.succeeds(&["migrate"]);
    let nowhere = desk.refuses(&desk.cls(), &["backup", "nowhere/copy"], 1);
    assert!(
        nowhere.contains("cannot write ") && nowhere.contains("nowhere/copy: No such file"),
        "{nowhere}"
    );
    // Where not even root may write.
    let refused = desk.refuses(&desk.cls(), &["backup", "/proc/copy"], 1);
    assert!(refused.starts_with("cannot write /proc/copy: "), "{refused}");
    desk.succeeds(&["migrate", "zero"]);
    assert_eq!(desk.refuses(&desk.cls(), &["backup", "copy"], 1), none_applied());
}

#[test]
fn strange_names_are_files_like_others() {
    let desk = Desk::migrated();
    for name in ["a b", "100%41", "what?mode=ro", "#1", "file:x", "':memory:", "é"] {
        let directory = desk.path().join(name);
        fs::create_dir(&directory).expect("a name");
        let file = directory.join(name);

        desk.succeeds(&["backup", &file.display().to_string()]);
        desk.succeeds(&["restore", &file.display().to_string()]);

        assert_eq!(entries(&directory), [name]);
    }
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_database_that_is_not_served_is_backed_up_with_what_is_in_its_log() {
    let desk = Desk::new();
    let mut server = desk.cls().start();
    let token = server.client().put("r", r#"{"locked_by": "k"}"#).fencing_token();
    server.kill();
    assert!(fs::metadata(desk.path().join("db.sqlite3-wal")).is_ok_and(|log| log.len() > 0));

    desk.succeeds(&["backup", "copy"]);

    let held = sql_in(
        &desk.path().join("copy"),
        "SELECT name, locked_by, fencing_token FROM held_locks",
    );
    assert_eq!(held, format!("r|k|{token}"));
}

#[test]
fn a_newer_database_is_left_to_a_newer_program() {
    let desk = Desk::migrated();
    desk.sql("INSERT INTO __diesel_schema_migrations (version) VALUES ('0099')");

    let line = desk.refuses(&desk.cls(), &["backup", "copy"], 1);

    assert!(
        line.starts_with("the database has migration 0099, which this version of cls does not know"),
        "{line}"
    );
}

#[test]
fn postgres_has_tools_of_its_own() {
    let desk = Desk::new();
    let cls = Cls::in_directory(desk.path()).with("DATABASE_URL", "postgres://u:planted@192.0.2.1/d");

    let line = desk.refuses(&cls, &["backup", "copy"], 1);

    assert!(
        line.contains("with pg_dump or pg_basebackup") && !line.contains("planted"),
        "{line}"
    );
}
