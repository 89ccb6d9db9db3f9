//! Whoever watches at one server is told what happens at another.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Replicas, SOON, by, granted_within};
use crate::support::Client;

/// A change elsewhere is seen within this time, as promised, and on a busy
/// machine so much later.
const SEEN_WITHIN: Duration = Duration::from_millis(250);
const SLACK: Duration = Duration::from_millis(750);

fn look(replicas: &Replicas, replica: usize, name: &str) -> Value {
    replicas.client(replica).get(&format!("/resources/{name}/")).json()
}

fn watching(replicas: &Replicas, replica: usize, name: &str, query: &str) -> Client {
    let mut watcher = replicas.client(replica);
    watcher.send("GET", &format!("/resources/{name}/?wait=60{query}"), "");
    // The watcher's first look is decided by then, or sees what comes after as news all the same.
    for _ in 0..3 {
        look(replicas, replica, name);
    }
    watcher
}

#[test]
fn each_change_at_another_server_is_told_in_time() {
    let replicas = Replicas::start(2);
    let mut token = replicas.hold(0, "r");
    for round in 0..5 {
        let mut of_token = watching(&replicas, 1, "r", &format!("&fencing_token={token}"));
        let mut of_any = watching(&replicas, 1, "r", "");
        let renewed = replicas.client(0).request(
            "PATCH",
            "/resources/r/",
            &format!(r#"{{"locked_by": "holder", "label": "l{round}"}}"#),
        );
        let asked = Instant::now();
        assert_eq!(renewed.status, 200);
        assert_eq!(of_any.answer().json()["label"], json!(format!("l{round}")));
        assert!(asked.elapsed() < SEEN_WITHIN + SLACK, "{:?}", asked.elapsed());

        let asked = Instant::now();
        replicas.release(0, "r", "holder");
        assert_eq!(of_token.answer().json()["locked"], json!(false));
        assert!(asked.elapsed() < SEEN_WITHIN + SLACK, "{:?}", asked.elapsed());

        let mut of_free = watching(&replicas, 1, "r", "");
        token = replicas.hold(0, "r");
        assert_eq!(of_free.answer().json()["fencing_token"], json!(token));
    }
}

#[test]
fn the_expiry_of_a_lock_that_another_server_granted_is_told_at_that_instant() {
    let replicas = Replicas::start(2);
    let sent = Instant::now();
    let held = replicas.client(0).put("r", r#"{"locked_by": "k", "ttl": 1}"#);
    let token = held.fencing_token();
    let mut watcher = replicas.client(1);

    let answer = watcher.get(&format!("/resources/r/?wait=60&fencing_token={token}"));

    assert_eq!(answer.json()["locked"], json!(false));
    assert!(sent.elapsed() >= Duration::from_secs(1));
    assert!(held.received.elapsed() < Duration::from_secs(1) + SLACK);
}

#[test]
fn every_server_shows_the_same_and_counts_those_who_wait_at_others() {
    let replicas = Replicas::start(2);
    replicas.hold(0, "r");
    let _here = replicas.in_line(0, "r", "here");
    let _there = replicas.in_line(1, "r", "there");

    let shown = [0, 1].map(|replica| look(&replicas, replica, "r"));
    let listed = [0, 1].map(|replica| replicas.client(replica).get("/resources/").json()["results"][0].clone());

    assert_eq!(shown[0]["waiters"], json!(2));
    assert!(
        shown.iter().chain(&listed).all(|other| *other == shown[0]),
        "{shown:?} {listed:?}"
    );
    let tags = [0, 1].map(|replica| {
        let answer = replicas.client(replica).get("/resources/r/");
        answer.header("ETag").expect("a tag").to_owned()
    });
    assert_eq!(tags[0], tags[1], "a tag is good at every server");
}

#[test]
fn a_renewal_at_another_server_puts_off_those_who_wait_here() {
    let replicas = Replicas::start(2);
    assert_eq!(
        replicas.client(0).put("r", r#"{"locked_by": "k", "ttl": 1}"#).status,
        200
    );
    let mut waiter = replicas.in_line(1, "r", "waiter");
    let sent = Instant::now();
    assert_eq!(
        replicas
            .client(0)
            .request("PATCH", "/resources/r/", r#"{"locked_by": "k", "ttl": 2}"#)
            .status,
        200
    );

    granted_within(&mut waiter, SOON);

    assert!(sent.elapsed() >= Duration::from_secs(2), "{:?}", sent.elapsed());
    assert!(sent.elapsed() < Duration::from_secs(2) + SLACK, "{:?}", sent.elapsed());
}

#[test]
fn a_shorter_ttl_at_another_server_serves_those_who_wait_here_sooner() {
    let replicas = Replicas::start(2);
    replicas.hold(0, "r");
    let mut waiter = replicas.in_line(1, "r", "waiter");
    let sent = Instant::now();
    let shorter = r#"{"locked_by": "holder", "ttl": 1}"#;
    assert_eq!(
        replicas.client(0).request("PATCH", "/resources/r/", shorter).status,
        200
    );

    granted_within(&mut waiter, SOON);

    assert!(sent.elapsed() >= Duration::from_secs(1), "{:?}", sent.elapsed());
    assert!(sent.elapsed() < Duration::from_secs(1) + SLACK, "{:?}", sent.elapsed());
}

#[test]
fn what_one_server_answered_another_tells_again() {
    let replicas = Replicas::start(2);
    let key = [("Idempotency-Key", "once")];
    let path = "/resources/r/";
    let first = replicas.client(0).request_with(("PUT", path), &key, &by("k"));
    let again = replicas.client(1).request_with(("PUT", path), &key, &by("k"));
    assert_eq!(first.fencing_token(), again.fencing_token());

    for replica in [1, 0] {
        let released = replicas.client(replica).request_with(("DELETE", path), &key, &by("k"));
        assert_eq!(released.status, 204, "{replica}");
    }
}

#[test]
fn a_bulk_release_serves_those_who_wait_at_another_server() {
    let replicas = Replicas::start(2);
    for name in ["a", "b"] {
        replicas.hold(0, name);
    }
    let mut waiters = ["a", "b"].map(|name| replicas.in_line(1, name, "w"));

    let released = replicas.client(0).request("DELETE", "/resources/", &by("holder"));

    assert_eq!(released.body, r#"{"released":2}"#);
    for waiter in &mut waiters {
        granted_within(waiter, Duration::from_secs(2));
    }
}

#[test]
fn a_line_over_two_servers_is_shown_in_order_at_both() {
    let replicas = Replicas::start(2);
    replicas.hold(0, "r");
    let body = |label: &str| format!(r#"{{"locked_by": "w", "timeout": 60, "label": "{label}"}}"#);
    let _first = replicas.in_line_with(0, "r", &body("first"));
    let _second = replicas.in_line_with(1, "r", &body("second"));
    let _third = replicas.in_line_with(0, "r", &body("third"));

    for (replica, labels) in [(0, json!(["first", null, "third"])), (1, json!([null, "second", null]))] {
        let line = replicas.client(replica).get("/resources/r/waiters/").json();
        let waiters = line["results"].as_array().expect("a list");
        let of = |field: &str| waiters.iter().map(|waiter| waiter[field].clone()).collect::<Value>();
        assert_eq!((&line["count"], of("position")), (&json!(3), json!([1, 2, 3])));
        // Of whoever waits elsewhere only the place is known, and until when.
        assert_eq!(of("label"), labels, "{line}");
        assert!(waiters.iter().all(|waiter| waiter["until"].is_string()), "{line}");
    }
}
