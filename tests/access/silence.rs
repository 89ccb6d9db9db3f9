//! A database that does not say which tokens are good.

use std::time::Duration;

use super::*;
use crate::support::{Cls, Cluster, Proxy, eventually};

#[test]
fn nobody_is_let_in_while_the_tokens_cannot_be_read() {
    let database = Cluster::with_password().database();
    let proxy = Proxy::before(&database);
    let directory = tempfile::tempdir().expect("a directory");
    let cls = Cls::in_directory(directory.path()).with("AUTH", "required");
    let server = cls.with("DATABASE_URL", proxy.url()).start();
    let key = token(&server, &["ci"]);
    let mut client = server.client();
    let mut status = || request(&mut client, &key, "OPTIONS", "/schema/", "").status;
    assert_eq!(status(), 200);

    // No operation on locks is asked for: only whether the token is good.
    proxy.stop();
    eventually("nobody is let in", Duration::from_secs(5), || status() == 503);
    proxy.resume();
    eventually("the token is known again", Duration::from_secs(10), || status() == 200);
}

#[test]
fn a_grant_that_lapses_while_the_token_is_looked_up_is_not_told() {
    lapses_unseen();
}

#[test]
fn a_grant_that_lapses_while_the_token_is_looked_up_is_not_told_on_postgres() {
    crate::support::on_postgres(lapses_unseen);
}

fn lapses_unseen() {
    let server = guarded();
    let key = token(&server, &["ci"]);
    let (mut client, mut waiter, mut several) = (server.client(), server.client(), server.client());
    let mut hold = |name| request(&mut client, &key, "PUT", &path(name), r#"{"locked_by": "k", "ttl": 5}"#);
    let latest = ["r", "s"].map(|name| hold(name).fencing_token())[1];
    let authorization = format!("Token {key}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];
    let wait = r#"{"locked_by": "w", "ttl": 1, "timeout": 60"#;
    waiter.send_with(("PUT", "/resources/r/"), &headers, &format!("{wait}}}"));
    several.send_with(
        ("POST", "/locks/"),
        &headers,
        &format!(r#"{wait}, "resources": ["s"]}}"#),
    );
    eventually("they wait", Duration::from_secs(3), || {
        ["r", "s"]
            .iter()
            .all(|name| request(&mut client, &key, "GET", &path(name), "").json()["waiters"] == 1)
    });

    // From now on nobody can know which tokens are good, but locks go on.
    server.select("ALTER TABLE token_changes RENAME TO out_of_sight");
    eventually("they were served, and it is over", Duration::from_secs(10), || {
        let served = format!("SELECT count(*) FROM resources WHERE fencing_token > {latest}");
        server.select(&format!("SELECT ({served}), count(*) FROM held_locks")) == ["2|0"]
    });
    server.select("ALTER TABLE out_of_sight RENAME TO token_changes");

    for answer in [waiter.answer(), several.answer()] {
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(
            answer.body.contains("the lock expired before the answer"),
            "{}",
            answer.body
        );
    }
}
