//! The two formats of the log.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::Desk;
use crate::support::{Server, eventually};

const LINE_WAIT_MAX: Duration = Duration::from_secs(10);

/// The lines of a log in JSON, which has no other.
fn objects(log: &str) -> Vec<Value> {
    let object = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    log.lines().map(object).collect()
}

#[test]
fn a_log_in_json_is_an_object_a_line() {
    let mut server = Server::start_with(&[("LOG_FORMAT", "json")]);

    server.signal(Signal::TERM);
    assert!(server.wait(LINE_WAIT_MAX).is_some());

    let lines = objects(&server.log());
    let is_first = |line: &Value| line["message"] == format!("serving on {}", server.address);
    let first = lines.iter().find(|line| is_first(line)).expect("it says so");
    assert_eq!(first["level"], "INFO");
    assert_eq!(first["target"], "central_locking_system::management::runserver");
    assert!(lines.iter().any(|line| line["message"] == "stopped"));
    for line in lines {
        let fields: Vec<_> = line.as_object().expect("an object").keys().collect();
        assert_eq!(
            fields,
            ["level", "message", "target", "timestamp"],
            "no request had to do with it"
        );
        let timestamp = line["timestamp"].as_str().expect("a text");
        let shape: String = timestamp
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000000Z");
    }
}

#[test]
fn text_is_what_is_logged_if_nothing_is_said() {
    for format in ["", "text"] {
        let server = Server::start_with(&[("LOG_FORMAT", format)]);

        let line = "INFO  central_locking_system::management::runserver] serving on";
        eventually("it says so", Duration::from_secs(5), || server.log().contains(line));

        let log = server.log();
        assert!(log.starts_with('['), "{log}");
    }
}

#[test]
fn what_is_no_format_is_refused() {
    let desk = Desk::new();

    let line = desk.refuses(&desk.cls().with("LOG_FORMAT", "JSON"), &["check"], 2);

    assert_eq!(line, "LOG_FORMAT must be text or json, not 'JSON'");
}

#[test]
fn what_an_operator_is_told_before_a_command_ends_is_one_line_of_text_in_either_format() {
    let desk = Desk::new();

    let line = desk.refuses(&desk.cls().with("LOG_FORMAT", "json"), &["check"], 1);

    assert!(line.contains("does not exist; run `cls migrate`"), "{line}");
}

#[test]
fn the_format_stays_when_the_filter_changes() {
    let server = Server::start_with(&[("LOG_FORMAT", "json")]);
    std::fs::write(server.directory().join(".env"), "RUST_LOG=debug\n").expect("writable");

    server.signal(Signal::HUP);
    eventually("it is read", LINE_WAIT_MAX, || {
        server.log().contains("SIGHUP: changed RUST_LOG")
    });
    server.client().get("/nowhere/");
    eventually("more is logged", LINE_WAIT_MAX, || {
        server.log().contains("was answered 404")
    });

    let lines = objects(&server.log());
    assert!(
        lines
            .iter()
            .any(|line| line["level"] == "DEBUG" && line["request_id"].is_string())
    );
}
