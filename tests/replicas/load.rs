//! Many clients on several servers while something breaks: no two of them ever
//! hold the same lock.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Replicas, SOON, by};
use crate::support::{Answer, Client, Cluster, eventually};

const CLIENTS: usize = 12;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// How long it may take until something is granted again: three seconds for a
/// server that is gone, the ttl of what nobody can give back, and as much again
/// on a busy machine.
const HEAL_WAIT_MAX: Duration = Duration::from_secs(12);

/// For many more grants once there is one, on a busy machine.
const MANY_WAIT_MAX: Duration = Duration::from_secs(30);

/// How long each lock lasts: whoever is granted one by a server that is stopped
/// at this moment, or sends its release there, must not keep it for ever.
const TTL: Duration = Duration::from_secs(3);

/// What all clients together know.
struct Ledger {
    /// By name: until when somebody believes to hold it, and the highest token
    /// seen.
    names: Mutex<HashMap<&'static str, (Option<Instant>, i64)>>,
    grants: AtomicUsize,
    unknown: AtomicUsize,
    stop: AtomicBool,
    /// Where servers are. A fault may replace one.
    addresses: Mutex<Vec<SocketAddr>>,
}

impl Ledger {
    fn take(&self, name: &'static str, asked: Instant, answer: &Answer) {
        let token = answer.fencing_token();
        let mut names = self.names.lock().expect("no client panicked");
        let (held_until, highest) = names.entry(name).or_default();
        let is_held = held_until.is_some_and(|until| answer.received < until);
        assert!(!is_held, "{name} was granted with token {token} while another held it");
        assert!(token > *highest, "token {token} of {name} is not above {highest}");
        (*held_until, *highest) = (Some(asked + TTL), token);
    }

    fn give_back(&self, name: &'static str, token: i64) {
        let mut names = self.names.lock().expect("no client panicked");
        // If it took long, somebody else may have it already.
        if let Some((held_until, _)) = names.get_mut(name).filter(|(_, highest)| *highest == token) {
            *held_until = None;
        }
    }

    fn address(&self, number: usize) -> SocketAddr {
        let addresses = self.addresses.lock().expect("no client panicked");
        addresses[number % addresses.len()]
    }

    /// Waits until something is granted after this call, and then much.
    fn goes_on(&self) {
        let before = self.grants.load(Ordering::Relaxed);
        // More than can have been on their way.
        eventually("something is granted again", HEAL_WAIT_MAX, || {
            self.grants.load(Ordering::Relaxed) > before + CLIENTS
        });
        eventually("grants go on", MANY_WAIT_MAX, || {
            self.grants.load(Ordering::Relaxed) > before + 5 * CLIENTS
        });
    }
}

/// Ends the load also if the test fails.
struct EndOfLoad<'l>(&'l Ledger);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Takes locks and gives them back, each time at another server.
fn work(client_id: usize, ledger: &Ledger) {
    for step in client_id.. {
        if ledger.stop.load(Ordering::Relaxed) {
            break;
        }
        let name = NAMES[step % NAMES.len()];
        let key = format!("{client_id}-{step}");
        let body = format!(
            "{{\"locked_by\": \"{key}\", \"timeout\": 20, \"ttl\": {}}}",
            TTL.as_secs()
        );
        let started = Instant::now();
        let asked = ask(ledger.address(step / 3), "PUT", name, &body);
        match asked {
            Ok(answer) if answer.status == 200 => {
                ledger.grants.fetch_add(1, Ordering::Relaxed);
                ledger.take(name, started, &answer);
                if let Ok(second) = ask(ledger.address(step), "PUT", name, &by("overtaker")) {
                    let refused = [400, 503].contains(&second.status) || started.elapsed() > TTL;
                    assert!(refused, "{name} is held: {}", second.status);
                }
                ledger.give_back(name, answer.fencing_token());
            }
            Ok(answer) if answer.status == 408 => continue,
            Ok(answer) if answer.status != 503 => panic!("{}: {}", answer.status, answer.body),
            Ok(_) | Err(_) => {
                ledger.unknown.fetch_add(1, Ordering::Relaxed);
            }
        }
        release_for_sure(ledger, name, &key, step);
    }
}

fn ask(address: SocketAddr, method: &str, name: &str, body: &str) -> io::Result<Answer> {
    Client::try_connect(address)?.try_request(method, &format!("/resources/{name}/"), body)
}

/// Asks until the answer is that the key does not hold the lock any more.
fn release_for_sure(ledger: &Ledger, name: &str, key: &str, step: usize) {
    for attempt in 0.. {
        match ask(ledger.address(step + attempt), "DELETE", name, &by(key)) {
            Ok(answer) if [204, 400].contains(&answer.status) => return,
            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.body),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
        if ledger.stop.load(Ordering::Relaxed) {
            // The rest is up to the ttl.
            return;
        }
    }
}

/// Runs `fault` under load. Afterwards nothing may be held, and nobody wait.
fn under_load(replicas: &mut Replicas, fault: impl FnOnce(&mut Replicas, &Ledger)) {
    let ledger = Ledger {
        names: Mutex::default(),
        grants: AtomicUsize::new(0),
        unknown: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        addresses: Mutex::new(replicas.addresses()),
    };
    thread::scope(|scope| {
        for client_id in 0..CLIENTS {
            let ledger = &ledger;
            scope.spawn(move || work(client_id, ledger));
        }
        let _end = EndOfLoad(&ledger);
        ledger.goes_on();
        fault(replicas, &ledger);
        ledger.goes_on();
    });

    eventually("whoever is gone is forgotten", HEAL_WAIT_MAX, || {
        let held = replicas.database.sql("SELECT name FROM held_locks");
        let waiting = replicas.database.sql("SELECT name FROM waiting_lines");
        held.is_empty() && waiting.is_empty()
    });
    let mut client = replicas.client(replicas.servers.len() - 1);
    for name in NAMES {
        eventually("it is free", HEAL_WAIT_MAX, || client.put(name, &by("k")).status == 200);
    }
}

#[test]
fn without_any_fault() {
    let mut replicas = Replicas::start(3);

    under_load(&mut replicas, |_, ledger| {
        for _ in 0..3 {
            ledger.goes_on();
        }
        assert_eq!(ledger.unknown.load(Ordering::Relaxed), 0, "nobody had to be refused");
    });
}

#[test]
fn servers_are_killed_with_waiters_parked_and_grants_in_flight() {
    let mut replicas = Replicas::start(3);

    under_load(&mut replicas, |replicas, ledger| {
        for round in 0..4 {
            replicas.servers[round % 3].kill();
            ledger.goes_on();
            replicas.restart(round % 3);
            ledger.addresses.lock().expect("no client panicked")[round % 3] = replicas.servers[round % 3].address;
        }
        assert!(ledger.unknown.load(Ordering::Relaxed) > 0, "a test of nothing");
    });
}

#[test]
fn a_server_is_stopped_again_and_again() {
    let mut replicas = Replicas::start(3);

    under_load(&mut replicas, |replicas, ledger| {
        for round in 0..3 {
            let stopped = &replicas.servers[round % 3];
            let away = {
                let mut addresses = ledger.addresses.lock().expect("no client panicked");
                stopped.signal(Signal::STOP);
                addresses.remove(round % 3)
            };
            ledger.goes_on();
            // Longer than it is believed to live.
            eventually("it is taken for gone", HEAL_WAIT_MAX, || {
                let silent = "SELECT count(*) FROM replicas WHERE seen_us < clock_us() - 2500000";
                replicas.database.sql(silent) == ["1"]
            });
            stopped.signal(Signal::CONT);
            ledger
                .addresses
                .lock()
                .expect("no client panicked")
                .insert(round % 3, away);
            ledger.goes_on();
        }
    });
}

#[test]
fn sessions_of_all_servers_are_terminated() {
    let mut replicas = Replicas::start(3);

    under_load(&mut replicas, |replicas, ledger| {
        for _ in 0..5 {
            replicas.database.terminate_sessions();
            ledger.goes_on();
        }
        assert!(ledger.unknown.load(Ordering::Relaxed) > 0, "a test of nothing");
    });
}

#[test]
fn postgresql_crashes_and_those_in_line_keep_their_order() {
    let mut cluster = Cluster::of_its_own();
    let mut replicas = Replicas::on(cluster.database(), 3);
    replicas.hold(0, "r");
    let order = [2, 0, 1, 0, 2, 1];
    let mut waiters: Vec<_> = order
        .iter()
        .enumerate()
        .map(|(number, replica)| replicas.in_line(*replica, "r", &format!("k{number}")))
        .collect();

    under_load(&mut replicas, |replicas, ledger| {
        for _ in 0..2 {
            cluster.crash();
            for replica in 0..3 {
                assert_eq!(replicas.client(replica).put("down", &by("k")).status, 503);
            }
            cluster.run();
            ledger.goes_on();
        }
        // Nothing but this line is left when the load ends.
        let mut holder = "holder".to_owned();
        let mut token = 0;
        for (number, waiter) in waiters.iter_mut().enumerate() {
            let mut client = Client::connect(ledger.address(number));
            assert_eq!(client.delete("r", &holder).status, 204);
            let next = super::granted_within(waiter, SOON);
            assert!(next > token, "tokens rise");
            (token, holder) = (next, format!("k{number}"));
        }
        assert_eq!(Client::connect(ledger.address(0)).delete("r", &holder).status, 204);
    });
}
