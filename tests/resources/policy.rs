//! `DEFAULT_TTL`, `MAX_TTL`, `MAX_TIMEOUT` and `LOCK_DELAY`.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::{by, connected, hold, in_line, look, release, settle, since, together, tokens, with_timeout, with_ttl};
use crate::support::{Cls, Server};

/// How late a hand-over may be on a busy machine.
const SLACK: Duration = Duration::from_millis(1500);

/// Long enough to be told from no delay on a busy machine.
const DELAY: Duration = Duration::from_secs(2);

fn with_delay() -> Server {
    Server::start_with(&[("WORKERS", "1"), ("LOCK_DELAY", "2")])
}

#[test]
pub(super) fn a_lock_without_a_ttl_gets_the_default_and_ends() {
    let server = Server::start_with(&[("DEFAULT_TTL", "60")]);
    let mut client = server.client();
    for (name, body, ttl) in [
        ("none", by("k"), 60),
        ("null", r#"{"locked_by": "k", "ttl": null}"#.to_owned(), 60),
        ("own", with_ttl("k", 7), 7),
        ("longer", with_ttl("k", 2_147_483_647), 2_147_483_647),
    ] {
        assert_eq!(client.put(name, &body).status, 200);
        assert_eq!(look(&server, name)["ttl"], json!(ttl), "{name}");
        let renewed = client.request("PATCH", &format!("/resources/{name}/"), &by("k"));
        assert_eq!(
            renewed.json()["ttl"],
            json!(ttl),
            "a renewal repeats the last one: {name}"
        );
    }
    assert_eq!(
        client
            .request("POST", "/locks/", &together(&["a", "b"], "k", ""))
            .status,
        200
    );
    assert_eq!(look(&server, "b")["ttl"], json!(60));
    assert_eq!(client.request("POST", "/resources/c/acquire/", &by("k")).status, 200);
    assert_eq!(look(&server, "c")["ttl"], json!(60));
}

#[test]
pub(super) fn a_value_above_a_maximum_is_a_field_error() {
    let server = Server::start_with(&[("MAX_TTL", "60"), ("MAX_TIMEOUT", "5")]);
    let mut client = server.client();
    hold(&server, "held");
    let ttl = r#"{"ttl":["Ensure this value is less than or equal to 60."]}"#;
    let timeout = r#"{"timeout":["Ensure this value is less than or equal to 5."]}"#;
    for (method, path, body, expected) in [
        ("PUT", "/resources/r/", with_ttl("k", 61), ttl),
        ("PATCH", "/resources/held/", with_ttl("holder", 61), ttl),
        ("PATCH", "/resources/", with_ttl("holder", 61), ttl),
        ("POST", "/locks/", together(&["r"], "k", ", \"ttl\": 61"), ttl),
        ("POST", "/resources/r/acquire/", with_ttl("k", 2_147_483_647), ttl),
        ("POST", "/resources/held/renew/", with_ttl("holder", 61), ttl),
        ("PUT", "/resources/r/", with_timeout("k", 6), timeout),
        ("POST", "/locks/", together(&["r"], "k", ", \"timeout\": 6"), timeout),
        (
            "GET",
            "/resources/held/?wait=6",
            String::new(),
            r#"{"wait":["Ensure this value is less than or equal to 5."]}"#,
        ),
    ] {
        let answer = client.request(method, path, &body);
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (400, expected),
            "{method} {path} {body}"
        );
    }
    assert_eq!(server.select("SELECT name FROM resources"), ["held"]);
    let longest = r#"{"locked_by": "k", "ttl": 60, "timeout": 5}"#;
    assert_eq!(client.put("r", longest).status, 200);
    assert_eq!(
        look(&server, "held")["ttl"],
        json!(60),
        "without a default the maximum is it"
    );
}

#[test]
pub(super) fn an_expired_lock_is_kept_from_another_key_until_the_delay_is_over() {
    let server = with_delay();
    let mut client = server.client();
    let sent = Instant::now();
    let held = client.put("r", &with_ttl("k", 1));
    let ends = Duration::from_secs(1) + DELAY;
    thread::sleep(Duration::from_millis(1050).saturating_sub(held.received.elapsed()));

    assert_eq!(look(&server, "r")["locked"], json!(false), "nobody holds it");
    assert_eq!(client.delete("r", "k").status, 400);
    assert_eq!(client.request("PATCH", "/resources/r/", &by("k")).status, 400);
    let bundle = client.request("POST", "/locks/", &together(&["r", "s"], "other", ""));
    assert_eq!(bundle.status, 400);
    let free = loop {
        let answer = client.put("r", &by("other"));
        if answer.status == 200 {
            break answer.received;
        }
        assert_eq!(answer.body, r#"{"Error":"Resource is locked."}"#);
    };

    assert!(since(sent, free) >= ends, "{:?}", since(sent, free));
    assert!(
        since(held.received, free) < ends + SLACK,
        "{:?}",
        since(held.received, free)
    );
}

#[test]
pub(super) fn the_key_that_held_it_gets_it_again_at_once() {
    let server = with_delay();
    let mut client = server.client();
    let held = client.put("r", &with_ttl("k", 1));
    thread::sleep(Duration::from_secs(1).saturating_sub(held.received.elapsed()));

    let again = client.put("r", &with_ttl("k", 600));

    assert!(
        held.received.elapsed() < Duration::from_secs(1) + DELAY,
        "the machine was too busy to tell"
    );
    assert_eq!(again.fencing_token(), held.fencing_token() + 1);
    assert_eq!(client.put("r", &by("other")).status, 400);
}

#[test]
pub(super) fn a_released_lock_is_free_at_once() {
    let server = with_delay();
    let mut client = server.client();
    let began = Instant::now();
    for round in 0..10 {
        assert_eq!(client.put("r", &with_ttl("k", 600)).status, 200, "{round}");
        let mut waiter = in_line(&server, "r", &with_timeout("w", 60));
        assert_eq!(client.delete("r", "k").status, 204);
        assert_eq!(waiter.answer().status, 200);
        assert_eq!(client.delete("r", "w").status, 204);
    }
    assert!(began.elapsed() < DELAY, "{:?}", began.elapsed());
}

#[test]
pub(super) fn whoever_wants_several_waits_for_the_delay_of_each() {
    let server = with_delay();
    let mut client = server.client();
    let held = client.put("a", &with_ttl("k", 1));
    hold(&server, "b");
    let mut both = connected(&server);
    both.send("POST", "/locks/", &together(&["b", "a"], "w", ", \"timeout\": 60"));
    settle(&server, "b");
    release(&server, "b");

    let answer = both.answer();

    assert_eq!(tokens(&answer).len(), 2);
    let took = since(held.received, answer.received);
    assert!(
        took > DELAY && took < Duration::from_secs(1) + DELAY + SLACK,
        "{took:?}"
    );
}

#[test]
pub(super) fn the_delay_outlives_a_kill_and_a_sweep() {
    let server = with_delay();
    let sent = Instant::now();
    assert_eq!(server.client().put("r", &with_ttl("k", 1)).status, 200);

    let server = server.kill_and_restart();

    let mut client = server.client();
    let free = loop {
        let answer = client.put("r", &by("other"));
        if answer.status == 200 {
            break answer.received;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let took = since(sent, free);
    assert!(took >= Duration::from_secs(1) + DELAY, "{took:?}");
}

#[test]
fn settings_that_are_wrong_are_refused_at_the_start_in_one_line() {
    let range = |name: &str, min: u32, value: &str| {
        format!("{name} must be a whole number from {min} to 2147483647, not '{value}'")
    };
    for (variables, expected) in [
        (&[("DEFAULT_TTL", "0")][..], range("DEFAULT_TTL", 1, "0")),
        (&[("DEFAULT_TTL", "x")], range("DEFAULT_TTL", 1, "x")),
        (&[("MAX_TTL", "-1")], range("MAX_TTL", 1, "-1")),
        (&[("MAX_TTL", "2147483648")], range("MAX_TTL", 1, "2147483648")),
        (&[("MAX_TIMEOUT", "1.5")], range("MAX_TIMEOUT", 0, "1.5")),
        (&[("LOCK_DELAY", "1s")], range("LOCK_DELAY", 0, "1s")),
        (
            &[("DEFAULT_TTL", "61"), ("MAX_TTL", "60")],
            "DEFAULT_TTL must not be above MAX_TTL, and 61 is above 60; correct one of them".to_owned(),
        ),
    ] {
        let directory = TempDir::new().expect("a temporary directory");
        let mut cls = Cls::in_directory(directory.path());
        for (name, value) in variables {
            cls = cls.with(name, value);
        }

        let output = cls.run(&["runserver", "127.0.0.1:0"]);

        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{variables:?}");
        assert!(
            stderr.contains(&expected) && stderr.lines().count() == 1,
            "{variables:?}: {stderr}"
        );
    }
}

#[test]
pub(super) fn without_a_timeout_nobody_may_wait() {
    let server = Server::start_with(&[("MAX_TIMEOUT", "0")]);
    hold(&server, "r");

    assert_eq!(server.client().put("r", &with_timeout("k", 1)).status, 400);
    assert_eq!(
        server.client().put("r", &with_timeout("k", 0)).body,
        r#"{"Error":"Resource is locked."}"#
    );
    assert_eq!(server.client().get("/resources/r/?wait=0").status, 200);
}
