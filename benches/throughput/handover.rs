//! Many wait for one resource; each releases as soon as it is granted. On
//! replicas they stand alternately at each, so that every hand-over crosses.

use std::time::Instant;

use hdrhistogram::Histogram;
use mio::{Events, Poll};

use crate::NAMES;
use crate::disk::fsync_ms;
use crate::load::{Connection, histogram, request};
use crate::postgres::{Cluster, free_all};
use crate::servers::{Kind, ServerProcess};

const WAITERS: usize = 5_000;

/// As many hand-overs from one replica to another.
const WAITERS_ON_REPLICAS: usize = 10_000;

/// From here on the memory of each further waiter is measured: what the first
/// of them make the server grow by is not theirs.
const WARMED_UP: usize = 1_000;

/// Connections in the order in which they came into line; the first holds.
pub struct Line {
    name: String,
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
}

/// Microseconds from sending a release to receiving the next grant, and how
/// often somebody overtook.
pub struct HandOvers {
    pub times: Histogram<u64>,
    inversions: usize,
}

/// Prints how long a hand-over takes on SQLite, whether anybody overtook, and
/// what a waiter costs.
pub fn run() {
    let servers = [ServerProcess::start(Kind::Cls)];
    let mut line = Line::for_name("contended");
    line.join(&servers, WARMED_UP);
    let before = servers[0].resident_kib();
    line.join(&servers, WAITERS + 1);
    let parked = servers[0].resident_kib();
    let hand_overs = line.hand_over();
    println!(
        "{WAITERS} waiters on one resource: hand-over {}, {:.2} fsyncs at the median; \
         {:.1} KiB of resident memory for each after the first {WARMED_UP}, connection included.\n",
        hand_overs.in_words(),
        hand_overs.p50_ms() / fsync_ms(),
        (parked - before) as f64 / (WAITERS + 1 - WARMED_UP) as f64
    );
}

/// Prints how long a hand-over takes on PostgreSQL: within one server, and
/// from one of two to the other.
pub fn run_on_replicas(cluster: &Cluster, waiters: Option<usize>) {
    let waiters = waiters.unwrap_or(WAITERS_ON_REPLICAS);
    for replicas in [1, 2] {
        let url = cluster.database(Kind::Cls, NAMES);
        let servers: Vec<_> = (0..replicas)
            .map(|_| ServerProcess::start_on(Kind::Cls, &url))
            .collect();
        let mut line = Line::for_name("contended");
        line.join(&servers, waiters + 1);
        let hand_overs = line.hand_over();
        println!(
            "{waiters} waiters on one resource, alternately at {replicas} replica(s) on one PostgreSQL database: \
             hand-over {} (asked: p50 below 10 ms, none).\n",
            hand_overs.in_words()
        );
        drop(servers);
        free_all(&url);
    }
}

impl Line {
    pub fn for_name(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            poll: Poll::new().expect("epoll"),
            events: Events::with_capacity(1024),
            connections: Vec::new(),
        }
    }

    /// Makes the line `length` long, at each of the servers in turn.
    pub fn join(&mut self, servers: &[ServerProcess], length: usize) {
        // For requests of nobody: whatever the same server was asked before them is decided by their answer.
        let mut others: Vec<_> = (0..servers.len())
            .map(|server| Connection::open(servers[server].address(), &self.poll, usize::MAX - 1 - server))
            .collect();
        for number in self.connections.len()..length {
            let server = number % servers.len();
            let mut connection = Connection::open(servers[server].address(), &self.poll, number);
            let refused = request("DELETE", &self.name, r#"{"locked_by":"nobody"}"#);
            let wait = request(
                "PUT",
                &self.name,
                &format!(r#"{{"locked_by":"key-{number}","timeout":600}}"#),
            );
            // The first is answered at once; with that answer the server has read the second too.
            connection.send(&[&refused[..], &wait].concat());
            let answers = if number == 0 { 2 } else { 1 };
            for _ in 0..answers {
                self.wait_for_one(&mut connection);
            }
            others[server].send(&refused);
            self.wait_for_one(&mut others[server]);
            self.connections.push(connection);
        }
    }

    fn wait_for_one(&mut self, connection: &mut Connection) {
        while connection.receive().is_none() {
            self.poll(10);
        }
    }

    fn poll(&mut self, seconds: u64) {
        let wait = std::time::Duration::from_secs(seconds);
        self.poll.poll(&mut self.events, Some(wait)).expect("epoll");
    }

    /// Each releases when it has been granted, to the last.
    pub fn hand_over(&mut self) -> HandOvers {
        let mut hand_overs = HandOvers {
            times: histogram(),
            inversions: 0,
        };
        let mut holder = 0;
        for _ in 1..self.connections.len() {
            let release = request("DELETE", &self.name, &format!(r#"{{"locked_by":"key-{holder}"}}"#));
            let released = Instant::now();
            self.connections[holder].send(&release);
            let next = self.next_granted(released);
            let taken = released.elapsed().as_micros();
            hand_overs
                .times
                .saturating_record(u64::try_from(taken).unwrap_or(u64::MAX));
            hand_overs.inversions += usize::from(next != holder + 1);
            holder = next;
        }
        hand_overs
    }

    fn next_granted(&mut self, since: Instant) -> usize {
        let mut next = None;
        while next.is_none() {
            assert!(since.elapsed().as_secs() < 30, "nobody was granted what was released");
            self.poll(10);
            for event in &self.events {
                let number = event.token().0;
                let Some(connection) = self.connections.get_mut(number) else {
                    continue;
                };
                while let Some(status) = connection.receive() {
                    match status {
                        200 => next = Some(number),
                        status => assert_eq!(status, 204, "waiter {number}"),
                    }
                }
            }
        }
        next.expect("somebody was granted")
    }
}

impl HandOvers {
    fn p50_ms(&self) -> f64 {
        self.times.value_at_quantile(0.5) as f64 / 1e3
    }

    fn in_words(&self) -> String {
        format!(
            "p50 {:.2} ms, p99 {:.2} ms, {} order inversions",
            self.p50_ms(),
            self.times.value_at_quantile(0.99) as f64 / 1e3,
            self.inversions
        )
    }
}
