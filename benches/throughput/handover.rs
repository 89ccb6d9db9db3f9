//! Many wait for one resource; each releases as soon as it is granted.

use std::time::{Duration, Instant};

use mio::{Events, Poll};

use crate::load::{Connection, histogram, request};
use crate::servers::{Kind, ServerProcess};

const WAITERS: usize = 5_000;

/// From here on the memory of each further waiter is measured: what the first
/// of them make the server grow by is not theirs.
const WARMED_UP: usize = 1_000;

/// Prints how long a hand-over takes, from sending the release to receiving
/// the next grant, whether anybody overtook, and what a waiter costs.
pub fn run() {
    let server = ServerProcess::start(Kind::Cls);
    let mut poll = Poll::new().expect("epoll");
    let mut events = Events::with_capacity(1024);
    let mut connections = Vec::with_capacity(WAITERS + 1);
    let mut before = 0;
    for number in 0..=WAITERS {
        if number == WARMED_UP {
            before = server.resident_kib();
        }
        let mut connection = Connection::open(server.address(), &poll, number);
        // Its first request is answered at once; with that answer the server has read the second too.
        let refused = request("DELETE", "contended", r#"{"locked_by":"nobody"}"#);
        let wait = request(
            "PUT",
            "contended",
            &format!(r#"{{"locked_by":"key-{number}","timeout":600}}"#),
        );
        connection.send(&[refused, wait].concat());
        let answers = if number == 0 { 2 } else { 1 };
        for _ in 0..answers {
            wait_for_one(&mut poll, &mut events, &mut connection);
        }
        connections.push(connection);
    }
    let parked = server.resident_kib();
    let mut times = histogram();
    let mut inversions = 0;
    let mut holder = 0;
    for _ in 0..WAITERS {
        let release = request("DELETE", "contended", &format!(r#"{{"locked_by":"key-{holder}"}}"#));
        let released = Instant::now();
        connections[holder].send(&release);
        let mut next = None;
        while next.is_none() {
            poll.poll(&mut events, Some(Duration::from_secs(10))).expect("epoll");
            for event in &events {
                let number = event.token().0;
                while let Some(status) = connections[number].receive() {
                    match status {
                        200 => next = Some(number),
                        status => assert_eq!(status, 204),
                    }
                }
            }
        }
        let taken = released.elapsed().as_micros();
        times.saturating_record(u64::try_from(taken).unwrap_or(u64::MAX));
        let next = next.expect("somebody was granted");
        inversions += usize::from(next != holder + 1);
        holder = next;
    }
    println!(
        "{WAITERS} waiters on one resource: hand-over p50 {:.2} ms, p99 {:.2} ms, {:.2} fsyncs at the median, \
         {inversions} order inversions; {:.1} KiB of resident memory for each after the first {WARMED_UP}, connection included.\n",
        times.value_at_quantile(0.5) as f64 / 1e3,
        times.value_at_quantile(0.99) as f64 / 1e3,
        times.value_at_quantile(0.5) as f64 / 1e3 / crate::fsync_ms(),
        (parked - before) as f64 / (WAITERS + 1 - WARMED_UP) as f64
    );
}

fn wait_for_one(poll: &mut Poll, events: &mut Events, connection: &mut Connection) {
    while connection.receive().is_none() {
        poll.poll(events, Some(Duration::from_secs(10))).expect("epoll");
    }
}
