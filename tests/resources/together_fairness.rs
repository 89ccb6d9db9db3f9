//! Who wants several beside others who want one or several: nobody starves,
//! nobody hangs, and nobody shares.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{
    by, connected, hold, in_line, look, one_worker, release, rounds, settle, together, together_in_line, tokens,
    with_timeout,
};
use crate::support::{Client, Server};

/// Far above what anybody has to wait here, so that only who is forgotten gets
/// there.
const TIMEOUT: u32 = 20;

/// A generator that is the same in each run of a test.
pub struct Random(u64);

impl Random {
    pub fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }

    /// So many different names.
    pub fn names(&mut self, count: usize) -> Vec<&'static str> {
        const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
        let mut names = NAMES.to_vec();
        (0..count).map(|_| names.swap_remove(self.below(names.len()))).collect()
    }
}

/// What is held by whom, as those know who were told so.
#[derive(Default)]
pub struct Ledger {
    held: Mutex<HashMap<&'static str, String>>,
    latest: Mutex<HashMap<&'static str, i64>>,
    pub grants: AtomicUsize,
}

impl Ledger {
    /// Notes what somebody was told.
    pub fn take(&self, names: &[&'static str], tokens: &[i64], key: &str) {
        assert_eq!(names.len(), tokens.len());
        let (mut held, mut latest) = (
            self.held.lock().expect("nobody failed"),
            self.latest.lock().expect("nobody failed"),
        );
        for (name, token) in names.iter().zip(tokens) {
            let before = held.insert(*name, key.to_owned());
            assert_eq!(before, None, "{name} is given to {key} while it is held");
            let before = latest.insert(*name, *token).unwrap_or_default();
            assert!(before < *token, "{name}: {before}, then {token}");
        }
        self.grants.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes what somebody is about to release.
    pub fn put(&self, names: &[&'static str], key: &str) {
        let mut held = self.held.lock().expect("nobody failed");
        for name in names {
            assert_eq!(held.remove(name).as_deref(), Some(key), "{name}");
        }
    }
}

/// Acquires and releases until `until`, with one or several names at a time.
pub fn work(client: &mut Client, ledger: &Ledger, worker: u64, until: Instant) {
    let mut random = Random::seeded(worker + 1);
    let key = format!("k{worker}");
    while Instant::now() < until {
        let count = 1 + random.below(3);
        let names = random.names(count);
        let tokens = if names.len() == 1 && random.below(2) == 0 {
            let answer = client.put(names[0], &with_timeout(&key, TIMEOUT));
            assert_eq!(answer.status, 200, "{names:?}: {}", answer.body);
            vec![answer.fencing_token()]
        } else {
            let body = together(&names, &key, &format!(", \"timeout\": {TIMEOUT}"));
            tokens(&client.request("POST", "/locks/", &body))
        };
        ledger.take(&names, &tokens, &key);
        // Held over a round trip, so that others meet it.
        assert_eq!(client.put(names[0], &by("probe")).status, 400);
        ledger.put(&names, &key);
        for name in names {
            assert_eq!(client.delete(name, &key).status, 204, "{name}");
        }
    }
}

#[test]
pub(super) fn random_sets_never_hang_and_never_share() {
    let server = Server::start();
    let ledger = Ledger::default();
    let until = Instant::now() + Duration::from_secs(2);

    thread::scope(|scope| {
        for worker in 0..12 {
            let (server, ledger) = (&server, &ledger);
            scope.spawn(move || work(&mut connected(server), ledger, worker, until));
        }
    });

    let grants = ledger.grants.load(Ordering::Relaxed);
    assert!(grants > 50, "{grants}");
    assert_eq!(
        server.select("SELECT name FROM resources WHERE locked_by IS NOT NULL"),
        [""; 0]
    );
    for name in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(look(&server, name)["waiters"], 0, "{name}");
    }
}

#[test]
pub(super) fn two_who_ask_in_opposite_orders_never_hang() {
    let server = Server::start();
    let rounds = rounds(&server, 300);
    let began = Instant::now();
    thread::scope(|scope| {
        for (key, names) in [("x", ["a", "b"]), ("y", ["b", "a"])] {
            let server = &server;
            scope.spawn(move || {
                let mut client = connected(server);
                for round in 0..rounds {
                    let answer = client.request("POST", "/locks/", &together(&names, key, ", \"timeout\": 20"));
                    assert_eq!(answer.status, 200, "{key} {round}: {}", answer.body);
                    for name in names {
                        assert_eq!(client.delete(name, key).status, 204);
                    }
                }
            });
        }
    });
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
pub(super) fn whoever_wants_several_is_not_starved_by_a_storm_for_each_of_them() {
    let server = Server::start();
    let over = AtomicBool::new(false);
    let names = ["a", "b", "c"];
    let singles = AtomicUsize::new(0);
    let waits = thread::scope(|scope| {
        for number in 0..9 {
            let (server, over, singles) = (&server, &over, &singles);
            scope.spawn(move || {
                let mut client = connected(server);
                let (name, key) = (names[number % 3], format!("single{number}"));
                let until = Instant::now() + Duration::from_secs(30);
                while !over.load(Ordering::Relaxed) && Instant::now() < until {
                    assert_eq!(client.put(name, &with_timeout(&key, 30)).status, 200);
                    assert_eq!(client.delete(name, &key).status, 204);
                    singles.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut client = connected(&server);
        let waits: Vec<_> = (0..20)
            .map(|_| {
                let asked = Instant::now();
                let answer = client.request("POST", "/locks/", &together(&names, "all", ", \"timeout\": 20"));
                assert_eq!(answer.status, 200, "{}", answer.body);
                let waited = asked.elapsed();
                for name in names {
                    assert_eq!(client.delete(name, "all").status, 204);
                }
                waited
            })
            .collect();
        over.store(true, Ordering::Relaxed);
        waits
    });

    let longest = waits.iter().max().expect("twenty");
    assert!(*longest < Duration::from_secs(3), "{waits:?}");
    assert!(singles.load(Ordering::Relaxed) > 100, "the storm was a breeze");
}

#[test]
pub(super) fn what_becomes_free_is_kept_for_who_came_first() {
    let server = one_worker();
    let mut client = server.client();
    for name in ["a", "b"] {
        hold(&server, name);
    }
    let mut both = together_in_line(&server, &["a", "b"], "both", "a");
    let mut single = in_line(&server, "a", &with_timeout("single", 60));

    release(&server, "a");
    assert_eq!(client.put("a", &by("plain")).status, 400, "nobody overtakes");
    let refused = client.request("POST", "/locks/", &together(&["a"], "plain", ""));
    assert_eq!(refused.status, 400);
    release(&server, "b");

    assert_eq!(both.answer().status, 200);
    assert_eq!(client.delete("a", "both").status, 204);
    assert_eq!(single.answer().status, 200);
}

#[test]
pub(super) fn of_two_who_want_the_same_the_first_is_first() {
    let server = one_worker();
    for name in ["a", "b", "c"] {
        hold(&server, name);
    }
    let mut order = Vec::new();
    for (number, names) in [["a", "b"], ["b", "a"], ["b", "c"], ["c", "a"], ["a", "b"]]
        .into_iter()
        .enumerate()
    {
        order.push((
            together_in_line(&server, &names, &format!("k{number}"), "a"),
            names,
            format!("k{number}"),
        ));
    }

    for name in ["c", "b", "a"] {
        release(&server, name);
    }

    let mut latest = 0;
    for (mut waiter, names, key) in order {
        let granted = tokens(&waiter.answer());
        assert!(
            granted.iter().all(|token| *token > latest),
            "{key}: {granted:?} after {latest}"
        );
        latest = granted[1];
        for name in names {
            assert_eq!(server.client().delete(name, &key).status, 204, "{key}");
        }
    }
}

#[test]
pub(super) fn the_holder_of_what_is_missing_may_pass() {
    let server = one_worker();
    let mut client = server.client();
    hold(&server, "a");
    assert_eq!(client.put("b", &by("other")).status, 200);
    let mut both = together_in_line(&server, &["a", "b"], "both", "a");
    release(&server, "a");
    assert_eq!(client.put("a", &by("plain")).status, 400);

    // Without this, "other" could need "a" to come to an end with "b".
    assert_eq!(client.put("a", &by("other")).status, 200);

    assert_eq!(client.delete("a", "other").status, 204);
    assert_eq!(client.delete("b", "other").status, 204);
    assert_eq!(both.answer().status, 200);
    settle(&server, "a");
}
