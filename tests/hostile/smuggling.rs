//! A second request inside the first. Where a proxy stands before the server,
//! both must agree where one request ends and the next begins: else a client
//! sends one that the proxy never saw.
//!
//! What is sent is a PUT, five bytes, and a GET that asks to close. The five are
//! a whole body by either way of saying its length: `Content-Length: 5` or the
//! last chunk.

use std::time::Duration;

use super::Besieged;
use crate::support::{Client, Server};

const BODY: &str = "0\r\n\r\n";
const HIDDEN: &str = "GET /hidden/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const HOST: &str = "Host: localhost\r\n";
const PUT: &str = "PUT /resources/a/ HTTP/1.1\r\nContent-Type: application/json\r\n";

/// What a server makes of what it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// A request, which was answered.
    Request,
    /// The one that was hidden.
    Hidden,
    /// None: 400 without a word, before any view.
    Nothing,
}

/// What it answers until it closes the connection, which it must.
fn seen(server: &Server, bytes: &[u8]) -> Vec<Seen> {
    let mut client: Client = server.client();
    client.send_raw(bytes);
    let mut seen = Vec::new();
    while let Ok(answer) = client.try_answer() {
        seen.push(match answer.status {
            404 => Seen::Hidden,
            400 if answer.body.is_empty() => Seen::Nothing,
            400 | 405 => Seen::Request,
            status => panic!("{status} {}: {}", answer.body, bytes.escape_ascii()),
        });
    }
    assert!(
        client.is_closed_within(Duration::from_secs(1)),
        "still open: {}",
        bytes.escape_ascii()
    );
    seen
}

/// How a request says where its body ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    None,
    Is(u64),
    Chunked,
    Wrong,
}

/// RFC 9112, section 6.3, as strictly as it may be read.
fn length_by_the_rfc(lengths: &[&str], encodings: &[&str]) -> Length {
    let is_blank = |c| c == ' ' || c == '\t';
    match (lengths, encodings) {
        ([], []) => Length::None,
        ([], [encoding]) if encoding.trim_matches(is_blank).eq_ignore_ascii_case("chunked") => Length::Chunked,
        ([length], []) => {
            let digits = length.trim_matches(is_blank);
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse().ok().filter(|_| is_number);
            number.map_or(Length::Wrong, Length::Is)
        }
        _ => Length::Wrong,
    }
}

#[test]
fn it_ends_a_body_where_the_rfc_does_or_refuses() {
    const LENGTHS: [&[&str]; 22] = [
        &[],
        &["5"],
        &["0"],
        &["05"],
        &[" 5 "],
        &["\t5\t"],
        &[""],
        &["+5"],
        &["-5"],
        &["0x5"],
        &["5.0"],
        &["5e0"],
        &["5 5"],
        &["5,5"],
        &["5, 0"],
        &["5;a"],
        &["\"5\""],
        &["18446744073709551621"],
        &["5", "5"],
        &["5", "0"],
        &["0", "5"],
        &["5", ""],
    ];
    const ENCODINGS: [&[&str]; 18] = [
        &[],
        &["chunked"],
        &["Chunked"],
        &["\tchunked "],
        &["identity"],
        &["xchunked"],
        &["chunkedx"],
        &["chunked,"],
        &[", chunked"],
        &["chunked, chunked"],
        &["gzip, chunked"],
        &["chunked, identity"],
        &["chunked;q=1"],
        &["\"chunked\""],
        &["chunked\u{a0}"],
        &[""],
        &["chunked", "identity"],
        &["identity", "chunked"],
    ];
    let besieged = Besieged::start();

    for lengths in LENGTHS {
        for encodings in ENCODINGS {
            for encoding_first in [false, true] {
                let of = |name: &str, values: &[&str]| -> String {
                    values.iter().map(|value| format!("{name}:{value}\r\n")).collect()
                };
                let (length, encoding) = (of("Content-Length", lengths), of("Transfer-Encoding", encodings));
                let said = match encoding_first {
                    true => encoding + &length,
                    false => length + &encoding,
                };
                let expected: &[Seen] = match length_by_the_rfc(lengths, encodings) {
                    Length::Chunked | Length::Is(5) => &[Seen::Request, Seen::Hidden],
                    // What follows begins with the five bytes, and is no request.
                    Length::None | Length::Is(0) => &[Seen::Request, Seen::Nothing],
                    Length::Wrong | Length::Is(_) => &[Seen::Nothing],
                };
                let request = format!("{PUT}{HOST}{said}\r\n{BODY}{HIDDEN}");
                assert_eq!(seen(&besieged.server, request.as_bytes()), expected, "{said:?}");
            }
        }
    }

    besieged.stood();
}

#[test]
fn a_head_that_can_be_read_in_two_ways_is_refused() {
    let besieged = Besieged::start();
    for head in [
        // Lines that go on in the next one, or do not.
        format!("{PUT}{HOST}X: y\r\n Content-Length: 5\r\n\r\n"),
        format!("{PUT}{HOST}X: y\r\n\tContent-Length: 5\r\n\r\n"),
        format!("{PUT}{HOST}Content-Length:\r\n 5\r\n\r\n"),
        format!("{PUT}{HOST}Transfer-Encoding:\r\n chunked\r\n\r\n"),
        format!("PUT /resources/a/ HTTP/1.1\r\n X: y\r\n{HOST}Content-Length: 5\r\n\r\n"),
        format!("{PUT}{HOST}X: y\rContent-Length: 5\r\n\r\n"),
        format!("{PUT}{HOST}X: y\r\rContent-Length: 5\r\n\r\n"),
        format!("{PUT}{HOST}Content-Length: 5\r\r\n\r\n"),
        // Names that are nearly those.
        format!("{PUT}{HOST}Content-Length : 5\r\n\r\n"),
        format!("{PUT}{HOST}Content-Length\t: 5\r\n\r\n"),
        format!("{PUT}{HOST}Transfer-Encoding : chunked\r\n\r\n"),
        format!("{PUT}{HOST}Content-Length\0: 5\r\n\r\n"),
        format!("{PUT}{HOST}\u{b}Content-Length: 5\r\n\r\n"),
        format!("{PUT}{HOST}Content-Length\r\n\r\n"),
        format!("{PUT}{HOST}: 5\r\n\r\n"),
        format!("{PUT}{HOST}(Content-Length): 5\r\n\r\n"),
        // Values with what must not be in them.
        format!("{PUT}{HOST}X: a\0b\r\nContent-Length: 5\r\n\r\n"),
        format!("{PUT}{HOST}Content-Length: 5\0\r\n\r\n"),
        format!("{PUT}{HOST}Transfer-Encoding: \u{b}chunked\r\n\r\n"),
        format!("{PUT}{HOST}Transfer-Encoding: chunked\u{7f}\r\n\r\n"),
        // No host, or two.
        format!("{PUT}Content-Length: 5\r\n\r\n"),
        format!("{PUT}{HOST}{HOST}Content-Length: 5\r\n\r\n"),
        format!("{PUT}{HOST}Host: other\r\nContent-Length: 5\r\n\r\n"),
        // Other starts.
        format!("PUT  /resources/a/ HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\n"),
        format!("PUT /resources/a/  HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\n"),
        format!("PUT\t/resources/a/ HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\n"),
        format!("PUT /resources/a/ HTTP/1.1 \r\n{HOST}Content-Length: 5\r\n\r\n"),
        format!("PUT /resources/a/ HTTP/1.2\r\n{HOST}Content-Length: 5\r\n\r\n"),
        format!("PUT /resources/a/ HTTP/2.0\r\n{HOST}Content-Length: 5\r\n\r\n"),
        format!("PUT /resources/a/ http/1.1\r\n{HOST}Content-Length: 5\r\n\r\n"),
        format!("PUT /resources/a/\r\n{HOST}Content-Length: 5\r\n\r\n"),
        format!("PUT /resources/a/ HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n"),
        format!("PUT /resources/a/ HTTP/1.0\r\n{HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
        format!("PU(T /resources/a/ HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\n"),
    ] {
        let request = format!("{head}{BODY}{HIDDEN}");
        assert_eq!(seen(&besieged.server, request.as_bytes()), [Seen::Nothing], "{head:?}");
    }
    besieged.stood();
}

#[test]
fn a_chunk_that_can_be_read_in_two_ways_ends_the_connection() {
    let besieged = Besieged::start();
    // The second is refused before anybody wants its body.
    let heads = [PUT, "POST /resources/r/ HTTP/1.1\r\n"];
    for chunks in [
        "-0\r\n\r\n",
        "+0\r\n\r\n",
        " 0\r\n\r\n",
        "0x0\r\n\r\n",
        "0_0\r\n\r\n",
        "g\r\n\r\n",
        "\r\n\r\n",
        "0\n\n",
        "0\n\r\n",
        "0\r\r\n",
        "0;a\n\r\n",
        "0;a\rb\r\n\r\n",
        "0 a\r\n\r\n",
        "10000000000000000\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "2\r\nab0\r\n\r\n",
        "2\r\nab\n0\r\n\r\n",
        "2\nab\r\n0\r\n\r\n",
        "0\r\nX: y\rz\r\n\r\n",
    ] {
        for head in heads {
            let request = format!("{head}{HOST}Transfer-Encoding: chunked\r\n\r\n{chunks}{HIDDEN}");
            let seen = seen(&besieged.server, request.as_bytes());
            assert_eq!(seen, [Seen::Request], "{head} {chunks:?}");
        }
    }
    besieged.stood();
}

#[test]
fn what_the_rfc_allows_is_read_as_it_says() {
    let besieged = Besieged::start();
    let chunked = format!("{PUT}{HOST}Transfer-Encoding: chunked\r\n\r\n");
    for request in [
        format!("\r\n{PUT}{HOST}Content-Length: 5\r\n\r\n{BODY}"),
        // A single LF may end a line (section 2.2).
        format!("{PUT}{HOST}X: y\nContent-Length: 5\r\n\r\n{BODY}"),
        format!(
            "{}{BODY}",
            format!("{PUT}{HOST}Content-Length: 5\r\n\r\n").replace('\r', "")
        ),
        format!("{chunked}0;a=b;c=\"d\"\r\n\r\n"),
        format!("{chunked}000\r\n\r\n"),
        format!("{chunked}2;a\r\n{{}}\r\n0\r\n\r\n"),
        format!("{chunked}0\r\nContent-Length: 100\r\nTransfer-Encoding: gzip\r\n\r\n"),
        format!("{PUT}{HOST}Content-Length: 5\r\nConnection: Content-Length, Host\r\n\r\n{BODY}"),
        format!("{PUT}{HOST}Content_Length: 100\r\nContent-Length: 5\r\n\r\n{BODY}"),
    ] {
        let request = format!("{request}{HIDDEN}");
        let seen = seen(&besieged.server, request.as_bytes());
        assert_eq!(seen, [Seen::Request, Seen::Hidden], "{request:?}");
    }
    besieged.stood();
}

#[test]
fn another_protocol_is_not_begun() {
    let besieged = Besieged::start();
    let length = "Content-Length: 5\r\n";
    for head in [
        format!("PUT /resources/a/ HTTP/1.1\r\n{HOST}Upgrade: websocket\r\n{length}\r\n"),
        format!("PUT /nowhere/ HTTP/1.1\r\n{HOST}Upgrade: WebSocket\r\nConnection: Upgrade\r\n{length}\r\n"),
        format!("CONNECT localhost:80 HTTP/1.1\r\n{HOST}\r\n"),
    ] {
        let request = format!("{head}{BODY}{HIDDEN}");
        assert_eq!(seen(&besieged.server, request.as_bytes()), [Seen::Request], "{head:?}");
    }
    // Nothing is known of this one, so the request is what it would be without it.
    let unknown = format!("{PUT}{HOST}Upgrade: h2c\r\nConnection: Upgrade\r\n{length}\r\n{BODY}{HIDDEN}");
    assert_eq!(
        seen(&besieged.server, unknown.as_bytes()),
        [Seen::Request, Seen::Hidden]
    );
    let preface = format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{HIDDEN}");
    assert_eq!(seen(&besieged.server, preface.as_bytes()), [Seen::Nothing]);
    besieged.stood();
}
