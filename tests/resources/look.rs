//! `GET /resources/{name}/`: what everybody may see of a resource, and what
//! nobody may.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{by, hold, in_line, look, one_worker, release, settle, together, with_timeout, with_ttl};
use crate::support::Server;

const UNKNOWN: &str = r#"{"detail":"A resource with this name does not exist."}"#;

/// `2026-01-31T23:59:59.000001Z`
fn is_rfc3339(value: &Value) -> bool {
    let text = value.as_str().expect("a time is text");
    let digits = text.replace(|c: char| c.is_ascii_digit(), "0");
    digits == "0000-00-00T00:00:00.000000Z"
}

#[test]
pub(super) fn a_held_resource_is_told_with_every_field() {
    let server = one_worker();
    let held = server.client().put(
        "r",
        r#"{"locked_by": "holder", "ttl": 60, "label": " deploy by Eve ☂ "}"#,
    );
    let _waiter = in_line(&server, "r", &with_timeout("waiter", 60));

    let answer = server.client().get("/resources/r/");

    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    assert_eq!(answer.header("Allow"), Some("GET, PUT, PATCH, DELETE, HEAD, OPTIONS"));
    let fields: Vec<_> = answer.body.split('"').skip(1).step_by(2).collect();
    let order = "name r locked owner label";
    assert!(fields.join(" ").starts_with(order), "{}", answer.body);
    let shown = answer.json();
    let (acquired_at, expires_at) = (&shown["acquired_at"], &shown["expires_at"]);
    assert!(is_rfc3339(acquired_at) && is_rfc3339(expires_at), "{shown}");
    let left = shown["expires_in"].as_f64().expect("a number");
    assert!(left > 50.0 && left <= 60.0, "{left}");
    let expected = json!({
        "name": "r", "locked": true, "owner": null, "label": "deploy by Eve ☂", "ttl": 60, "acquired_at": acquired_at,
        "expires_at": expires_at, "expires_in": left, "fencing_token": held.fencing_token(), "waiters": 1,
    });
    assert_eq!(shown, expected);
    let us = server.select("SELECT acquired_at_us, expires_at_us - acquired_at_us FROM resources");
    let (acquired_us, ttl_us) = us[0].split_once('|').expect("two columns");
    assert_eq!(ttl_us, "60000000");
    let fraction = &acquired_at.as_str().expect("text")[20..26];
    assert_eq!(
        fraction,
        &acquired_us[acquired_us.len() - 6..],
        "all six digits are true"
    );
}

#[test]
pub(super) fn what_does_not_apply_is_null() {
    let server = Server::start();
    let token = hold(&server, "r");
    let held = look(&server, "r");
    release(&server, "r");

    let free = look(&server, "r");

    assert!(is_rfc3339(&held["acquired_at"]));
    for field in ["label", "ttl", "expires_at", "expires_in"] {
        assert_eq!(held[field], Value::Null, "a lock for ever has no {field}");
    }
    let expected = json!({
        "name": "r", "locked": false, "owner": null, "label": null, "ttl": null, "acquired_at": null,
        "expires_at": null, "expires_in": null, "fencing_token": token, "waiters": 0,
    });
    assert_eq!(free, expected);
}

#[test]
pub(super) fn an_expired_lock_is_shown_as_none() {
    let server = Server::start();
    let held = server
        .client()
        .put("r", r#"{"locked_by": "k", "ttl": 1, "label": "l"}"#);
    thread::sleep(Duration::from_secs(1).saturating_sub(held.received.elapsed()));

    let shown = look(&server, "r");

    let gone = ["label", "ttl", "acquired_at", "expires_at", "expires_in"];
    assert!(gone.iter().all(|field| shown[field].is_null()), "{shown}");
    assert_eq!(
        (&shown["locked"], &shown["fencing_token"]),
        (&json!(false), &json!(held.fencing_token()))
    );
}

#[test]
pub(super) fn a_resource_that_nobody_ever_acquired_does_not_exist() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.put("refused", r#"{"locked_by": ""}"#).status, 400);
    assert_eq!(client.delete("released", "k").status, 400);
    let long = "n".repeat(101);

    for name in [
        "unknown",
        "refused",
        "released",
        "%00",
        "a%00b",
        &long,
        &"%C3%A9".repeat(101),
    ] {
        for query in ["", "?wait=0", "?wait=60&fencing_token=0", "?wait=60&fencing_token=7"] {
            let answer = client.get(&format!("/resources/{name}/{query}"));
            assert_eq!((answer.status, answer.body.as_str()), (404, UNKNOWN), "{name}{query}");
            assert_eq!(answer.header("ETag"), None);
        }
        assert_eq!(client.head(&format!("/resources/{name}/"), &[]).status, 404, "{name}");
    }
    assert_eq!(client.get("/resources/a%2Fb/").status, 404);
    assert_eq!(
        server.select("SELECT name FROM resources"),
        [""; 0],
        "a look leaves no row"
    );
}

#[test]
pub(super) fn a_look_finds_every_name_that_was_acquired() {
    let server = Server::start();
    let mut client = server.client();
    let longest = "%C3%A9".repeat(100);

    for (path, name) in [
        (longest.as_str(), "é".repeat(100)),
        ("a%20b", "a b".to_owned()),
        ("%2541", "%41".to_owned()),
        ("%FF", "%FF".to_owned()),
        ("..", "..".to_owned()),
        ("acquire", "acquire".to_owned()),
        ("%22%3Cb%3E%5C", "\"<b>\\".to_owned()),
    ] {
        assert_eq!(client.put(path, &by("k")).status, 200, "{path}");
        assert_eq!(client.get(&format!("/resources/{path}/")).json()["name"], json!(name));
    }
}

#[test]
pub(super) fn head_says_what_get_says_without_a_body() {
    let server = Server::start();
    hold(&server, "r");
    let mut client = server.client();

    let get = client.get("/resources/r/");
    let head = client.head("/resources/r/", &[]);

    assert_eq!(head.status, 200);
    assert_eq!(head.lasting_headers(), get.lasting_headers());
    assert_eq!(client.get("/resources/r/").status, 200, "no body follows");
    let tag = get.header("ETag").expect("it has a tag");
    assert_eq!(client.head("/resources/r/", &[("If-None-Match", tag)]).status, 304);
}

#[test]
pub(super) fn a_tag_changes_with_the_resource_and_not_with_time() {
    let server = one_worker();
    let mut client = server.client();
    let path = "/resources/r/";
    let key = r#"{"locked_by": "k""#;
    assert_eq!(client.put("r", &format!("{key}, \"ttl\": 600}}")).status, 200);
    let mut tag = String::new();
    let mut expect_new = |what: &str| {
        let mut client = server.client();
        let answer = client.get(path);
        let new = answer.header("ETag").expect("it has a tag").to_owned();
        assert!(new.starts_with("W/\"") && new.ends_with('"'), "{new}");
        assert_ne!(new, tag, "after {what}");
        let again = client.request_with(("GET", path), &[("If-None-Match", &tag)], "");
        assert_eq!(again.status, 200, "after {what}");
        // Time passes between these two.
        assert_ne!(client.get(path).body, answer.body, "the seconds that are left");
        let same = client.request_with(("GET", path), &[("If-None-Match", &new)], "");
        assert_eq!((same.status, same.body.as_str()), (304, ""), "after {what}");
        assert_eq!(same.header("ETag"), Some(new.as_str()));
        tag = new;
    };
    expect_new("the grant");
    let renewed = client.request("PATCH", path, &format!("{key}}}"));
    assert_eq!(renewed.status, 200);
    expect_new("a renewal");
    assert_eq!(
        client
            .request("PATCH", path, &format!("{key}, \"label\": \"l\"}}"))
            .status,
        200
    );
    expect_new("a label");
    let waiter = in_line(&server, "r", &with_timeout("w", 60));
    expect_new("one who waits");
    let other = in_line(&server, "r", r#"{"locked_by": "w2", "timeout": 60, "ttl": 600}"#);
    expect_new("one more");
    drop(waiter);
    settle(&server, "r");
    expect_new("one who left");
    drop(other);
    settle(&server, "r");
    assert_eq!(client.delete("r", "k").status, 204);
    let free = client.get(path);
    assert_eq!(client.put("r", &format!("{key}, \"ttl\": 600}}")).status, 200);
    expect_new("another grant");
    let matches = client.request_with(
        ("GET", path),
        &[("If-None-Match", free.header("ETag").expect("a tag"))],
        "",
    );
    assert_eq!(matches.status, 200);
    let any = client.request_with(("GET", path), &[("If-None-Match", "*")], "");
    assert_eq!(any.status, 304);
}

#[test]
pub(super) fn a_key_is_in_no_answer() {
    const KEY: &str = "s3cr3t-of";
    let server = one_worker();
    let key = |who: &str| format!("{KEY}-{who}");
    let mut answers = Vec::new();
    let mut client = server.client();
    let mut ask = |method: &str, path: &str, body: &str| {
        for headers in [
            &[("Prefer", "return=representation"), ("Idempotency-Key", "i")][..],
            &[],
        ] {
            answers.push(client.request_with((method, path), headers, body));
        }
    };
    let mut waiter = {
        let held = format!(r#"{{"locked_by": "{}", "ttl": 600, "label": "l"}}"#, key("a"));
        ask("PUT", "/resources/r/", &held);
        ask("PUT", "/resources/s/", &by(&key("b")));
        in_line(&server, "r", &with_timeout(&key("b"), 60))
    };
    let (a, b) = (by(&key("a")), by(&key("b")));
    for body in [&a, &b] {
        ask("GET", "/resources/r/", "");
        ask("GET", "/resources/", "");
        ask("GET", &format!("/resources/?search={KEY}"), "");
        ask("GET", &format!("/resources/?prefix={KEY}&ordering=-name"), "");
        ask("OPTIONS", "/resources/r/", "");
        ask("PUT", "/resources/r/", body);
        ask("PUT", "/resources/s/", &with_timeout(&key("a"), 1));
        ask("POST", "/locks/", &together(&["s", "r"], &key("a"), ""));
        ask("POST", "/locks/", &together(&["s", "r"], &key("c"), ", \"timeout\": 1"));
        ask("POST", "/resources/r/check/", r#"{"fencing_token": 1}"#);
        ask("POST", "/resources/r/check/", body);
        ask(
            "PATCH",
            "/resources/s/",
            &format!(r#"{{"locked_by": "{}", "ttl": "{KEY}"}}"#, key("a")),
        );
        ask("PATCH", "/resources/r/", body);
        ask("PATCH", "/resources/", body);
        ask("PUT", "/resources/r/", &format!(r#"{{"locked_by": "{}""#, key("a")));
        ask("PUT", "/resources/r/", &by(&key(&"x".repeat(100))));
        ask("DELETE", "/resources/s/", &a);
        ask("DELETE", "/resources/r/", body);
        ask("DELETE", "/resources/", body);
    }
    answers.push(waiter.answer());

    let kinds: std::collections::BTreeSet<_> = answers.iter().map(|answer| answer.status).collect();
    for status in [200, 204, 400, 408, 409, 422] {
        assert!(kinds.contains(&status), "{status} is not among {kinds:?}");
    }
    for answer in &answers {
        let shown = format!("{answer:?}");
        assert!(!shown.contains(KEY), "{shown}");
    }
    assert!(!server.log().contains(KEY), "nor in the log");
}

#[test]
pub(super) fn waiters_are_counted_wherever_they_stand() {
    let server = one_worker();
    hold(&server, "a");
    let waiting = |name| look(&server, name)["waiters"].clone();
    assert_eq!(server.client().put("b", &with_ttl("other", 600)).status, 200);

    let single = in_line(&server, "a", &with_timeout("single", 60));
    let mut several = super::together_in_line(&server, &["a", "b"], "several", "a");

    assert_eq!(
        (waiting("a"), waiting("b")),
        (json!(2), json!(1)),
        "whoever wants both wants each"
    );
    drop(single);
    settle(&server, "a");
    assert_eq!((waiting("a"), waiting("b")), (json!(1), json!(1)));
    release(&server, "a");
    assert_eq!((waiting("a"), waiting("b")), (json!(1), json!(1)));
    assert_eq!(server.client().delete("b", "other").status, 204);
    assert_eq!(several.answer().status, 200);
    assert_eq!((waiting("a"), waiting("b")), (json!(0), json!(0)));
}
