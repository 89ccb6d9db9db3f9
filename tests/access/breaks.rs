//! Locks that are broken because their holder is gone.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::support::eventually;

on_both! {
    a_break_frees_the_lock_and_tells_what_it_was
    the_former_holder_is_told_until_somebody_else_has_it
    whoever_waits_gets_what_is_broken
    the_lock_delay_is_kept
    a_former_holder_that_waits_is_served_in_its_turn
    nobody_but_the_former_holder_is_told
    without_a_reason_nothing_is_broken
    in_the_open_mode_everybody_may_break
}

mod claims {
    use super::*;

    const KEY: &str = r#"{"locked_by": "k", "ttl": 3600, "label": "nightly"}"#;
    const REASON: &str = r#"{"reason": "host 7\nis gone"}"#;

    fn break_it(client: &mut Client, key: &str) -> Answer {
        request(client, key, "POST", "/resources/r/break/", REASON)
    }

    pub(super) fn a_break_frees_the_lock_and_tells_what_it_was() {
        let server = guarded();
        let (holder, oncall) = (
            token(&server, &["ci"]),
            token(&server, &["oncall", "--can", "read,break"]),
        );
        let mut client = server.client();
        let held = request(&mut client, &holder, "PUT", &path("r"), KEY);

        let answer = break_it(&mut client, &oncall);

        assert_eq!(answer.status, 200, "{}", answer.body);
        let said = answer.json();
        assert_eq!(said["Success"], "Lock is broken.");
        for (field, value) in [
            ("locked", json!(true)),
            ("owner", json!("ci")),
            ("label", json!("nightly")),
            ("fencing_token", json!(held.fencing_token())),
        ] {
            assert_eq!(said["broken"][field], value, "{field}");
        }
        let now = request(&mut client, &oncall, "GET", &path("r"), "").json();
        assert_eq!(now["locked"], false);
        assert!(now["fencing_token"].as_i64() > Some(held.fencing_token()), "{now}");
        let log = server.log();
        let line = log
            .lines()
            .find(|line| line.contains("broke the lock"))
            .expect("a line of the log");
        for part in [
            "\"oncall\"",
            "127.0.0.1",
            "\"r\"",
            "\"ci\"",
            "\"nightly\"",
            "host 7\\nis gone",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert_eq!(
            break_it(&mut client, &oncall).body,
            r#"{"Error":"Resource is not acquired."}"#
        );
        let next = request(&mut client, &holder, "PUT", &path("r"), KEY);
        assert!(next.fencing_token() > now["fencing_token"].as_i64().expect("a number"));
    }

    pub(super) fn the_former_holder_is_told_until_somebody_else_has_it() {
        let server = guarded();
        let (holder, oncall) = (
            token(&server, &["ci"]),
            token(&server, &["oncall", "--can", "acquire,break"]),
        );
        let mut client = server.client();
        request(&mut client, &holder, "PUT", &path("r"), KEY);
        assert_eq!(break_it(&mut client, &oncall).status, 200);

        for method in ["PATCH", "DELETE"] {
            let told = request(&mut client, &holder, method, &path("r"), KEY);
            assert_eq!(told.status, 400);
            let said = told.json();
            assert_eq!(said["Error"], "Resource is not acquired.");
            assert_eq!(said["broken"]["by"], "oncall");
            assert_eq!(said["broken"]["reason"], "host 7\nis gone");
            assert!(said.get("resource").is_none());
            let authorization = format!("Token {holder}");
            let headers = [
                ("Authorization", authorization.as_str()),
                ("Content-Type", "application/json"),
                ("Prefer", "return=representation"),
            ];
            let told = client.request_with((method, "/resources/r/"), &headers, KEY);
            assert_eq!(told.header("Preference-Applied"), Some("return=representation"));
            assert_eq!(told.json()["resource"]["locked"], false);
        }
        assert_eq!(request(&mut client, &oncall, "PUT", &path("r"), KEY).status, 200);
        let told = request(&mut client, &holder, "DELETE", &path("r"), KEY);
        assert_eq!(told.body, r#"{"Error":"Invalid unlock request."}"#);
    }

    pub(super) fn whoever_waits_gets_what_is_broken() {
        let server = guarded();
        let (holder, oncall) = (
            token(&server, &["ci"]),
            token(&server, &["oncall", "--can", "read,break"]),
        );
        let (mut client, mut waiter) = (server.client(), server.client());
        request(&mut client, &holder, "PUT", &path("r"), KEY);
        let authorization = format!("Token {holder}");
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/json"),
        ];
        waiter.send_with(
            ("PUT", "/resources/r/"),
            &headers,
            r#"{"locked_by": "w", "timeout": 60}"#,
        );
        eventually("it waits", Duration::from_secs(5), || {
            request(&mut client, &oncall, "GET", &path("r"), "").json()["waiters"] == 1
        });

        assert_eq!(break_it(&mut client, &oncall).status, 200);

        let served = waiter.answer();
        assert_eq!(served.status, 200);
        assert!(served.fencing_token() > 2, "that of the break is between");
    }

    pub(super) fn the_lock_delay_is_kept() {
        let server = guarded_with(&[("LOCK_DELAY", "3600")]);
        let (holder, oncall) = (
            token(&server, &["ci"]),
            token(&server, &["oncall", "--can", "acquire,break"]),
        );
        let mut client = server.client();
        request(&mut client, &holder, "PUT", &path("r"), KEY);
        assert_eq!(break_it(&mut client, &oncall).status, 200);

        for key in [&oncall, &holder] {
            let refused = request(&mut client, key, "PUT", &path("r"), KEY);
            assert_eq!(refused.body, r#"{"Error":"Resource is locked."}"#);
        }
        let told = request(&mut client, &holder, "DELETE", &path("r"), KEY);
        assert_eq!(told.json()["broken"]["by"], "oncall");
    }

    pub(super) fn a_former_holder_that_waits_is_served_in_its_turn() {
        let server = guarded_with(&[("LOCK_DELAY", "1")]);
        let (holder, oncall) = (
            token(&server, &["ci"]),
            token(&server, &["oncall", "--can", "acquire,read,break"]),
        );
        let mut client = server.client();
        request(&mut client, &holder, "PUT", &path("r"), KEY);
        let mut wait = |key: &str, waiters: i64| {
            let mut waiter = server.client();
            let authorization = format!("Token {key}");
            let headers = [
                ("Authorization", authorization.as_str()),
                ("Content-Type", "application/json"),
            ];
            let body = r#"{"locked_by": "k", "timeout": 60}"#;
            waiter.send_with(("PUT", "/resources/r/"), &headers, body);
            eventually("it waits", Duration::from_secs(5), || {
                request(&mut client, &oncall, "GET", &path("r"), "").json()["waiters"] == waiters
            });
            waiter
        };
        let (mut first, mut second) = (wait(&oncall, 1), wait(&holder, 2));

        assert_eq!(break_it(&mut server.client(), &oncall).status, 200);

        assert_eq!(first.answer().status, 200);
        let freed = request(
            &mut server.client(),
            &oncall,
            "DELETE",
            &path("r"),
            r#"{"locked_by": "k"}"#,
        );
        assert_eq!(freed.status, 204);
        assert_eq!(second.answer().status, 200);
    }

    pub(super) fn nobody_but_the_former_holder_is_told() {
        let hashed = [
            ("LOCKED_BY_AT_REST", "hashed"),
            ("SECRET_KEY", "a key of at least 32 characters, yes"),
        ];
        for settings in [&[][..], &hashed] {
            let server = guarded_with(settings);
            let holder = token(&server, &["ci", "--can", "acquire,break"]);
            let (namesake, other) = (token(&server, &["ci"]), token(&server, &["other"]));
            let mut client = server.client();
            request(&mut client, &holder, "PUT", &path("r"), KEY);
            assert_eq!(break_it(&mut client, &holder).status, 200);
            let server = server.kill_and_restart();
            let mut client = server.client();

            for method in ["PATCH", "DELETE"] {
                let mut said = |key, body| request(&mut client, key, method, &path("r"), body).json();
                assert_eq!(said(&namesake, KEY)["broken"]["by"], "ci", "it is the same holder");
                for (key, body) in [(&other, KEY), (&holder, r#"{"locked_by": "l"}"#)] {
                    assert_eq!(said(key, body), json!({"Error": "Resource is not acquired."}));
                }
            }
            let row = server.select("SELECT locked_by, broken FROM resources").join("");
            assert!(row.contains("\"holder\":\"") && !row.contains("\"k\""), "{row}");
        }
    }

    pub(super) fn without_a_reason_nothing_is_broken() {
        let server = guarded();
        let key = token(&server, &["oncall", "--can", "acquire,break"]);
        let mut client = server.client();
        request(&mut client, &key, "PUT", &path("r"), KEY);
        let long = format!(r#"{{"reason": "{}"}}"#, "x".repeat(201));

        for (body, problem) in [
            ("{}", "This field is required."),
            (r#"{"reason": null}"#, "This field may not be null."),
            (r#"{"reason": "  "}"#, "This field may not be blank."),
            (&long, "Ensure this field has no more than 200 characters."),
        ] {
            let refused = request(&mut client, &key, "POST", "/resources/r/break/", body);
            assert_eq!(refused.status, 400);
            assert_eq!(refused.json()["reason"][0], problem);
        }
        assert_eq!(server.select("SELECT count(*) FROM held_locks"), ["1"]);
    }

    pub(super) fn in_the_open_mode_everybody_may_break() {
        let server = Server::start();
        let mut client = server.client();
        assert_eq!(client.put("r", KEY).status, 200);

        let broken = client.request("POST", "/resources/r/break/", REASON);

        assert_eq!(broken.status, 200);
        assert!(broken.json()["broken"]["owner"].is_null());
        assert!(client.delete("r", "k").json()["broken"]["by"].is_null());
    }
}
