//! Many at once who take room and give nothing for it.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{Besieged, connect_from, raise_limit_of_open_files};
use crate::support::Client;

/// The longest that a connection may go on which stopped in the middle: a body's
/// eight seconds, two to close down, and what a busy machine adds.
const CUT_WITHIN: Duration = Duration::from_secs(13);

const PUT: &str = "PUT /resources/a/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

#[test]
fn two_thousand_half_sent_requests_are_cut_off_and_hold_up_nobody() {
    const HALF_SENT: usize = 2000;
    /// 64 KiB each, and they keep some ten of them busy.
    const USED_MIB_MAX: u64 = 128;
    raise_limit_of_open_files(2 * HALF_SENT as u64);
    let besieged = Besieged::start();
    let address = besieged.server.address;
    let announced = format!("{PUT}Content-Length: 1000\r\n\r\n{{\"locked_by\": \"k\"");
    let chunked = format!("{PUT}Transfer-Encoding: chunked\r\n\r\n400\r\n{{\"locked_by\": \"k\"");
    let unwanted = format!("{}3e8\r\n ", chunked.replace("/resources/", "/nowhere/"));

    let opened = Instant::now();
    let mut half_sent: Vec<Client> = (0..HALF_SENT)
        .map(|number| {
            // From some addresses, since one has only so many ports.
            let octet = u8::try_from(2 + number % 50).expect("below 52");
            let mut stream: TcpStream = connect_from(octet, address);
            let sent = match number % 4 {
                // Cut wherever it may be.
                0 => &announced.as_bytes()[..number / 4 % PUT.len()],
                1 => announced.as_bytes(),
                2 => chunked.as_bytes(),
                _ => unwanted.as_bytes(),
            };
            stream.write_all(sent).expect("it fits into the socket");
            Client::over(stream)
        })
        .collect();
    let used = besieged.used_mib();
    assert!(used < USED_MIB_MAX, "{used} MiB for {HALF_SENT} connections");

    for client in &mut half_sent {
        if let Ok(answer) = client.try_answer() {
            assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.body);
        }
        assert!(client.is_closed_within(CUT_WITHIN.saturating_sub(opened.elapsed())));
    }
    besieged.stood();
}

#[test]
fn bodies_that_do_not_end_have_a_bound_together() {
    const BODIES: usize = 250;
    const BODY_BYTES: usize = 1 << 20;
    /// BODIES_BYTES_MAX, twice where a body has just outgrown its place, and what
    /// lies in buffers.
    const USED_MIB_MAX: u64 = 300;
    let besieged = Besieged::start();
    let head = format!("{PUT}Content-Length: {BODY_BYTES}\r\n\r\n");
    let all_but_one_byte = vec![b' '; BODY_BYTES - 1];

    let mut clients: Vec<Client> = (0..BODIES).map(|_| besieged.server.client()).collect();
    let mut used = 0;
    for client in &mut clients {
        client.send_raw(head.as_bytes());
        // Whoever is refused need not be read.
        let _ = client.stream().write_all(&all_but_one_byte);
        used = used.max(besieged.used_mib());
    }
    assert!(used < USED_MIB_MAX, "{used} MiB for {BODIES} bodies");

    let mut refused = 0;
    for client in &mut clients {
        match client.try_answer() {
            Ok(answer) if answer.status == 503 => {
                assert!(
                    answer.body.contains("too many bodies are being read"),
                    "{}",
                    answer.body
                );
                assert_eq!(answer.header("Retry-After"), Some("1"));
                refused += 1;
            }
            Ok(answer) => assert_eq!(answer.status, 408, "{}", answer.body),
            // A reset may overtake the answer: it sent on after that.
            Err(_) => refused += 1,
        }
        assert!(client.is_closed_within(CUT_WITHIN));
    }
    assert!(refused >= 50, "{refused} refused");
    let mut client = besieged.server.client();
    let body = crate::faults::body("k", "");
    let large = format!("{body}{}", " ".repeat(BODY_BYTES - body.len()));
    assert_eq!(client.put("large", &large).status, 200, "there is room again");
    besieged.stood();
}

#[test]
fn a_thousand_requests_in_one_go_are_answered_in_order_when_somebody_reads() {
    const PIPELINED: usize = 1000;
    /// A megabyte each.
    const USED_MIB_MAX: u64 = 32;
    let besieged = Besieged::start();
    let mut clients: Vec<Client> = (0..8).map(|_| besieged.server.client()).collect();
    let requests: String = (0..PIPELINED)
        .map(|number| {
            let path = if number % 2 == 0 {
                "/resources/none/"
            } else {
                "/nowhere/"
            };
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
        })
        .collect();

    for client in &mut clients {
        client.send_raw(requests.as_bytes());
    }
    let used = besieged.used_mib();
    assert!(used < USED_MIB_MAX, "{used} MiB");

    for client in &mut clients {
        for number in 0..PIPELINED {
            let answer = client.answer();
            assert_eq!(answer.status, 404);
            assert_eq!(answer.body.starts_with("{\"detail\":"), number % 2 == 0, "{number}");
        }
    }
    besieged.stood();
}
