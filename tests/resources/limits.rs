//! What is too much is refused at once, and there is room again afterwards.

use std::time::{Duration, Instant};

use super::{Blocker, assert_unavailable, by, connected, hold, in_line, release, settle, with_timeout};
use crate::support::{Client, Server, eventually};

/// "At once", on a busy machine; no refusal waits for anything.
const AT_ONCE: Duration = Duration::from_secs(1);

const BODY_BYTES_MAX: usize = 1 << 20;

#[test]
pub(super) fn one_waiter_too_many_for_a_resource_is_answered_429() {
    let server = Server::start_with(&[("WORKERS", "1"), ("WAITERS_PER_RESOURCE_MAX", "2")]);
    hold(&server, "r");
    hold(&server, "other");
    let mut first = in_line(&server, "r", &with_timeout("first", 60));
    let second = in_line(&server, "r", &with_timeout("second", 60));

    let asked = Instant::now();
    let refused = server.client().put("r", &with_timeout("third", 60));
    assert!(asked.elapsed() < AT_ONCE);
    assert_unavailable(&refused, 429, "too many requests wait for this resource");
    let _elsewhere = in_line(&server, "other", &with_timeout("third", 60));
    assert_eq!(
        server.client().put("r", &by("plain")).status,
        400,
        "who does not wait is answered as ever"
    );

    drop(second);
    settle(&server, "r");
    let mut third = in_line(&server, "r", &with_timeout("third", 60));
    release(&server, "r");
    assert_eq!(first.answer().status, 200);
    assert_eq!(first.delete("r", "first").status, 204);
    assert_eq!(third.answer().status, 200, "the one who left made room");
}

#[test]
pub(super) fn one_waiter_too_many_in_all_is_answered_503() {
    let server = Server::start_with(&[("WORKERS", "1"), ("WAITERS_MAX", "2")]);
    for name in ["a", "b", "c"] {
        hold(&server, name);
    }
    let first = in_line(&server, "a", &with_timeout("first", 60));
    let _second = in_line(&server, "b", &with_timeout("second", 60));

    let asked = Instant::now();
    let refused = server.client().put("c", &with_timeout("third", 60));
    assert!(asked.elapsed() < AT_ONCE);
    assert_unavailable(&refused, 503, "too many requests wait for locks");

    drop(first);
    settle(&server, "a");
    let mut third = in_line(&server, "c", &with_timeout("third", 60));
    release(&server, "c");
    assert_eq!(third.answer().status, 200, "the one who left made room");
}

#[test]
pub(super) fn with_no_room_for_waiters_nobody_waits_and_the_rest_works() {
    let server = Server::start_with(&[("WAITERS_MAX", "0")]);
    hold(&server, "r");

    assert_unavailable(
        &server.client().put("r", &with_timeout("w", 60)),
        503,
        "too many requests wait for locks",
    );
    assert_eq!(server.client().put("free", &with_timeout("w", 60)).status, 200);
    release(&server, "r");
}

#[test]
pub(super) fn one_operation_too_many_in_the_queue_is_answered_503() {
    let server = Server::start_with(&[("WORKERS", "1"), ("OPERATIONS_QUEUED_MAX", "1")]);
    let mut clients: Vec<Client> = (0..6).map(|_| connected(&server)).collect();

    let blocker = Blocker::lock(&server);
    let asked = Instant::now();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send_put(&format!("r{number}"), &by("k"));
    }
    // One is being committed or soon will be, one is queued, and there is no room for the others.
    let refused = clients[5].answer();
    assert!(asked.elapsed() < AT_ONCE);
    assert_unavailable(&refused, 503, "too many operations are queued");
    drop(blocker);

    let mut acquired = 0;
    for client in &mut clients[..5] {
        let answer = client.answer();
        match answer.status {
            200 => acquired += 1,
            _ => assert_unavailable(&answer, 503, "too many operations are queued"),
        }
    }
    assert!(acquired >= 1);
    assert_eq!(
        server.select("SELECT count(*) FROM resources"),
        [acquired.to_string()],
        "the refused left no trace"
    );
    assert_eq!(clients[5].put("r5", &by("k")).status, 200, "there is room again");
}

#[test]
pub(super) fn one_connection_too_many_is_answered_503_and_closed() {
    let server = Server::start_with(&[("CONNECTIONS_MAX", "2")]);
    let mut first = connected(&server);
    let second = connected(&server);

    let mut third = server.client();
    let refused = third.put("r", &by("third"));
    assert_unavailable(&refused, 503, "too many connections are open");
    assert_eq!(
        refused.header("Connection").map(str::to_ascii_lowercase).as_deref(),
        Some("close")
    );
    assert!(third.is_closed_within(Duration::from_secs(5)));
    assert_eq!(first.put("r", &by("first")).status, 200, "who is connected goes on");

    drop(second);
    eventually("there is room again", Duration::from_secs(5), || {
        server.client().put("r", &by("next")).status == 400
    });
}

#[test]
pub(super) fn a_body_of_a_mebibyte_is_read_and_one_byte_more_is_not() {
    let server = Server::start();
    let body = by("k");
    let largest = format!("{body}{}", " ".repeat(BODY_BYTES_MAX - body.len()));
    assert_eq!(server.client().put("largest", &largest).status, 200);

    let mut client = server.client();
    // The answer comes before the body, which then need not be sent.
    let head = format!(
        "PUT /resources/r/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        BODY_BYTES_MAX + 1
    );
    client.send_raw(head.as_bytes());
    let answer = client.answer();

    let too_large = r#"{"detail":"The request body is larger than 1048576 bytes."}"#;
    assert_eq!((answer.status, answer.body.as_str()), (413, too_large));
    assert!(
        client.is_closed_within(Duration::from_secs(5)),
        "the rest is not a request"
    );
    assert_eq!(server.select("SELECT name FROM resources"), ["largest"]);
}

#[test]
pub(super) fn a_chunked_body_is_counted_as_it_comes() {
    let server = Server::start();
    let mut client = server.client();
    client.send_raw(b"PUT /resources/r/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 16, " ".repeat(1 << 16));
    for _ in 0..BODY_BYTES_MAX >> 16 {
        client.send_raw(chunk.as_bytes());
    }
    client.send_raw(b"1\r\n \r\n");

    assert_eq!(client.answer().status, 413);
}
