//! Bodies that are deep, long or no text, and heads with bytes that are none.

use super::Besieged;
use crate::support::Client;

/// A method, a target, header lines and a body.
type Sent<'m> = (&'m [u8], Vec<u8>, Vec<u8>, Vec<u8>);

const DEEP: usize = 100_000;
const BODY_BYTES_MAX: usize = 1 << 20;

#[test]
fn what_is_deep_or_endless_is_refused_without_effort() {
    /// MiB beyond what the server had before: bodies of one come one by one.
    const USED_MIB_MAX: u64 = 32;
    let besieged = Besieged::start();
    let mut client = besieged.server.client();
    let long = BODY_BYTES_MAX - 100;

    for value in [
        "[".repeat(DEEP) + &"]".repeat(DEEP),
        "[".repeat(long),
        "{\"a\":".repeat(DEEP) + "1" + &"}".repeat(DEEP),
        "{\"a\":".repeat(DEEP),
        "[{\"a\":".repeat(DEEP) + "1" + &"}]".repeat(DEEP),
        "]".repeat(long),
        format!("\"{}", "\\".repeat(long)),
        format!("\"{}\"", "\\u0000".repeat(DEEP)),
        "9".repeat(long),
        format!("0.{}", "1".repeat(long)),
        format!("1e{}", "9".repeat(long)),
        format!("[{}1]", "1,".repeat(DEEP)),
        format!("{{{}\"a\":1}}", "\"a\":1,".repeat(DEEP)),
    ] {
        for (method, path) in [
            ("PUT", "/resources/a/"),
            ("PATCH", "/resources/"),
            ("POST", "/locks/"),
            ("POST", "/resources/a/check/"),
        ] {
            let bodies = [
                value.clone(),
                format!("{{\"locked_by\": {value}}}"),
                format!("{{\"resources\": [{value}], \"locked_by\": \"k\", \"fencing_token\": {value}}}"),
            ];
            for body in bodies.iter().filter(|body| body.len() <= BODY_BYTES_MAX) {
                let answer = client.request(method, path, body);
                let shown = &body[..60];
                // A number is a key too, and a member that nobody reads may be any JSON.
                let is_fine = [200, 409].contains(&answer.status);
                assert!(
                    answer.status == 400 || is_fine,
                    "{method} {path} {shown}: {}",
                    answer.status
                );
                if is_fine && method == "PUT" {
                    let by_number = client.request("DELETE", path, body).status == 204;
                    assert!(by_number || client.delete("a", "k").status == 204, "{shown}");
                }
            }
        }
    }

    let used = besieged.used_mib();
    assert!(used < USED_MIB_MAX, "{used} MiB");
    besieged.stood();
}

#[test]
fn bytes_that_are_no_text_break_nothing_wherever_they_stand() {
    let besieged = Besieged::start();
    let broken: [&[u8]; 8] = [
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe2\x82",
        b"\x80",
        b"\xfe\xff\0a",
        b"\xef\xbb\xbf",
    ];
    let encode = |bytes: &[u8]| -> Vec<u8> {
        bytes
            .iter()
            .flat_map(|byte| format!("%{byte:02X}").into_bytes())
            .collect()
    };
    let json = b"Content-Type: application/json\r\n".as_slice();
    let form = b"Content-Type: application/x-www-form-urlencoded\r\n".as_slice();
    let multipart = b"Content-Type: multipart/form-data; boundary=b\r\n".as_slice();

    for bytes in broken {
        let encoded = encode(bytes);
        let part = [
            b"--b\r\nContent-Disposition: form-data; name=\"",
            bytes,
            b"\"\r\n\r\n",
            bytes,
            b"\r\n--b--\r\n",
        ]
        .concat();
        let requests: [Sent; 14] = [
            (
                b"PUT",
                [b"/resources/", bytes, b"/"].concat(),
                json.to_vec(),
                b"{}".to_vec(),
            ),
            (
                b"PUT",
                [b"/resources/", &encoded[..], b"/"].concat(),
                json.to_vec(),
                b"{}".to_vec(),
            ),
            (
                b"GET",
                [b"/resources/", &encoded[..], b"/check/"].concat(),
                Vec::new(),
                Vec::new(),
            ),
            (
                b"GET",
                [b"/resources/?prefix=", &encoded[..]].concat(),
                Vec::new(),
                Vec::new(),
            ),
            (b"GET", [b"/resources/?search=", bytes].concat(), Vec::new(), Vec::new()),
            (
                b"GET",
                [b"/schema/?format=", &encoded[..]].concat(),
                Vec::new(),
                Vec::new(),
            ),
            (
                b"PUT",
                b"/resources/a/".to_vec(),
                [json, b"Idempotency-Key: ", bytes, b"\r\n"].concat(),
                b"{}".to_vec(),
            ),
            (
                b"GET",
                b"/resources/a/".to_vec(),
                [b"Accept: ", bytes, b"\r\nIf-None-Match: ", bytes, b"\r\n"].concat(),
                Vec::new(),
            ),
            (
                b"PUT",
                b"/resources/a/".to_vec(),
                [b"Content-Type: application/json; charset=", bytes, b"\r\n"].concat(),
                b"{}".to_vec(),
            ),
            (
                b"PUT",
                b"/resources/a/".to_vec(),
                [b"Content-Type: multipart/form-data; boundary=", bytes, b"\r\n"].concat(),
                part.clone(),
            ),
            (
                b"PUT",
                b"/resources/a/".to_vec(),
                json.to_vec(),
                [b"{\"locked_by\": \"", bytes, b"\""].concat(),
            ),
            (
                b"PUT",
                b"/resources/a/".to_vec(),
                form.to_vec(),
                [b"ttl=", &encoded[..], b"&", bytes, b"=", bytes].concat(),
            ),
            (b"PUT", b"/resources/a/".to_vec(), multipart.to_vec(), part),
            (
                &[b"PU", bytes, b"T"].concat(),
                b"/resources/a/".to_vec(),
                Vec::new(),
                Vec::new(),
            ),
        ];
        for (method, target, lines, body) in requests {
            let mut client: Client = besieged.server.client();
            let length = format!("Content-Length: {}\r\n\r\n", body.len());
            let head = [
                method,
                b" ",
                &target,
                b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n",
                &lines,
            ]
            .concat();
            let sent = [&head, length.as_bytes(), &body].concat();
            client.send_raw(&sent);
            let answer = client.answer();
            let is_list = answer.status == 200 && method == b"GET";
            assert!(
                is_list || (400..500).contains(&answer.status),
                "{}: {} {}",
                sent.escape_ascii(),
                answer.status,
                answer.body
            );
        }
        // Another host than those that are served.
        let mut client = besieged.server.client();
        client.send_raw(&[b"GET / HTTP/1.1\r\nHost: localhost", bytes, b"\r\n\r\n"].concat());
        assert_eq!(client.answer().status, 400);
    }

    assert_eq!(besieged.server.select("SELECT name FROM resources"), ["before"]);
    besieged.stood();
}
