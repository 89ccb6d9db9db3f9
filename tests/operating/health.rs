//! `/healthz/` and `/readyz/`.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{WAIT_MAX, refuse_connections};
use crate::support::{Answer, Cls, Cluster, Proxy, Server, eventually, on_postgres};

/// Until when a load balancer wants an answer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(2);

/// After that nothing is believed any more that was seen before.
const BELIEVED: Duration = Duration::from_millis(1100);

/// A migration that the server has.
const MIGRATION: &str = "FROM __diesel_schema_migrations WHERE version = '0005'";

fn ready(server: &Server) -> Answer {
    server.client().get("/readyz/")
}

/// Fails if the server is not said to be unready for this.
fn assert_not_ready(answer: &Answer, failed: &str, reason: &str) {
    assert_eq!(answer.status, 503, "{}", answer.body);
    let expected = json!({"ready": false, "failed": failed, "reason": reason});
    assert_eq!(answer.json(), expected);
}

#[test]
fn probes_are_answered_whoever_asks_and_by_whatever_name() {
    let server = crate::access::guarded_with(&[
        ("ALLOWED_HOSTS", "locks.example"),
        ("CLIENT_REQUESTS_PER_SECOND", "1"),
        ("CONNECTIONS_MAX", "9"),
    ]);
    let ask = |path: &str| {
        let mut client = server.client();
        let head = format!("GET {path} HTTP/1.1\r\nHost: 10.0.0.7:8000\r\nAccept: text/html\r\n\r\n");
        client.send_raw(head.as_bytes());
        client.answer()
    };
    let mut open: Vec<_> = (0..9).map(|_| server.client()).collect();
    assert!(open.iter_mut().all(|client| client.get("/healthz/").status == 200));
    let mut others = server.client();
    others.send_raw(b"GET /resources/ HTTP/1.1\r\nHost: locks.example\r\n\r\n");
    assert_eq!(others.answer().status, 503, "no connection is left");

    for (path, body) in [
        ("/healthz/", "{\"healthy\":true}"),
        ("/healthz", "{\"healthy\":true}"),
        ("/readyz/", "{\"ready\":true}"),
        ("/readyz?format=x", "{\"ready\":true}"),
    ] {
        for _ in 0..3 {
            let answer = ask(path);

            assert_eq!((answer.status, answer.body.as_str()), (200, body), "{path}");
            assert_eq!(answer.header("Content-Type"), Some("application/json"));
        }
    }
    assert_eq!(ask("/resources/").status, 503, "and for nothing else");
}

#[test]
fn only_probes_are_answered_to_any_host() {
    let server = Server::start();
    for (path, status) in [
        ("/healthz/", 200),
        ("/readyz/", 200),
        ("/metrics/", 400),
        ("/schema/", 400),
    ] {
        let mut client = server.client();
        client.send_raw(format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n").as_bytes());
        assert_eq!(client.answer().status, status, "{path}");
    }
    let head = server.client().head("/readyz/", &[]);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

fn a_missing_migration_is_named() {
    let server = Server::start();
    assert_eq!(ready(&server).status, 200);
    server.select(&format!("DELETE {MIGRATION}"));

    eventually("it is seen", WAIT_MAX, || ready(&server).status == 503);

    assert_not_ready(&ready(&server), "migrations", "not applied: 0005_info");
    assert_eq!(server.client().get("/healthz/").status, 200, "it is alive");
    server.select("INSERT INTO __diesel_schema_migrations (version) VALUES ('0005')");
    eventually("it is seen", WAIT_MAX, || ready(&server).status == 200);
    server.select("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')");
    std::thread::sleep(BELIEVED);
    assert_eq!(ready(&server).status, 200, "one that a newer version has made");
}

#[test]
fn a_missing_migration_is_named_on_sqlite() {
    a_missing_migration_is_named();
}

#[test]
fn a_missing_migration_is_named_on_postgres() {
    on_postgres(a_missing_migration_is_named);
}

#[test]
fn the_database_is_asked_at_most_once_a_second() {
    on_postgres(|| {
        let server = Server::start();
        let mut client = server.client();
        // Tried until the busy machine does all of it within the second for which a look is believed.
        eventually("all is asked within a second", Duration::from_secs(30), || {
            server.select("INSERT INTO __diesel_schema_migrations (version) VALUES ('0005') ON CONFLICT DO NOTHING");
            eventually("it is ready", WAIT_MAX, || client.get("/readyz/").status == 200);
            std::thread::sleep(BELIEVED);
            let asked = Instant::now();
            assert_eq!(client.get("/readyz/").status, 200);
            server.select(&format!("DELETE {MIGRATION}"));
            let statuses: Vec<_> = (0..100).map(|_| client.get("/readyz/").status).collect();
            let in_time = asked.elapsed() < Duration::from_millis(900);
            assert!(!in_time || statuses.iter().all(|status| *status == 200), "{statuses:?}");
            in_time
        });
    });
}

#[test]
fn a_file_that_is_gone_is_not_ready() {
    let server = Server::start();
    assert_eq!(ready(&server).status, 200);
    std::fs::rename(server.database(), server.directory().join("elsewhere")).expect("it is there");

    eventually("it is seen", WAIT_MAX, || ready(&server).status == 503);

    assert_not_ready(
        &ready(&server),
        "database",
        "the database cannot be asked; the server's log says why",
    );
    let log = server.log();
    let told = log.lines().filter(|line| line.contains("not ready: "));
    assert_eq!(told.count(), 1, "{log}");
    std::fs::rename(server.directory().join("elsewhere"), server.database()).expect("it is there");
    eventually("it is seen", WAIT_MAX, || ready(&server).status == 200);
}

#[test]
fn a_database_that_is_silent_is_told_in_time_and_one_that_refuses_too() {
    let database = Cluster::shared().database();
    let proxy = Proxy::before(&database);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Cls::in_directory(directory.path())
        .with("DATABASE_URL", proxy.url())
        .start();
    assert_eq!(ready(&server).status, 200);

    proxy.stop();
    let mut slowest = Duration::ZERO;
    eventually("it is seen", WAIT_MAX, || {
        let asked = Instant::now();
        let answer = ready(&server);
        slowest = slowest.max(asked.elapsed());
        answer.status == 503
    });
    let many: Vec<_> = (0..20)
        .map(|_| {
            let mut client = server.client();
            client.send("GET", "/readyz/", "");
            (Instant::now(), client)
        })
        .collect();
    for (asked, mut client) in many {
        let answer = client.answer();
        slowest = slowest.max(answer.received - asked);
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert_eq!(answer.json()["failed"], "database");
    }
    assert!(slowest < ANSWER_WAIT_MAX, "{slowest:?}");
    assert_eq!(server.client().get("/healthz/").status, 200);

    proxy.resume();
    eventually("it is ready again", WAIT_MAX, || ready(&server).status == 200);
    refuse_connections(&database, true);
    eventually("it is seen", WAIT_MAX, || ready(&server).status == 503);
    refuse_connections(&database, false);
    eventually("it is ready again", WAIT_MAX, || ready(&server).status == 200);
}
