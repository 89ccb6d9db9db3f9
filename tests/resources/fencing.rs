//! `fencing_token` in DELETE, and `POST /resources/{name}/check/`.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{by, hold, in_line, one_worker, release, with_timeout, with_ttl};
use crate::support::{Answer, Client, Server};

const INVALID: &str = r#"{"Error":"Invalid unlock request."}"#;

fn release_grant(client: &mut Client, name: &str, key: &str, token: i64) -> Answer {
    let body = format!(r#"{{"locked_by": "{key}", "fencing_token": {token}}}"#);
    client.request("DELETE", &format!("/resources/{name}/"), &body)
}

fn check(client: &mut Client, name: &str, token: i64) -> (u16, Value) {
    let body = format!(r#"{{"fencing_token": {token}}}"#);
    let answer = client.request("POST", &format!("/resources/{name}/check/"), &body);
    (answer.status, answer.json())
}

#[test]
pub(super) fn a_late_release_never_frees_a_later_grant_of_the_same_key() {
    let server = Server::start();
    let mut client = server.client();
    let expired = client.put("r", &with_ttl("worker", 1));
    thread::sleep(Duration::from_secs(1).saturating_sub(expired.received.elapsed()));
    let token = client.put("r", &by("worker")).fencing_token();

    let late = release_grant(&mut client, "r", "worker", expired.fencing_token());

    assert_eq!((late.status, late.body.as_str()), (400, INVALID));
    for other in [0, token + 1, i64::MAX] {
        assert_eq!(
            release_grant(&mut client, "r", "worker", other).body,
            INVALID,
            "{other}"
        );
    }
    assert_eq!(release_grant(&mut client, "r", "other", token).body, INVALID);
    assert_eq!(client.put("r", &by("other")).status, 400, "it is still held");
    assert_eq!(release_grant(&mut client, "r", "worker", token).status, 204);
    let again = release_grant(&mut client, "r", "worker", token);
    assert_eq!(
        (again.status, again.body.as_str()),
        (400, r#"{"Error":"Resource is not acquired."}"#)
    );
}

#[test]
pub(super) fn a_release_without_a_token_means_whichever_grant_stands() {
    let server = Server::start();
    let mut client = server.client();
    for body in [
        by("holder"),
        r#"{"locked_by": "holder", "fencing_token": null}"#.to_owned(),
    ] {
        hold(&server, "r");
        assert_eq!(client.request("DELETE", "/resources/r/", &body).status, 204, "{body}");
    }
}

#[test]
pub(super) fn a_late_release_does_not_free_what_was_handed_over_to_the_same_key() {
    let server = one_worker();
    let token = server.client().put("r", &by("worker")).fencing_token();
    let mut waiter = in_line(&server, "r", &with_timeout("worker", 60));
    let mut behind = in_line(&server, "r", &with_timeout("worker", 60));
    let mut client = server.client();

    assert_eq!(release_grant(&mut client, "r", "worker", token).status, 204);
    assert_eq!(release_grant(&mut client, "r", "worker", token).body, INVALID);

    let handed_over = waiter.answer().fencing_token();
    assert_eq!(handed_over, token + 1);
    assert_eq!(release_grant(&mut client, "r", "worker", handed_over).status, 204);
    assert_eq!(behind.answer().fencing_token(), token + 2);
}

#[test]
pub(super) fn a_check_says_whether_a_grant_still_holds() {
    let server = Server::start();
    let mut client = server.client();
    let first = hold(&server, "r");
    release(&server, "r");
    let token = client.put("r", &with_ttl("k", 600)).fencing_token();

    let (status, valid) = check(&mut client, "r", token);
    let left = valid["expires_in"].as_f64().expect("a number");
    assert_eq!(status, 200);
    assert_eq!(
        valid,
        json!({"valid": true, "fencing_token": token, "expires_in": left})
    );
    assert!(left > 590.0 && left <= 600.0);

    let invalid = json!({"valid": false, "fencing_token": token});
    for other in [first, token + 1, 0, i64::MAX] {
        assert_eq!(check(&mut client, "r", other), (409, invalid.clone()), "{other}");
    }
    assert_eq!(client.delete("r", "k").status, 204);
    assert_eq!(
        check(&mut client, "r", token),
        (409, invalid),
        "a released grant holds no more"
    );
}

#[test]
pub(super) fn a_check_of_what_was_never_acquired_is_refused() {
    let server = Server::start();
    let mut client = server.client();
    for name in ["unknown", "%00", &"n".repeat(101)] {
        for token in [0, 1] {
            let never = json!({"valid": false, "fencing_token": null});
            assert_eq!(check(&mut client, name, token), (409, never), "{name} {token}");
        }
    }
    assert_eq!(server.select("SELECT name FROM resources"), [""; 0]);
}

#[test]
pub(super) fn a_check_of_an_expired_grant_is_refused_before_any_sweep() {
    let server = Server::start();
    let mut client = server.client();
    let held = client.put("r", &with_ttl("k", 1));
    let token = held.fencing_token();
    assert_eq!(check(&mut client, "r", token).0, 200);
    thread::sleep(Duration::from_secs(1).saturating_sub(held.received.elapsed()));

    assert_eq!(
        check(&mut client, "r", token),
        (409, json!({"valid": false, "fencing_token": token}))
    );
}

#[test]
pub(super) fn a_check_of_a_lock_for_ever_says_that_it_does_not_end() {
    let server = Server::start();
    let token = hold(&server, "r");

    let (status, valid) = check(&mut server.client(), "r", token);

    assert_eq!(
        (status, &valid["valid"], valid["expires_in"].is_null()),
        (200, &json!(true), true)
    );
}
