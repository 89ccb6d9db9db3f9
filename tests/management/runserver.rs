//! `cls runserver`.

use std::net::TcpListener;
use std::time::Duration;

use rustix::process::Signal;

use super::{Desk, all_shown, failure, none_applied};
use crate::support::Server;

#[test]
fn a_server_makes_and_migrates_its_database() {
    let desk = Desk::new();

    let server = desk.cls().start();

    assert_eq!(server.client().put("r", r#"{"locked_by": "k"}"#).status, 200);
    assert_eq!(desk.succeeds(&["showmigrations"]), all_shown('X'));
}

#[test]
fn without_migrating_a_missing_or_unmigrated_database_is_refused() {
    let desk = Desk::new();
    let arguments = ["runserver", "127.0.0.1:0", "--no-migrate"];

    let missing = desk.refuses(&desk.cls(), &arguments, 1);
    desk.succeeds(&["migrate"]);
    desk.succeeds(&["migrate", "zero"]);
    let unmigrated = desk.refuses(&desk.cls(), &arguments, 1);

    assert!(
        missing.contains("does not exist; run `cls migrate` to create it"),
        "{missing}"
    );
    assert_eq!(unmigrated, none_applied());
}

#[test]
fn without_migrating_a_migrated_database_is_served() {
    let desk = Desk::migrated();

    let server = desk.cls().try_start(&["runserver", "127.0.0.1:0", "--no-migrate"]);

    assert_eq!(
        server
            .expect("it starts")
            .client()
            .put("r", r#"{"locked_by": "k"}"#)
            .status,
        200
    );
}

#[test]
fn what_is_no_address_is_refused() {
    let desk = Desk::new();
    for wrong in ["x", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1", "a b:80", ""] {
        let line = desk.refuses(&desk.cls(), &["runserver", wrong], 2);
        let expected = format!("'{wrong}' is not an address; write PORT, ADDR:PORT or [IPV6]:PORT");
        assert!(line.starts_with(&expected), "{line}");
    }
}

#[test]
fn a_busy_port_is_named() {
    let desk = Desk::migrated();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();

    let line = failure(&desk.cls().run(&["runserver", &address]), 1);

    assert!(line.starts_with(&format!("{address} is already in use; ")), "{line}");
}

#[test]
fn an_address_of_another_machine_is_named() {
    let desk = Desk::migrated();

    let line = failure(&desk.cls().with("AUTH", "off").run(&["runserver", "192.0.2.1:8000"]), 1);

    assert!(line.starts_with("cannot listen on 192.0.2.1:8000: "), "{line}");
}

#[test]
fn a_second_server_on_one_database_is_told_who_has_it() {
    let mut server = Server::start_with(&[("CONNECTIONS_MAX", "16")]);

    let line = failure(&server.cls().run(&["runserver", "127.0.0.1:0"]), 1);

    let owner = format!("cls runserver {} (pid {})", server.address, server.pid());
    assert!(
        line.contains(&format!("db.sqlite3 is in use by {owner}; stop it first")),
        "{line}"
    );
    assert_eq!(
        server.client().put("r", r#"{"locked_by": "k"}"#).status,
        200,
        "the first goes on"
    );
    server.signal(Signal::TERM);
    assert!(server.wait(Duration::from_secs(5)).is_some());
    let next = server.cls().start();
    assert_eq!(
        next.client().put("r", r#"{"locked_by": "k"}"#).status,
        400,
        "the next goes on where it ended"
    );
}

#[test]
fn a_database_newer_than_the_binary_is_refused() {
    let desk = Desk::migrated();
    desk.sql("INSERT INTO __diesel_schema_migrations (version) VALUES ('0099')");

    for command in ["runserver", "migrate", "showmigrations", "check"] {
        let line = desk.refuses(&desk.cls(), &[command], 1);
        let expected = "the database has migration 0099, which this version of cls does not know; \
                        use the newer cls that made it";
        assert_eq!(line, expected, "{command}");
    }
}

#[test]
fn the_limit_of_open_files_bounds_the_connections() {
    let desk = Desk::new();

    let limited = desk.cls().under(&["sh", "-c", "ulimit -n 72; exec \"$@\"", "sh"]);
    let server = limited.start();

    assert!(
        server
            .log()
            .contains("allows 8 connections, not 16; raise it with ulimit -n"),
        "{}",
        server.log()
    );
    assert_eq!(server.client().put("r", r#"{"locked_by": "k"}"#).status, 200);
}
