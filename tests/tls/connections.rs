//! Connections that are slow, many, not encrypted, or gone: bounds hold as they
//! do without TLS.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Site, body, connect, try_connect, waiter, waiting};
use crate::support::{Certified, Client, Server, eventually};

/// Until when a handshake that does not end is cut off, on a busy machine.
const CUT_WITHIN: Duration = Duration::from_secs(8);

fn tcp(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).expect("the server accepts connections");
    stream.set_read_timeout(Some(CUT_WITHIN)).expect("a positive timeout");
    stream
}

/// Whether the server ends the connection, whatever it says before.
fn is_ended(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_handshake_that_does_not_end_is_cut_off() {
    let site = Site::new();
    let server = site.start();
    let opened = Instant::now();
    let mut silent = tcp(&server);
    let slow = tcp(&server);
    let mut dripping = slow.try_clone().expect("a socket");
    // A byte a second is what is tested here: the head of a record that would be a hello.
    let drip = thread::spawn(move || {
        for byte in [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0] {
            if dripping.write_all(&[byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_secs(1));
        }
    });
    let mut slow = slow;

    assert!(is_ended(&mut silent), "it is still open after {:?}", opened.elapsed());
    assert!(is_ended(&mut slow), "it is still open after {:?}", opened.elapsed());

    assert!(opened.elapsed() < CUT_WITHIN, "{:?}", opened.elapsed());
    assert!(opened.elapsed() > Duration::from_secs(4), "{:?}", opened.elapsed());
    assert_eq!(site.client(&server).get("/nowhere/").status, 404);
    drip.join().expect("it ends with its connection");
}

#[test]
fn handshakes_that_hang_hold_up_nobody_else() {
    let site = Site::new();
    let server = site.start();
    let hanging: Vec<_> = (0..600).map(|_| tcp(&server)).collect();

    let asked = Instant::now();
    assert_eq!(site.client(&server).get("/nowhere/").status, 404);

    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    drop(hanging);
}

#[test]
fn what_is_not_encrypted_is_refused_where_tls_is_and_the_other_way_round() {
    let site = Site::new();
    let encrypted = site.start();
    let asked = Instant::now();
    for request in ["GET / HTTP/1.1\r\nHost: t\r\n\r\n", "\0\0\0\0\0\0\0\0"] {
        let mut stream = tcp(&encrypted);
        stream.write_all(request.as_bytes()).expect("the server reads");
        assert!(is_ended(&mut stream), "{request:?}");
    }
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(site.client(&encrypted).get("/nowhere/").status, 404, "it goes on");

    let plain = Server::start();
    let asked = Instant::now();
    assert!(try_connect(&plain, site.connector()).is_err());
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(plain.client().get("/nowhere/").status, 404, "it goes on");
}

#[test]
fn connections_beyond_the_bound_are_answered_503() {
    let site = Site::new();
    let server = site.cls().with("CONNECTIONS_MAX", "8").start();
    let mut admitted: Vec<_> = (0..8).map(|_| site.client(&server)).collect();
    for client in &mut admitted {
        assert_eq!(client.get("/nowhere/").status, 404);
    }

    let refused = site.client(&server).get("/nowhere/");

    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(
        refused.body.contains("too many connections are open"),
        "{}",
        refused.body
    );
    admitted.pop();
    eventually("there is room again", Duration::from_secs(3), || {
        site.client(&server).get("/nowhere/").status == 404
    });
}

#[test]
fn a_waiter_that_leaves_leaves_the_line() {
    let site = Site::new();
    let server = site.start();
    let mut watcher = site.client(&server);
    assert_eq!(watcher.put("held", &body("k", "")).status, 200);
    for with_farewell in [true, false] {
        let client = waiter(&server, site.client(&server), &mut watcher);

        if with_farewell {
            client.farewell();
        } else {
            client.stream().shutdown(Shutdown::Both).expect("it is open");
        }

        eventually("the line is empty", Duration::from_secs(2), || {
            waiting(&mut watcher) == 0
        });
    }
}

#[test]
fn answers_that_nobody_reads_are_cut() {
    let site = Site::new();
    let server = site.start();
    let mut lazy = site.client(&server);
    let page = "GET /schema/ HTTP/1.1\r\nHost: t\r\n\r\n".repeat(200);
    let begun = Instant::now();
    // It reads as long as its answers are taken; then its window closes.
    lazy.stream()
        .set_write_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    let sent = loop {
        match lazy.try_send_raw(page.as_bytes()) {
            Ok(()) => assert!(begun.elapsed() < Duration::from_secs(30), "it reads without end"),
            Err(error) => break error,
        }
    };

    assert!(
        begun.elapsed() < Duration::from_secs(16),
        "{:?}: {sent}",
        begun.elapsed()
    );
    assert_eq!(site.client(&server).get("/nowhere/").status, 404);
}

#[test]
fn sigterm_answers_those_who_wait() {
    let site = Site::new();
    let mut server = site.start();
    let mut watcher = site.client(&server);
    assert_eq!(watcher.put("held", &body("k", "")).status, 200);
    let mut waiting = waiter(&server, site.client(&server), &mut watcher);

    server.signal(Signal::TERM);

    assert_eq!(waiting.answer().status, 503);
    let status = server.wait(Duration::from_secs(5)).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", server.log());
}

#[test]
fn a_key_of_rsa_serves_as_well() {
    let site = Site::new();
    site.present(&Certified::self_signed_rsa("localhost"));
    let server = site.start();
    let mut connector = site.connector();
    connector.set_verify(openssl::ssl::SslVerifyMode::NONE);

    let mut client: Client = connect(&server, connector);

    assert_eq!(client.get("/nowhere/").status, 404);
}
