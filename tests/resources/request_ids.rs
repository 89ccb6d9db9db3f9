//! `X-Request-ID`, with every kind of answer and in the log.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Answer, Server, eventually, on_postgres};

const LINE_WAIT_MAX: Duration = Duration::from_secs(10);

fn id(answer: &Answer) -> &str {
    let named = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("x-request-id");
    assert_eq!(answer.headers.iter().filter(named).count(), 1, "{:?}", answer.headers);
    answer.header("X-Request-ID").expect("it has one")
}

#[test]
fn every_answer_has_an_id_of_its_own_on_postgres() {
    on_postgres(every_answer_has_an_id_of_its_own);
}

#[test]
fn every_answer_has_an_id_of_its_own() {
    let server = Server::start();
    let mut client = server.client();
    let json = r#"{"locked_by": "k", "timeout": 1}"#;
    let too_large = format!("{{\"locked_by\": \"{}\"}}", "x".repeat(2 << 20));
    let asked = [
        ("PUT", "/resources/a/", json, 200),
        ("PUT", "/resources/a/", r#"{"locked_by": "k"}"#, 400),
        ("PUT", "/resources/a/", json, 408),
        ("GET", "/resources/a/?wait=1", "", 200),
        ("PUT", "/resources/a/", "{", 400),
        ("DELETE", "/resources/a/", json, 204),
        ("DELETE", "/resources/a/", json, 400),
        ("GET", "/resources/?page=9", "", 404),
        ("POST", "/resources/a/", "", 405),
        ("OPTIONS", "/resources/a/", "", 200),
        ("GET", "/schema/?format=xml", "", 404),
        ("GET", "/nowhere/", "", 404),
        ("TRACE", "/", "", 404),
    ];

    let mut ids = HashSet::new();
    for (method, path, body, status) in asked {
        let answer = client.request(method, path, body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        ids.insert(id(&answer).to_owned());
    }
    let type_unknown = client.request_as(("PUT", "/resources/a/"), "text/plain", json);
    let cross_site = client.request_with(("PUT", "/resources/a/"), &[("Sec-Fetch-Site", "cross-site")], json);
    let large = client.request("PUT", "/resources/a/", &too_large);
    for (answer, status) in [(type_unknown, 415), (cross_site, 403), (large, 413)] {
        assert_eq!(answer.status, status, "{}", answer.body);
        ids.insert(id(&answer).to_owned());
    }
    let mut other = server.client();
    other.send_raw(b"GET / HTTP/1.1\r\nHost: elsewhere\r\n\r\n");
    ids.insert(id(&other.answer()).to_owned());

    assert_eq!(ids.len(), asked.len() + 4, "no two are the same: {ids:?}");
}

#[test]
fn what_a_client_sends_is_kept_if_it_can_be() {
    let server = Server::start();
    let mut client = server.client();
    let mut ask = |sent: &str| {
        let answer = client.request_with(("GET", "/nowhere/"), &[("X-Request-ID", sent)], "");
        id(&answer).to_owned()
    };
    let longest = "x".repeat(100);
    for kept in ["7f3a-proxy:1", "\"{}\\", &longest] {
        assert_eq!(ask(kept), kept);
    }
    for replaced in ["", "two words", "é", &format!("{longest}x")] {
        let made = ask(replaced);
        assert!(
            made.len() == 24 && made.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{made}"
        );
    }
}

#[test]
fn a_server_that_is_full_says_by_which_id_it_refused() {
    let server = Server::start_with(&[("CONNECTIONS_MAX", "1")]);
    let mut first = server.client();
    assert_eq!(first.get("/resources/").status, 200);

    let refused = server
        .client()
        .request_with(("GET", "/resources/"), &[("X-Request-ID", "mine")], "");

    assert_eq!((refused.status, id(&refused)), (503, "mine"));
}

/// Breaks a lock, which is a line in the log. Answers with the identifier of the
/// request, and that line.
fn broken_at(server: &Server, sent: &str) -> (String, String) {
    let mut client = server.client();
    assert_eq!(client.put("a", r#"{"locked_by": "k"}"#).status, 200);
    let target = ("POST", "/resources/a/break/");
    let answer = client.request_with(target, &[("X-Request-ID", sent)], r#"{"reason": "\"gone\"\n"}"#);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let broken = |log: &str| {
        log.lines()
            .find(|line| line.contains("broke the lock"))
            .map(str::to_owned)
    };
    eventually("it is logged", LINE_WAIT_MAX, || broken(&server.log()).is_some());
    (id(&answer).to_owned(), broken(&server.log()).expect("it is there"))
}

#[test]
fn a_line_that_belongs_to_a_request_has_its_id() {
    for sent in ["by-a-proxy", ""] {
        let text = Server::start();
        let json = Server::start_with(&[("LOG_FORMAT", "json")]);

        let (id, line) = broken_at(&text, sent);
        assert!(
            line.contains(&format!("] request {id}: \"somebody\" at 127.0.0.1:")),
            "{line}"
        );
        let (id, line) = broken_at(&json, sent);
        let line: Value = serde_json::from_str(&line).expect("it is JSON");
        assert_eq!(line["request_id"], id);
        assert_eq!(line["level"], "WARN");
        let message = line["message"].as_str().expect("a text");
        assert!(message.starts_with("\"somebody\" at 127.0.0.1:"), "{message}");
    }
}

#[test]
fn each_request_is_a_line_where_so_much_is_logged_and_only_there() {
    for (filter, lines) in [("info", 0), ("info,central_locking_system::server=debug", 2)] {
        let server = Server::start_with(&[("RUST_LOG", filter)]);
        let mut client = server.client();
        let ids: Vec<_> = ["/resources/?search=planted", "/nowhere/"]
            .map(|path| id(&client.get(path)).to_owned())
            .into();
        client.request("POST", "/resources/a/break/", r#"{"reason": "r"}"#);

        let log = server.log();
        let answered = |id: &&String| {
            let wanted = [
                format!("request {id}: GET /resources/ was answered 200"),
                format!("request {id}: GET /nowhere/ was answered 404"),
            ];
            wanted.iter().any(|wanted| log.contains(wanted))
        };
        assert_eq!(ids.iter().filter(answered).count(), lines, "{log}");
        assert!(!log.contains("planted"), "{log}");
    }
}
