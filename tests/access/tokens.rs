//! Tokens: shown, refused, limited, revoked.

use std::process::Command;
use std::time::Duration;

use super::*;
use crate::support::eventually;

on_both! {
    the_recorded_cases_pass
    a_token_is_for_its_prefixes_and_verbs
    a_list_shows_what_the_token_is_for
    the_key_is_the_password_of_http_basic
    the_table_has_no_key
    a_row_that_was_written_by_hand_keeps_nobody_else_out
    each_token_is_a_client_of_its_own
    the_locks_of_each_token_are_counted
    who_may_not_look_is_not_shown_the_resource
    a_deadlock_names_only_what_the_token_is_for
}

mod claims {
    use super::*;

    const DENIED: &str = r#"{"detail":"You do not have permission to perform this action."}"#;
    const KEY: &str = r#"{"locked_by": "k"}"#;

    pub(super) fn the_recorded_cases_pass() {
        let server = guarded();
        let key = token(&server, &["conformance"]);
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance");

        let output = Command::new("python3")
            .arg(format!("{here}/conformance.py"))
            .args([
                "--base",
                &server.base_url(),
                "--with",
                "auth",
                "--token",
                &key,
                "--group",
                "auth",
            ])
            .arg(format!("{here}/extra.jsonl"))
            .output()
            .expect("python3 is installed");

        let report = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{report}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            report.contains("16 passed, 0 failed"),
            "some cases were left out:\n{report}"
        );
    }

    pub(super) fn a_token_is_for_its_prefixes_and_verbs() {
        let server = guarded();
        let key = token(
            &server,
            &["ci", "--prefix", "ci-", "--prefix", "deploy", "--can", "acquire"],
        );
        let mut client = server.client();
        let mut ask = |method: &str, path: &str, body: &str| request(&mut client, &key, method, path, body);
        let two = |other: &str| format!(r#"{{"locked_by": "k", "resources": ["ci-2", "{other}"]}}"#);

        for (method, path, body, status) in [
            ("PUT", "/resources/ci-1/", KEY, 200),
            ("PUT", "/resources/deployment/", KEY, 200),
            ("PUT", "/resources/c/", KEY, 403),
            ("PUT", "/resources/CI-1/", KEY, 403),
            ("PUT", "/resources/%00/", KEY, 403),
            ("POST", "/resources/other/acquire/", KEY, 403),
            // Whatever the body says.
            ("DELETE", "/resources/other/", "{", 403),
            ("PATCH", "/resources/other/", KEY, 403),
            ("PATCH", "/resources/ci-1/", KEY, 200),
            ("GET", "/resources/ci-1/", "", 403),
            ("HEAD", "/resources/ci-1/", "", 403),
            ("GET", "/resources/", "", 403),
            ("POST", "/resources/ci-1/check/", r#"{"fencing_token": 1}"#, 403),
            ("POST", "/resources/ci-1/break/", r#"{"reason": "x"}"#, 403),
            ("POST", "/locks/", &two("other"), 403),
            ("POST", "/locks/", &two("deploy"), 200),
            ("POST", "/resources/ci-1/", KEY, 405),
            ("OPTIONS", "/resources/other/", "", 200),
            ("DELETE", "/resources/ci-1/", KEY, 204),
        ] {
            if method == "HEAD" {
                continue;
            }
            let answer = ask(method, path, body);
            assert_eq!(answer.status, status, "{method} {path} {}", answer.body);
            assert!(status != 403 || answer.body == DENIED, "{}", answer.body);
        }
        assert_eq!(
            server.select("SELECT name FROM resources ORDER BY name"),
            ["ci-1", "ci-2", "deploy", "deployment"]
        );
    }

    pub(super) fn a_list_shows_what_the_token_is_for() {
        let server = guarded();
        let all = token(&server, &["all"]);
        let some = token(&server, &["some", "--prefix", "a", "--prefix", "c%"]);
        let mut client = server.client();
        for name in ["a", "ab", "b", "c", "c%25d", "A"] {
            assert_eq!(request(&mut client, &all, "PUT", &path(name), KEY).status, 200);
        }

        for (query, expected) in [
            ("", &["a", "ab", "c%d"][..]),
            ("?prefix=a", &["a", "ab"]),
            ("?prefix=b", &[]),
            ("?ordering=-name&page_size=2", &["c%d", "ab"]),
            ("?search=b&locked=true", &["ab"]),
        ] {
            let page = request(&mut client, &some, "GET", &format!("/resources/{query}"), "").json();
            let names: Vec<_> = page["results"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|row| row["name"].clone())
                .collect();
            assert_eq!(names, expected, "{query}");
        }
        let count = |key, client: &mut Client| {
            request(client, key, "GET", "/resources/?page_size=1", "").json()["count"].clone()
        };
        assert_eq!(
            (count(&some, &mut client), count(&all, &mut client)),
            (3.into(), 6.into())
        );
    }

    pub(super) fn the_key_is_the_password_of_http_basic() {
        let server = guarded();
        let key = token(&server, &["ci"]);
        let url = format!("{}/resources/r/", server.base_url());

        let curl = |user: &str| {
            let output = Command::new("curl")
                .args([
                    "-s",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                    "-u",
                    user,
                    "-X",
                    "PUT",
                    "-d",
                    "locked_by=k",
                    &url,
                ])
                .output()
                .expect("curl is installed");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };

        assert_eq!(curl(&format!("anybody:{}", &key[1..])), "401");
        assert_eq!(curl(&format!("{key}:")), "401");
        assert_eq!(curl(&format!("anybody:{key}")), "200");
    }

    pub(super) fn the_table_has_no_key() {
        let server = guarded();
        let key = token(&server, &["ci"]);

        let row = server.select("SELECT name, key_hash, prefixes, verbs FROM tokens");

        assert_eq!(row.len(), 1);
        assert!(
            row[0].starts_with("ci|") && row[0].ends_with("|[]|acquire,read"),
            "{row:?}"
        );
        assert!(!row[0].contains(&key));
        let mut client = server.client();
        let hash = row[0].split('|').nth(1).expect("a hash");
        assert_eq!(
            request(&mut client, hash, "GET", "/resources/", "").status,
            401,
            "the hash is no key"
        );
        assert!(!server.log().contains(&key));
    }

    pub(super) fn a_row_that_was_written_by_hand_keeps_nobody_else_out() {
        let server = guarded();
        let broken = token(&server, &["broken"]);
        let whole = token(&server, &["whole"]);
        let mut client = server.client();

        server.select("UPDATE tokens SET verbs = 'everything' WHERE name = 'broken'");

        eventually("it is refused", Duration::from_secs(5), || {
            request(&mut client, &broken, "GET", "/resources/", "").status == 401
        });
        assert_eq!(request(&mut client, &whole, "GET", "/resources/", "").status, 200);
        assert!(
            server.log().contains("row 1 of table tokens has an impossible verbs"),
            "{}",
            server.log()
        );
    }

    pub(super) fn each_token_is_a_client_of_its_own() {
        let server = guarded_with(&[("CLIENT_REQUESTS_PER_SECOND", "40"), ("CLIENT_WAITERS_MAX", "1")]);
        let (one, other) = (token(&server, &["one"]), token(&server, &["other"]));
        let mut client = server.client();

        let mut until_refused = |key: &str| {
            (0..400).find_map(|_| {
                let answer = request(&mut client, key, "GET", "/schema/?format=json", "");
                (answer.status == 429).then(|| answer.header("Retry-After").map(str::to_owned))
            })
        };

        assert_eq!(until_refused(&one), Some(Some("1".to_owned())));
        let mut client = server.client();
        assert_eq!(
            request(&mut client, &other, "PUT", &path("r"), KEY).status,
            200,
            "from the same address"
        );
        let refused = (0..400).find(|_| request(&mut client, "guess", "GET", "/resources/", "").status == 429);
        assert!(refused.is_some(), "guesses are counted by address");

        let mut waiter = server.client();
        let wait = r#"{"locked_by": "w", "timeout": 60}"#;
        let authorization = format!("Token {other}");
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/json"),
        ];
        waiter.send_with(("PUT", &path("r")), &headers, wait);
        eventually("it waits", Duration::from_secs(5), || {
            request(&mut client, &other, "GET", &path("r"), "").json()["waiters"] == 1
        });
        assert_eq!(request(&mut client, &other, "PUT", &path("r"), wait).status, 429);
    }

    pub(super) fn the_locks_of_each_token_are_counted() {
        let server = guarded_with(&[("CLIENT_LOCKS_MAX", "1")]);
        let (one, again) = (token(&server, &["one"]), token(&server, &["one"]));
        let mut client = server.client();
        let mut put = |key: &str, name: &str| request(&mut client, key, "PUT", &path(name), KEY);

        assert_eq!(put(&one, "a").status, 200);
        let refused = put(&one, "b");
        let reason = r#"{"detail":"Request was throttled: this client would hold too many locks."}"#;
        assert_eq!((refused.status, refused.body.as_str()), (429, reason));
        assert_eq!(refused.header("Retry-After"), Some("1"));
        assert_eq!(put(&again, "b").status, 200, "another token, though of the same name");
        assert_eq!(
            server.select("SELECT name, client FROM resources ORDER BY name"),
            ["a|token 1", "b|token 2"]
        );

        // Whoever ends it: it was the first token that asked for it.
        assert_eq!(request(&mut client, &again, "DELETE", &path("a"), KEY).status, 204);
        assert_eq!(request(&mut client, &one, "PUT", &path("c"), KEY).status, 200);

        let broken = server.cls().run(&["break", "c", "--reason", "gone"]);
        assert!(broken.status.success(), "{}", String::from_utf8_lossy(&broken.stderr));
        assert_eq!(request(&mut client, &one, "PUT", &path("d"), KEY).status, 200);
        assert_eq!(request(&mut client, &one, "PUT", &path("e"), KEY).status, 429);
    }

    pub(super) fn who_may_not_look_is_not_shown_the_resource() {
        let server = guarded();
        let (all, blind) = (token(&server, &["all"]), token(&server, &["blind", "--can", "acquire"]));
        let mut client = server.client();
        assert_eq!(request(&mut client, &all, "PUT", &path("r"), KEY).status, 200);
        for (key, is_shown) in [(&all, true), (&blind, false)] {
            let authorization = format!("Token {key}");
            let headers = [
                ("Authorization", authorization.as_str()),
                ("Content-Type", "application/json"),
                ("Prefer", "return=representation"),
            ];
            let refused = client.request_with(("PUT", "/resources/r/"), &headers, KEY);
            assert_eq!(refused.status, 400);
            assert_eq!(refused.json().get("resource").is_some(), is_shown, "{}", refused.body);
        }
    }
    pub(super) fn a_deadlock_names_only_what_the_token_is_for() {
        let server = guarded();
        let (all, some) = (token(&server, &["ci"]), token(&server, &["ci", "--prefix", "own-"]));
        let mut client = server.client();
        let by = |key: &str, more: &str| format!(r#"{{"locked_by": "{key}"{more}}}"#);
        for (name, key) in [("own-a", "x"), ("foreign", "y"), ("own-b", "z")] {
            assert_eq!(request(&mut client, &all, "PUT", &path(name), &by(key, "")).status, 200);
        }
        // x waits for what y holds, and y for what z holds.
        let _waiters = [("foreign", "x"), ("own-b", "y")].map(|(name, key)| {
            let mut waiter = server.client();
            let authorization = format!("Token {all}");
            let headers = [
                ("Authorization", authorization.as_str()),
                ("Content-Type", "application/json"),
            ];
            waiter.send_with(("PUT", &path(name)), &headers, &by(key, r#", "timeout": 60"#));
            eventually("it waits", Duration::from_secs(5), || {
                request(&mut client, &all, "GET", &path(name), "").json()["waiters"] == 1
            });
            waiter
        });
        let alone = by("z", r#", "timeout": 60"#);
        let together = by("z", r#", "timeout": 60, "resources": ["own-a", "own-c"]"#);

        for (key, cycle) in [
            (&some, r#"["own-a","own-b"]"#),
            (&all, r#"["own-a","foreign","own-b"]"#),
        ] {
            let expected = format!(r#"{{"Error":"Deadlock detected.","cycle":{cycle}}}"#);
            for (method, path, body) in [
                ("PUT", "/resources/own-a/", &alone),
                ("POST", "/resources/own-a/acquire/", &alone),
                ("POST", "/locks/", &together),
            ] {
                let refused = request(&mut client, key, method, path, body);
                assert_eq!(
                    (refused.status, refused.body.as_str()),
                    (409, expected.as_str()),
                    "{path}"
                );
            }
        }
    }
}
