//! Somebody else uses the database file.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::faults::{
    AT_ONCE, OpenTransaction, Watch, acquire, assert_refused, assert_unavailable, body, directory, failures_logged,
    is_held,
};
use crate::support::{Cls, Server, eventually};

#[test]
fn a_database_locked_by_another_process_is_waited_for_and_then_503() {
    let server = Server::start();
    let mut client = server.client();
    acquire(&mut client, "held", "k");
    let other = OpenTransaction::begin(&server.database(), "BEGIN EXCLUSIVE;");
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
    let other = OpenTransaction::begin(&server.database(), "BEGIN EXCLUSIVE;");

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
    let other = OpenTransaction::begin(&server.database(), "BEGIN EXCLUSIVE;");
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

#[test]
fn a_second_server_that_calls_the_file_by_another_name_is_refused_too() {
    let server = Server::start();
    let link = server.directory().join("link.sqlite3");
    std::os::unix::fs::symlink(server.database(), &link).expect("a link can be made");

    let by_link = server.cls().clone().with("DATABASE_URL", "sqlite://link.sqlite3");
    let output = by_link.run(&["runserver", "127.0.0.1:0"]);

    assert_refused(&output, &format!("(pid {})", server.pid()));
}

#[test]
fn a_database_behind_a_symbolic_link_is_served() {
    let data = directory();
    let real = data.path().join("real");
    std::fs::create_dir(&real).expect("it can be made");
    std::os::unix::fs::symlink(real.join("locks.db"), data.path().join("db.sqlite3")).expect("a link can be made");
    assert!(
        Cls::in_directory(&real)
            .with("DATABASE_URL", "sqlite://locks.db")
            .run(&["migrate"])
            .status
            .success()
    );

    let server = Cls::in_directory(data.path()).start();
    acquire(&mut server.client(), "held", "k");
    let restarted = server.kill_and_restart();

    assert!(is_held(&mut restarted.client(), "held"));
    assert!(real.join("locks.db-wal").exists());
}

#[test]
fn a_queue_is_answered_soon_when_the_first_has_waited_in_vain() {
    const BATCHES: usize = 10;
    const EACH: usize = 600;
    let server = Server::start();
    let other = OpenTransaction::begin(&server.database(), "BEGIN EXCLUSIVE;");
    let mut clients: Vec<_> = (0..BATCHES * EACH / 100).map(|_| server.client()).collect();

    let asked = Instant::now();
    for (number, client) in clients.iter_mut().enumerate() {
        for i in 0..100 {
            client.send_put(&format!("r{number}-{i}"), &body("k", ""));
        }
    }
    for client in &mut clients {
        for _ in 0..100 {
            assert_unavailable(&client.answer());
        }
    }

    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    other.end();
}
