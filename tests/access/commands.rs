//! `AUTH`, and the commands that make, list, revoke and delete tokens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;

on_both! {
    what_was_made_is_listed_and_revoked
    a_row_that_is_no_token_hides_no_other
    what_ended_long_ago_is_cleared
    a_token_that_is_not_there_cannot_be_revoked
    a_lock_is_broken_without_the_server
    a_break_from_the_command_line_serves_who_waits_at_the_server
}

mod claims {
    use super::*;

    fn run(server: &Server, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = server.cls().run(arguments);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    pub(super) fn what_was_made_is_listed_and_revoked() {
        let server = guarded();
        let (code, key, said) = run(
            &server,
            &[
                "createtoken",
                "ci",
                "--prefix",
                "a b",
                "--prefix",
                "c",
                "--expires",
                "2100-01-01",
            ],
        );
        assert_eq!((code, key.trim().len()), (Some(0), 40), "{said}");
        assert!(!said.contains(key.trim()));
        run(&server, &["createtoken", "oncall", "--can", "read, break"]);

        let (_, table, _) = run(&server, &["listtokens"]);
        assert!(!table.contains(key.trim()));
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[0],
            ["ID", "NAME", "CAN", "PREFIXES", "CREATED", "EXPIRES", "STATE"]
        );
        assert_eq!(lines[1][..6], ["1", "ci", "acquire,read", "\"a", "b\"", "\"c\""]);
        assert_eq!(lines[1][7..], ["2100-01-01T00:00:00Z", "good"]);
        assert_eq!(lines[2][..4], ["2", "oncall", "read,break", "all"]);
        assert_eq!(lines[2][5..], ["never", "good"]);

        let (code, said, _) = run(&server, &["revoketoken", "--id", "1"]);
        assert_eq!(
            (code, said.as_str()),
            (
                Some(0),
                "Revoked 1 token(s); every server refuses them within 2 seconds.\n"
            )
        );
        let (_, table, _) = run(&server, &["listtokens"]);
        assert!(table.lines().nth(1).expect("it stays").contains("revoked 2"), "{table}");
    }

    pub(super) fn a_row_that_is_no_token_hides_no_other() {
        let server = guarded();
        for name in ["first", "second", "third"] {
            run(&server, &["createtoken", name]);
        }
        server.select("UPDATE tokens SET prefixes = 'ci-' WHERE name = 'second'");

        let (code, table, said) = run(&server, &["listtokens"]);

        assert_eq!(code, Some(1));
        let names: Vec<_> = table
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().nth(1))
            .collect();
        assert_eq!(names, [Some("first"), Some("third")]);
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), 2, "{said}");
        assert!(
            lines[0].contains("row 2 of table tokens has an impossible prefixes"),
            "{said}"
        );
        assert!(
            lines[1].starts_with("cls: 1 row(s) of table tokens are good for nothing;"),
            "{said}"
        );
    }

    pub(super) fn what_ended_long_ago_is_cleared() {
        let server = guarded();
        for name in ["good", "revoked", "expired", "lately", "later"] {
            run(&server, &["createtoken", name]);
        }
        let days_ago = |days: u64| {
            let span = Duration::from_secs(days * 24 * 3600 + 60);
            let then = SystemTime::now() - span;
            then.duration_since(UNIX_EPOCH).expect("later").as_micros()
        };
        let (long_ago, lately) = (days_ago(90), days_ago(89));
        let later = u128::from(u32::MAX) * 1_000_000;
        for (column, at_us, name) in [
            ("revoked_at_us", long_ago, "revoked"),
            ("expires_at_us", later, "revoked"),
            ("expires_at_us", long_ago, "expired"),
            ("revoked_at_us", lately, "lately"),
            ("expires_at_us", later, "later"),
        ] {
            server.select(&format!("UPDATE tokens SET {column} = {at_us} WHERE name = '{name}'"));
        }
        let names = || server.select("SELECT name FROM tokens ORDER BY id");

        let (code, said, _) = run(&server, &["cleartokens"]);
        assert_eq!(
            (code, said.as_str()),
            (Some(0), "Deleted 2 token(s) that ended more than 90 day(s) ago.\n")
        );
        assert_eq!(names(), ["good", "lately", "later"]);

        assert_eq!(run(&server, &["cleartokens", "--days", "-1"]).0, Some(2));
        assert_eq!(run(&server, &["cleartokens", "--days", "0"]).0, Some(0));
        assert_eq!(names(), ["good", "later"]);
    }

    pub(super) fn a_lock_is_broken_without_the_server() {
        let mut server = guarded();
        let key = token(&server, &["ci"]);
        let held = r#"{"locked_by": "k"}"#;
        let token = request(&mut server.client(), &key, "PUT", &path("r"), held).fencing_token();
        server.kill();

        let (code, said, error) = run(&server, &["break", "r", "--reason", " its host is gone "]);
        assert_eq!((code, error.as_str()), (Some(0), ""));
        assert_eq!(
            said,
            format!("Broke the lock on \"r\", owner \"ci\", fencing token {token}.\n")
        );

        let (code, _, error) = run(&server, &["break", "r", "--reason", "again"]);
        assert_eq!(code, Some(1));
        assert!(error.starts_with("cls: \"r\" is not acquired; "), "{error}");
        for wrong in [
            &["break", "r"][..],
            &["break", "r", "--reason", " "],
            &["break", "", "--reason", "x"],
        ] {
            assert_eq!(run(&server, wrong).0, Some(2), "{wrong:?}");
        }
        let server = server.kill_and_restart();
        let mut client = server.client();
        let told = request(&mut client, &key, "DELETE", &path("r"), held).json();
        assert_eq!(told["broken"]["reason"], "its host is gone");
        assert!(
            told["broken"]["by"]
                .as_str()
                .is_some_and(|by| by.starts_with("cls break (uid ")),
            "{told}"
        );
        assert!(request(&mut client, &key, "PUT", &path("r"), held).fencing_token() > token + 1);
    }

    pub(super) fn a_break_from_the_command_line_serves_who_waits_at_the_server() {
        let server = Server::start();
        let (mut client, mut waiter, mut watcher) = (server.client(), server.client(), server.client());
        let token = client.put("r", r#"{"locked_by": "k"}"#).fencing_token();
        waiter.send_put("r", r#"{"locked_by": "w", "timeout": 60}"#);
        watcher.send("GET", &format!("/resources/r/?wait=60&fencing_token={token}"), "");
        crate::support::eventually("it waits", std::time::Duration::from_secs(5), || {
            client.get(&path("r")).json()["waiters"] == 1
        });

        assert_eq!(run(&server, &["break", "r", "--reason", "its host is gone"]).0, Some(0));

        let served = waiter.answer();
        assert_eq!(served.status, 200);
        assert!(served.fencing_token() > token + 1, "that of the break is between");
        assert!(watcher.answer().json()["fencing_token"].as_i64() > Some(token));
    }

    pub(super) fn a_token_that_is_not_there_cannot_be_revoked() {
        let server = guarded();
        run(&server, &["createtoken", "ci"]);
        assert_eq!(run(&server, &["revoketoken", "ci"]).0, Some(0));

        for arguments in [
            &["revoketoken", "ci"][..],
            &["revoketoken", "CI"],
            &["revoketoken", "--id", "9"],
        ] {
            let (code, _, said) = run(&server, arguments);
            assert_eq!(code, Some(1));
            assert_eq!(
                said,
                "cls: there is no such token that is good; `cls listtokens` shows them all\n"
            );
        }
    }
}

#[test]
fn an_address_that_others_can_reach_needs_a_decision() {
    let server = Server::start();
    let cls = server.cls();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8000"] {
        let output = cls.run(&["runserver", address]);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().last().expect("a line");
        assert!(
            line.contains("set AUTH=required and make a token with `cls createtoken NAME`"),
            "{line}"
        );
    }
}

#[test]
fn a_mistyped_mode_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = crate::support::Cls::in_directory(directory.path())
        .with("AUTH", "on")
        .run(&["runserver", "0"]);

    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "cls: AUTH must be required or off, not 'on'\n"
    );
}

#[test]
fn what_is_no_token_is_refused_before_anything_is_made() {
    let server = guarded();
    let long = "x".repeat(101);
    for arguments in [
        &["createtoken"][..],
        &["createtoken", ""],
        &["createtoken", "a\nb"],
        &["createtoken", &long],
        &["createtoken", "a", "--prefix", ""],
        &["createtoken", "a", "--prefix", &long],
        &["createtoken", "a", "--can", "write"],
        &["createtoken", "a", "--can", ""],
        &["createtoken", "a", "--expires", "yesterday"],
        &["createtoken", "a", "--expires", "2020-01-01"],
        &["revoketoken"],
        &["revoketoken", "a", "--id", "1"],
    ] {
        assert_eq!(server.cls().run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(server.select("SELECT count(*) FROM tokens"), ["0"]);
}
