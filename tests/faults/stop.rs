//! SIGTERM: everybody is answered, what runs is finished, and it ends.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::faults::{acquire, assert_unavailable, body, is_held};
use crate::support::{Client, Server};

/// Clients that wait for `held`.
fn waiting(server: &Server, count: usize) -> Vec<Client> {
    let waiters: Vec<_> = (0..count)
        .map(|i| {
            let mut waiter = server.client();
            waiter.send_put("held", &body(&format!("w{i}"), ", \"timeout\": 60"));
            waiter
        })
        .collect();
    // The only worker reads in the order of arrival, so the others have been read.
    acquire(&mut server.client(), "after", "k");
    waiters
}

#[test]
fn sigterm_answers_500_waiters_503_and_ends_with_0_within_5_seconds() {
    let mut server = Server::start_with(&[("WORKERS", "1")]);
    let mut holder = server.client();
    acquire(&mut holder, "held", "k");
    let waiters = waiting(&server, 500);
    let idle: Vec<_> = (0..20).map(|_| server.client()).collect();

    let asked = Instant::now();
    server.signal(Signal::TERM);
    for mut waiter in waiters {
        let answer = waiter.answer();
        assert_unavailable(&answer);
        assert!(answer.received - asked < Duration::from_secs(2));
    }
    let status = server.wait(Duration::from_secs(10)).expect("it ends");
    let took = asked.elapsed();

    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(idle);
    let server = server.kill_and_restart();
    assert!(is_held(&mut server.client(), "held"));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = Server::start_with(&[("WORKERS", "1")]);
    let mut client = server.client();
    acquire(&mut client, "held", "k");
    // A body that does not come keeps a request running.
    client.send_raw(
        b"PUT /resources/a/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n",
    );
    acquire(&mut server.client(), "other", "k");

    server.signal(Signal::TERM);
    crate::support::eventually("it stops", Duration::from_secs(2), || server.log().contains("SIGTERM"));
    let asked = Instant::now();
    server.signal(Signal::TERM);
    let status = server.wait(Duration::from_secs(10)).expect("it ends");

    assert_eq!(status.code(), Some(1));
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
}

#[test]
fn what_was_sent_before_sigterm_is_answered_truly() {
    for _ in 0..5 {
        let mut server = Server::start();
        let mut clients: Vec<_> = (0..50).map(|_| server.client()).collect();
        for (i, client) in clients.iter_mut().enumerate() {
            client.send_put(&format!("a{i}"), &body("k", ""));
        }

        server.signal(Signal::TERM);

        let answers: Vec<_> = clients.iter_mut().map(Client::try_answer).collect();
        let status = server.wait(Duration::from_secs(10)).expect("it ends");
        assert_eq!(status.code(), Some(0), "{}", server.log());
        let server = server.kill_and_restart();
        let mut client = server.client();
        for (i, answer) in answers.iter().enumerate() {
            let is_held = is_held(&mut client, &format!("a{i}"));
            match answer {
                Ok(answer) if answer.status == 200 => assert!(is_held, "a{i}"),
                Ok(answer) => assert!(answer.status == 503 && !is_held, "a{i}: {}", answer.body),
                // Not accepted any more.
                Err(_) => assert!(!is_held, "a{i}"),
            }
        }
    }
}
