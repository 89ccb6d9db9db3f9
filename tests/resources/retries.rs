//! `Idempotency-Key`: a request whose answer was lost is sent again.

use std::time::{Duration, Instant};

use super::{
    by, connected, hold, in_line, look, one_worker, release, settle, since, together, tokens, with_timeout, with_ttl,
};
use crate::support::{Answer, Client, Server};

const KEY_REUSED: &str = r#"{"detail":"This Idempotency-Key was used for another request."}"#;
const SUPERSEDED: &str = r#"{"Error":"Request was sent again and waits there."}"#;

/// "At once", on a busy machine; far below every wait here.
pub(super) const AT_ONCE: Duration = Duration::from_secs(2);

pub(super) fn send_put(client: &mut Client, name: &str, key: &str, body: &str) {
    client.send_with(
        ("PUT", &format!("/resources/{name}/")),
        &[("Idempotency-Key", key)],
        body,
    );
}

pub(super) fn put(client: &mut Client, name: &str, key: &str, body: &str) -> Answer {
    send_put(client, name, key, body);
    client.answer()
}

pub(super) fn delete(client: &mut Client, name: &str, key: &str, body: &str) -> Answer {
    client.request_with(
        ("DELETE", &format!("/resources/{name}/")),
        &[("Idempotency-Key", key)],
        body,
    )
}

/// As `in_line`, with an `Idempotency-Key`.
fn in_line_with(server: &Server, name: &str, key: &str, body: &str) -> Client {
    let mut waiter = connected(server);
    send_put(&mut waiter, name, key, body);
    settle(server, name);
    waiter
}

#[test]
pub(super) fn a_put_that_is_sent_again_gets_the_same_answer_as_long_as_its_grant_stands() {
    let server = Server::start();
    let mut client = server.client();
    let body = with_ttl("k", 600);
    let first = put(&mut client, "r", "once", &body);
    let before = look(&server, "r");

    for body in [
        &body,
        &r#"{"ttl": 600.0, "locked_by": " k ", "timeout": 5, "unknown": 1}"#.to_owned(),
    ] {
        let again = put(&mut server.client(), "r", "once", body);
        assert_eq!((again.status, &again.body), (200, &first.body), "{body}");
        assert_eq!(again.fencing_token(), first.fencing_token());
    }

    let after = look(&server, "r");
    assert_eq!(after["expires_at"], before["expires_at"], "it lasts no longer for that");
    assert_eq!(
        client.put("r", &body).status,
        400,
        "without the key it is another request"
    );
    assert_eq!(
        put(&mut client, "r", "twice", &body).status,
        400,
        "so is one with another key"
    );
    assert_eq!(client.delete("r", "k").status, 204);
    let anew = put(&mut client, "r", "once", &body);
    assert_eq!(anew.fencing_token(), first.fencing_token() + 1, "the grant is over");
}

#[test]
pub(super) fn a_grant_that_was_renewed_is_still_the_same() {
    let server = Server::start();
    let mut client = server.client();
    let first = put(&mut client, "r", "once", &with_ttl("k", 5));
    assert_eq!(
        client.request("PATCH", "/resources/r/", &with_ttl("k", 600)).status,
        200
    );

    assert_eq!(
        put(&mut client, "r", "once", &with_ttl("k", 5)).fencing_token(),
        first.fencing_token()
    );
    let left = look(&server, "r")["expires_in"].as_f64().expect("a number");
    assert!(left > 500.0, "the retry does not shorten it: {left}");
}

#[test]
pub(super) fn an_expired_grant_is_not_told_again() {
    let server = Server::start();
    let mut client = server.client();
    let first = put(&mut client, "r", "once", &with_ttl("k", 1));
    std::thread::sleep(Duration::from_secs(1).saturating_sub(first.received.elapsed()));

    let again = put(&mut client, "r", "once", &with_ttl("k", 1));

    assert_eq!(again.fencing_token(), first.fencing_token() + 1, "it is acquired anew");
}

#[test]
pub(super) fn the_same_key_with_another_body_is_refused() {
    let server = one_worker();
    let mut client = server.client();
    let body = r#"{"locked_by": "k", "ttl": 600, "label": "l"}"#;
    assert_eq!(put(&mut client, "held", "once", body).status, 200);
    hold(&server, "awaited");
    let waiting = body.replace('}', ", \"timeout\": 60}");
    let _waiter = in_line_with(&server, "awaited", "once", &waiting);

    for other in [
        r#"{"locked_by": "other", "ttl": 600, "label": "l"}"#,
        r#"{"locked_by": "k", "ttl": 601, "label": "l"}"#,
        r#"{"locked_by": "k", "label": "l"}"#,
        r#"{"locked_by": "k", "ttl": 600, "label": "m"}"#,
        r#"{"locked_by": "k", "ttl": 600}"#,
    ] {
        for name in ["held", "awaited"] {
            let refused = put(&mut client, name, "once", other);
            assert_eq!(
                (refused.status, refused.body.as_str()),
                (422, KEY_REUSED),
                "{name} {other}"
            );
            assert_eq!(refused.header("Fencing-Token"), None);
        }
    }
    assert_eq!(look(&server, "awaited")["waiters"], 1, "nobody else waits");
    assert_eq!(
        put(&mut client, "other", "once", body).status,
        200,
        "a key is of one resource"
    );
}

#[test]
pub(super) fn a_retry_takes_over_the_place_of_the_first_who_is_told() {
    let server = one_worker();
    let token = hold(&server, "r");
    let mut first = in_line(&server, "r", &with_timeout("first", 60));
    let mut lost = in_line_with(&server, "r", "once", &with_timeout("second", 60));
    let mut third = in_line(&server, "r", &with_timeout("third", 60));

    let mut retry = in_line_with(&server, "r", "once", &with_timeout("second", 55));

    let told = lost.answer();
    assert_eq!((told.status, told.body.as_str()), (409, SUPERSEDED));
    assert_eq!(look(&server, "r")["waiters"], 3);
    release(&server, "r");
    assert_eq!(first.answer().fencing_token(), token + 1);
    assert_eq!(server.client().delete("r", "first").status, 204);
    assert_eq!(retry.answer().fencing_token(), token + 2, "before the third");
    assert_eq!(server.client().delete("r", "second").status, 204);
    assert_eq!(third.answer().fencing_token(), token + 3);
}

#[test]
pub(super) fn a_retry_waits_as_long_as_it_says_itself() {
    let server = one_worker();
    hold(&server, "r");
    let mut lost = in_line_with(&server, "r", "once", &with_timeout("k", 60));

    let asked = Instant::now();
    let retry = put(&mut server.client(), "r", "once", &with_timeout("k", 1));

    assert_eq!((lost.answer().status, retry.status), (409, 408));
    assert!(since(asked, retry.received) >= Duration::from_secs(1));
    settle(&server, "r");
    assert_eq!(look(&server, "r")["waiters"], 0, "nobody waits in its place any more");
}

#[test]
pub(super) fn a_retry_that_does_not_wait_leaves_the_first_in_its_place() {
    let server = one_worker();
    let token = hold(&server, "r");
    let mut first = in_line_with(&server, "r", "once", &with_timeout("k", 60));

    assert_eq!(put(&mut server.client(), "r", "once", &by("k")).status, 400);

    release(&server, "r");
    assert_eq!(first.answer().fencing_token(), token + 1);
}

#[test]
pub(super) fn a_release_is_told_again_as_long_as_it_is_the_last_thing_that_happened() {
    let server = Server::start();
    let mut client = server.client();
    let not_acquired = r#"{"Error":"Resource is not acquired."}"#;
    hold(&server, "r");

    for _ in 0..3 {
        assert_eq!(delete(&mut client, "r", "once", &by("holder")).status, 204);
    }
    assert_eq!(delete(&mut client, "r", "twice", &by("holder")).body, not_acquired);
    assert_eq!(client.delete("r", "holder").body, not_acquired);
    let other = delete(&mut client, "r", "once", &by("other"));
    assert_eq!((other.status, other.body.as_str()), (422, KEY_REUSED));
    assert_eq!(
        delete(&mut client, "r", "once", &by("holder")).status,
        204,
        "nothing happened meanwhile"
    );
}

#[test]
pub(super) fn a_release_that_is_sent_again_after_a_hand_over_frees_nobody_else() {
    let server = one_worker();
    hold(&server, "r");
    let mut waiter = in_line(&server, "r", &with_timeout("next", 60));
    let mut client = server.client();

    assert_eq!(delete(&mut client, "r", "once", &by("holder")).status, 204);
    assert_eq!(waiter.answer().status, 200);
    let again = delete(&mut client, "r", "once", &by("holder"));

    assert_eq!(again.status, 204, "it was released by this request");
    assert_eq!(client.put("r", &by("other")).status, 400, "the next one holds it");
    assert_eq!(client.delete("r", "next").status, 204);
    let after = delete(&mut client, "r", "once", &by("holder"));
    assert_eq!(after.status, 400, "another release is the last thing that happened");
}

#[test]
pub(super) fn a_release_that_is_sent_again_frees_no_later_grant_of_its_own_key() {
    let server = Server::start();
    let mut client = server.client();
    hold(&server, "r");
    assert_eq!(delete(&mut client, "r", "once", &by("holder")).status, 204);
    let token = hold(&server, "r");

    let again = delete(&mut client, "r", "once", &by("holder"));

    assert_eq!((again.status, again.body.as_str()), (422, KEY_REUSED));
    assert_eq!(look(&server, "r")["fencing_token"], token);
    assert_eq!(look(&server, "r")["locked"], true);
    assert_eq!(delete(&mut client, "r", "new", &by("holder")).status, 204);
}

#[test]
pub(super) fn an_acquisition_and_its_release_may_have_the_same_key() {
    let server = Server::start();
    let mut client = server.client();
    let first = put(&mut client, "r", "job", &by("k"));

    assert_eq!(
        put(&mut client, "r", "job", &by("k")).fencing_token(),
        first.fencing_token()
    );
    assert_eq!(delete(&mut client, "r", "job", &by("k")).status, 204);
    assert_eq!(delete(&mut client, "r", "job", &by("k")).status, 204);
}

#[test]
pub(super) fn keys_of_up_to_a_hundred_characters_are_taken_as_they_are() {
    let server = Server::start();
    let mut client = server.client();
    let (longest, longest_bytes) = ("k".repeat(100), "é".repeat(100));
    let keys = [
        longest.as_str(),
        &longest_bytes,
        "☂ with blanks",
        "\"quoted\"",
        "a,b;c=d",
        "0",
    ];
    for (number, key) in keys.into_iter().enumerate() {
        let name = format!("r{number}");
        let first = put(&mut client, &name, key, &by("k"));
        assert_eq!(first.status, 200, "{key}: {}", first.body);
        assert_eq!(
            put(&mut client, &name, key, &by("k")).fencing_token(),
            first.fencing_token(),
            "{key}"
        );
        assert_eq!(
            put(
                &mut client,
                &name,
                &key.replacen(['k', 'é', '☂', '"', 'a', '0'], "x", 1),
                &by("k")
            )
            .status,
            400
        );
        assert_eq!(delete(&mut client, &name, key, &by("k")).status, 204, "{key}");
        assert_eq!(delete(&mut client, &name, key, &by("k")).status, 204, "{key}");
    }
}

#[test]
pub(super) fn a_key_that_is_too_long_or_empty_is_a_field_error_and_locks_nothing() {
    let server = Server::start();
    let mut client = server.client();
    hold(&server, "held");
    let long = "Ensure this field has no more than 100 characters.";
    let (too_long, too_long_bytes) = ("k".repeat(101), "é".repeat(101));
    for (key, message) in [
        (too_long.as_str(), long),
        (&too_long_bytes, long),
        ("", "This field may not be blank."),
    ] {
        let expected = format!("{{\"Idempotency-Key\":[\"{message}\"]}}");
        let both = [
            put(&mut client, "new", key, &by("k")),
            delete(&mut client, "held", key, &by("holder")),
            client.request_with(
                ("POST", "/locks/"),
                &[("Idempotency-Key", key)],
                &together(&["a"], "k", ""),
            ),
        ];
        for answer in both {
            assert_eq!((answer.status, answer.body.as_str()), (400, expected.as_str()));
        }
    }
    assert_eq!(server.select("SELECT name, locked_by FROM resources"), ["held|holder"]);
}

#[test]
pub(super) fn several_that_were_acquired_together_are_told_again() {
    let server = one_worker();
    let mut client = server.client();
    let body = together(&["b", "a", "c"], "k", ", \"ttl\": 600");
    let mut post = |key: &str, body: &str| client.request_with(("POST", "/locks/"), &[("Idempotency-Key", key)], body);

    let first = post("once", &body);
    let again = post("once", &body);

    assert_eq!(tokens(&first), tokens(&again));
    assert_eq!(first.body, again.body);
    for other in [
        together(&["b", "a"], "k", ", \"ttl\": 600"),
        together(&["a", "b", "c"], "k", ", \"ttl\": 600"),
        together(&["b", "a", "c"], "other", ", \"ttl\": 600"),
        together(&["a", "d"], "k", ", \"ttl\": 600"),
    ] {
        let refused = post("once", &other);
        assert_eq!((refused.status, refused.body.as_str()), (422, KEY_REUSED), "{other}");
    }
    assert_eq!(post("twice", &body).status, 400);
    assert_eq!(server.client().delete("a", "k").status, 204);
    assert_eq!(post("once", &body).status, 400, "not all of it stands any more");
}

#[test]
pub(super) fn a_retry_of_several_takes_over_their_place() {
    let server = one_worker();
    hold(&server, "a");
    let body = together(&["a", "b"], "k", ", \"timeout\": 60");
    let headers = [("Idempotency-Key", "once")];
    let mut lost = connected(&server);
    lost.send_with(("POST", "/locks/"), &headers, &body);
    settle(&server, "a");
    let mut behind = in_line(&server, "a", &with_timeout("behind", 60));

    let mut retry = connected(&server);
    retry.send_with(("POST", "/locks/"), &headers, &body);
    settle(&server, "a");

    assert_eq!(lost.answer().status, 409);
    release(&server, "a");
    assert_eq!(tokens(&retry.answer()).len(), 2);
    assert_eq!(server.client().delete("a", "k").status, 204);
    assert_eq!(behind.answer().status, 200);
}
