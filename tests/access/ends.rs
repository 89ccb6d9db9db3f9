//! Tokens that end: revoked, or by their time, also of those who wait.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::*;
use crate::support::eventually;

on_both! {
    a_revoked_token_is_refused_within_two_seconds
    a_token_that_has_ended_is_refused
    who_waits_with_a_token_that_is_revoked_is_sent_away
    who_waits_with_a_token_that_ends_is_sent_away
    a_token_that_was_revoked_before_the_body_came_does_nothing
}

mod claims {
    use super::*;

    const INVALID: &str = r#"{"detail":"Invalid token."}"#;
    const KEY: &str = r#"{"locked_by": "k"}"#;

    pub(super) fn a_revoked_token_is_refused_within_two_seconds() {
        let server = guarded();
        let (first, second) = (token(&server, &["ci"]), token(&server, &["ci"]));
        let other = token(&server, &["other"]);
        let mut client = server.client();

        let revoked = server.cls().run(&["revoketoken", "ci"]);
        let since = Instant::now();

        assert!(String::from_utf8_lossy(&revoked.stdout).starts_with("Revoked 2 token(s);"));
        for key in [&first, &second] {
            eventually("it is refused", Duration::from_secs(5), || {
                request(&mut client, key, "GET", "/resources/", "").status == 401
            });
        }
        assert!(since.elapsed() < Duration::from_millis(2500), "{:?}", since.elapsed());
        let refused = request(&mut client, &first, "PUT", &path("r"), KEY);
        assert_eq!((refused.status, refused.body.as_str()), (401, INVALID));
        assert_eq!(request(&mut client, &other, "PUT", &path("r"), KEY).status, 200);
    }

    pub(super) fn a_token_that_has_ended_is_refused() {
        let server = guarded();
        let key = token(&server, &["ci", "--expires", "1h"]);
        let mut client = server.client();
        assert_eq!(request(&mut client, &key, "PUT", &path("r"), KEY).status, 200);

        server.select("UPDATE tokens SET expires_at_us = 1");

        eventually("it is refused", Duration::from_secs(5), || {
            request(&mut client, &key, "GET", &path("r"), "").status == 401
        });
        assert_eq!(server.select("SELECT locked_by FROM resources"), ["k"]);
    }

    /// Leaves `key` waiting for `r`, which somebody else holds, in every way in
    /// which one can wait; with somebody else behind it in line.
    fn wait_in_every_way(server: &Server, key: &str, holder: &str) -> ([Client; 4], Client) {
        let mut client = server.client();
        for name in ["r", "s"] {
            assert_eq!(request(&mut client, holder, "PUT", &path(name), KEY).status, 200);
        }
        let send = |key: &str, method: &str, path: &str, body: &str| {
            let mut client = server.client();
            let authorization = format!("Token {key}");
            let headers = [
                ("Authorization", authorization.as_str()),
                ("Content-Type", "application/json"),
            ];
            client.send_with((method, path), &headers, body);
            client
        };
        let waiting =
            |name: &str, client: &mut Client| request(client, holder, "GET", &path(name), "").json()["waiters"].clone();
        let wait = r#"{"locked_by": "w", "timeout": 60}"#;
        let together = r#"{"locked_by": "w", "timeout": 60, "resources": ["r", "s"]}"#;
        let waiters = [
            send(key, "PUT", "/resources/r/", wait),
            send(key, "POST", "/resources/r/acquire/", wait),
            send(key, "POST", "/locks/", together),
            send(key, "GET", "/resources/r/?wait=60", ""),
        ];
        eventually("they wait", Duration::from_secs(5), || waiting("r", &mut client) == 3);
        let next = send(holder, "PUT", "/resources/r/", wait);
        eventually("it waits", Duration::from_secs(5), || waiting("r", &mut client) == 4);
        (waiters, next)
    }

    /// That they are answered 401 within the time that the README states, and
    /// that their places are the next one's.
    fn require_sent_away(server: &Server, (waiters, mut next): ([Client; 4], Client), holder: &str, since: Instant) {
        for mut waiter in waiters {
            let answer = waiter.answer();
            assert_eq!((answer.status, answer.body.as_str()), (401, INVALID));
        }
        assert!(since.elapsed() < Duration::from_millis(2500), "{:?}", since.elapsed());
        let mut client = server.client();
        eventually("they have left the line", Duration::from_secs(5), || {
            request(&mut client, holder, "GET", &path("r"), "").json()["waiters"] == 1
        });
        assert_eq!(request(&mut client, holder, "DELETE", &path("r"), KEY).status, 204);
        assert_eq!(next.answer().status, 200);
    }

    pub(super) fn who_waits_with_a_token_that_is_revoked_is_sent_away() {
        let server = guarded();
        let (holder, key) = (token(&server, &["holder"]), token(&server, &["waiter"]));
        let waiting = wait_in_every_way(&server, &key, &holder);

        server.cls().run(&["revoketoken", "waiter"]);

        require_sent_away(&server, waiting, &holder, Instant::now());
    }

    pub(super) fn who_waits_with_a_token_that_ends_is_sent_away() {
        let server = guarded();
        let (holder, key) = (token(&server, &["holder"]), token(&server, &["waiter"]));
        let waiting = wait_in_every_way(&server, &key, &holder);
        let seconds = Duration::from_secs(3);
        let ends = SystemTime::now() + seconds;
        let ends_us = ends.duration_since(UNIX_EPOCH).expect("later").as_micros();

        server.select(&format!(
            "UPDATE tokens SET expires_at_us = {ends_us} WHERE name = 'waiter'"
        ));

        let since = Instant::now() + seconds;
        require_sent_away(&server, waiting, &holder, since);
        assert!(SystemTime::now() >= ends, "and no earlier");
    }

    pub(super) fn a_token_that_was_revoked_before_the_body_came_does_nothing() {
        let server = guarded();
        let key = token(&server, &["slow"]);
        let (mut slow, mut client) = (server.client(), server.client());
        let head = format!(
            "PUT /resources/r/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            KEY.len()
        );
        slow.send_raw(head.as_bytes());

        server.cls().run(&["revoketoken", "slow"]);
        eventually("it is refused", Duration::from_secs(5), || {
            request(&mut client, &key, "OPTIONS", "/schema/", "").status == 401
        });
        slow.send_raw(KEY.as_bytes());

        let refused = slow.answer();
        assert_eq!((refused.status, refused.body.as_str()), (401, INVALID));
        assert_eq!(server.select("SELECT count(*) FROM resources"), ["0"]);
    }
}
