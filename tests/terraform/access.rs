//! With tokens: Terraform shows them as HTTP Basic.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::access::{guarded, token};

on_both! {
    whoever_shows_no_token_is_asked_for_one
    the_same_id_of_another_name_is_another_one
    only_who_may_look_there_is_told_who_holds_it
    who_may_not_break_cannot_force
    opentofu_forces_with_the_id_of_the_holder_and_no_other
}

fn basic(key: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("terraform:{key}")))
}

fn ask(client: &mut Client, key: &str, method: &str, body: &str) -> Answer {
    let authorization = basic(key);
    let headers = [&HEADERS[..], &[("Authorization", authorization.as_str())]].concat();
    client.request_with((method, PATH), &headers, body)
}

fn force(client: &mut Client, key: &str) -> Answer {
    force_unlock(client, &format!("Authorization: {}\r\n", basic(key)))
}

mod claims {
    use super::*;

    pub(super) fn whoever_shows_no_token_is_asked_for_one() {
        let server = guarded();
        let mut client = server.client();

        for answer in [
            lock(&mut client, HOLDER),
            force_unlock(&mut client, ""),
            ask(&mut client, "wrong", "LOCK", HOLDER),
        ] {
            assert_eq!(answer.status, 401);
            assert!(answer.header("WWW-Authenticate").is_some());
        }
    }

    pub(super) fn the_same_id_of_another_name_is_another_one() {
        let server = guarded();
        let (ci, ann) = (token(&server, &["ci"]), token(&server, &["ann"]));
        let mut client = server.client();
        let first = ask(&mut client, &ci, "LOCK", HOLDER);
        assert_eq!(first.status, 200);

        assert_held_by(&ask(&mut client, &ann, "LOCK", HOLDER), HOLDER);
        assert_held_by(&ask(&mut client, &ann, "UNLOCK", HOLDER), HOLDER);

        assert_eq!(
            ask(&mut client, &ci, "LOCK", HOLDER).fencing_token(),
            first.fencing_token()
        );
        assert_eq!(ask(&mut client, &ci, "UNLOCK", HOLDER).status, 200);
    }

    pub(super) fn only_who_may_look_there_is_told_who_holds_it() {
        let server = guarded();
        let ci = token(&server, &["ci", "--prefix", "terraform/"]);
        let others = [
            token(&server, &["other", "--prefix", "other/", "--can", "acquire,read,break"]),
            token(&server, &["reader", "--can", "read"]),
        ];
        let mut client = server.client();
        assert_eq!(ask(&mut client, &ci, "LOCK", HOLDER).status, 200);

        for key in &others {
            for method in ["LOCK", "UNLOCK"] {
                let refused = ask(&mut client, key, method, OTHER);
                assert_eq!(refused.status, 403, "{method}");
                assert!(!refused.body.contains(HOLDER_ID));
            }
            assert_eq!(force(&mut client, key).status, 403);
        }
    }

    pub(super) fn who_may_not_break_cannot_force() {
        let server = guarded();
        let ci = token(&server, &["ci"]);
        let oncall = token(&server, &["oncall", "--can", "break"]);
        let mut client = server.client();
        assert_eq!(ask(&mut client, &ci, "LOCK", HOLDER).status, 200);

        assert_eq!(force(&mut client, &ci).status, 403, "not even its own");
        assert_eq!(ask(&mut client, &oncall, "LOCK", OTHER).status, 403);
        assert_eq!(force(&mut client, &oncall).status, 200);

        let log = server.log();
        let line = log.lines().find(|line| line.contains("broke the lock"));
        assert!(line.is_some_and(|line| line.contains("\"oncall\"")), "{log}");
        assert_eq!(ask(&mut client, &ci, "UNLOCK", HOLDER).json()["broken"]["by"], "oncall");
    }

    pub(super) fn opentofu_forces_with_the_id_of_the_holder_and_no_other() {
        let server = guarded();
        let (ci, ann) = (token(&server, &["ci"]), token(&server, &["ann"]));
        let oncall = token(&server, &["oncall", "--can", "acquire,break"]);
        let only_breaks = token(&server, &["bot", "--can", "break"]);
        let mut client = server.client();
        let wrong = FORCED_BY_OPENTOFU.replace(HOLDER_ID, "wrong");

        for key in [&oncall, &only_breaks] {
            assert_eq!(ask(&mut client, &ci, "LOCK", HOLDER).status, 200);
            assert_held_by(&ask(&mut client, &ann, "UNLOCK", FORCED_BY_OPENTOFU), HOLDER);
            assert_held_by(&ask(&mut client, key, "UNLOCK", &wrong), HOLDER);
            let forced = ask(&mut client, key, "UNLOCK", FORCED_BY_OPENTOFU);
            assert_eq!(forced.body, r#"{"Success":"Lock is broken."}"#);
        }
        let broken = server.log().matches("broke the lock").count();
        assert_eq!(broken, 2, "{}", server.log());
    }
}
