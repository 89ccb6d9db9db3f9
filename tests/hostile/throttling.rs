//! The bounds for each client, which is an address here.

use std::time::{Duration, Instant};

use super::connect_from;
use crate::faults::{AT_ONCE, body};
use crate::support::{Answer, Client, Server, eventually};

fn from(last_octet: u8, server: &Server) -> Client {
    Client::over(connect_from(last_octet, server.address))
}

fn assert_too_soon(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (
            429,
            r#"{"detail":"Request was throttled. Expected available in 1 second."}"#
        )
    );
    assert_eq!(answer.header("Retry-After"), Some("1"));
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
}

#[test]
fn a_client_that_asks_too_often_is_answered_429_whatever_it_asks() {
    let server = Server::start_with(&[("CLIENT_REQUESTS_PER_SECOND", "1")]);
    assert_eq!(from(3, &server).put("a", &body("k", "")).status, 200);

    // The second at the latest, unless the machine stands still for a second.
    let mut client = from(2, &server);
    let mut refusal = None;
    eventually("it is refused", Duration::from_secs(10), || {
        let release = client.delete("a", "another");
        assert!([400, 429].contains(&release.status), "{}", release.body);
        refusal = Some(release).filter(|release| release.status == 429);
        refusal.is_some()
    });
    assert_too_soon(&refusal.expect("it was refused"));

    let page = from(4, &server).request("GET", "/nowhere/", "");
    assert_eq!(page.status, 404, "another client");
    // On the same connection, though what was refused had a body.
    eventually("it is served again", Duration::from_secs(10), || {
        client.delete("a", "k").status == 204
    });
}

#[test]
fn who_goes_on_all_the_same_is_answered_late_and_holds_up_nobody() {
    const HAMMERING: usize = 50;
    let server = Server::start_with(&[("CLIENT_REQUESTS_PER_SECOND", "2")]);
    let mut clients: Vec<_> = (0..HAMMERING).map(|_| from(2, &server)).collect();
    let started = Instant::now();
    for client in &mut clients {
        client.send("GET", "/nowhere/", "");
    }

    let mut slowest = Duration::ZERO;
    for last_octet in 10..30 {
        let asked = Instant::now();
        assert_eq!(from(last_octet, &server).request("GET", "/nowhere/", "").status, 404);
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < AT_ONCE, "{slowest:?}");

    let answers: Vec<_> = clients.iter_mut().map(Client::answer).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 404).collect();
    for answer in &refused {
        assert_too_soon(answer);
    }
    // Two a second are served, and as many refused at once; it took some moments to send them.
    assert!(refused.len() >= HAMMERING / 2, "{}", refused.len());
    let late = refused
        .iter()
        .filter(|answer| answer.received - started >= Duration::from_secs(1));
    assert!(late.count() >= HAMMERING / 2);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "they are late by a second, not by one each"
    );
}

#[test]
fn one_waiter_too_many_of_a_client_is_answered_429_and_others_still_wait() {
    let server = Server::start_with(&[("WORKERS", "1"), ("CLIENT_WAITERS_MAX", "3")]);
    assert_eq!(from(9, &server).put("held", &body("holder", "")).status, 200);
    let wait = body("w", ", \"timeout\": 60");
    let refused = |answer: &Answer| {
        let reason = r#"{"detail":"Request was throttled: too many requests of this client wait."}"#;
        assert_eq!((answer.status, answer.body.as_str()), (429, reason));
        assert_eq!(answer.header("Retry-After"), Some("1"));
    };

    let mut in_line = from(2, &server);
    in_line.send_put("held", &wait);
    let mut together = from(2, &server);
    let several = r#"{"resources": ["held", "b"], "locked_by": "w2", "timeout": 60}"#;
    together.send("POST", "/locks/", several);
    let mut watching = from(2, &server);
    watching.send("GET", "/resources/held/?wait=60", "");
    // One worker reads what was sent before first.
    let mut client = from(2, &server);
    refused(&client.put("held", &wait));
    refused(&client.request("POST", "/locks/", several));
    refused(&client.request("GET", "/resources/held/?wait=60", ""));
    assert_eq!(
        client.put("held", &body("w", "")).status,
        400,
        "who does not wait is answered"
    );
    assert_eq!(client.get("/resources/held/").status, 200);

    let mut other = from(3, &server);
    other.send_put("held", &wait);
    drop(watching);
    drop(together);
    let again = || {
        let mut client = from(2, &server);
        client.put("held", &body("w", ", \"timeout\": 1")).status == 408
    };
    eventually("those who left make room", Duration::from_secs(10), again);

    assert_eq!(client.delete("held", "holder").status, 204);
    assert_eq!(in_line.answer().status, 200);
    assert_eq!(in_line.delete("held", "w").status, 204);
    assert_eq!(other.answer().status, 200);
}

#[test]
fn with_no_room_for_waiters_of_a_client_what_is_free_is_still_had_without_a_timeout() {
    let server = Server::start_with(&[("CLIENT_WAITERS_MAX", "0")]);
    let mut client = server.client();
    assert_eq!(client.put("a", &body("k", ", \"timeout\": 5")).status, 429);
    assert_eq!(client.put("a", &body("k", ", \"timeout\": 0")).status, 200);
}
