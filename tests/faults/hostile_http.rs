//! Requests that are slow, large, malformed or never read.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::faults::{AT_ONCE, Watch, acquire, body, is_held, rss_mib};
use crate::support::{Client, Server, eventually};

/// Until when a connection that holds up the server must be gone: ten seconds,
/// and the two that it may take to close down.
const CUT_WITHIN: Duration = Duration::from_secs(13);

const HEAD: &str = "Host: localhost\r\nContent-Type: application/json\r\n";

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).expect("the server accepts connections");
    stream.set_nonblocking(true).expect("a socket");
    stream
}

/// How many connections to a server are open, as its own system sees it.
fn open_connections(server: &Server) -> usize {
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let address = format!(":{:04X}", server.address.port());
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[1].ends_with(&address) && row[3] == ESTABLISHED)
        .count()
}

/// Reads what is there. Says whether the other side has closed.
fn has_closed(stream: &mut TcpStream, answer: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return true,
            Ok(length) => answer.extend_from_slice(&chunk[..length]),
            Err(e) => return e.kind() != ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn a_byte_a_second_is_cut_within_ten_seconds() {
    let server = Server::start();
    let watch = Watch::start(server.address);
    let opened = Instant::now();
    let announced = format!("{HEAD}Content-Length: 1000\r\n\r\n");
    let chunked = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n400\r\n");
    // What is sent at once, and what follows for ever, a byte a second; nothing if it is empty.
    let mut slow: Vec<_> = [
        (String::new(), ""),
        (String::new(), "G"),
        ("PUT /resources/a/ HTTP/1.1\r\nHost: localhost\r\nX: ".to_owned(), "x"),
        ("PUT /resources/a/ HTTP/1.1\r\nHost: localhost\r\n".to_owned(), ""),
        (format!("PUT /resources/a/ HTTP/1.1\r\n{announced}"), ""),
        (format!("PUT /resources/a/ HTTP/1.1\r\n{announced}"), " "),
        (format!("DELETE /resources/a/ HTTP/1.1\r\n{announced}"), " "),
        (format!("PUT /resources/a/ HTTP/1.1\r\n{chunked}"), " "),
        (format!("PUT /resources/a/ HTTP/1.1\r\n{chunked}"), ""),
        // Nobody wants these bodies.
        (format!("POST /resources/a/ HTTP/1.1\r\n{announced}"), " "),
        (format!("PUT /nowhere/ HTTP/1.1\r\n{announced}"), " "),
        (format!("PUT /nowhere/ HTTP/1.1\r\n{chunked}"), " "),
        (format!("OPTIONS /resources/a/ HTTP/1.1\r\n{chunked}"), " "),
        (
            format!("PUT /resources/a/ HTTP/1.1\r\nAccept: text/plain\r\n{chunked}"),
            " ",
        ),
    ]
    .into_iter()
    .map(|(at_once, for_ever)| {
        let mut stream = connect(&server);
        stream.write_all(at_once.as_bytes()).expect("it fits into the socket");
        (stream, at_once, for_ever, Vec::new())
    })
    .collect();

    // A byte a second is what is tested here.
    while !slow.is_empty() && opened.elapsed() < CUT_WITHIN {
        slow.retain_mut(|(stream, at_once, for_ever, answer)| {
            let is_gone = has_closed(stream, answer) || stream.write(for_ever.as_bytes()).is_err();
            let answer = String::from_utf8_lossy(answer);
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 4") || at_once.starts_with("OPTIONS"),
                "{answer}"
            );
            !is_gone
        });
        std::thread::sleep(Duration::from_secs(1));
    }

    let open: Vec<_> = slow
        .iter()
        .map(|(_, at_once, for_ever, _)| (at_once, for_ever))
        .collect();
    assert!(open.is_empty(), "still open after {CUT_WITHIN:?}: {open:#?}");
    assert!(watch.slowest() < AT_ONCE);
    acquire(&mut server.client(), "a", "k");
}

#[test]
fn who_pipelines_and_does_not_read_is_not_read_for_ever_and_then_cut_off() {
    const CONNECTIONS: u64 = 4;
    /// Answers that wait to be read.
    const MIB_EACH_MAX: u64 = 64;
    let server = Server::start();
    let watch = Watch::start(server.address);
    let before = rss_mib(server.pid());
    let content = body("k", "");
    let request = format!(
        "PUT /resources/a/ HTTP/1.1\r\n{HEAD}Content-Length: {}\r\n\r\n{content}",
        content.len()
    );
    let block = request.repeat(200).into_bytes();
    let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| (connect(&server), 0)).collect();

    // Each sends until nothing goes through for a while, which is the point: it is not read for ever.
    let until = Instant::now() + Duration::from_secs(20);
    let mut progress = Instant::now();
    while progress.elapsed() < Duration::from_millis(500) {
        assert!(Instant::now() < until, "it reads without end from who does not read");
        for (stream, sent) in &mut streams {
            // On from where the last write stopped.
            if let Ok(length) = stream.write(&block[*sent % block.len()..])
                && length > 0
            {
                *sent += length;
                progress = Instant::now();
            }
        }
        std::thread::yield_now();
    }

    let sent: usize = streams.iter().map(|(_, sent)| sent).sum();
    let used = rss_mib(server.pid()).saturating_sub(before);
    let used_max = CONNECTIONS * MIB_EACH_MAX;
    assert!(
        used < used_max,
        "{used} MiB for {CONNECTIONS} connections that sent {sent} bytes"
    );
    // The other side learns of it only when it sends something.
    assert!(watch.slowest() < AT_ONCE);
    eventually("they are cut off", CUT_WITHIN, || open_connections(&server) == 0);
    acquire(&mut server.client(), "b", "k");
}

#[test]
fn bodies_of_50_mb_are_413_and_not_kept() {
    let server = Server::start();
    let watch = Watch::start(server.address);
    let before = rss_mib(server.pid());
    let megabyte = vec![b' '; 1 << 20];

    for i in 0..8 {
        let chunked = i % 2 == 0;
        let mut client = server.client();
        let length = match chunked {
            true => "Transfer-Encoding: chunked\r\n\r\n3200000\r\n".to_owned(),
            false => format!("Content-Length: {}\r\n\r\n", 50 << 20),
        };
        client.send_raw(format!("PUT /resources/a/ HTTP/1.1\r\n{HEAD}{length}").as_bytes());
        // It may close in the middle of it.
        let mut stream = client.stream();
        let _ = (0..50).take_while(|_| stream.write_all(&megabyte).is_ok()).count();
        match client.try_answer() {
            Ok(answer) => assert_eq!(answer.status, 413, "{}", answer.body),
            // A reset may overtake the answer: it sent on after that.
            Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset),
        }
        assert!(client.is_closed_within(Duration::from_secs(5)));
    }
    let mut patient = server.client();
    patient.send_raw(
        format!(
            "PUT /resources/a/ HTTP/1.1\r\n{HEAD}Content-Length: {}\r\n\r\n",
            50 << 20
        )
        .as_bytes(),
    );
    assert_eq!(patient.answer().status, 413);
    assert!(patient.is_closed_within(Duration::from_secs(3)));

    let used = rss_mib(server.pid()).saturating_sub(before);
    assert!(used < 50, "{used} MiB");
    assert!(watch.slowest() < AT_ONCE);
}

#[test]
fn floods_of_headers_are_refused() {
    let server = Server::start();
    let watch = Watch::start(server.address);
    let before = rss_mib(server.pid());

    for head in [
        "X: y\r\n".repeat(10_000),
        format!("X: {}\r\n", "y".repeat(2 << 20)),
        format!("{}: y\r\n", "x".repeat(2 << 20)),
        "x".repeat(2 << 20),
        "Host: localhost\r\n".repeat(200),
    ] {
        let mut client = server.client();
        let _ = client.stream().write_all(b"PUT /resources/a/ HTTP/1.1\r\n");
        // It may close in the middle of it.
        let _ = client.stream().write_all(head.as_bytes());
        let _ = client.stream().write_all(b"\r\n");
        if let Ok(answer) = client.try_answer() {
            assert!((400..500).contains(&answer.status), "{}", answer.status);
        }
        assert!(client.is_closed_within(CUT_WITHIN));
    }
    let mut client = server.client();
    let _ = client
        .stream()
        .write_all(format!("PUT /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(2 << 20)).as_bytes());
    if let Ok(answer) = client.try_answer() {
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }

    let used = rss_mib(server.pid()).saturating_sub(before);
    assert!(used < 50, "{used} MiB");
    assert!(watch.slowest() < AT_ONCE);
    acquire(&mut server.client(), "a", "k");
}

#[test]
fn a_request_hidden_in_another_is_never_done() {
    let server = Server::start();
    acquire(&mut server.client(), "held", "k");
    let content = body("k", "");
    let hidden = format!(
        "DELETE /resources/held/ HTTP/1.1\r\n{HEAD}Content-Length: {}\r\n\r\n{content}",
        content.len()
    );
    let length = hidden.len();

    for shape in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 0\r\n\r\n",
        &format!("Content-Length: {length}\r\nContent-Length: 0\r\n\r\n"),
        "Content-Length: 0, 5\r\n\r\n",
        "Content-Length: +0\r\n\r\n",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 0x0\r\n\r\n",
        "Content-Length: 99999999999999999999\r\n\r\n",
        "Content-Length : 0\r\n\r\n",
        "Content-Length:\r\n 0\r\n\r\n",
        "X: y\r\n Content-Length: 0\r\n\r\n",
        "X: y\r\n\tfolded\r\nContent-Length: 0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: identity, chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n1 \nx\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nxyz\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\ng\r\n\r\n",
        "X: a\0b\r\nContent-Length: 0\r\n\r\n",
        "X: a\rb\r\nContent-Length: 0\r\n\r\n",
        "X Y: a\r\nContent-Length: 0\r\n\r\n",
        ": a\r\nContent-Length: 0\r\n\r\n",
    ] {
        let mut client = server.client();
        client.send_raw(format!("PUT /resources/front/ HTTP/1.1\r\n{HEAD}{shape}{hidden}").as_bytes());
        let shown = shape.escape_debug();
        if let Ok(answer) = client.try_answer() {
            assert!(
                (400..500).contains(&answer.status),
                "{shown}: {} {}",
                answer.status,
                answer.body
            );
        }
        assert!(
            is_held(&mut server.client(), "held"),
            "{shown}: the hidden request was done"
        );
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_or_kept_apart() {
    let server = Server::start();

    for (path, content) in [
        (b"/resources/a/".as_slice(), b"{\"locked_by\": \"\xff\"}".as_slice()),
        (b"/resources/a/", b"{\"locked_by\": \"\xed\xa0\x80\"}"),
        (b"/resources/a/", b"{\"locked_by\": \"\xc0\xaf\"}"),
        (b"/resources/a/", b"\xff\xfe{\0}\0"),
        (b"/resources/a/", b"\0"),
        (b"/resources/\xff/", b"{}"),
        (b"/resources/a b/", b"{}"),
        (b"/resources/\x01/", b"{}"),
    ] {
        let mut client: Client = server.client();
        let head = format!(" HTTP/1.1\r\n{HEAD}Content-Length: {}\r\n\r\n", content.len());
        // At once, because some of it ends the connection.
        client.send_raw(&[b"PUT ", path, head.as_bytes(), content].concat());
        let answer = client.answer();
        assert!(
            (400..500).contains(&answer.status),
            "{path:?} {content:?}: {}",
            answer.status
        );
    }

    assert_eq!(server.select("SELECT count(*) FROM resources"), ["0"]);
}
