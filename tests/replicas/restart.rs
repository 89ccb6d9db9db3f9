//! Whoever waits at a server that stops keeps its place if it asks for the same
//! at another one.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Replicas, SOON, by, granted_within};
use crate::support::{Answer, Client, Cluster, Lost, Proxy, eventually};

/// For how long a vacant place may hold up the others; VACANT_PLACE_MAX, and some
/// more on a busy machine.
const HOLD_UP_MAX: Duration = Duration::from_secs(4);

impl Replicas {
    /// Sends a PUT that waits a minute and can be known again.
    fn asks_by_request(&self, replica: usize, name: &str, key: &str) -> Client {
        let mut client = self.client(replica);
        let headers = [("Idempotency-Key", key)];
        let path = format!("/resources/{name}/");
        client.send_with(("PUT", &path), &headers, &waiting_body(key));
        client
    }

    /// The same, which returns when it stands in line.
    fn in_line_by_request(&self, replica: usize, name: &str, key: &str) -> Client {
        let before = self.waiting(name);
        let client = self.asks_by_request(replica, name, key);
        eventually("it stands in line", SOON, || self.waiting(name) == before + 1);
        client
    }

    /// How many places in the line for `name` are kept for somebody.
    fn vacant(&self, name: &str) -> usize {
        let count = format!("SELECT count(*) FROM waiters WHERE name = '{name}' AND replica = 0");
        self.database.sql(&count)[0].parse().expect("a number")
    }

    /// Stops a server, and sees those who wait there sent away.
    fn stop(&mut self, replica: usize, waiters: &mut [Client]) {
        self.servers[replica].signal(Signal::TERM);
        for waiter in waiters {
            let answer = waiter.answer();
            assert_eq!(answer.status, 503, "{}", answer.body);
            assert_eq!(answer.header("Retry-After"), Some("1"));
        }
        let status = self.servers[replica].wait(SOON).expect("it ends");
        assert!(status.success());
    }

    /// Releases what `holder` has, and sees these granted one after the other.
    fn serves_in_order(&self, name: &str, mut holder: String, waiters: Vec<(String, Client)>) {
        let mut token = 0;
        for (key, mut waiter) in waiters {
            self.release(1, name, &holder);
            let next = granted_within(&mut waiter, SOON);
            assert!(next > token, "{key}: tokens rise");
            (token, holder) = (next, key);
        }
    }
}

fn waiting_body(key: &str) -> String {
    format!("{{\"locked_by\": \"{key}\", \"timeout\": 60}}")
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("k{number}")).collect()
}

#[test]
fn whoever_comes_back_elsewhere_in_whatever_order_is_served_in_the_old_one() {
    let mut replicas = Replicas::start(3);
    replicas.hold(1, "r");
    let mut waiters: Vec<_> = keys(5)
        .iter()
        .map(|key| replicas.in_line_by_request(0, "r", key))
        .collect();
    let behind = replicas.in_line(2, "r", "behind");

    replicas.stop(0, &mut waiters);
    assert_eq!(replicas.vacant("r"), 5);
    let mut back: Vec<_> = keys(5)
        .into_iter()
        .enumerate()
        .rev()
        .map(|(number, key)| {
            let client = replicas.asks_by_request(1 + number % 2, "r", &key);
            eventually("it is back", SOON, || replicas.vacant("r") == number);
            (key, client)
        })
        .collect();
    assert_eq!(replicas.waiting("r"), 6, "nobody stands twice");

    back.reverse();
    back.push(("behind".to_owned(), behind));
    replicas.serves_in_order("r", "holder".to_owned(), back);
    assert_eq!(replicas.waiting("r"), 0);
}

#[test]
fn what_is_free_is_kept_for_whoever_is_first_and_comes_back() {
    let mut replicas = Replicas::start(2);
    replicas.hold(1, "r");
    let first = replicas.in_line_by_request(0, "r", "first");
    let mut second = replicas.in_line(1, "r", "second");
    replicas.stop(0, &mut [first]);

    replicas.release(1, "r", "holder");
    assert_eq!(replicas.client(1).put("r", &by("overtaker")).status, 400);
    let mut back = replicas.asks_by_request(1, "r", "first");

    let token = granted_within(&mut back, SOON);
    replicas.release(1, "r", "first");
    assert!(granted_within(&mut second, SOON) > token);
}

#[test]
fn whoever_does_not_come_back_holds_up_the_others_for_three_seconds_at_most() {
    let mut replicas = Replicas::start(2);
    replicas.hold(1, "r");
    let gone = [
        replicas.in_line_by_request(0, "r", "a"),
        replicas.in_line_by_request(0, "r", "b"),
    ];
    let mut living = replicas.in_line(1, "r", "living");

    let mut gone = gone;
    let stopped = Instant::now();
    replicas.stop(0, &mut gone);
    replicas.release(1, "r", "holder");
    granted_within(&mut living, SOON);

    let waited = stopped.elapsed();
    assert!(waited < HOLD_UP_MAX, "after {waited:?}");
    assert!(waited > Duration::from_millis(2500), "the places were kept: {waited:?}");
    // And for no time at all afterwards.
    let mut next = replicas.in_line(1, "r", "next");
    replicas.hands_over_within(Duration::from_secs(1), (1, "r", "living"), &mut next);
}

#[test]
fn a_place_that_is_hardly_kept_any_more_holds_up_nobody_for_longer() {
    let mut replicas = Replicas::start(3);
    replicas.hold(1, "r");
    let gone = replicas.in_line_by_request(0, "r", "gone");
    let mut living = replicas.in_line(2, "r", "living");
    replicas.stop(0, &mut [gone]);

    let is_nearly_over = "SELECT vacant_until_us < clock_us() + 300000 FROM waiters WHERE replica = 0";
    eventually("it is nearly over", SOON, || {
        replicas.database.sql(is_nearly_over) == ["t"]
    });
    // By a server at which nobody waits.
    replicas.hands_over_within(Duration::from_millis(1500), (1, "r", "holder"), &mut living);
}

#[test]
fn whoever_cannot_be_known_again_loses_its_place_and_holds_up_nobody() {
    let mut replicas = Replicas::start(2);
    replicas.hold(1, "r");
    let without_key = replicas.in_line(0, "r", "first");
    let mut second = replicas.in_line(1, "r", "second");

    replicas.stop(0, &mut [without_key]);
    let mut back = replicas.in_line(1, "r", "first");
    replicas.hands_over_within(Duration::from_secs(1), (1, "r", "holder"), &mut second);

    replicas.release(1, "r", "second");
    granted_within(&mut back, SOON);
}

#[test]
fn whoever_leaves_before_its_server_stops_leaves_no_place_behind() {
    let mut replicas = Replicas::start(2);
    replicas.hold(1, "r");
    let left = replicas.in_line_by_request(0, "r", "left");
    let mut living = replicas.in_line(1, "r", "living");

    drop(left);
    eventually("it is missed", SOON, || replicas.waiting("r") == 1);
    replicas.stop(0, &mut []);

    assert_eq!(replicas.vacant("r"), 0);
    replicas.hands_over_within(Duration::from_secs(1), (1, "r", "holder"), &mut living);
}

#[test]
fn a_place_whose_return_could_not_be_written_is_there_for_the_next_attempt() {
    let database = Cluster::shared().database();
    let proxy = Proxy::before(&database);
    let mut replicas = Replicas::on(database, 1);
    replicas.add(proxy.url());
    replicas.hold(1, "r");
    let first = replicas.in_line_by_request(0, "r", "first");
    let mut second = replicas.in_line(1, "r", "second");
    replicas.stop(0, &mut [first]);

    proxy.lose(Lost::Commit, 0);
    let told = replicas.asks_by_request(1, "r", "first").answer();
    assert_eq!(told.status, 503, "{}", told.body);
    assert_eq!((proxy.lost(), replicas.vacant("r")), (1, 1));
    eventually("it works again", SOON, || {
        replicas.client(1).put("other", &by("k")).status == 200
    });
    let mut back = replicas.asks_by_request(1, "r", "first");
    eventually("it is back", SOON, || replicas.vacant("r") == 0);

    replicas.release(1, "r", "holder");
    let token = granted_within(&mut back, SOON);
    replicas.release(1, "r", "first");
    assert!(granted_within(&mut second, SOON) > token);
}

#[test]
fn the_key_with_another_body_is_another_request_elsewhere() {
    let mut replicas = Replicas::start(2);
    replicas.hold(1, "r");
    let first = replicas.in_line_by_request(0, "r", "first");
    replicas.stop(0, &mut [first]);
    let headers = [("Idempotency-Key", "first")];
    let mut other = replicas.client(1);

    other.send_with(("PUT", "/resources/r/"), &headers, &waiting_body("another"));
    eventually("it stands behind", SOON, || replicas.waiting("r") == 2);

    assert_eq!(replicas.vacant("r"), 1);
    let mut liar = replicas.client(1);
    let told = liar.request_with(("PUT", "/resources/r/"), &headers, &waiting_body("a third"));
    assert_eq!(told.status, 422, "as ever at one server: {}", told.body);
}

#[test]
fn whoever_waited_at_a_server_that_was_killed_comes_back_to_its_place() {
    let mut replicas = Replicas::start(3);
    replicas.hold(1, "r");
    let _dead: Vec<_> = keys(3)
        .iter()
        .map(|key| replicas.in_line_by_request(0, "r", key))
        .collect();
    let behind = replicas.in_line(2, "r", "behind");

    replicas.servers[0].kill();
    let of_the_dead = "SELECT count(*) FROM waiters WHERE replica = (SELECT min(id) FROM replicas)";
    let mut back: Vec<_> = keys(3)
        .into_iter()
        .enumerate()
        .rev()
        .map(|(number, key)| {
            let client = replicas.asks_by_request(1 + number % 2, "r", &key);
            eventually("it is back", SOON, || {
                replicas.database.sql(of_the_dead) == [number.to_string()]
            });
            (key, client)
        })
        .collect();

    back.reverse();
    back.push(("behind".to_owned(), behind));
    replicas.serves_in_order("r", "holder".to_owned(), back);
}

#[test]
fn whoever_asks_elsewhere_while_its_server_lives_waits_there_from_then_on() {
    let replicas = Replicas::start(2);
    replicas.hold(1, "r");
    let mut before = replicas.in_line_by_request(0, "r", "first");
    let mut second = replicas.in_line(0, "r", "second");

    let mut now = replicas.asks_by_request(1, "r", "first");

    let told = before.answer();
    assert_eq!(told.status, 409, "{}", told.body);
    assert_eq!(replicas.waiting("r"), 2);
    // And back again.
    let mut again = replicas.asks_by_request(0, "r", "first");
    assert_eq!(now.answer().status, 409);
    replicas.release(1, "r", "holder");
    let first = granted_within(&mut again, SOON);
    replicas.release(1, "r", "first");
    assert!(granted_within(&mut second, SOON) > first);
}

#[test]
fn whoever_wants_several_keeps_its_place_too() {
    let mut replicas = Replicas::start(2);
    replicas.hold(1, "a");
    let body = "{\"resources\": [\"a\", \"b\"], \"locked_by\": \"first\", \"timeout\": 60}";
    let ask = |replica: usize| {
        let mut client = replicas.client(replica);
        client.send_with(("POST", "/locks/"), &[("Idempotency-Key", "first")], body);
        client
    };
    let first = ask(0);
    eventually("it stands in line", SOON, || replicas.waiting("a") == 1);
    let mut second = replicas.in_line(1, "a", "second");
    replicas.stop(0, &mut [first]);
    assert_eq!(replicas.vacant("a"), 1);

    let mut client = replicas.client(1);
    client.send_with(("POST", "/locks/"), &[("Idempotency-Key", "first")], body);
    eventually("it is back", SOON, || replicas.vacant("a") == 0);
    replicas.release(1, "a", "holder");

    let granted = client.answer();
    assert_eq!(granted.status, 200, "{}", granted.body);
    assert_eq!(replicas.client(1).delete("a", "second").status, 400, "not yet");
    replicas.release(1, "a", "first");
    granted_within(&mut second, SOON);
}

const CLIENTS: usize = 12;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// How long one cycle may take in all, with whatever restarts.
const CYCLE_MAX: Duration = Duration::from_secs(60);

/// A client waits no longer than this before it asks again, whatever it is told.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// What the clients of a rolling restart know.
struct Ledger {
    addresses: Mutex<Vec<SocketAddr>>,
    /// By name: who holds it, and the highest token.
    names: Mutex<HashMap<&'static str, (Option<usize>, i64)>>,
    cycles: AtomicUsize,
    retries: AtomicUsize,
    stop: AtomicBool,
}

impl Ledger {
    fn take(&self, name: &'static str, client: usize, token: i64) {
        let mut names = self.names.lock().expect("no client panicked");
        let (holder, highest) = names.entry(name).or_default();
        assert_eq!(*holder, None, "{name} was granted to {client} with token {token} too");
        assert!(token > *highest, "token {token} of {name} is not above {highest}");
        (*holder, *highest) = (Some(client), token);
    }

    fn give_back(&self, name: &'static str) {
        let mut names = self.names.lock().expect("no client panicked");
        names.entry(name).or_default().0 = None;
    }

    /// Asks one server after the other until one answers with something else than
    /// that it stops.
    fn ask(&self, first: usize, (method, path): (&str, &str), key: &str, body: &str) -> Answer {
        let deadline = Instant::now() + CYCLE_MAX;
        for attempt in first.. {
            let address = self.addresses.lock().expect("no client panicked")[attempt % 3];
            let pause = match try_ask(address, (method, path), key, body) {
                Ok(answer) if answer.status != 503 => return answer,
                Ok(answer) => {
                    let seconds = answer.header("Retry-After").and_then(|text| text.parse().ok());
                    Duration::from_secs(seconds.unwrap_or(0)).min(PAUSE_MAX)
                }
                Err(_) => Duration::from_millis(50),
            };
            self.retries.fetch_add(1, Ordering::Relaxed);
            assert!(Instant::now() < deadline, "{method} {path} was not answered");
            thread::sleep(pause);
        }
        unreachable!("it asks until it is answered")
    }
}

fn try_ask(address: SocketAddr, target: (&str, &str), key: &str, body: &str) -> io::Result<Answer> {
    let mut client = Client::try_connect(address)?;
    client.try_send_with(target, &[("Idempotency-Key", key)], body)?;
    client.try_answer()
}

/// Ends the load also if the test fails.
struct EndOfLoad<'l>(&'l Ledger);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Takes locks and gives them back; each cycle succeeds.
fn cycle(client: usize, ledger: &Ledger) {
    for step in client.. {
        if ledger.stop.load(Ordering::Relaxed) {
            return;
        }
        let name = NAMES[step % NAMES.len()];
        let path = format!("/resources/{name}/");
        let key = format!("{client}-{step}");
        let taken = ledger.ask(step, ("PUT", &path), &key, &waiting_body(&key));
        assert_eq!(taken.status, 200, "{key}: {}", taken.body);
        ledger.take(name, client, taken.fencing_token());
        thread::sleep(Duration::from_millis(5));
        ledger.give_back(name);
        let released = ledger.ask(step + 1, ("DELETE", &path), &format!("{key}-end"), &by(&key));
        assert_eq!(released.status, 204, "{key}: {}", released.body);
        ledger.cycles.fetch_add(1, Ordering::Relaxed);
    }
}

/// Starts a server again in the place of one that was told to stop.
fn roll(replicas: &mut Replicas, ledger: &Ledger, replica: usize) {
    replicas.servers[replica].signal(Signal::TERM);
    let status = replicas.servers[replica].wait(Duration::from_secs(8)).expect("it ends");
    assert!(status.success(), "{}", replicas.servers[replica].log());
    replicas.restart(replica);
    *ledger.addresses.lock().expect("no client panicked") = replicas.addresses();
}

#[test]
fn a_rolling_restart_under_load_fails_no_cycle_and_keeps_the_order() {
    let mut replicas = Replicas::start(3);
    let ledger = Ledger {
        addresses: Mutex::new(replicas.addresses()),
        names: Mutex::default(),
        cycles: AtomicUsize::new(0),
        retries: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    };
    // A line that stands still while all are restarted, twice: each client comes back within a moment.
    replicas.hold(0, "still");
    let served = Mutex::new(Vec::new());

    thread::scope(|scope| {
        let ledger = &ledger;
        let end = EndOfLoad(ledger);
        for client in 0..CLIENTS {
            scope.spawn(move || cycle(client, ledger));
        }
        for number in 0..9 {
            let served = &served;
            let before = replicas.waiting("still");
            scope.spawn(move || {
                let key = format!("still{number}");
                let answer = ledger.ask(number, ("PUT", "/resources/still/"), &key, &waiting_body(&key));
                assert_eq!(answer.status, 200, "{}", answer.body);
                served
                    .lock()
                    .expect("no client panicked")
                    .push((number, answer.fencing_token()));
                let end = format!("{key}-end");
                let released = ledger.ask(number, ("DELETE", "/resources/still/"), &end, &by(&key));
                assert_eq!(released.status, 204, "{}", released.body);
            });
            eventually("it stands in line", SOON, || replicas.waiting("still") == before + 1);
        }
        for _ in 0..2 {
            for replica in 0..3 {
                let before = ledger.cycles.load(Ordering::Relaxed);
                roll(&mut replicas, ledger, replica);
                eventually("all of the line are back", SOON, || {
                    replicas.vacant("still") == 0 && replicas.waiting("still") == 9
                });
                eventually("cycles go on", CYCLE_MAX, || {
                    ledger.cycles.load(Ordering::Relaxed) > before + CLIENTS
                });
            }
        }
        drop(end);
        replicas.release(0, "still", "holder");
    });

    let mut served = served.into_inner().expect("no client panicked");
    served.sort_by_key(|(_, token)| *token);
    let order: Vec<_> = served.into_iter().map(|(number, _)| number).collect();
    assert_eq!(order, (0..9).collect::<Vec<_>>());
    let retries = ledger.retries.load(Ordering::Relaxed);
    assert!(retries >= 9, "somebody was sent away: {retries}");
    for name in NAMES {
        assert_eq!(replicas.waiting(name), 0, "{name}");
    }
}
