//! `ALLOWED_HOSTS`: whose names this server answers to.

use crate::support::{Answer, Server};

/// What a request for `target` with these header lines is answered.
fn ask(server: &Server, start: &str, lines: &str) -> Answer {
    let mut client = server.client();
    client.send_raw(format!("{start}\r\n{lines}Connection: close\r\n\r\n").as_bytes());
    client.answer()
}

fn status_for(server: &Server, host: &str) -> u16 {
    ask(server, "GET /resources/ HTTP/1.1", &format!("Host: {host}\r\n")).status
}

#[test]
fn on_loopback_a_name_that_is_not_local_is_refused_as_django_does() {
    let server = Server::start();
    let port = server.address.port();

    for host in [
        "localhost",
        "LOCALHOST.",
        "app.localhost:1",
        "127.0.0.1",
        "[::1]",
        &format!("127.0.0.1:{port}"),
    ] {
        assert_eq!(status_for(&server, host), 200, "{host}");
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "evillocalhost",
        "127.0.0.1.evil.example",
        "127.0.0.2",
        "",
    ] {
        let answer = ask(&server, "GET /resources/ HTTP/1.1", &format!("Host: {host}\r\n"));
        assert_eq!(answer.status, 400, "{host}");
        assert!(answer.body.contains("<h1>Bad Request (400)</h1>"), "{}", answer.body);
        assert_eq!(answer.header("Content-Type"), Some("text/html; charset=utf-8"));
    }
}

#[test]
fn it_is_asked_before_anything_else_on_every_path_and_method() {
    let server = Server::start();
    for start in [
        "PUT /resources/a/",
        "DELETE /resources/a/",
        "POST /locks/",
        "GET /schema/",
        "GET /nowhere/",
        "OPTIONS /resources/",
        "OPTIONS *",
        "TRACE /resources/a/",
    ] {
        let body = "{\"locked_by\": \"k\", \"resources\": [\"a\"]}";
        let mut client = server.client();
        let length = body.len();
        let head = format!("{start} HTTP/1.1\r\nHost: evil\r\nContent-Type: application/json\r\n");
        client.send_raw(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes());
        assert_eq!(client.answer().status, 400, "{start}");
    }
    assert_eq!(server.select("SELECT count(*) FROM resources"), ["0"]);
}

#[test]
fn the_target_counts_before_the_header_and_the_own_address_without_one() {
    let server = Server::start();
    let local = "Host: localhost\r\n";

    for (start, lines, status) in [
        ("GET http://localhost/resources/ HTTP/1.1", "Host: evil\r\n", 200),
        ("GET http://evil/resources/ HTTP/1.1", local, 400),
        ("GET http://localhost@evil/resources/ HTTP/1.1", local, 400),
        ("CONNECT evil:80 HTTP/1.1", local, 400),
        ("GET /resources/ HTTP/1.0", "", 200),
        ("GET /resources/ HTTP/1.0", "Host: evil\r\n", 400),
        (
            "GET /resources/ HTTP/1.1",
            "Host: evil\r\nX-Forwarded-Host: localhost\r\n",
            400,
        ),
    ] {
        assert_eq!(ask(&server, start, lines).status, status, "{start} {lines}");
    }
}

#[test]
fn what_an_operator_lists_is_all_that_is_served() {
    let server = Server::start_with(&[("ALLOWED_HOSTS", "locks.example, .internal")]);

    for (host, status) in [
        ("locks.example", 200),
        ("a.internal:80", 200),
        ("internal", 200),
        ("a.locks.example", 400),
        ("localhost", 400),
        ("127.0.0.1", 400),
    ] {
        assert_eq!(status_for(&server, host), status, "{host}");
    }
    assert_eq!(ask(&server, "GET /resources/ HTTP/1.0", "").status, 400);
}

#[test]
fn a_star_serves_whatever_is_a_host() {
    let server = Server::start_with(&[("ALLOWED_HOSTS", "*")]);
    for (host, status) in [("anything.example:1", 200), ("a/b", 400), ("", 400)] {
        assert_eq!(status_for(&server, host), status, "{host}");
    }
}

#[test]
fn what_a_page_of_another_site_sends_is_refused() {
    let server = Server::start();
    let mut client = server.client();
    for (site, status) in [
        ("cross-site", 403),
        ("same-site", 403),
        ("same-origin", 200),
        ("none", 400),
    ] {
        let headers = [("Sec-Fetch-Site", site)];
        let answer = client.request_with(("PUT", "/resources/r/"), &headers, r#"{"locked_by": "k"}"#);
        assert_eq!(answer.status, status, "{site} {}", answer.body);
    }
    let headers = [("Sec-Fetch-Site", "cross-site")];
    let refused = client.request_with(("POST", "/resources/r/break/"), &headers, r#"{"reason": "x"}"#);
    assert_eq!(refused.status, 403);
    assert_eq!(client.request_with(("GET", "/resources/r/"), &headers, "").status, 200);
}
