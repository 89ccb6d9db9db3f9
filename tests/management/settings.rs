//! The environment and `.env`.

use super::Desk;
use crate::support::Cls;

#[test]
fn each_wrong_setting_is_named_with_what_it_may_be() {
    let desk = Desk::new();
    for (name, wrong, may_be) in [
        ("WORKERS", "0", "1 to 1024"),
        ("WORKERS", "two", "1 to 1024"),
        ("KEEP_ALIVE_SECONDS", "0", "1 to 86400"),
        ("DRAIN_SECONDS", "3601", "0 to 3600"),
        ("CONNECTIONS_MAX", "-1", "1 to 10000000"),
        ("OPERATIONS_QUEUED_MAX", "0", "1 to 10000000"),
        ("WAITERS_MAX", "1e3", "0 to 10000000"),
        ("WAITERS_PER_RESOURCE_MAX", "10000001", "0 to 10000000"),
        ("CLIENT_LOCKS_MAX", "0", "1 to 10000000"),
        ("PRUNE_AFTER_DAYS", "36501", "0 to 36500"),
    ] {
        let cls = Cls::in_directory(desk.path()).with(name, wrong);
        let line = desk.refuses(&cls, &["runserver", "127.0.0.1:0"], 2);
        assert_eq!(
            line,
            format!("{name} must be a whole number from {may_be}, not '{wrong}'")
        );
    }
}

#[test]
fn each_wrong_database_url_is_refused_without_being_repeated() {
    let desk = Desk::new();
    for (url, says) in [
        ("db.sqlite3", "must begin with sqlite://"),
        ("mysql://user:secret@host/db", "must begin with sqlite://"),
        ("postgres://user:secret@host", "names no database"),
        (
            "postgres://user:sec/secret@host/db",
            "'@' or a '/' in its user or password",
        ),
        (
            "postgres://user:secret/db",
            "what follows the colon after a host is no port",
        ),
        ("sqlite://", "names no file"),
        ("sqlite://:memory:", "would lose every lock"),
        ("sqlite://db?mode=secret", "may not contain '?'"),
    ] {
        let cls = desk.cls().with("DATABASE_URL", url);
        for command in ["runserver", "migrate", "showmigrations", "check", "dbshell"] {
            let line = desk.refuses(&cls, &[command], 2);
            assert!(
                line.starts_with("DATABASE_URL") && line.contains(says),
                "{command} {url}: {line}"
            );
            assert!(!line.contains("secret"), "{line}");
        }
    }
}

#[test]
fn dot_env_is_read_and_the_environment_wins() {
    let desk = Desk::new();
    std::fs::write(
        desk.path().join(".env"),
        "# a comment\nDATABASE_URL=sqlite://from-file\n",
    )
    .expect("writable");

    desk.succeeds(&["migrate"]);
    let environment = desk
        .cls()
        .with("DATABASE_URL", "sqlite://from-environment")
        .run(&["migrate"]);

    assert!(environment.status.success());
    let made = |name: &str| desk.path().join(name).exists();
    assert_eq!(
        (made("from-file"), made("from-environment"), made("db.sqlite3")),
        (true, true, false)
    );
}

#[test]
fn a_malformed_dot_env_is_refused_and_not_repeated() {
    let desk = Desk::new();
    std::fs::write(desk.path().join(".env"), "DATABASE_URL = my secret pass word\n").expect("writable");

    let line = desk.refuses(&desk.cls(), &["check"], 2);

    assert!(line.starts_with("cannot read .env: a line is not NAME=value"), "{line}");
    assert!(
        ["secret", "pass", "word"].iter().all(|part| !line.contains(part)),
        "{line}"
    );
}
