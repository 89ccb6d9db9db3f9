//! `/metrics/`: what is counted, who may see it, and what is not in it.

use std::io::Write;
use std::process::{Command, Stdio};

use super::{Scrape, WAIT_MAX, by, eventually_is, in_line, refuse_connections};
use crate::resources::Blocker;
use crate::support::{Client, Server, eventually, on_postgres};

/// What is 0 when the work is done: gauges of what is over, and what goes wrong
/// with none of it.
const ZERO: [&str; 5] = [
    "cls_database_failing",
    "cls_draining",
    "cls_catalog_connections_in_use",
    "cls_queued_operations",
    "cls_grants_returned_total",
];

/// Does something of everything with `server`, whose bounds are low.
fn work(server: &Server) {
    let mut client = server.client();
    let mut ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &str, status: u16| {
        let answer = client.request_with((method, path), headers, body);
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.body);
    };
    let key = [("Idempotency-Key", "planted-request")];
    let a = "/resources/planted-a/";
    let label = ", \"ttl\": 600, \"label\": \"planted-label\"";
    ask("PUT", a, &key, &by("planted-key", label), 200);
    ask("PUT", a, &key, &by("planted-key", label), 200);
    ask("PUT", a, &key, &by("planted-key", ""), 422);
    ask("PUT", a, &[], &by("planted-other", ""), 400);
    ask("PATCH", a, &[], &by("planted-other", ""), 400);
    ask("PATCH", a, &[], &by("planted-key", ""), 200);
    ask("PATCH", "/resources/", &[], &by("planted-key", ""), 200);
    ask("DELETE", a, &[], &by("planted-other", ""), 400);
    ask("PUT", a, &[], &by("planted-other", ", \"timeout\": 1"), 408);
    let mut waiter = in_line(server, "planted-a", &by("planted-next", ", \"timeout\": 60"), 1);
    ask("PUT", a, &[], &by("planted-late", ", \"timeout\": 60"), 429);
    ask("DELETE", a, &[], &by("planted-key", ""), 204);
    assert_eq!(waiter.answer().status, 200);
    let reason = "{\"reason\": \"planted-reason\"}";
    ask("POST", "/resources/planted-a/break/", &[], reason, 200);
    ask("DELETE", a, &[], &by("planted-next", ""), 400);
    ask("DELETE", a, &[], &by("planted-key", ""), 400);
    ask("PUT", a, &[], &by("planted-key", ", \"ttl\": 1"), 200);
    let pair = "{\"resources\": [\"planted-b\", \"planted-c\"], \"locked_by\": \"planted-key\"}";
    ask("POST", "/locks/", &[], pair, 200);
    let many = "{\"resources\": [\"planted-d\", \"planted-e\"], \"locked_by\": \"planted-key\"}";
    ask("POST", "/locks/", &[], many, 429);
    ask("GET", "/resources/", &[], "", 200);
    ask(
        "DELETE",
        "/resources/planted-nothing/",
        &[],
        &by("planted-key", ""),
        400,
    );
    ask("PROPFIND", a, &[], "", 405);
    // It expires without anybody asking for it.
    eventually_is(server, "cls_expirations_total", 1.0);
}

/// A server that has done something of everything, and somebody in line there.
fn working() -> (Server, Client) {
    let server = Server::start_with(&[("WAITERS_PER_RESOURCE_MAX", "1"), ("CLIENT_LOCKS_MAX", "3")]);
    work(&server);
    let waiter = in_line(&server, "planted-b", &by("planted-next", ", \"timeout\": 60"), 1);
    eventually_is(&server, "cls_longest_line_waiters", 1.0);
    eventually_is(&server, "cls_waiters", 1.0);
    (server, waiter)
}

fn what_was_done_is_counted() {
    let (server, _waiter) = working();
    let scrape = Scrape::of(&server);

    for (series, count) in [
        // a, a again for a second, b and c.
        ("cls_grants_total{how=\"at_once\"}", 4.0),
        ("cls_grants_total{how=\"after_waiting\"}", 1.0),
        ("cls_grants_total{how=\"told_again\"}", 1.0),
        ("cls_refusals_total{reason=\"locked\"}", 1.0),
        ("cls_refusals_total{reason=\"timeout\"}", 1.0),
        ("cls_refusals_total{reason=\"invalid_unlock\"}", 1.0),
        ("cls_refusals_total{reason=\"invalid_renew\"}", 1.0),
        ("cls_refusals_total{reason=\"not_acquired\"}", 2.0),
        ("cls_refusals_total{reason=\"was_broken\"}", 1.0),
        ("cls_refusals_total{reason=\"key_reused\"}", 1.0),
        ("cls_refusals_total{reason=\"line_full\"}", 1.0),
        ("cls_refusals_total{reason=\"client_locks\"}", 1.0),
        ("cls_refusals_total{reason=\"deadlock\"}", 0.0),
        ("cls_releases_total", 1.0),
        ("cls_renewals_total", 2.0),
        ("cls_breaks_total", 1.0),
        ("cls_expirations_total", 1.0),
        ("cls_hold_seconds_count", 3.0),
        ("cls_wait_seconds_count", 1.0),
        ("cls_hand_over_seconds_count", 1.0),
        ("cls_http_requests_total{method=\"other\",status=\"4xx\"}", 1.0),
        ("cls_http_requests_total{method=\"PATCH\",status=\"2xx\"}", 2.0),
        ("cls_database_failing", 0.0),
        ("cls_draining", 0.0),
    ] {
        assert_eq!(scrape.value(series), count, "{series}");
    }
    // The lock that expired was held for its second; the others for less.
    assert!((1.0..3.0).contains(&scrape.value("cls_hold_seconds_sum")));
    assert!(scrape.value("cls_hand_over_seconds_sum") > 0.0);
    assert!(scrape.value("cls_commit_seconds_sum") > 0.0);
    assert!(scrape.value("cls_commit_seconds_count") >= 8.0);
    let version = format!("cls_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(scrape.value(&version), 1.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let age = now.expect("after 1970").as_secs_f64() - scrape.value("process_start_time_seconds");
    assert!((0.0..60.0).contains(&age), "{age}");
    for name in scrape.names() {
        let samples = scrape.series.iter().filter(|(series, _)| series.starts_with(name));
        let is_zero = samples.map(|(_, value)| value).sum::<f64>() == 0.0;
        assert_eq!(is_zero, ZERO.contains(&name), "{name}");
    }
    let connected = scrape.find("cls_listener_connected");
    assert_eq!(connected, server.is_on_postgres().then_some(1.0));
}

#[test]
fn what_was_done_is_counted_on_sqlite() {
    what_was_done_is_counted();
}

#[test]
fn what_was_done_is_counted_on_postgres() {
    on_postgres(what_was_done_is_counted);
}

/// What `promtool` has to say of a text, nothing if it is as it should be.
pub fn promtool(arguments: &[&str], input: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed: Debian's package prometheus");
    let stdin = promtool.stdin.take();
    stdin
        .expect("it is piped")
        .write_all(input.as_bytes())
        .expect("it reads");
    let output = promtool.wait_with_output().expect("a child of ours");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    match output.status.success() {
        true => said,
        false => format!("{}: {said}", output.status),
    }
}

#[test]
fn promtool_finds_nothing_wrong() {
    on_postgres(|| {
        let (server, _waiter) = working();
        let text = Scrape::of(&server).text;

        assert_eq!(promtool(&["check", "metrics"], &text), "");
        assert_ne!(
            promtool(&["check", "metrics"], &text.replace("_total", "")),
            "",
            "it looks"
        );
    });
}

#[test]
fn nothing_that_is_sent_is_in_the_metrics() {
    let (server, _waiter) = working();
    for path in ["/planted-path/", "/metrics/?planted=1", "/resources/?prefix=planted"] {
        let answer = server
            .client()
            .request_with(("GET", path), &[("Authorization", "Token planted-token")], "");
        assert!(answer.status < 500);
    }

    let text = Scrape::of(&server).text;

    let planted = text.lines().find(|line| line.contains("planted"));
    assert_eq!(planted, None);
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(
        series,
        Scrape::of(&Server::start()).series.len(),
        "none comes of a request"
    );
}

#[test]
fn it_is_text_of_a_known_version_whatever_is_asked_for() {
    let server = Server::start();
    for (path, accept) in [
        ("/metrics/", "application/openmetrics-text;version=1.0.0,*/*;q=0.1"),
        ("/metrics", "application/json"),
        ("/metrics/?format=json", "text/html"),
    ] {
        let answer = server.client().request_with(("GET", path), &[("Accept", accept)], "");

        assert_eq!(answer.status, 200, "{path}");
        let content_type = answer.header("Content-Type");
        assert_eq!(content_type, Some("text/plain; version=0.0.4; charset=utf-8"));
    }
    let head = server.client().head("/metrics/", &[]);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(server.client().request("POST", "/metrics/", "{}").status, 405);
}

#[test]
fn with_tokens_it_is_for_those_that_may_read() {
    let server = crate::access::guarded_with(&[("CLIENT_REQUESTS_PER_SECOND", "10")]);
    let reader = crate::access::token(&server, &["prometheus", "--can", "read", "--prefix", "none-"]);
    let worker = crate::access::token(&server, &["worker", "--can", "acquire"]);
    let ask = |authorization: &str| {
        let headers = [("Authorization", authorization)];
        server.client().request_with(("GET", "/metrics/"), &headers, "")
    };

    assert_eq!(server.client().get("/metrics/").status, 401);
    assert_eq!(ask(&format!("Token {worker}")).status, 403);
    // More than the client may ask of anything else.
    for _ in 0..40 {
        assert_eq!(ask(&format!("Token {reader}")).status, 200);
    }
}

#[test]
fn each_bound_has_its_reason() {
    let server = Server::start_with(&[
        ("WAITERS_MAX", "1"),
        ("CLIENT_WAITERS_MAX", "2"),
        ("OPERATIONS_QUEUED_MAX", "1"),
        ("WORKERS", "1"),
    ]);
    let mut client = server.client();
    for name in ["a", "b"] {
        assert_eq!(client.put(name, &by(&format!("key-of-{name}"), "")).status, 200);
    }
    let waiting = in_line(&server, "a", &by("key-of-b", ", \"timeout\": 60"), 1);
    let full = server.client().put("b", &by("other-key", ", \"timeout\": 60"));
    let deadlock = server.client().put("b", &by("key-of-a", ", \"timeout\": 60"));
    let mut watcher = server.client();
    watcher.send("GET", "/resources/a/?wait=60", "");
    eventually("two of the client wait", WAIT_MAX, || {
        server.client().get("/resources/a/?wait=1").status == 429
    });
    drop((waiting, watcher));
    eventually_is(&server, "cls_waiters", 0.0);
    let blocker = Blocker::lock(&server);
    // The first of them, perhaps with others, are being committed. One is queued, and the rest are refused.
    let mut clients: Vec<_> = (0..10).map(|_| server.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send_put(&format!("x{number}"), &by("some-key", ""));
    }
    // A commit that waits for the blocker gives up after a while, and takes what is queued.
    eventually("one is queued", WAIT_MAX, || {
        let mut client = server.client();
        client.send_put(&format!("x{}", clients.len()), &by("some-key", ""));
        clients.push(client);
        Scrape::of(&server).value("cls_queued_operations") == 1.0
    });
    drop(blocker);
    let refused = clients.iter_mut().filter_map(|client| {
        let answer = client.answer();
        (answer.status == 503).then_some(answer.body)
    });
    assert!(
        refused
            .into_iter()
            .any(|body| body.contains("too many operations are queued"))
    );

    assert_eq!((full.status, deadlock.status), (503, 409));
    let scrape = Scrape::of(&server);
    for reason in ["waiters_full", "deadlock", "client_waiters", "queue_full"] {
        let series = format!("cls_refusals_total{{reason=\"{reason}\"}}");
        assert!(scrape.value(&series) >= 1.0, "{reason}");
    }
    eventually_is(&server, "cls_queued_operations", 0.0);
}

#[test]
fn a_client_that_asks_too_often_is_counted_and_metrics_are_served_at_any_rate() {
    let server = Server::start_with(&[("CLIENT_REQUESTS_PER_SECOND", "1")]);
    let mut client = server.client();
    assert_eq!(client.get("/resources/").status, 200);
    assert_eq!(client.get("/resources/").status, 429);

    for _ in 0..20 {
        assert_eq!(client.get("/metrics/").status, 200);
    }
    assert_eq!(
        Scrape::of(&server).value("cls_refusals_total{reason=\"throttled\"}"),
        1.0
    );
}

fn a_database_that_fails_is_seen() {
    let server = Server::start();
    let (break_it, mend_it) = if server.is_on_postgres() {
        let break_it = "ALTER TABLE resources ADD CONSTRAINT none CHECK (locked_by IS NULL) NOT VALID";
        (break_it, "ALTER TABLE resources DROP CONSTRAINT none")
    } else {
        let break_it = "CREATE TRIGGER none BEFORE INSERT ON resources BEGIN SELECT raise(ABORT, 'no'); END";
        (break_it, "DROP TRIGGER none")
    };
    server.select(break_it);
    assert_eq!(server.client().put("a", &by("some-key", "")).status, 503);
    let failing = Scrape::of(&server);
    server.select(mend_it);
    eventually("it works", WAIT_MAX, || {
        server.client().put("a", &by("some-key", "")).status == 200
    });

    assert_eq!(failing.value("cls_database_failing"), 1.0);
    assert_eq!(failing.value("cls_refusals_total{reason=\"store\"}"), 1.0);
    assert_eq!(failing.value("cls_grants_total{how=\"at_once\"}"), 0.0);
    eventually_is(&server, "cls_database_failing", 0.0);
    eventually_is(&server, "cls_grants_total{how=\"at_once\"}", 1.0);
}

#[test]
fn a_database_that_fails_is_seen_on_sqlite() {
    a_database_that_fails_is_seen();
}

#[test]
fn a_database_that_fails_is_seen_on_postgres() {
    on_postgres(a_database_that_fails_is_seen);
}

#[test]
fn a_listener_that_is_lost_is_seen() {
    on_postgres(|| {
        let server = Server::start();
        eventually_is(&server, "cls_listener_connected", 1.0);

        refuse_connections(server.postgres(), true);
        eventually_is(&server, "cls_listener_connected", 0.0);
        refuse_connections(server.postgres(), false);

        eventually_is(&server, "cls_listener_connected", 1.0);
    });
}

#[test]
fn a_grant_that_nobody_learned_of_is_returned() {
    let server = Server::start_with(&[("WORKERS", "1")]);
    let mut client = server.client();
    // Who leaves before the decision is granted nothing, which happens on a busy machine.
    eventually("somebody leaves between decision and answer", WAIT_MAX, || {
        let mut leaver = server.client();
        assert_eq!(leaver.get("/healthz/").status, 200);
        let blocker = Blocker::lock(&server);
        leaver.send_put("a", &by("other-key", ""));
        // Read by the same worker, so it is on its way to the commit.
        assert_eq!(client.get("/healthz/").status, 200);
        eventually_is(&server, "cls_queued_operations", 0.0);
        drop(leaver);
        // Read after the end of that connection.
        assert_eq!(client.get("/healthz/").status, 200);
        drop(blocker);
        eventually("it is free", WAIT_MAX, || {
            client.put("a", &by("some-key", "")).status == 200
        });
        assert_eq!(client.delete("a", "some-key").status, 204);
        Scrape::of(&server).value("cls_grants_returned_total") > 0.0
    });
}
