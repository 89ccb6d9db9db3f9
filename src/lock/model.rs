//! Random histories of batches, against a model that is too simple to be wrong.
//!
//! The model undoes a failed batch by taking a copy back, forgets whoever leaves
//! at once, and has no lines: it says exactly what a holder is answered, and of
//! those who wait only whether what happened was promised. The rules proper have
//! lazy departures, places, put-backs and looks; both must tell the same story.

mod aftermath;
mod asks;
mod history;
mod judge;
mod ledger;
mod naive;
mod recorded;
mod servers;
mod starvation;
mod turn;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use self::asks::Operation;
use self::history::history;
use self::world::World;
use crate::lock::Outcome;

const HISTORIES: u32 = 512;

/// What has to happen in the histories, so that none of it is missed for ever,
/// and how often at least.
const INTERESTING: [(&str, usize); 26] = [
    ("handed over", 500),
    ("passed over", 10),
    ("handed over in vain", 50),
    ("joiners undone", 50),
    ("ghosts given back", 50),
    ("told again", 50),
    ("several told again", 10),
    ("requests that lie", 50),
    ("requests that lie about one that waits", 3),
    ("places taken over", 50),
    ("released before", 20),
    ("release of another grant refused", 20),
    ("renewed", 50),
    ("renewal refused", 50),
    ("renewal of nothing", 50),
    ("changed as one of many", 50),
    ("granted within the delay", 10),
    ("overtaken rightly", 15),
    ("several granted at once", 50),
    ("several handed over", 50),
    ("several served in the end", 50),
    ("deadlocks of several", 50),
    ("put off", 15),
    ("unfinished", 10),
    ("kept free", 50),
    ("kept free in vain", 10),
];

/// What was seen in all histories, and how often.
#[derive(Debug, Default)]
struct Seen(BTreeMap<&'static str, usize>);

impl Seen {
    fn note(&mut self, what: &'static str, times: usize) {
        *self.0.entry(what).or_default() += times;
    }

    fn note_outcome(&mut self, operation: &Operation, outcome: &Outcome) {
        let what = match (operation, outcome) {
            (Operation::GiveBack { .. }, Outcome::Released) => "ghosts given back",
            (Operation::Release { .. }, Outcome::ReleasedBefore) => "released before",
            (Operation::Release { token: Some(_), .. }, Outcome::InvalidUnlock) => "release of another grant refused",
            (_, Outcome::Renewed(_)) => "renewed",
            (_, Outcome::InvalidRenew) => "renewal refused",
            (Operation::Renew { .. }, Outcome::NotAcquired) => "renewal of nothing",
            (_, Outcome::KeyReused) => "requests that lie",
            _ => return,
        };
        self.note(what, 1);
    }
}

#[test]
fn random_histories_agree_with_the_model() {
    let config = ProptestConfig {
        cases: HISTORIES,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let seen = RefCell::new(Seen::default());
    let result = TestRunner::new(config).run(&history(), |history| {
        let seen = &mut *seen.borrow_mut();
        let mut world = World::new(history.delay_us);
        for step in &history.steps {
            world.step(step, seen);
        }
        world.serve_first_of_several(seen);
        world.end(seen);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }

    let Seen(seen) = seen.into_inner();
    for (what, at_least) in INTERESTING {
        let times = seen.get(what).copied().unwrap_or_default();
        assert!(times >= at_least, "{what}: only {times} times in {HISTORIES} histories");
    }
}
