//! `LOCKED_BY_AT_REST=hashed`: what the table holds in place of `locked_by`.

use super::*;

on_both! {
    the_table_has_a_hash_in_place_of_the_key
    everything_works_with_hashed_keys
    what_was_kept_under_another_secret_is_nobodys
    what_was_kept_hashed_is_nobodys_where_keys_are_plain
    a_key_that_looks_like_a_hash_is_a_key
}

const SECRET: &str = "a key of at least 32 characters, yes";

mod claims {
    use super::*;

    const HASHED: [(&str, &str); 2] = [("LOCKED_BY_AT_REST", "hashed"), ("SECRET_KEY", SECRET)];
    const KEY: &str = r#"{"locked_by": "my-own-key", "ttl": 60}"#;

    pub(super) fn the_table_has_a_hash_in_place_of_the_key() {
        let server = Server::start_with(&HASHED);
        let mut client = server.client();
        let repeatable = [("Content-Type", "application/json"), ("Idempotency-Key", "1")];
        assert_eq!(
            client.request_with(("PUT", "/resources/r/"), &repeatable, KEY).status,
            200
        );

        let row = server
            .select("SELECT locked_by, acquire_request FROM resources")
            .join("\n");
        assert!(row.starts_with("hmac-sha256:") && row.contains(" 1"), "{row}");
        assert!(!row.contains("my-own-key"));

        let kept = row.split('|').next().expect("a column");
        let stolen = format!(r#"{{"locked_by": "{kept}"}}"#);
        let refused = client.request("DELETE", "/resources/r/", &stolen);
        assert_eq!(
            refused.body, r#"{"Error":"Invalid unlock request."}"#,
            "the hash is no key"
        );
    }

    pub(super) fn everything_works_with_hashed_keys() {
        let server = Server::start_with(&HASHED);
        let (mut client, mut waiter) = (server.client(), server.client());
        let of = |key: &str, more: &str| format!(r#"{{"locked_by": "{key}"{more}}}"#);
        assert_eq!(client.put("r", &of("one", "")).status, 200);
        assert_eq!(client.put("r", &of("one", "")).status, 400, "it is not reentrant");
        waiter.send_put("r", &of("other", r#", "timeout": 60"#));
        crate::support::eventually("it waits", std::time::Duration::from_secs(5), || {
            client.get("/resources/r/").json()["waiters"] == 1
        });

        assert_eq!(
            client
                .request("PATCH", "/resources/r/", &of("one", r#", "ttl": 60"#))
                .status,
            200
        );
        assert_eq!(
            client.request("PATCH", "/resources/", &of("one", "")).body,
            r#"{"renewed":1}"#
        );
        assert_eq!(client.delete("r", "other").status, 400);
        assert_eq!(client.delete("r", "one").status, 204);
        assert_eq!(waiter.answer().status, 200);
        let server = server.kill_and_restart();
        let mut client = server.client();
        assert_eq!(
            client.request("DELETE", "/resources/", &of("other", "")).body,
            r#"{"released":1}"#
        );
    }

    pub(super) fn what_was_kept_hashed_is_nobodys_where_keys_are_plain() {
        let server = Server::start();
        let mut client = server.client();
        assert_eq!(client.put("r", KEY).status, 200);

        // As it would be from before the setting changed.
        let kept = format!("hmac-sha256:{}", "5b".repeat(32));
        server.select(&format!("UPDATE resources SET locked_by = '{kept}'"));

        let stolen = format!(r#"{{"locked_by": "{kept}"}}"#);
        assert_eq!(client.delete("r", &kept).body, r#"{"Error":"Invalid unlock request."}"#);
        assert_eq!(client.request("PATCH", "/resources/r/", &stolen).status, 400);
        assert_eq!(
            client.request("DELETE", "/resources/", &stolen).body,
            r#"{"released":0}"#
        );
    }

    pub(super) fn a_key_that_looks_like_a_hash_is_a_key() {
        let server = Server::start();
        let mut client = server.client();
        for key in [
            format!("hmac-sha256:{}", "5b".repeat(32)),
            format!("hmac-sha256:{}", "x".repeat(88)),
        ] {
            let held = format!(r#"{{"locked_by": "{key}"}}"#);
            assert_eq!(client.put("r", &held).status, 200);
            assert_eq!(client.put("r", &held).status, 400);
            assert_eq!(client.request("PATCH", "/resources/", &held).body, r#"{"renewed":1}"#);
            assert_eq!(client.delete("r", &key).status, 204);
        }
    }

    pub(super) fn what_was_kept_under_another_secret_is_nobodys() {
        let server = Server::start();
        let mut client = server.client();
        assert_eq!(client.put("r", KEY).status, 200);

        // As it would be under another secret.
        server.select("UPDATE resources SET locked_by = 'hmac-sha256:00'");

        assert_eq!(client.delete("r", "my-own-key").status, 400);
        assert_eq!(
            client
                .request("POST", "/resources/r/break/", r#"{"reason": "a new secret"}"#)
                .status,
            200
        );
    }
}

#[test]
fn a_secret_that_cannot_be_used_is_refused_at_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    for (settings, line) in [
        (
            &[("LOCKED_BY_AT_REST", "hashed")][..],
            "cls: LOCKED_BY_AT_REST=hashed needs a SECRET_KEY; make one with `openssl rand -hex 32`\n",
        ),
        (
            &[("SECRET_KEY", "a short secret")],
            "cls: SECRET_KEY must have at least 32 characters; make one with `openssl rand -hex 32`\n",
        ),
        (
            &[("LOCKED_BY_AT_REST", "Hashed"), ("SECRET_KEY", SECRET)],
            "cls: LOCKED_BY_AT_REST must be plain or hashed, not 'Hashed'\n",
        ),
    ] {
        let cls = crate::support::Cls::in_directory(directory.path());
        let cls = settings.iter().fold(cls, |cls, (name, value)| cls.with(name, value));
        let output = cls.run(&["check"]);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(String::from_utf8_lossy(&output.stderr), line);
    }
}
