//! `Prefer: return=representation` with PUT, and the bodies without it.

use serde_json::{Value, json};

use super::{by, hold, in_line, one_worker, release, rounds, settle, with_timeout};
use crate::support::Server;

const PREFER: (&str, &str) = ("Prefer", "return=representation");

#[test]
pub(super) fn every_outcome_comes_with_the_resource() {
    let server = one_worker();
    let mut client = server.client();
    let path = ("PUT", "/resources/r/");

    let granted = client.request_with(path, &[PREFER], r#"{"locked_by": "a", "ttl": 60, "label": "l"}"#);
    let refused = client.request_with(path, &[PREFER], &by("b"));
    let timed_out = client.request_with(path, &[PREFER], &with_timeout("b", 1));

    let token = granted.fencing_token();
    for (answer, status, field, text) in [
        (&granted, 200, "Success", "Resource is acquired."),
        (&refused, 400, "Error", "Resource is locked."),
        (&timed_out, 408, "Error", "Request timed out."),
    ] {
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("Preference-Applied"), Some("return=representation"));
        let opening = format!(
            "{{\"{field}\":\"{text}\",\"resource\":{{\"name\":\"r\",\"locked\":true,\"owner\":null,\"label\":\"l\","
        );
        assert!(answer.body.starts_with(&opening), "{}", answer.body);
        let resource = &answer.json()["resource"];
        assert_eq!(resource["fencing_token"], json!(token));
        assert_eq!((&resource["ttl"], &resource["waiters"]), (&json!(60), &json!(0)));
    }
    assert_eq!(refused.header("Fencing-Token"), None);
}

#[test]
pub(super) fn who_waited_sees_its_own_grant() {
    let server = one_worker();
    let token = hold(&server, "r");
    let mut waiter = super::connected(&server);
    waiter.send_with(
        ("PUT", "/resources/r/"),
        &[PREFER],
        r#"{"locked_by": "waiter", "ttl": 60, "timeout": 60, "label": "mine"}"#,
    );
    settle(&server, "r");
    let _behind = in_line(&server, "r", &with_timeout("behind", 60));

    release(&server, "r");

    let answer = waiter.answer();
    let resource = &answer.json()["resource"];
    assert_eq!(answer.fencing_token(), token + 1);
    let expected = [json!(true), json!("mine"), json!(60), json!(token + 1), json!(1)];
    let shown = ["locked", "label", "ttl", "fencing_token", "waiters"].map(|field| resource[field].clone());
    assert_eq!(shown, expected);
}

#[test]
pub(super) fn without_it_the_bodies_are_those_of_the_original() {
    let server = Server::start();
    let mut client = server.client();
    for (number, header) in [
        None,
        Some("return=minimal"),
        Some("return=minimal, return=representation"),
        Some("wait=5"),
        Some("respond-async;return=representation"),
        Some("returns=representation"),
        Some(""),
    ]
    .into_iter()
    .enumerate()
    {
        let headers: Vec<_> = header.iter().map(|value| ("Prefer", *value)).collect();
        let path = format!("/resources/r{number}/");
        let mut put = |body: &str| client.request_with(("PUT", &path), &headers, body);

        let answers = [
            (put(&by("a")), 200, r#"{"Success":"Resource is acquired."}"#),
            (put(&by("b")), 400, r#"{"Error":"Resource is locked."}"#),
        ];

        for (answer, status, body) in answers {
            assert_eq!((answer.status, answer.body.as_str()), (status, body), "{header:?}");
            assert_eq!(answer.header("Preference-Applied"), None, "{header:?}");
        }
    }
    let timed_out = client.put("r0", &with_timeout("b", 1));
    assert_eq!(
        (timed_out.status, timed_out.body.as_str()),
        (408, r#"{"Error":"Request timed out."}"#)
    );
}

#[test]
pub(super) fn it_changes_nothing_of_what_is_wrong() {
    let server = Server::start();
    let mut client = server.client();
    for body in ["{", "[]", r#"{"locked_by": ""}"#, r#"{"locked_by": "k", "ttl": 0}"#] {
        let plain = client.put("r", body);
        let preferred = client.request_with(("PUT", "/resources/r/"), &[PREFER], body);
        assert_eq!((plain.status, &plain.body), (preferred.status, &preferred.body));
        assert_eq!(preferred.header("Preference-Applied"), None);
    }
}

#[test]
pub(super) fn a_grant_is_shown_as_it_was_made_even_if_it_is_over() {
    let server = Server::start();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (server, mut client) = (&server, server.client());
            scope.spawn(move || {
                for _ in 0..rounds(server, 100) {
                    let body = format!(r#"{{"locked_by": "k{number}", "timeout": 30, "label": "l{number}"}}"#);
                    let answer = client.request_with(("PUT", "/resources/r/"), &[PREFER], &body);
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    let resource = &answer.json()["resource"];
                    assert_eq!(resource["label"], json!(format!("l{number}")));
                    assert_eq!(resource["fencing_token"], json!(answer.fencing_token()));
                    assert_ne!(resource["acquired_at"], Value::Null);
                    assert_eq!(client.delete("r", &format!("k{number}")).status, 204);
                }
            });
        }
    });
}
