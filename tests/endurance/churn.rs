//! Clients that never ask for the same name twice.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::endurance::{NAMES_PER_SECOND, WORKERS};
use crate::support::{Answer, Client};

/// What the clients know; what the server says of the same must agree.
#[derive(Default)]
pub struct Counts {
    /// Names that nobody had asked for before.
    pub names: AtomicU64,
    /// Answers that granted a lock, not counting those that repeated one.
    pub grants: AtomicU64,
    /// Grants that were told again.
    pub repeats: AtomicU64,
    /// Locks that were released, of those that were held one by one.
    pub releases: AtomicU64,
    pub renewals: AtomicU64,
    /// Locks that are left to their ttl.
    pub abandoned: AtomicU64,
    pub timeouts: AtomicU64,
    /// Events that a stream brought.
    pub events_read: AtomicU64,
    /// How long PUT and DELETE took that had nothing to wait for, since the last
    /// sample, in microseconds.
    pub latencies_us: Mutex<Vec<u32>>,
}

impl Counts {
    pub fn add(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn add_latency(&self, latency: Duration) {
        let mut latencies = self.latencies_us.lock().expect("nobody panics with it");
        latencies.push(latency.as_micros().try_into().unwrap_or(u32::MAX));
    }
}

/// How many lives there are for a name.
const LIVES: u64 = 16;

/// One worker: new names at its part of the rate, until `end`.
pub fn churn(address: SocketAddr, worker: u32, counts: &Counts, end: Instant) {
    let mut worker = Worker {
        client: Client::connect(address),
        address,
        counts,
        key: format!("key-of-worker-{worker}"),
    };
    let interval = Duration::from_secs(1) * WORKERS / NAMES_PER_SECOND;
    let mut due = Instant::now();
    let mut number = 0;
    while due < end {
        // The rate is what is wanted; nobody is waited for.
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // A server that was slow is not made up for by a burst.
        due = (due + interval).max(Instant::now());
        worker.live(number);
        number += 1;
    }
}

struct Worker<'a> {
    client: Client,
    address: SocketAddr,
    counts: &'a Counts,
    key: String,
}

impl Worker<'_> {
    /// A name comes, is held, and is not needed any more.
    fn live(&mut self, number: u64) {
        let name = format!("{}-{number}", self.key);
        let counts = self.counts;
        counts.add(&counts.names);
        match number % LIVES {
            0 => self.leave_to_its_ttl(&name),
            1 => self.say_everything_twice(&name),
            2 => {
                self.acquire(&name, ", \"ttl\": 60");
                self.renew(&name);
                self.renew(&name);
                self.release(&name);
            }
            3 => {
                self.acquire(&name, "");
                self.client = Client::connect(self.address);
                self.release(&name);
            }
            4 => self.take_two_together(&name),
            life => {
                let ttl = if life % 2 == 0 { "" } else { ", \"ttl\": 60" };
                self.acquire(&name, ttl);
                self.release(&name);
            }
        }
    }

    fn body(&self, more: &str) -> String {
        format!("{{\"locked_by\": \"{}\"{more}}}", self.key)
    }

    /// Asks for what cannot have to wait.
    fn ask(&mut self, target: (&str, &str), headers: &[(&str, &str)], body: &str, status: u16) -> Answer {
        let asked = Instant::now();
        let answer = self.client.request_with(target, headers, body);
        self.counts.add_latency(asked.elapsed());
        assert_eq!(answer.status, status, "{target:?}: {}", answer.body);
        answer
    }

    fn acquire(&mut self, name: &str, more: &str) {
        let body = self.body(more);
        self.ask(("PUT", &path(name)), &[], &body, 200);
        self.counts.add(&self.counts.grants);
    }

    fn release(&mut self, name: &str) {
        let body = self.body("");
        self.ask(("DELETE", &path(name)), &[], &body, 204);
        self.counts.add(&self.counts.releases);
    }

    fn renew(&mut self, name: &str) {
        let body = self.body("");
        self.ask(("PATCH", &path(name)), &[], &body, 200);
        self.counts.add(&self.counts.renewals);
    }

    fn leave_to_its_ttl(&mut self, name: &str) {
        self.acquire(name, ", \"ttl\": 1, \"label\": \"left to its ttl\"");
        self.counts.add(&self.counts.abandoned);
    }

    fn say_everything_twice(&mut self, name: &str) {
        let (path, body) = (path(name), self.body(", \"ttl\": 60"));
        let (acquire, release) = (format!("acquire-{name}"), format!("release-{name}"));
        let mut put = || self.ask(("PUT", &path), &[("Idempotency-Key", &acquire)], &body, 200);
        assert_eq!(put().fencing_token(), put().fencing_token(), "{name}");
        let body = self.body("");
        for _ in 0..2 {
            self.ask(("DELETE", &path), &[("Idempotency-Key", &release)], &body, 204);
        }
        for counter in [&self.counts.grants, &self.counts.repeats, &self.counts.releases] {
            self.counts.add(counter);
        }
    }

    fn take_two_together(&mut self, name: &str) {
        let other = format!("{name}-too");
        self.counts.add(&self.counts.names);
        let resources = format!(", \"ttl\": 60, \"resources\": [\"{name}\", \"{other}\"]");
        let body = self.body(&resources);
        self.ask(("POST", "/locks/"), &[], &body, 200);
        for name in [name, &other] {
            self.counts.add(&self.counts.grants);
            self.release(name);
        }
    }
}

fn path(name: &str) -> String {
    format!("/resources/{name}/")
}
