//! Somebody else uses the database file.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::faults::{AT_ONCE, Watch, acquire, assert_refused, assert_unavailable, body, failures_logged, is_held};
use crate::support::{Server, eventually};

/// SQLite's own shell in the middle of a write transaction.
struct OpenTransaction {
    shell: Child,
    input: ChildStdin,
}

impl OpenTransaction {
    fn begin(database: &Path) -> Self {
        let mut command = Command::new("sqlite3");
        command.arg(database).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = command.spawn().expect("sqlite3 is installed");
        let mut input = shell.stdin.take().expect("a pipe");
        writeln!(input, ".timeout 5000\nBEGIN EXCLUSIVE;\nSELECT 'locked';").expect("it reads");
        let mut said = String::new();
        let output = shell.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut said).expect("it writes");
        assert_eq!(said, "locked\n");
        Self { shell, input }
    }

    fn end(mut self) {
        writeln!(self.input, "ROLLBACK;").expect("it reads");
        drop(self.input);
        assert!(self.shell.wait().expect("a child of ours").success());
    }
}

#[test]
fn a_database_locked_by_another_process_is_waited_for_and_then_503() {
    let server = Server::start();
    let mut client = server.client();
    acquire(&mut client, "held", "k");
    let other = OpenTransaction::begin(&server.database());
    let watch = Watch::start(server.address);

    let asked = Instant::now();
    let answer = client.put("a", &body("k", ""));
    let waited = asked.elapsed();

    assert_unavailable(&answer);
    assert!(waited >= Duration::from_millis(1900), "gave up after {waited:?}");
    assert!(waited < Duration::from_millis(4500), "gave up after {waited:?}");
    let slowest = watch.slowest();
    assert!(slowest < AT_ONCE, "the rest had to wait {slowest:?}");
    other.end();
    eventually("it works again", AT_ONCE, || {
        client.put("b", &body("k", "")).status == 200
    });
    assert!(!is_held(&mut client, "a"), "was answered 503");
    assert_eq!(client.delete("held", "k").status, 204);
    assert_eq!(failures_logged(&server), 1, "{}", server.log());
}

#[test]
fn a_short_transaction_of_another_process_is_only_waited_for() {
    let server = Server::start();
    let mut client = server.client();
    let other = OpenTransaction::begin(&server.database());

    client.send_put("a", &body("k", ""));
    assert_eq!(server.client().request("GET", "/nowhere/", "").status, 404);
    other.end();

    assert_eq!(client.answer().status, 200);
}

#[test]
fn it_stops_in_time_while_another_process_has_the_database_locked() {
    let mut server = Server::start_with(&[("WORKERS", "1")]);
    let mut holder = server.client();
    acquire(&mut holder, "held", "k");
    let mut waiter = server.client();
    waiter.send_put("held", &body("w", ", \"timeout\": 60"));
    acquire(&mut holder, "other", "k");
    let other = OpenTransaction::begin(&server.database());
    holder.send_put("a", &body("k", ""));

    let asked = Instant::now();
    server.signal(Signal::TERM);
    let status = server.wait(Duration::from_secs(10)).expect("it ends");

    assert_eq!(status.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    // If the stop came first it was not read at all.
    if let Ok(answer) = holder.try_answer() {
        assert_unavailable(&answer);
    }
    assert_unavailable(&waiter.answer());
    other.end();
}

#[test]
fn a_second_server_on_the_same_file_is_told_who_has_it() {
    let mut server = Server::start();
    acquire(&mut server.client(), "held", "k");

    let started = Instant::now();
    let output = server.cls().run(&["runserver", "127.0.0.1:0"]);
    let took = started.elapsed();

    let owner = format!("cls runserver {} (pid {})", server.address, server.pid());
    assert_refused(&output, &owner);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_refused(&server.cls().run(&["migrate"]), &owner);
    assert!(is_held(&mut server.client(), "held"));

    server.kill();
    let second = server.cls().start();
    assert!(is_held(&mut second.client(), "held"));
}
