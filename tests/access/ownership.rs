//! A lock belongs to the name of a token and to its key.

use super::*;

on_both! {
    another_token_with_the_same_key_can_do_nothing_to_a_lock
    two_tokens_of_one_name_share_their_locks
    the_same_idempotency_key_of_another_token_is_another_one
    everything_that_a_key_holds_is_of_one_owner
    a_lock_of_the_open_mode_is_nobodys
}

mod claims {
    use super::*;

    const INVALID_UNLOCK: &str = r#"{"Error":"Invalid unlock request."}"#;
    const INVALID_RENEW: &str = r#"{"Error":"Invalid renew request."}"#;
    const KEY: &str = r#"{"locked_by": "k"}"#;

    pub(super) fn another_token_with_the_same_key_can_do_nothing_to_a_lock() {
        let server = guarded();
        let (alice, bob) = (token(&server, &["alice"]), token(&server, &["bob"]));
        let mut client = server.client();
        assert_eq!(request(&mut client, &alice, "PUT", &path("r"), KEY).status, 200);

        for (method, path, body, status, said) in [
            ("DELETE", "/resources/r/", KEY, 400, INVALID_UNLOCK),
            ("PATCH", "/resources/r/", KEY, 400, INVALID_RENEW),
            (
                "POST",
                "/resources/r/release/",
                r#"{"locked_by": "k", "fencing_token": 1}"#,
                400,
                INVALID_UNLOCK,
            ),
            ("PATCH", "/resources/", KEY, 200, r#"{"renewed":0}"#),
            ("DELETE", "/resources/", KEY, 200, r#"{"released":0}"#),
        ] {
            let answer = request(&mut client, &bob, method, path, body);
            assert_eq!((answer.status, answer.body.as_str()), (status, said), "{method} {path}");
        }
        let shown = request(&mut client, &bob, "GET", &path("r"), "").json();
        assert_eq!((&shown["locked"], &shown["owner"]), (&true.into(), &"alice".into()));
        assert!(shown.get("locked_by").is_none());
        assert_eq!(server.select("SELECT locked_by, owner FROM held_locks"), ["k|alice"]);
        assert_eq!(request(&mut client, &alice, "PATCH", &path("r"), KEY).status, 200);
        assert_eq!(request(&mut client, &alice, "DELETE", &path("r"), KEY).status, 204);
        let shown = request(&mut client, &bob, "GET", &path("r"), "").json();
        assert!(shown["owner"].is_null());
    }

    pub(super) fn two_tokens_of_one_name_share_their_locks() {
        let server = guarded();
        let (before, after) = (token(&server, &["ci"]), token(&server, &["ci"]));
        let mut client = server.client();
        assert_eq!(request(&mut client, &before, "PUT", &path("r"), KEY).status, 200);

        assert_eq!(request(&mut client, &after, "PATCH", &path("r"), KEY).status, 200);
        assert_eq!(request(&mut client, &after, "DELETE", &path("r"), KEY).status, 204);
    }

    pub(super) fn the_same_idempotency_key_of_another_token_is_another_one() {
        let server = guarded();
        let keys = [token(&server, &["alice"]), token(&server, &["bob"])];
        let mut client = server.client();
        let mut send = |key: &str, method: &str| {
            let authorization = format!("Token {key}");
            let headers = [
                ("Authorization", authorization.as_str()),
                ("Content-Type", "application/json"),
                ("Idempotency-Key", "1"),
            ];
            client.request_with((method, "/resources/r/"), &headers, KEY).status
        };

        for key in &keys {
            assert_eq!(send(key, "PUT"), 200);
            assert_eq!(send(key, "PUT"), 200, "it is told again");
            assert_eq!(send(key, "DELETE"), 204);
            assert_eq!(send(key, "DELETE"), 204, "it is told again");
        }
        assert_eq!(send(&keys[0], "DELETE"), 400, "the other's release is the last");
        assert_eq!(send(&keys[1], "PUT"), 200);
        assert_eq!(send(&keys[0], "PUT"), 400, "it is locked, and not known");
    }

    pub(super) fn everything_that_a_key_holds_is_of_one_owner() {
        let server = guarded();
        let (alice, bob) = (token(&server, &["alice"]), token(&server, &["bob"]));
        let mut client = server.client();
        for (key, names) in [(&alice, ["a1", "a2"]), (&bob, ["b1", "b2"])] {
            for name in names {
                assert_eq!(request(&mut client, key, "PUT", &path(name), KEY).status, 200);
            }
        }

        assert_eq!(
            request(&mut client, &alice, "PATCH", "/resources/", KEY).body,
            r#"{"renewed":2}"#
        );
        assert_eq!(
            request(&mut client, &alice, "DELETE", "/resources/", KEY).body,
            r#"{"released":2}"#
        );

        assert_eq!(server.select("SELECT name FROM held_locks ORDER BY name"), ["b1", "b2"]);
    }

    pub(super) fn a_lock_of_the_open_mode_is_nobodys() {
        let server = guarded();
        let key = token(&server, &["ci", "--can", "acquire,break"]);
        let mut client = server.client();
        assert_eq!(request(&mut client, &key, "PUT", &path("r"), KEY).status, 200);

        server.select("UPDATE resources SET owner = NULL");

        assert_eq!(
            request(&mut client, &key, "DELETE", &path("r"), KEY).body,
            INVALID_UNLOCK
        );
        let broken = request(
            &mut client,
            &key,
            "POST",
            "/resources/r/break/",
            r#"{"reason": "of before"}"#,
        );
        assert_eq!(broken.status, 200);
    }
}
