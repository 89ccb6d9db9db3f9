//! `PATCH /resources/` and `DELETE /resources/`: everything that a key holds.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    by, connected, hold, in_line, look, one_worker, rounds, since, together_in_line, tokens, with_timeout, with_ttl,
};
use crate::support::{Client, Server};

/// "At once", on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(2);

fn patch(client: &mut Client, body: &str) -> (u16, String) {
    let answer = client.request("PATCH", "/resources/", body);
    (answer.status, answer.body)
}

fn delete(client: &mut Client, body: &str) -> (u16, String) {
    let answer = client.request("DELETE", "/resources/", body);
    (answer.status, answer.body)
}

fn renewed(count: usize) -> (u16, String) {
    (200, format!("{{\"renewed\":{count}}}"))
}

fn released(count: usize) -> (u16, String) {
    (200, format!("{{\"released\":{count}}}"))
}

#[test]
pub(super) fn a_key_renews_what_it_holds_and_nothing_else() {
    let server = Server::start();
    let mut client = server.client();
    for (name, body) in [
        ("a", with_ttl("k", 60)),
        ("b", r#"{"locked_by": "k", "ttl": 90, "label": "kept"}"#.to_owned()),
        ("forever", by("k")),
        ("others", with_ttl("K", 60)),
        ("longer", with_ttl("kk", 60)),
    ] {
        assert_eq!(client.put(name, &body).status, 200);
    }
    let before: Vec<_> = ["others", "longer"]
        .map(|name| look(&server, name)["expires_at"].clone())
        .into();
    let end = |name: &str| look(&server, name)["expires_at"].clone();
    let (end_of_a, end_of_b) = (end("a"), end("b"));

    assert_eq!(patch(&mut client, &by("k")), renewed(3));

    assert!(end("a").as_str() > end_of_a.as_str() && end("b").as_str() > end_of_b.as_str());
    assert_eq!(
        (look(&server, "a")["ttl"].clone(), look(&server, "b")["ttl"].clone()),
        (json!(60), json!(90))
    );
    assert_eq!(
        (
            look(&server, "forever")["ttl"].clone(),
            look(&server, "b")["label"].clone()
        ),
        (json!(null), json!("kept"))
    );
    assert_eq!(patch(&mut client, &with_ttl("k", 600)), renewed(3));
    for name in ["a", "b", "forever"] {
        assert_eq!(look(&server, name)["ttl"], json!(600), "{name}");
    }
    assert_eq!(end("a"), end("forever"), "one transaction, one instant");
    let after: Vec<_> = ["others", "longer"].map(end).into();
    assert_eq!(after, before);
}

#[test]
pub(super) fn a_key_releases_what_it_holds_and_nothing_else() {
    let server = Server::start();
    let mut client = server.client();
    for (name, key) in [("a", "k"), ("b", "k"), ("c", "other"), ("d", "K")] {
        assert_eq!(client.put(name, &by(key)).status, 200);
    }

    assert_eq!(delete(&mut client, &by("k")), released(2));
    assert_eq!(delete(&mut client, &by("k")), released(0));

    let held = server.select("SELECT name, locked_by FROM resources WHERE locked_by IS NOT NULL ORDER BY name");
    assert_eq!(held, ["c|other", "d|K"]);
}

#[test]
pub(super) fn a_key_that_holds_nothing_is_answered_zero() {
    let server = Server::start();
    let mut client = server.client();
    hold(&server, "r");
    let before = server.select("SELECT * FROM resources");

    for key in ["unknown", "holde", "holder%", "' OR '1'='1"] {
        assert_eq!(patch(&mut client, &by(key)), renewed(0), "{key}");
        assert_eq!(delete(&mut client, &by(key)), released(0), "{key}");
    }
    assert_eq!(server.select("SELECT * FROM resources"), before);
}

#[test]
pub(super) fn an_expired_lock_is_neither_renewed_nor_released() {
    let server = Server::start();
    let mut client = server.client();
    let held = client.put("r", &with_ttl("k", 1));
    assert_eq!(client.put("s", &with_ttl("k", 600)).status, 200);
    thread::sleep(Duration::from_secs(1).saturating_sub(held.received.elapsed()));

    assert_eq!(patch(&mut client, &with_ttl("k", 600)), renewed(1));
    assert_eq!(look(&server, "r")["locked"], json!(false));
    assert_eq!(delete(&mut client, &by("k")), released(1));
}

#[test]
pub(super) fn those_who_wait_for_what_is_released_are_served_at_once() {
    let server = one_worker();
    for name in ["a", "b", "c", "d"] {
        assert_eq!(server.client().put(name, &by("k")).status, 200);
    }
    let mut singles: Vec<_> = ["a", "b"]
        .map(|name| in_line(&server, name, &with_timeout("w", 60)))
        .into();
    let mut both = together_in_line(&server, &["d", "c"], "v", "c");
    let mut behind = in_line(&server, "a", &with_timeout("behind", 60));

    let asked = Instant::now();
    assert_eq!(delete(&mut server.client(), &by("k")), released(4));

    for single in &mut singles {
        assert_eq!(single.answer().status, 200);
    }
    let answer = both.answer();
    assert_eq!(tokens(&answer).len(), 2);
    assert!(since(asked, answer.received) < AT_ONCE);
    assert_eq!(delete(&mut server.client(), &by("w")), released(2));
    assert_eq!(behind.answer().status, 200);
}

#[test]
pub(super) fn those_who_wait_are_put_off_by_a_renewal_and_served_sooner_by_a_shorter_one() {
    let server = one_worker();
    let mut client = server.client();
    assert_eq!(client.put("a", &with_ttl("k", 1)).status, 200);
    let mut waiter = in_line(&server, "a", &with_timeout("w", 60));

    assert_eq!(patch(&mut client, &with_ttl("k", 3600)), renewed(1));
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(look(&server, "a")["waiters"], json!(1));
    let sent = Instant::now();
    assert_eq!(patch(&mut client, &with_ttl("k", 1)), renewed(1));

    let answer = waiter.answer();
    assert_eq!(answer.status, 200);
    let took = since(sent, answer.received);
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(1) + AT_ONCE,
        "{took:?}"
    );
}

#[test]
pub(super) fn what_is_wrong_is_told_in_the_frameworks_words() {
    let server = Server::start();
    let mut client = server.client();
    hold(&server, "r");
    let before = server.select("SELECT * FROM resources");
    for (body, expected) in [
        ("", r#"{"locked_by":["This field is required."]}"#),
        ("{}", r#"{"locked_by":["This field is required."]}"#),
        (
            r#"{"locked_by": null}"#,
            r#"{"locked_by":["This field may not be null."]}"#,
        ),
        (
            r#"{"locked_by": ""}"#,
            r#"{"locked_by":["This field may not be blank."]}"#,
        ),
        (
            r#"{"locked_by": ["holder"]}"#,
            r#"{"locked_by":["Not a valid string."]}"#,
        ),
        (
            "[]",
            r#"{"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}"#,
        ),
    ] {
        let expected = (400, expected.to_owned());
        assert_eq!(patch(&mut client, body), expected, "{body}");
        assert_eq!(delete(&mut client, body), expected, "{body}");
    }
    let ttl = r#"{"ttl":["Ensure this value is greater than or equal to 1."]}"#;
    assert_eq!(patch(&mut client, &with_ttl("holder", 0)), (400, ttl.to_owned()));
    assert_eq!(server.select("SELECT * FROM resources"), before);
}

#[test]
pub(super) fn ten_thousand_locks_are_one_heartbeat() {
    let server = Server::start();
    const COUNT: usize = 10_000;
    thread::scope(|scope| {
        for part in 0..4 {
            let server = &server;
            scope.spawn(move || {
                let mut client = connected(server);
                for first in (part * COUNT / 4..(part + 1) * COUNT / 4).step_by(50) {
                    let names: Vec<_> = (first..first + 50).map(|number| format!("r{number}")).collect();
                    let body = json!({"resources": names, "locked_by": "k", "ttl": 600}).to_string();
                    assert_eq!(client.request("POST", "/locks/", &body).status, 200);
                }
            });
        }
    });
    hold(&server, "other");
    let mut client = server.client();
    let ends = "SELECT count(DISTINCT expires_at_us) FROM resources WHERE locked_by = 'k'";

    assert_eq!(patch(&mut client, &with_ttl("k", 6000)), renewed(COUNT));
    assert_eq!(server.select(ends), ["1"], "one transaction, one instant");
    assert_eq!(delete(&mut client, &by("k")), released(COUNT));

    assert_eq!(
        server.select("SELECT name FROM resources WHERE locked_by IS NOT NULL"),
        ["other"]
    );
    assert_eq!(patch(&mut client, &by("k")), renewed(0));
}

#[test]
pub(super) fn a_heartbeat_beside_releases_and_grants_never_revives_or_takes() {
    let server = Server::start();
    thread::scope(|scope| {
        for worker in 0..3 {
            let server = &server;
            scope.spawn(move || {
                let (mut client, key, name) = (connected(server), format!("k{worker}"), format!("own{worker}"));
                for round in 0..rounds(server, 40) {
                    let token = client.put("shared", &with_timeout(&key, 30)).fencing_token();
                    assert_eq!(client.put(&name, &with_ttl(&key, 600)).status, 200, "{round}");
                    assert_eq!(patch(&mut client, &with_ttl(&key, 60)), renewed(2));
                    let shown = look(server, "shared");
                    assert_eq!((&shown["fencing_token"], &shown["ttl"]), (&json!(token), &json!(60)));
                    assert_eq!(delete(&mut client, &by(&key)), released(2), "{round}");
                }
            });
        }
    });
    assert_eq!(
        server.select("SELECT name FROM resources WHERE locked_by IS NOT NULL"),
        [""; 0]
    );
}
