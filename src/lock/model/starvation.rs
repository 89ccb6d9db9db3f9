//! That who wants several gets them in the end, whoever else comes.

use std::time::Duration;

use super::Seen;
use super::asks::{Operation, Wish};
use super::history::Fate;
use super::naive::Waiting;
use super::turn::{Errand, Task};
use super::world::World;

/// Keys of nobody else.
const FIRST_STRANGER: u8 = 100;

impl World {
    /// Frees the resources of somebody who wants several, and is before all others
    /// who want any of them, one after the other and over and over, while strangers
    /// ask for them, with and without waiting.
    ///
    /// Promised is that each round brings it one resource further: what was free
    /// when it was its turn is kept. Only those can pass it who hold what it lacks
    /// and wait already; each does so once.
    pub(super) fn serve_first_of_several(&mut self, seen: &mut Seen) {
        self.rest(seen);
        // As long as it takes: the time for which things are kept doubles until then.
        self.rules.kept_free_max = Duration::MAX;
        let is_in_nobodys_shadow = |several: &&Waiting| {
            let shares = |other: &Waiting| several.wish.names.iter().any(|name| other.wish.is_for(*name));
            let mut before = self.naive.waiting.iter().take_while(|other| other.id != several.id);
            several.wish.is_for_several() && !before.any(shares)
        };
        let Some(several) = self.naive.waiting.iter().find(is_in_nobodys_shadow).cloned() else {
            return;
        };
        let is_rival = |other: &&Waiting| several.wish.names.iter().any(|name| other.wish.is_for(*name));
        let rounds = several.wish.names.len() + self.naive.waiting.iter().filter(is_rival).count() - 1;
        let mut stranger = FIRST_STRANGER;
        for round in 0..rounds {
            for at in 0..several.wish.names.len() {
                if !self.naive.waiting.iter().any(|waiting| waiting.id == several.id) {
                    seen.note("several served in the end", 1);
                    return;
                }
                let name = several.wish.names[(at + round) % several.wish.names.len()];
                if self.naive.kept_for(name, self.now).is_some() {
                    self.now += self.naive.delay_us;
                }
                self.free_among_strangers(name, &several.wish.names, &mut stranger, seen);
            }
        }
        let waits = self.naive.waiting.iter().any(|waiting| waiting.id == several.id);
        assert!(!waits, "{several:?} is starved");
        seen.note("several served in the end", 1);
    }

    fn free_among_strangers(&mut self, name: usize, names: &[usize], stranger: &mut u8, seen: &mut Seen) {
        let mut tasks = Vec::new();
        if let Some(lock) = self.naive.lock_at(name, self.now) {
            let release = Operation::Release {
                key: Some(lock.wish.key),
                token: None,
                request: None,
            };
            tasks.push(Task::Operation(name, release));
        }
        let mut ask = |names: Vec<usize>, waits| {
            *stranger = stranger.checked_add(1).unwrap_or(FIRST_STRANGER);
            let wish = Wish {
                names,
                key: *stranger,
                ttl: None,
                label: None,
                request: None,
            };
            Task::Acquire(Errand::first(wish, waits))
        };
        tasks.push(ask(vec![name], true));
        self.batch(tasks, Fate::Committed, seen);
        let asks = names.iter().map(|name| ask(vec![*name], false)).collect();
        self.batch(asks, Fate::Committed, seen);
        self.rest(seen);
        let mut asks: Vec<_> = names.iter().map(|name| ask(vec![*name], false)).collect();
        asks.push(ask(names[..2].to_vec(), false));
        self.batch(asks, Fate::Committed, seen);
        self.rest(seen);
    }
}
