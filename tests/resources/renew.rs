//! `PATCH /resources/{name}/`: a lock lasts longer, or ends sooner, for whoever
//! holds it.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{by, hold, in_line, look, one_worker, release, since, with_timeout, with_ttl};
use crate::support::{Answer, Client, Server};

/// How late a hand-over may be on a busy machine.
const SLACK: Duration = Duration::from_millis(1500);

const NOT_ACQUIRED: &str = r#"{"Error":"Resource is not acquired."}"#;
const INVALID: &str = r#"{"Error":"Invalid renew request."}"#;

fn patch(client: &mut Client, name: &str, body: &str) -> Answer {
    client.request("PATCH", &format!("/resources/{name}/"), body)
}

#[test]
pub(super) fn the_answer_is_the_resource_as_it_is_then() {
    let server = one_worker();
    let mut client = server.client();
    let token = client
        .put("r", r#"{"locked_by": "k", "ttl": 5, "label": "l"}"#)
        .fencing_token();
    let before = look(&server, "r");
    let _waiter = in_line(&server, "r", &with_timeout("w", 60));

    let answer = patch(&mut client, "r", &with_ttl("k", 600));

    let shown = answer.json();
    let left = shown["expires_in"].as_f64().expect("a number");
    let after = look(&server, "r");
    assert_eq!(answer.status, 200);
    assert_eq!(left, 600.0, "counted from now");
    assert_eq!(shown["acquired_at"], before["acquired_at"]);
    assert_eq!((&shown["fencing_token"], &shown["waiters"]), (&json!(token), &json!(1)));
    assert_eq!((&shown["label"], &shown["ttl"]), (&json!("l"), &json!(600)));
    assert_eq!(shown["expires_at"], after["expires_at"]);
    assert_ne!(shown["expires_at"], before["expires_at"]);
}

#[test]
pub(super) fn without_a_ttl_the_last_one_is_repeated() {
    let server = Server::start();
    let mut client = server.client();
    for name in ["forever", "limited"] {
        let body = if name == "forever" { by("k") } else { with_ttl("k", 60) };
        assert_eq!(client.put(name, &body).status, 200);
        let first = json!(if name == "forever" { None } else { Some(60) });
        for (body, ttl) in [
            (by("k"), first.clone()),
            (r#"{"locked_by": "k", "ttl": null}"#.to_owned(), first),
            (with_ttl("k", 120), json!(120)),
            (by("k"), json!(120)),
            (with_ttl("k", 30), json!(30)),
            (by("k"), json!(30)),
        ] {
            let shown = patch(&mut client, name, &body).json();
            let left = shown["expires_in"].as_f64();
            assert_eq!((&shown["ttl"], left), (&ttl, ttl.as_f64()), "{name} {body}");
        }
    }
}

#[test]
pub(super) fn only_the_holder_renews_and_only_the_current_grant() {
    let server = Server::start();
    let mut client = server.client();
    let first = client.put("r", &with_ttl("k", 600)).fencing_token();
    assert_eq!(client.delete("r", "k").status, 204);
    let token = client.put("r", &with_ttl("k", 600)).fencing_token();
    let row = "SELECT * FROM resources";
    let before = server.select(row);
    assert_eq!(client.put("free", &by("k")).status, 200);
    assert_eq!(client.delete("free", "k").status, 204);

    let with_token = |key: &str, token: i64| format!(r#"{{"locked_by": "{key}", "fencing_token": {token}}}"#);
    for (name, body, expected) in [
        ("r", by("other"), INVALID),
        ("r", by("K"), INVALID),
        ("r", with_token("k", first), INVALID),
        ("r", with_token("k", token + 1), INVALID),
        ("r", with_token("k", 0), INVALID),
        ("r", with_token("other", token), INVALID),
        ("free", by("k"), NOT_ACQUIRED),
        ("free", with_token("k", token + 1), NOT_ACQUIRED),
        ("unknown", by("k"), NOT_ACQUIRED),
        ("%00", by("k"), NOT_ACQUIRED),
        (&"n".repeat(101), by("k"), NOT_ACQUIRED),
    ] {
        let answer = patch(&mut client, name, &body);
        assert_eq!((answer.status, answer.body.as_str()), (400, expected), "{name} {body}");
    }
    assert_eq!(server.select("SELECT * FROM resources WHERE name <> 'free'"), before);

    assert_eq!(patch(&mut client, "r", &with_token("k", token)).status, 200);
    assert_eq!(
        patch(&mut client, "r", r#"{"locked_by": "k", "fencing_token": null}"#).status,
        200
    );
}

#[test]
pub(super) fn an_expired_lock_cannot_be_renewed_back_even_if_nobody_took_it() {
    let server = Server::start();
    let mut client = server.client();
    let held = client.put("r", &with_ttl("k", 1));
    thread::sleep(Duration::from_secs(1).saturating_sub(held.received.elapsed()));

    let token = held.fencing_token();
    for body in [
        with_ttl("k", 600),
        format!(r#"{{"locked_by": "k", "fencing_token": {token}}}"#),
    ] {
        let answer = patch(&mut client, "r", &body);
        assert_eq!((answer.status, answer.body.as_str()), (400, NOT_ACQUIRED));
    }
    assert_eq!(look(&server, "r")["locked"], json!(false));
    assert!(client.put("r", &by("other")).fencing_token() > token);
}

#[test]
pub(super) fn a_renewal_delays_the_hand_over_to_the_new_end_exactly() {
    let server = one_worker();
    let mut client = server.client();
    let held = client.put("r", &with_ttl("k", 1));
    let mut waiter = in_line(&server, "r", &with_timeout("waiter", 60));

    let mut sent = Instant::now();
    let mut renewed = held.received;
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(400).saturating_sub(renewed.elapsed()));
        sent = Instant::now();
        let answer = patch(&mut client, "r", &by("k"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        renewed = answer.received;
    }

    let answer = waiter.answer();
    assert_eq!(answer.fencing_token(), held.fencing_token() + 1);
    let took = since(sent, answer.received);
    assert!(took >= Duration::from_secs(1), "the lock still held after {took:?}");
    assert!(since(renewed, answer.received) < Duration::from_secs(1) + SLACK);
}

#[test]
pub(super) fn a_shorter_ttl_brings_the_hand_over_forward() {
    let server = one_worker();
    let mut client = server.client();
    let mut waiters = Vec::new();
    for (name, body) in [("forever", by("k")), ("long", with_ttl("k", 3600))] {
        assert_eq!(client.put(name, &body).status, 200);
        waiters.push(in_line(&server, name, &with_timeout("waiter", 60)));
    }

    for (name, mut waiter) in ["forever", "long"].into_iter().zip(waiters) {
        let sent = Instant::now();
        let answer = patch(&mut client, name, &with_ttl("k", 1));
        assert_eq!(answer.status, 200);
        let granted = waiter.answer();
        assert_eq!(granted.status, 200);
        assert!(since(sent, granted.received) >= Duration::from_secs(1));
        assert!(
            since(answer.received, granted.received) < Duration::from_secs(1) + SLACK,
            "{name}"
        );
    }
}

#[test]
pub(super) fn forms_are_read_as_well() {
    let server = Server::start();
    let mut client = server.client();
    let token = client.put("r", &with_ttl("k", 5)).fencing_token();
    let path = ("PATCH", "/resources/r/");

    let urlencoded = format!("locked_by=k&ttl=60&label=a+b%E2%98%82&fencing_token={token}");
    let form = client.request_as(path, "application/x-www-form-urlencoded", &urlencoded);
    assert_eq!(
        (&form.json()["ttl"], &form.json()["label"]),
        (&json!(60), &json!("a b☂"))
    );
    let part =
        |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let multipart = format!(
        "{}{}{}--b--\r\n",
        part("locked_by", "k"),
        part("ttl", "70"),
        part("label", "c")
    );
    let multipart = client.request_as(path, "multipart/form-data; boundary=b", &multipart);
    assert_eq!(
        (&multipart.json()["ttl"], &multipart.json()["label"]),
        (&json!(70), &json!("c"))
    );
    // An empty number says nothing, an empty text says that there is none.
    let empty = client.request_as(
        path,
        "application/x-www-form-urlencoded",
        "locked_by=k&ttl=&label=&fencing_token=",
    );
    assert_eq!(
        (&empty.json()["ttl"], &empty.json()["label"]),
        (&json!(70), &Value::Null)
    );
}

#[test]
pub(super) fn a_label_is_kept_changed_or_cleared() {
    let server = Server::start();
    let mut client = server.client();
    let longest = "é".repeat(200);
    assert_eq!(client.put("r", r#"{"locked_by": "k", "label": "first"}"#).status, 200);

    for (field, label) in [
        (String::new(), json!("first")),
        (r#", "label": null"#.to_owned(), json!("first")),
        (r#", "label": "second""#.to_owned(), json!("second")),
        (r#", "label": " third " "#.to_owned(), json!("third")),
        (r#", "label": 4.0"#.to_owned(), json!("4.0")),
        (format!(", \"label\": \"{longest}\""), json!(longest)),
        (String::new(), json!(longest)),
        (r#", "label": """#.to_owned(), Value::Null),
        (String::new(), Value::Null),
        (r#", "label": "again""#.to_owned(), json!("again")),
        (r#", "label": "  ""#.to_owned(), Value::Null),
    ] {
        let answer = patch(&mut client, "r", &format!("{{\"locked_by\": \"k\"{field}}}"));
        assert_eq!((answer.status, &answer.json()["label"]), (200, &label), "{field}");
        assert_eq!(look(&server, "r")["label"], label, "{field}");
    }
}

#[test]
pub(super) fn a_label_is_of_its_grant_only() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.put("r", r#"{"locked_by": "k", "label": "first"}"#).status, 200);
    assert_eq!(client.delete("r", "k").status, 204);
    assert_eq!(look(&server, "r")["label"], Value::Null);
    for body in [
        by("k"),
        r#"{"locked_by": "k", "label": null}"#.to_owned(),
        r#"{"locked_by": "k", "label": ""}"#.to_owned(),
    ] {
        assert_eq!(client.put("r", &body).status, 200);
        assert_eq!(look(&server, "r")["label"], Value::Null, "{body}");
        assert_eq!(client.delete("r", "k").status, 204);
    }
}

#[test]
pub(super) fn a_renewed_lock_outlives_a_kill() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.put("r", &with_ttl("k", 1)).status, 200);
    let renewed = patch(&mut client, "r", &with_ttl("k", 600)).json();

    let server = server.kill_and_restart();

    let shown = look(&server, "r");
    assert_eq!(
        (&shown["ttl"], &shown["expires_at"]),
        (&json!(600), &renewed["expires_at"])
    );
    assert_eq!(server.client().put("r", &by("other")).status, 400);
}

#[test]
pub(super) fn a_sweep_that_knows_the_old_end_frees_nothing() {
    let server = Server::start();
    let mut client = server.client();
    let held = client.put("r", &with_ttl("k", 1));
    assert_eq!(patch(&mut client, "r", &with_ttl("k", 600)).status, 200);
    assert_eq!(client.put("swept", &with_ttl("k", 1)).status, 200);
    let swept = "SELECT count(*) FROM resources WHERE name = 'swept' AND locked_by IS NULL";
    crate::support::eventually("a sweep clears the other", Duration::from_secs(5), || {
        server.select(swept) == ["1"]
    });

    assert_eq!(look(&server, "r")["fencing_token"], json!(held.fencing_token()));
    assert_eq!(client.put("r", &by("other")).status, 400);
    hold(&server, "other");
    release(&server, "other");
}
