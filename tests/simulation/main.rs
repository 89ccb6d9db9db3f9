//! Servers, a database and clients in a simulation, in which everything goes wrong
//! that can.
//!
//! What is real: all above the store, as it is in the server. What is simulated: the
//! store with its faults, the network, the clients, and time, which passes only
//! when everybody waits. One seed, one run: who is next and what goes wrong is
//! drawn from it, and nothing else.
//!
//! | to see | |
//! | --- | --- |
//! | what goes wrong | `fault.rs` |
//! | what must hold all the same | `judge.rs` and what is below |
//! | that the judge sees what is wrong | `mutants.rs` |
//! | what the store promises | `store.rs`, `lines.rs`, `database.rs` |
//!
//! `SIMULATION_SEEDS` says how many, `SIMULATION_FROM` where to begin: a seed that
//! failed is run again with that and `SIMULATION_SEEDS=1`.

mod baton;
mod chance;
mod client;
mod database;
mod fault;
mod history;
mod judge;
mod lines;
mod mutants;
mod network;
mod plan;
mod server;
mod store;
mod world;

use std::collections::BTreeMap;
use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use self::world::{Run, run};

/// Seeds of one run of the tests.
const SEEDS: u64 = 2000;

/// What has to happen in so many seeds, and how often at least.
const INTERESTING: [(&str, usize); 8] = [
    ("served at once", 10_000),
    ("served from the line", 10_000),
    ("released", 10_000),
    ("renewed", 1000),
    ("refused", 1000),
    ("timeouts", 1000),
    ("superseded", 10),
    ("deadlocks", 5),
];

fn setting(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => default,
    }
}

/// Runs seeds on all processors, until one fails; answers with the first that did, and
/// with what happened.
fn run_seeds(from: u64, seeds: u64) -> (Option<(u64, Run)>, BTreeMap<&'static str, usize>) {
    let next = AtomicU64::new(from);
    let failed = Mutex::new(None::<(u64, Run)>);
    let counts = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + seeds {
                return;
            }
            let run = run(seed);
            let mut counts = counts.lock().expect("nobody panics with it");
            for (what, times) in &run.counts {
                *counts.entry(*what).or_default() += times;
            }
            drop(counts);
            if run.verdict.is_some() {
                // Nobody begins another one; those that were begun may be lower.
                next.store(from + seeds, Ordering::Relaxed);
                let mut failed = failed.lock().expect("nobody panics with it");
                if failed.as_ref().is_none_or(|(lowest, _)| seed < *lowest) {
                    *failed = Some((seed, run));
                }
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let ended = "all threads have ended";
    (failed.into_inner().expect(ended), counts.into_inner().expect(ended))
}

#[test]
fn what_is_promised_is_kept_whatever_goes_wrong() {
    let (from, seeds) = (setting("SIMULATION_FROM", 0), setting("SIMULATION_SEEDS", SEEDS));

    let (failed, counts) = run_seeds(from, seeds);

    if let Some((seed, Run { plan, verdict, .. })) = failed {
        let verdict = verdict.expect("it failed");
        panic!(
            "seed {seed}: {}\n{plan:?}\n{}\nagain: SIMULATION_FROM={seed} SIMULATION_SEEDS=1 cargo test --test simulation promised",
            verdict.what, verdict.history
        );
    }
    println!("{seeds} seeds from {from}: {counts:?}");
    if seeds >= SEEDS {
        for (what, at_least) in INTERESTING {
            let times = counts.get(what).copied().unwrap_or_default();
            assert!(times >= at_least, "{what}: only {times} times");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 0..20 {
        let (one, other) = (run(seed), run(seed));

        let mut lines = one.history.lines().zip(other.history.lines());
        let parting = lines.find(|(one, other)| one != other);
        assert_eq!(parting, None, "seed {seed}: {:?}", one.plan);
        assert_eq!(one.history.len(), other.history.len());
    }
}
