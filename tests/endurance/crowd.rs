//! Clients that wait, watch and listen, and leave in every way there is.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;

use crate::endurance::churn::Counts;
use crate::support::{Client, EventStream, eventually};

/// Names that are waited for at a time.
const LINES: u64 = 5;

/// How long a stream that is not read stays. Longer than an answer may be left
/// unread: in a long run the server is the one who ends it.
const UNREAD: Duration = Duration::from_secs(20);

/// How long it may take, on a busy machine, until a connection that was closed is
/// seen to be.
const SEEN_MAX: Duration = Duration::from_secs(10);

/// Connections that are open together and say nothing of use.
const GUESTS: usize = 10;

/// One of what the others do, so that the server has all threads and connections
/// that it needs for them.
pub fn warm_up(address: SocketAddr, counts: &Counts) {
    let mut stream = EventStream::open(address, "?since=0", &[]);
    let mut client = Client::connect(address);
    assert_eq!(client.put("warm-up", &by("warm-up-key", "")).status, 200);
    assert_eq!(client.delete("warm-up", "warm-up-key").status, 204);
    for counter in [&counts.names, &counts.grants, &counts.releases] {
        counts.add(counter);
    }
    assert_eq!(stream.next(2, Duration::from_secs(10)).len(), 2);
}

/// Those who wait for a name that somebody holds: one gives up by its timeout,
/// one hangs up, one watches and hangs up, and one is served.
pub fn wait_in_lines(address: SocketAddr, counts: &Counts, end: Instant) {
    let mut holder = Client::connect(address);
    let mut number = 0;
    while Instant::now() < end {
        let names: Vec<_> = (0..LINES).map(|line| format!("line-{}", number + line)).collect();
        number += LINES;
        let mut lines = Vec::new();
        for name in &names {
            assert_eq!(holder.put(name, &by("line-holder", "")).status, 200);
            let [mut served, mut timed_out, mut gone, mut watcher] = [(); 4].map(|()| Client::connect(address));
            timed_out.send_put(name, &by("line-timeout", ", \"timeout\": 1"));
            gone.send_put(name, &by("line-gone", ", \"timeout\": 60"));
            watcher.send("GET", &format!("/resources/{name}/?wait=60"), "");
            served.send_put(name, &by("line-served", ", \"timeout\": 60, \"ttl\": 60"));
            lines.push((name, served, timed_out, gone, watcher));
        }
        for (name, mut served, mut timed_out, gone, watcher) in lines {
            assert_eq!(timed_out.answer().status, 408, "{name}");
            drop((gone, watcher));
            // One that leaves in the instant of its grant may keep it.
            eventually("the server sees that it is gone", SEEN_MAX, || {
                holder.get(&format!("/resources/{name}/")).json()["waiters"] == 1
            });
            assert_eq!(holder.delete(name, "line-holder").status, 204);
            assert_eq!(served.answer().status, 200, "{name}");
            assert_eq!(served.delete(name, "line-served").status, 204);
            counts.names.fetch_add(1, Ordering::Relaxed);
            counts.grants.fetch_add(2, Ordering::Relaxed);
            counts.releases.fetch_add(2, Ordering::Relaxed);
            counts.timeouts.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A client of the stream that reads, and begins anew now and then.
pub fn read_events(address: SocketAddr, counts: &Counts, end: Instant) {
    const READ_AT_ONCE: usize = 1000;
    while Instant::now() < end {
        let mut stream = EventStream::open(address, "", &[]);
        let until = end.min(Instant::now() + UNREAD);
        while Instant::now() < until {
            let events = stream.next(READ_AT_ONCE, Duration::from_millis(500)).len();
            counts.events_read.fetch_add(events as u64, Ordering::Relaxed);
            assert!(!stream.is_over, "a stream that is read is not ended");
        }
    }
}

/// A client of the stream that asks for it and reads nothing.
pub fn read_no_events(address: SocketAddr, end: Instant) {
    while Instant::now() < end {
        let mut client = Client::connect(address);
        // Little fits in there, so that the server soon has to keep the rest.
        set_socket_recv_buffer_size(client.stream(), 4096).expect("a socket of ours");
        client.send("GET", "/events/stream/", "");
        let until = end.min(Instant::now() + UNREAD);
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

/// Connections on which half a request comes, or nothing, or one after another.
pub fn come_and_go(address: SocketAddr, end: Instant) {
    while Instant::now() < end {
        let mut guests: Vec<_> = (0..GUESTS).map(|_| Client::connect(address)).collect();
        for (number, guest) in guests.iter_mut().enumerate() {
            match number % 3 {
                0 => {}
                1 => guest.send_raw(b"PUT /resources/half/ HTTP/1.1\r\nHost: local"),
                _ => assert_eq!(guest.get("/healthz/").status, 200),
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn by(key: &str, more: &str) -> String {
    format!("{{\"locked_by\": \"{key}\"{more}}}")
}
