//! `POST /resources/{name}/acquire/`, `release/` and `renew/`: what PUT, DELETE
//! and PATCH do.

use super::{by, hold, in_line, look, one_worker, with_timeout, with_ttl};
use crate::support::{Answer, Server};

/// What does not depend on the moment or on the resource.
fn comparable(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let skipped = ["allow", "fencing-token"];
    // Numbers and times differ between two resources: only their shape is compared.
    let shape = |text: &str| {
        text.replace(|c: char| c.is_ascii_digit(), "0")
            .replace("00", "0")
            .replace("00", "0")
    };
    let mut body = shape(&answer.body);
    if body.contains("\"expires_in\"") {
        body = body
            .split("\"expires_in\"")
            .map(|part| part.trim_start_matches([':', '0', '.']))
            .collect();
    }
    let mut headers = answer.lasting_headers();
    headers.retain(|(name, _)| !skipped.contains(&name.to_ascii_lowercase().as_str()));
    headers.retain(|(name, _)| !body.contains("acquired_at") || !name.eq_ignore_ascii_case("content-length"));
    headers.sort();
    (answer.status, headers, body)
}

#[test]
pub(super) fn each_action_answers_as_its_method_does() {
    let server = one_worker();
    let prefer = [("Prefer", "return=representation")];
    let key = [("Idempotency-Key", "once")];
    let long = "k".repeat(101);
    let long_key = [("Idempotency-Key", long.as_str())];
    let (a, b) = (by("a"), by("b"));
    let labelled = r#"{"locked_by": "a", "ttl": 600, "label": "l"}"#;
    let bad_label = format!(r#"{{"locked_by": "a", "label": "{}"}}"#, "l".repeat(201));
    let wait = with_timeout("b", 1);
    /// The method, the action, headers, and the body of both.
    type Step<'s> = (&'s str, &'s str, &'s [(&'s str, &'s str)], &'s str);
    let steps: Vec<Step<'_>> = vec![
        ("DELETE", "release", &[], &a),
        ("DELETE", "release", &[], "{}"),
        ("PATCH", "renew", &[], &a),
        ("PUT", "acquire", &[], "{"),
        ("PUT", "acquire", &[], "{}"),
        ("PUT", "acquire", &[], "null"),
        ("PUT", "acquire", &[], &bad_label),
        ("PUT", "acquire", &[("Accept", "application/xml")], &a),
        ("PUT", "acquire", &key, labelled),
        ("PUT", "acquire", &key, labelled),
        ("PUT", "acquire", &key, &a),
        ("PUT", "acquire", &long_key, &a),
        ("PUT", "acquire", &[], &b),
        ("PUT", "acquire", &prefer, &b),
        ("PUT", "acquire", &[], &wait),
        ("PATCH", "renew", &[], &b),
        ("PATCH", "renew", &[], "{}"),
        ("PATCH", "renew", &[], &a),
        ("PATCH", "renew", &[], r#"{"locked_by": "a", "ttl": 60, "label": ""}"#),
        ("PATCH", "renew", &[], r#"{"locked_by": "a", "fencing_token": 0}"#),
        ("DELETE", "release", &[], "{}"),
        ("DELETE", "release", &[], "["),
        ("DELETE", "release", &[], &b),
        ("DELETE", "release", &key, &a),
        ("DELETE", "release", &key, &a),
        ("DELETE", "release", &key, &b),
        ("PUT", "acquire", &prefer, labelled),
        ("DELETE", "release", &[("Accept", "application/json; indent=2")], &b),
        ("DELETE", "release", &[], &a),
    ];
    let mut statuses = std::collections::BTreeSet::new();
    for (method, action, headers, body) in steps {
        // A body that is not read ends its connection.
        let mut client = server.client();
        let by_method = client.request_with((method, "/resources/m/"), headers, body);
        let mut client = server.client();
        let by_action = client.request_with(("POST", &format!("/resources/n/{action}/")), headers, body);
        let (by_method_too, by_action_too) = (comparable(&by_method), comparable(&by_action));
        let renamed = by_action_too.2.replace("\"name\":\"n\"", "\"name\":\"m\"");
        assert_eq!(
            (by_action_too.0, by_action_too.1, renamed),
            by_method_too,
            "{method} {headers:?} {body}"
        );
        let has_token = |answer: &Answer| answer.header("Fencing-Token").is_some();
        assert_eq!(has_token(&by_method), has_token(&by_action));
        assert_eq!(by_action.header("Allow"), Some("POST, OPTIONS"));
        statuses.insert(by_action.status);
    }
    assert_eq!(Vec::from_iter(statuses), [200, 204, 400, 406, 408, 422]);
}

#[test]
pub(super) fn an_action_and_a_method_meet_at_the_same_resource() {
    let server = one_worker();
    let mut client = server.client();
    let token = client
        .request("POST", "/resources/r/acquire/", &with_ttl("k", 600))
        .fencing_token();
    assert_eq!(client.put("r", &by("other")).status, 400);
    let mut waiter = in_line(&server, "r", &with_timeout("w", 60));

    assert_eq!(
        client.request("POST", "/resource/r/renew", &by("k")).json()["waiters"],
        1
    );
    assert_eq!(client.request("POST", "/resources/%72/release/", &by("k")).status, 204);

    assert_eq!(waiter.answer().fencing_token(), token + 1);
    assert_eq!(client.delete("r", "w").status, 204);
}

#[test]
pub(super) fn an_acquire_waits_in_the_same_line() {
    let server = one_worker();
    let token = hold(&server, "r");
    let mut first = in_line(&server, "r", &with_timeout("first", 60));
    let mut second = super::connected(&server);
    second.send("POST", "/resources/r/acquire/", &with_timeout("second", 60));
    super::settle(&server, "r");

    super::release(&server, "r");

    assert_eq!(first.answer().fencing_token(), token + 1);
    assert_eq!(server.client().delete("r", "first").status, 204);
    assert_eq!(second.answer().fencing_token(), token + 2);
}

#[test]
pub(super) fn other_methods_are_refused_and_change_nothing() {
    let server = Server::start();
    let mut client = server.client();
    hold(&server, "r");
    let before = look(&server, "r");
    for path in [
        "/resources/r/acquire/",
        "/resources/r/release/",
        "/resources/r/renew/",
        "/resources/r/check/",
        "/locks/",
    ] {
        for method in ["GET", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"] {
            let answer = client.request(method, path, "");
            let expected = format!("{{\"detail\":\"Method \\\"{method}\\\" not allowed.\"}}");
            assert_eq!((answer.status, answer.body), (405, expected), "{method} {path}");
            assert_eq!(
                answer
                    .headers
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case("allow"))
                    .map(|(_, value)| value.as_str()),
                Some("POST, OPTIONS")
            );
        }
        assert_eq!(client.head(path, &[]).status, 405, "{path}");
        let options = client.request("OPTIONS", path, "");
        assert_eq!((options.status, options.header("Allow")), (200, Some("POST, OPTIONS")));
    }
    let post = client.request("POST", "/resources/r/", "");
    assert_eq!(
        (post.status, post.header("Allow")),
        (405, Some("GET, PUT, PATCH, DELETE, HEAD, OPTIONS"))
    );
    for path in [
        "/resources/r/steal/",
        "/resources/r/acquire/x/",
        "/resources//acquire/",
        "/locks/x/steal/",
        "/resources/a%2Facquire%2Fb/",
    ] {
        assert_eq!(client.request("POST", path, "").status, 404, "{path}");
    }
    assert_eq!(look(&server, "r"), before);
}
