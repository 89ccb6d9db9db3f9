//! `PUT` without waiting.

use super::{by, hold, release};
use crate::support::Server;

#[test]
pub(super) fn a_free_resource_is_acquired_and_a_held_one_is_refused() {
    let server = Server::start();
    let mut client = server.client();

    let first = client.put("r", &by("holder"));
    let second = client.put("r", &by("other"));

    assert_eq!(
        (first.status, first.body.as_str()),
        (200, r#"{"Success":"Resource is acquired."}"#)
    );
    assert_eq!(
        (second.status, second.body.as_str()),
        (400, r#"{"Error":"Resource is locked."}"#)
    );
    assert_eq!(second.header("Fencing-Token"), None);
}

#[test]
pub(super) fn the_holder_itself_is_refused_too() {
    let server = Server::start();
    hold(&server, "r");

    assert_eq!(server.client().put("r", &by("holder")).status, 400);
}

#[test]
pub(super) fn every_spelling_of_the_path_is_the_same_resource() {
    let server = Server::start();
    let mut client = server.client();
    let spellings = [
        "/resources/x/",
        "/resources/x",
        "/resource/x/",
        "/resource/x",
        "/resources/%78/",
        "/locks/x/",
        "/locks/%78",
    ];

    for acquired in spellings {
        assert_eq!(client.request("PUT", acquired, &by("a")).status, 200, "{acquired}");
        for other in spellings {
            assert_eq!(
                client.request("PUT", other, &by("b")).status,
                400,
                "{acquired} is {other}"
            );
        }
        let released = spellings[acquired.len() % spellings.len()];
        assert_eq!(client.request("DELETE", released, &by("a")).status, 204, "{released}");
    }
}

#[test]
fn a_name_with_a_slash_is_reached_below_locks_and_nowhere_else() {
    let server = Server::start();
    let mut client = server.client();
    let together = r#"{"resources": ["deploy/prod", "x"], "locked_by": "a", "ttl": 60}"#;

    assert_eq!(client.request("POST", "/locks/", together).status, 200);
    assert_eq!(client.request("PUT", "/locks/deploy%2Fprod/", &by("b")).status, 400);
    let seen = client.request("GET", "/locks/deploy%2fprod", "").json();
    assert_eq!(
        (seen["name"].as_str(), seen["waiters"].as_i64()),
        (Some("deploy/prod"), Some(0))
    );
    let renewed = client.request("POST", "/locks/deploy%2Fprod/renew/", &by("a"));
    assert_eq!(renewed.status, 200, "{}", renewed.body);
    for path in [
        "/resources/deploy%2Fprod/",
        "/resources/deploy/prod/",
        "/locks/deploy/prod/",
    ] {
        assert_eq!(server.client().request("PUT", path, &by("b")).status, 404, "{path}");
    }
    assert_eq!(client.request("DELETE", "/locks/deploy%2Fprod/", &by("a")).status, 204);
}

#[test]
pub(super) fn each_grant_has_a_higher_token_whatever_the_resource() {
    let server = Server::start();
    let mut client = server.client();
    let mut latest = 0;

    for name in ["a", "b", "a", "c", "b", "a"] {
        let answer = client.put(name, &by("k"));
        assert!(answer.fencing_token() > latest, "{name}");
        latest = answer.fencing_token();
        assert_eq!(client.delete(name, "k").status, 204);
    }
}

#[test]
pub(super) fn locks_and_tokens_go_on_after_a_kill() {
    let server = Server::start();
    let before = hold(&server, "held");
    let token_of_free = hold(&server, "free");
    release(&server, "free");

    let server = server.kill_and_restart();

    let mut client = server.client();
    assert_eq!(client.put("held", &by("other")).status, 400, "it is still held");
    let after = client.put("free", &by("other")).fencing_token();
    assert!(after > token_of_free.max(before), "{after}");
    assert_eq!(client.delete("held", "holder").status, 204);
}

#[test]
pub(super) fn refused_requests_change_nothing_in_the_database() {
    let server = Server::start();
    hold(&server, "held");
    hold(&server, "released");
    release(&server, "released");
    let all = "SELECT * FROM resources ORDER BY name";
    let before = server.select(all);

    let mut client = server.client();
    let refused = [
        client.put("held", &by("other")),
        client.put("held", &by("holder")),
        client.delete("held", "other"),
        client.request("DELETE", "/resources/held/", "{}"),
        client.request("PUT", "/resources/new/", "{"),
        client.put("new", r#"{"locked_by": "k", "ttl": 0}"#),
        client.put("new", r#"{"locked_by": ""}"#),
        client.put(&"n".repeat(101), &by("k")),
        client.delete("released", "holder"),
        client.delete("never-seen", "holder"),
    ];

    for answer in &refused {
        assert_eq!(answer.status, 400, "{}", answer.body);
    }
    assert_eq!(server.client().request("POST", "/resources/new/", &by("k")).status, 405);
    assert_eq!(server.client().request("PUT", "/resources/", &by("k")).status, 405);
    assert_eq!(server.client().request("PUT", "/resources//", &by("k")).status, 404);
    assert_eq!(server.select(all), before);
}
