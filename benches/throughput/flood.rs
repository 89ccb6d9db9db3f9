//! One client that asks now and then while another floods the server: what the
//! first one feels of it, by the bound that the other has.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use crate::load::{Connection, histogram, request};
use crate::servers::{Kind, ServerProcess};

const LENGTH: Duration = Duration::from_secs(8);
/// Between two requests of the client that behaves.
const PAUSE: Duration = Duration::from_millis(5);
const PER_SECOND: &str = "1000";
/// The address of the client that does not.
const FLOODING: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Prints the p99 of the client that behaves, alone and beside floods from so
/// many connections.
pub fn run(connections: &[usize]) {
    println!(
        "A client that acquires and releases, a request each {} ms, while another floods from 127.0.0.2, {} s each:\n",
        PAUSE.as_millis(),
        LENGTH.as_secs()
    );
    println!(
        "| CLIENT_REQUESTS_PER_SECOND | flooding connections | p50 ms | p99 ms | p99, to that alone | \
         served/s | refused/s | server's processors |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (title, settings) in [
        ("none", &[][..]),
        (PER_SECOND, &[("CLIENT_REQUESTS_PER_SECOND", PER_SECOND)][..]),
    ] {
        let mut alone_ms = f64::NAN;
        for flooding in [&[0], connections].concat() {
            let server = ServerProcess::start_with(Kind::Cls, settings);
            let flood = (flooding > 0).then(|| Flood::start(server.address(), flooding));
            let before = server.processor_seconds();
            let measured = behave(server.address());
            let processors = (server.processor_seconds() - before) / LENGTH.as_secs_f64();
            let (served, refused) = flood.map(Flood::stop).unwrap_or_default();
            let ms = |quantile| measured.value_at_quantile(quantile) as f64 / 1e3;
            if flooding == 0 {
                alone_ms = ms(0.99);
            }
            println!(
                "| {title} | {flooding} | {:.2} | {:.2} | {:.1} | {served:.0} | {refused:.0} | {processors:.2} |",
                ms(0.5),
                ms(0.99),
                ms(0.99) / alone_ms
            );
        }
    }
    println!();
}

/// What a client feels that asks now and then, in microseconds. It stays below
/// the bound.
fn behave(address: SocketAddr) -> hdrhistogram::Histogram<u64> {
    let mut stream = std::net::TcpStream::connect(address).expect("the server accepts");
    stream.set_nodelay(true).expect("a socket of ours");
    let body = "{\"locked_by\":\"key\"}";
    let pair = [request("PUT", "behaves", body), request("DELETE", "behaves", body)];
    let mut microseconds = histogram();
    let mut buffer = [0; 2048];
    let end = Instant::now() + LENGTH;
    while Instant::now() < end {
        for (request, status) in pair.iter().zip(["200", "204"]) {
            let asked = Instant::now();
            stream.write_all(request).expect("the server reads");
            // An answer is far smaller than what is read at once.
            let length = stream.read(&mut buffer).expect("the server answers");
            let taken = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
            microseconds.saturating_record(taken);
            assert_eq!(&buffer[9..12], status.as_bytes(), "{}", buffer[..length].escape_ascii());
            thread::sleep(PAUSE);
        }
    }
    microseconds
}

/// A client at another address: each connection asks again as soon as it is
/// answered, whatever the answer says.
struct Flood {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    started: Instant,
    thread: thread::JoinHandle<()>,
}

impl Flood {
    fn start(address: SocketAddr, connections: usize) -> Self {
        let (stop, served, refused) = (Arc::default(), Arc::default(), Arc::default());
        let (stop_seen, counts) = (Arc::clone(&stop), [Arc::clone(&served), Arc::clone(&refused)]);
        let thread = thread::spawn(move || drive(address, connections, &stop_seen, &counts));
        Self {
            stop,
            served,
            refused,
            started: Instant::now(),
            thread,
        }
    }

    /// Answers with how many requests a second were served, and refused.
    fn stop(self) -> (f64, f64) {
        let per_second =
            |count: &AtomicU64| count.load(Ordering::Relaxed) as f64 / self.started.elapsed().as_secs_f64();
        let rates = (per_second(&self.served), per_second(&self.refused));
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the flood runs");
        rates
    }
}

fn drive(address: SocketAddr, connections: usize, stop: &AtomicBool, [served, refused]: &[Arc<AtomicU64>; 2]) {
    let mut poll = Poll::new().expect("epoll");
    let body = "{\"locked_by\":\"key\"}";
    let mut floods: Vec<_> = (0..connections)
        .map(|number| {
            let name = format!("flood-{number}");
            let pair = [request("PUT", &name, body), request("DELETE", &name, body)];
            (Connection::open_from(FLOODING, address, &poll, number), pair, 0_usize)
        })
        .collect();
    for (connection, pair, _) in &mut floods {
        connection.send(&pair[0]);
    }
    let mut events = Events::with_capacity(1024);
    while !stop.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(100))).expect("epoll");
        for event in &events {
            let (connection, pair, step) = &mut floods[event.token().0];
            let Some(status) = connection.receive() else {
                continue;
            };
            let count = if status == 429 { refused } else { served };
            count.fetch_add(1, Ordering::Relaxed);
            *step += 1;
            connection.send(&pair[*step % 2]);
        }
    }
}
