//! SIGHUP without TLS: settings are read again.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::{body, reload, told, waiter};
use crate::support::{Cls, Server, eventually};

fn write(directory: &Path, dot_env: &str) {
    std::fs::write(directory.join(".env"), dot_env).expect("writable");
}

/// A server whose settings stand in `.env`.
fn start(dot_env: &str) -> (TempDir, Server) {
    let directory = TempDir::new().expect("a temporary directory");
    write(directory.path(), dot_env);
    let server = Cls::in_directory(directory.path())
        .with("CONNECTIONS_MAX", "64")
        .start();
    (directory, server)
}

#[test]
fn with_nothing_to_change_it_says_so_and_goes_on() {
    let (_directory, server) = start("");

    assert_eq!(reload(&server), "nothing changed");
    assert_eq!(reload(&server), "nothing changed");

    assert_eq!(server.client().get("/nowhere/").status, 404);
}

#[test]
fn who_waits_keeps_its_place() {
    let (directory, server) = start("");
    let mut holder = server.client();
    assert_eq!(holder.put("held", &body("k", "")).status, 200);
    let mut waiting = waiter(&server, server.client(), &mut holder);

    write(directory.path(), "MAX_TIMEOUT=1\nWAITERS_PER_RESOURCE_MAX=0\n");
    assert_eq!(reload(&server), "changed WAITERS_PER_RESOURCE_MAX, MAX_TIMEOUT");

    let refused = server.client().put("held", &body("next", ", \"timeout\": 1"));
    assert_eq!(refused.status, 429, "there is no room in line any more");
    assert_eq!(holder.delete("held", "k").status, 204);
    assert_eq!(waiting.answer().status, 200);
}

#[test]
fn limits_of_requests_are_in_force_at_once() {
    let (directory, server) = start("MAX_TTL=60\n");
    let mut client = server.client();
    let long = body("k", ", \"ttl\": 61");
    assert_eq!(client.put("a", &long).status, 400);

    write(directory.path(), "DEFAULT_TTL=7\nMAX_TIMEOUT=5\n");
    assert_eq!(reload(&server), "changed DEFAULT_TTL, MAX_TTL, MAX_TIMEOUT");

    assert_eq!(client.put("a", &long).status, 200);
    assert_eq!(client.put("b", &body("k", "")).status, 200);
    assert_eq!(client.get("/resources/b/").json()["ttl"], json!(7));
    assert_eq!(client.put("a", &body("k", ", \"timeout\": 6")).status, 400);
    assert_eq!(
        client.put("a", &body("k", ", \"timeout\": 6")).body,
        r#"{"timeout":["Ensure this value is less than or equal to 5."]}"#
    );
}

#[test]
fn a_bound_on_the_locks_of_each_client_counts_those_granted_from_then_on() {
    let (directory, server) = start("");
    let mut client = server.client();
    assert_eq!(client.put("before", &body("k", "")).status, 200);

    write(directory.path(), "CLIENT_LOCKS_MAX=1\n");
    assert_eq!(reload(&server), "changed CLIENT_LOCKS_MAX");
    assert_eq!(client.put("a", &body("k", "")).status, 200);
    assert_eq!(client.put("b", &body("k", "")).status, 429);

    write(directory.path(), "CLIENT_LOCKS_MAX=2\n");
    assert_eq!(reload(&server), "changed CLIENT_LOCKS_MAX");
    assert_eq!(client.put("b", &body("k", "")).status, 200);
    assert_eq!(client.put("c", &body("k", "")).status, 429);

    write(directory.path(), "");
    assert_eq!(reload(&server), "changed CLIENT_LOCKS_MAX");
    assert_eq!(client.put("c", &body("k", "")).status, 200);
}

#[test]
fn a_new_lock_delay_holds_for_what_expires_from_then_on() {
    let (directory, server) = start("");
    let mut client = server.client();

    write(directory.path(), "LOCK_DELAY=3600\n");
    assert_eq!(reload(&server), "changed LOCK_DELAY");

    assert_eq!(client.put("r", &body("k", ", \"ttl\": 1")).status, 200);
    eventually("it expires", Duration::from_secs(3), || {
        client.get("/resources/r/").json()["locked"] == json!(false)
    });
    assert_eq!(client.put("r", &body("other", "")).status, 400, "kept for its holder");
    assert_eq!(client.put("r", &body("k", "")).status, 200);
}

#[test]
fn the_filter_of_the_log_changes() {
    let (directory, server) = start("RUST_LOG=error\n");
    assert!(!server.log().contains("serving on"), "{}", server.log());

    write(directory.path(), "RUST_LOG=info\n");
    assert_eq!(reload(&server), "changed RUST_LOG");
    assert_eq!(reload(&server), "nothing changed");
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_is_changed() {
    let (directory, server) = start("");

    write(
        directory.path(),
        "DATABASE_URL=sqlite://other\nWORKERS=7\nKEEP_ALIVE_SECONDS=9\nOPERATIONS_QUEUED_MAX=9\nWAITERS_MAX=9\n\
         TLS_CERT=c\nTLS_KEY=k\nMAX_TIMEOUT=5\n",
    );
    let said = reload(&server);

    assert_eq!(
        said,
        "changed MAX_TIMEOUT; needs a restart: \
         DATABASE_URL, TLS_CERT, TLS_KEY, WORKERS, KEEP_ALIVE_SECONDS, OPERATIONS_QUEUED_MAX, WAITERS_MAX"
    );
    assert_eq!(reload(&server), said.replace("changed MAX_TIMEOUT", "nothing changed"));
    assert_eq!(
        server.client().put("r", &body("k", "")).status,
        200,
        "on the old database"
    );
}

#[test]
fn what_the_environment_says_wins_at_a_reload_too() {
    let directory = TempDir::new().expect("a temporary directory");
    let server = Cls::in_directory(directory.path())
        .with("CONNECTIONS_MAX", "64")
        .with("MAX_TTL", "60")
        .start();

    write(directory.path(), "MAX_TTL=5\nCONNECTIONS_MAX=5\n");

    assert_eq!(reload(&server), "nothing changed");
}

#[test]
fn settings_that_cannot_be_used_change_nothing() {
    let (directory, server) = start("MAX_TTL=60\n");
    for (dot_env, expected) in [
        (
            "MAX_TTL=5\nWORKERS=many\n",
            "WORKERS must be a whole number from 1 to 1024, not 'many'",
        ),
        (
            "MAX_TTL=5\nmy secret words\n",
            "cannot read .env: a line is not NAME=value",
        ),
        ("MAX_TTL=5\nTLS_CERT=c\n", "TLS_CERT is set and TLS_KEY is not"),
        ("MAX_TTL=5\nDEFAULT_TTL=6\n", "DEFAULT_TTL must not be above MAX_TTL"),
    ] {
        write(directory.path(), dot_env);

        let said = reload(&server);

        assert!(said.starts_with(expected), "{said}");
        assert!(said.ends_with("; everything stays as it was"), "{said}");
        assert!(!said.contains("secret"), "{said}");
        assert_eq!(server.client().put("r", &body("k", ", \"ttl\": 60")).status, 200);
        assert_eq!(server.client().delete("r", "k").status, 204);
    }
    assert_eq!(told(&server).len(), 4);
}
