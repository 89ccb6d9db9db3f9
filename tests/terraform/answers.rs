//! Who holds a state, what others are told, and what becomes of what is sent
//! again.

use std::time::Duration;

use super::*;
use crate::support::eventually;

on_both! {
    a_lock_is_taken_and_given_back_by_every_method
    the_holder_itself_is_answered_200_for_as_long_as_it_holds
    who_is_refused_is_told_all_that_the_holder_said
    a_wrong_id_unlocks_nothing_and_is_told_who_holds_it
    an_unlock_that_is_sent_again_is_answered_200
    an_id_that_is_used_again_can_be_unlocked_again
    what_nobody_holds_cannot_be_unlocked
    it_is_a_resource_like_any_other
    a_holder_that_is_no_terraform_is_told_without_its_key
    a_killed_run_is_freed_by_its_ttl
    a_force_unlock_frees_it_and_the_holder_is_told
    a_kill_of_the_server_changes_nothing
    it_works_with_hashed_keys
}

mod claims {
    use super::*;

    pub(super) fn a_lock_is_taken_and_given_back_by_every_method() {
        let server = Server::start();
        let mut client = server.client();
        let mut token = 0;

        for (lock, unlock, path) in [
            ("LOCK", "UNLOCK", "/terraform/prod/"),
            ("PUT", "DELETE", "/terraform/prod"),
            ("POST", "UNLOCK", "/terraform/team%2Fprod/"),
        ] {
            let taken = client.request_with((lock, path), &HEADERS, HOLDER);
            assert_eq!(
                (taken.status, taken.body.as_str()),
                (200, r#"{"Success":"Resource is acquired."}"#)
            );
            assert!(taken.fencing_token() > token);
            token = taken.fencing_token();
            let given = client.request_with((unlock, path), &HEADERS, HOLDER);
            assert_eq!(
                (given.status, given.body.as_str()),
                (200, r#"{"Success":"Resource is released."}"#)
            );
        }
        let names = server.select("SELECT name FROM resources ORDER BY name");
        assert_eq!(names, ["terraform/prod", "terraform/team/prod"]);
    }

    pub(super) fn the_holder_itself_is_answered_200_for_as_long_as_it_holds() {
        let server = Server::start();
        let mut client = server.client();
        let token = hold(&server);
        let renewal = format!(r#"{{"locked_by": "{HOLDER_ID}", "ttl": 600}}"#);

        for path in [PATH, "/terraform/prod/?ttl=5&timeout=7"] {
            let again = client.request_with(("LOCK", path), &HEADERS, HOLDER);
            assert_eq!((again.status, again.fencing_token()), (200, token), "{path}");
        }
        assert_eq!(
            client.request("PATCH", "/locks/terraform%2Fprod/", &renewal).status,
            200
        );
        assert_eq!(lock(&mut client, HOLDER).fencing_token(), token);
        assert!(look(&server)["expires_in"].as_f64() > Some(500.0));
        assert_eq!(unlock(&mut client, HOLDER).status, 200);
        assert_eq!(lock(&mut client, HOLDER).fencing_token(), token + 1, "it is over");
    }

    pub(super) fn who_is_refused_is_told_all_that_the_holder_said() {
        let server = Server::start();
        let mut client = server.client();
        hold(&server);

        for method in ["LOCK", "PUT", "POST"] {
            assert_held_by(&client.request_with((method, PATH), &HEADERS, OTHER), HOLDER);
        }
        assert_eq!(unlock(&mut client, HOLDER).status, 200);
        assert_eq!(lock(&mut client, OTHER).status, 200);
        assert_held_by(&lock(&mut client, HOLDER), OTHER);
    }

    pub(super) fn a_wrong_id_unlocks_nothing_and_is_told_who_holds_it() {
        let server = Server::start();
        let mut client = server.client();
        let token = hold(&server);

        assert_held_by(&unlock(&mut client, OTHER), HOLDER);

        assert_eq!(look(&server)["fencing_token"], token);
        assert_eq!(look(&server)["locked"], true);
    }

    pub(super) fn an_unlock_that_is_sent_again_is_answered_200() {
        let server = Server::start();
        let mut client = server.client();
        hold(&server);

        for _ in 0..3 {
            assert_eq!(unlock(&mut client, HOLDER).status, 200);
        }
        assert_eq!(lock(&mut client, OTHER).status, 200);
        assert_eq!(unlock(&mut client, HOLDER).status, 200, "it did release");
        assert_eq!(
            look(&server)["label"],
            "ann@laptop: OperationTypePlan",
            "and nothing else"
        );
        assert_eq!(unlock(&mut client, OTHER).status, 200);
        assert_eq!(unlock(&mut client, HOLDER).status, 409, "that of another is the last");
    }

    pub(super) fn an_id_that_is_used_again_can_be_unlocked_again() {
        let server = Server::start();
        let mut client = server.client();

        for _ in 0..3 {
            assert_eq!(lock(&mut client, HOLDER).status, 200);
            let released = unlock(&mut client, HOLDER);
            assert_eq!(
                released.body, r#"{"Success":"Resource is released."}"#,
                "and not broken"
            );
            assert_eq!(look(&server)["locked"], false);
        }
    }

    pub(super) fn what_nobody_holds_cannot_be_unlocked() {
        let server = Server::start();
        let mut client = server.client();
        let not_held = r#"{"detail":"Resource is not acquired."}"#;

        for answer in [unlock(&mut client, HOLDER), force_unlock(&mut client, "")] {
            assert_eq!((answer.status, answer.body.as_str()), (409, not_held));
        }
    }

    pub(super) fn it_is_a_resource_like_any_other() {
        let server = Server::start();
        let mut client = server.client();
        let token = hold(&server);

        let listed = client.get("/resources/?prefix=terraform/");

        let found = &listed.json()["results"][0];
        assert_eq!(found["name"], "terraform/prod");
        assert_eq!(found["label"], "ci@runner-7: OperationTypeApply");
        assert_eq!(found["fencing_token"], token);
        for answer in [&listed.body, &look(&server).to_string()] {
            assert!(!answer.contains(HOLDER_ID), "the key is for Terraform only: {answer}");
        }
        assert_eq!(server.select("SELECT info FROM resources"), [HOLDER]);
        let key = format!(r#"{{"locked_by": "{HOLDER_ID}"}}"#);
        assert_eq!(client.request("DELETE", "/locks/terraform%2Fprod/", &key).status, 204);
        assert_eq!(
            server.select("SELECT info FROM resources"),
            [""],
            "it goes with the lock"
        );
    }

    pub(super) fn a_holder_that_is_no_terraform_is_told_without_its_key() {
        let server = Server::start();
        let mut client = server.client();
        let body = r#"{"locked_by": "a-key-of-ours", "label": "nightly backup"}"#;
        assert_eq!(client.request("PUT", "/locks/terraform%2Fprod/", body).status, 200);

        let refused = lock(&mut client, HOLDER);

        assert_eq!(refused.status, 423);
        assert!(!refused.body.contains("a-key-of-ours"), "{}", refused.body);
        let told = refused.json();
        for member in ["ID", "Operation", "Info", "Who", "Version", "Created", "Path"] {
            assert!(told[member].is_string(), "{member}: {told}");
        }
        // An empty one ends Terraform's own -lock-timeout.
        assert_eq!(
            (&told["ID"], &told["Who"]),
            (&"unknown".into(), &"nightly backup".into())
        );
    }

    pub(super) fn a_killed_run_is_freed_by_its_ttl() {
        let server = Server::start();
        let mut client = server.client();
        let killed = server
            .client()
            .request_with(("LOCK", "/terraform/prod/?ttl=1"), &HEADERS, HOLDER);
        assert_eq!(killed.status, 200);
        assert_eq!(look(&server)["ttl"], 1);
        assert_held_by(&lock(&mut client, OTHER), HOLDER);

        let next = client.request_with(("LOCK", "/terraform/prod/?timeout=30"), &HEADERS, OTHER);

        assert_eq!(next.status, 200);
        let waited = next.received - killed.received;
        assert!(waited < Duration::from_secs(10), "{waited:?}");
        assert_held_by(&unlock(&mut client, HOLDER), OTHER);
    }

    pub(super) fn a_force_unlock_frees_it_and_the_holder_is_told() {
        let server = Server::start();
        let mut client = server.client();
        let token = hold(&server);

        let forced = force_unlock(&mut client, "");

        assert_eq!(
            (forced.status, forced.body.as_str()),
            (200, r#"{"Success":"Lock is broken."}"#)
        );
        let told = unlock(&mut client, HOLDER);
        assert_eq!(told.status, 409);
        assert_eq!(told.json()["detail"], "Resource is not acquired.");
        assert_eq!(told.json()["broken"]["reason"], "force-unlock");
        assert!(
            lock(&mut client, OTHER).fencing_token() > token + 1,
            "that of the break is between"
        );
        let log = server.log();
        let line = log.lines().find(|line| line.contains("broke the lock"));
        let line = line.expect("each break is logged");
        assert!(
            line.contains("terraform/prod") && line.contains("ci@runner-7"),
            "{line}"
        );
        assert!(!log.contains(HOLDER_ID), "{log}");
        // Without any body at all, as `curl -X DELETE` does it.
        client.send_raw(b"DELETE /terraform/prod/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.answer().status, 200);
        // And by OpenTofu, which sends the ID.
        assert_eq!(lock(&mut client, HOLDER).status, 200);
        assert_eq!(unlock(&mut client, FORCED_BY_OPENTOFU).status, 200);
    }

    pub(super) fn a_kill_of_the_server_changes_nothing() {
        let server = Server::start();
        let token = hold(&server);

        let server = server.kill_and_restart();

        let mut client = server.client();
        assert_held_by(&lock(&mut client, OTHER), HOLDER);
        assert_eq!(lock(&mut client, HOLDER).fencing_token(), token);
        assert_eq!(unlock(&mut client, HOLDER).status, 200);
        let server = server.kill_and_restart();
        assert_eq!(unlock(&mut server.client(), HOLDER).status, 200);
        eventually("it is free", Duration::from_secs(5), || {
            look(&server)["locked"] == false
        });
    }

    pub(super) fn it_works_with_hashed_keys() {
        let secret = "a key of at least 32 characters, yes";
        let server = Server::start_with(&[("LOCKED_BY_AT_REST", "hashed"), ("SECRET_KEY", secret)]);
        let mut client = server.client();
        let token = hold(&server);

        assert_eq!(lock(&mut client, HOLDER).fencing_token(), token);
        assert_held_by(&lock(&mut client, OTHER), HOLDER);
        assert_held_by(&unlock(&mut client, OTHER), HOLDER);
        assert_eq!(unlock(&mut client, HOLDER).status, 200);
        assert_eq!(unlock(&mut client, HOLDER).status, 200);
    }
}
