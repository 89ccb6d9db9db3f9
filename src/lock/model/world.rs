//! The rules proper with a disk and an engine around them, beside the model.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::Seen;
use super::asks::{Operation, Wish, name_of};
use super::history::{Ask, By, Fate, Passage, Step, Token};
use super::ledger::Ledger;
use super::naive::{NAMES, Naive};
use super::recorded::Recorded;
use super::turn::{Errand, Made, Task, Turn};
use crate::clock::Timestamp;
use crate::lock::{
    Batch, Change, EventIds, FencingCounter, FencingToken, Place, Resource, Rows, Rules, StillWaits, WaitingLines,
};

/// Short beside the time that passes in a history.
const KEPT_FREE_MAX: Duration = Duration::from_millis(400);

#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) id: u32,
    pub(super) here: Rc<Cell<bool>>,
}

impl StillWaits for Ticket {
    fn still_waits(&self) -> bool {
        self.here.get()
    }
}

pub(super) struct World {
    pub(super) now: i64,
    pub(super) rules: Rules,
    pub(super) disk: Vec<Resource>,
    pub(super) recorded: Recorded,
    pub(super) tokens: FencingToken,
    pub(super) last_place: Place,
    pub(super) lines: WaitingLines<Ticket>,
    pub(super) owed: Owed,
    pub(super) naive: Naive,
    pub(super) ledger: Ledger,
    /// The sign of life of everybody who waits.
    pub(super) here: HashMap<u32, Rc<Cell<bool>>>,
    pub(super) next_id: u32,
    /// Requests that may be sent again.
    sent: Vec<Wish>,
    released: Vec<(usize, Operation)>,
}

/// What the engine does without being asked.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Grants that reached nobody.
    pub(super) returns: Vec<(usize, i64)>,
    /// Resources to be looked at together.
    pub(super) unfinished: Vec<Vec<usize>>,
    pub(super) put_off: Vec<Errand>,
    /// When to look at each.
    pub(super) looks: [Option<i64>; NAMES],
    /// What those wanted who left and were not missed yet.
    pub(super) departed: Vec<Vec<usize>>,
}

impl World {
    pub(super) fn new(delay_us: i64) -> Self {
        Self {
            now: 1_000_000_000,
            rules: Rules {
                lock_delay: Duration::from_micros(delay_us.unsigned_abs()),
                kept_free_max: KEPT_FREE_MAX,
            },
            disk: (0..NAMES).map(|name| Resource::unseen(name_of(name))).collect(),
            recorded: Recorded::default(),
            tokens: FencingToken::NONE,
            last_place: Place::NONE,
            lines: WaitingLines::default(),
            owed: Owed::default(),
            naive: Naive {
                delay_us,
                ..Naive::default()
            },
            ledger: Ledger::default(),
            here: HashMap::new(),
            next_id: 0,
            sent: Vec::new(),
            released: Vec::new(),
        }
    }

    pub(super) fn step(&mut self, step: &Step, seen: &mut Seen) {
        match step {
            Step::Batch { asks, fate } => {
                let asked: Vec<_> = asks.iter().filter_map(|ask| self.meant(ask)).collect();
                self.batch(asked, *fate, seen);
            }
            Step::Each { key, renews, fate } => self.each(*key, *renews, *fate, seen),
            Step::Pass(passage) => self.pass(passage),
            Step::Depart { nth, noticed } => self.depart(*nth, *noticed),
            Step::Rest => self.rest(seen),
        }
    }

    fn pass(&mut self, passage: &Passage) {
        let to = match passage {
            Passage::Us(us) => Some(self.now + us),
            Passage::ToEndOf {
                name,
                us_before,
                delayed,
            } => {
                let lock = self.naive.resources[*name].lock.as_ref();
                let end = lock.and_then(|lock| lock.until);
                end.map(|until| until + if *delayed { self.naive.delay_us } else { 0 } - us_before)
            }
        };
        self.now = to.unwrap_or(self.now).max(self.now);
    }

    fn depart(&mut self, nth: usize, noticed: bool) {
        if nth >= self.naive.waiting.len() {
            return;
        }
        let waiting = self.naive.waiting.remove(nth);
        self.here.remove(&waiting.id).expect("it waits").set(false);
        self.owed.departed.push(waiting.wish.names);
        if noticed {
            self.take_departures();
        }
    }

    pub(super) fn take_departures(&mut self) {
        for name in std::mem::take(&mut self.owed.departed).concat() {
            for waiter in self.lines.take_departed(&name_of(name)) {
                if waiter.wants_several() {
                    self.arm_lines_of(&waiter);
                }
            }
        }
    }

    /// Does what is due until nothing is.
    pub(super) fn rest(&mut self, seen: &mut Seen) {
        self.take_departures();
        for _ in 0..100 {
            if self.is_at_rest() {
                return self.check_rest();
            }
            self.batch(Vec::new(), Fate::Committed, seen);
        }
        panic!("the engine finds no rest: {:?}", self.owed);
    }

    /// Everybody leaves, and nothing is left of them.
    pub(super) fn end(&mut self, seen: &mut Seen) {
        while !self.naive.waiting.is_empty() {
            self.depart(0, false);
        }
        self.rest(seen);
        assert!(self.lines.is_without_trace());
    }

    fn is_at_rest(&self) -> bool {
        let is_due = |at: &Option<i64>| at.is_some_and(|at| at <= self.now);
        let Owed {
            returns,
            unfinished,
            put_off,
            looks,
            ..
        } = &self.owed;
        returns.is_empty() && unfinished.is_empty() && put_off.is_empty() && !looks.iter().any(is_due)
    }

    /// What the asker means, given who holds what at this moment.
    fn meant(&mut self, ask: &Ask) -> Option<Task> {
        Some(match ask {
            Ask::Acquire {
                names,
                key,
                ttl,
                label,
                request,
                waits,
            } => {
                let wish = Wish {
                    names: names.clone(),
                    key: *key,
                    ttl: *ttl,
                    label: *label,
                    request: *request,
                };
                if request.is_some() {
                    self.sent.push(wish.clone());
                }
                Task::Acquire(Errand::first(wish, *waits))
            }
            Ask::AcquireAgain { sent_ago, waits } => {
                let wish = self.sent.iter().rev().nth(*sent_ago)?;
                Task::Acquire(Errand::first(wish.clone(), *waits))
            }
            Ask::Release {
                name,
                by,
                token,
                request,
            } => {
                let operation = Operation::Release {
                    key: self.key_of(*name, *by),
                    token: token.map(|token| self.token_of(*name, token)),
                    request: *request,
                };
                if request.is_some() {
                    self.released.push((*name, operation.clone()));
                }
                Task::Operation(*name, operation)
            }
            Ask::ReleaseAgain { sent_ago } => {
                let (name, operation) = self.released.iter().rev().nth(*sent_ago)?;
                Task::Operation(*name, operation.clone())
            }
            Ask::Renew {
                name,
                by,
                ttl,
                label,
                token,
            } => {
                let operation = Operation::Renew {
                    key: self.key_of(*name, *by).unwrap_or_default(),
                    ttl: *ttl,
                    label: *label,
                    token: token.map(|token| self.token_of(*name, token)),
                };
                Task::Operation(*name, operation)
            }
            Ask::GiveBack { name, tokens_ago } => {
                let token = self.naive.resources[*name].latest_token - tokens_ago;
                Task::Operation(*name, Operation::GiveBack { token })
            }
            Ask::Expire { name } => Task::Operation(*name, Operation::Expire),
        })
    }

    /// Whoever had the lock last is taken for its holder, though it may be over.
    fn key_of(&self, name: usize, by: By) -> Option<u8> {
        match by {
            By::Holder => self.naive.resources[name].lock.as_ref().map(|lock| lock.wish.key),
            By::Key(key) => Some(key),
            By::Nobody => None,
        }
    }

    fn token_of(&self, name: usize, token: Token) -> i64 {
        match token {
            Token::Current => self.naive.resources[name].latest_token,
            Token::Old => self.naive.resources[name].latest_token - 1,
        }
    }

    fn each(&mut self, key: u8, renews: bool, fate: Fate, seen: &mut Seen) {
        let operation = match renews {
            true => Operation::Renew {
                key,
                ttl: Some(3),
                label: None,
                token: None,
            },
            false => Operation::Release {
                key: Some(key),
                token: None,
                request: None,
            },
        };
        self.run(vec![Task::Each(operation)], &[], fate, seen);
    }

    /// One turn of the engine: what it owes, then what was asked.
    pub(super) fn batch(&mut self, asked: Vec<Task>, fate: Fate, seen: &mut Seen) {
        let returned = std::mem::take(&mut self.owed.returns);
        let give_back = |(name, token): &(usize, i64)| Task::Operation(*name, Operation::GiveBack { token: *token });
        let mut tasks: Vec<_> = returned.iter().map(give_back).collect();
        let unfinished = std::mem::take(&mut self.owed.unfinished).concat();
        tasks.extend(
            unfinished
                .into_iter()
                .map(|name| Task::Operation(name, Operation::Expire)),
        );
        for (name, at) in self.owed.looks.iter_mut().enumerate() {
            if at.take_if(|at| *at <= self.now).is_some() {
                tasks.push(Task::Operation(name, Operation::Expire));
            }
        }
        tasks.extend(std::mem::take(&mut self.owed.put_off).into_iter().map(Task::Acquire));
        tasks.extend(asked);
        self.run(tasks, &returned, fate, seen);
    }

    fn run(&mut self, tasks: Vec<Task>, returned: &[(usize, i64)], fate: Fate, seen: &mut Seen) {
        let before = (self.naive.clone(), self.ledger.clone(), self.last_place);
        let loaded = self.loaded(&tasks);
        let mut rows = Rows::loaded(
            loaded.iter().map(|name| self.disk[*name].clone()).collect(),
            FencingCounter::continuing_after(self.tokens),
            self.last_place,
        )
        .recorded_under(Some(EventIds::after(self.recorded.last())));
        let mut lines = std::mem::take(&mut self.lines);
        let batch = Batch::new(Timestamp::from_us(self.now), self.rules, &mut rows, &mut lines);
        let mut turn = Turn::new(batch, &loaded);
        for task in tasks {
            match task {
                Task::Operation(name, operation) => self.operate(&mut turn, name, &operation, seen),
                Task::Acquire(errand) => self.acquire(&mut turn, errand, seen),
                Task::Each(operation) => self.operate_each(&mut turn, &operation, seen),
            }
        }
        let made = turn.end();
        self.lines = lines;
        self.last_place = rows.last_place();
        self.save(&rows, &loaded, &made, fate);
        seen.note("handed over", made.handed_over.len());
        seen.note("passed over", made.passed_over.len());
        seen.note("unfinished", made.unfinished.len());
        seen.note("kept free", made.kept_free.len());
        seen.note("kept free in vain", self.lines.kept_in_vain());
        if fate == Fate::Committed {
            self.tell(&rows, &loaded, made);
        } else {
            seen.note("handed over in vain", made.handed_over.len());
            seen.note("joiners undone", made.joiners.len());
            self.owed.returns.extend(returned);
            self.undo(before, &loaded, made, fate);
        }
        self.check();
    }

    /// The rows that a batch loads: what is asked for, and what those want who
    /// are first in their lines.
    fn loaded(&self, tasks: &[Task]) -> Vec<usize> {
        let mut loaded = Vec::new();
        for task in tasks {
            match task {
                Task::Operation(name, _) => loaded.push(*name),
                Task::Acquire(errand) => loaded.extend(errand.wish.names.iter().chain(&errand.loads)),
                Task::Each(_) => loaded.extend(0..NAMES),
            }
        }
        for at in 0..loaded.len() {
            if let Some(first) = self.lines.first(&name_of(loaded[at])) {
                loaded.extend(first.names.iter().map(index_of));
            }
        }
        let mut once = Vec::new();
        for name in loaded {
            if !once.contains(&name) {
                once.push(name);
            }
        }
        once
    }

    /// As the store does it.
    fn save(&mut self, rows: &Rows, loaded: &[usize], made: &Made, fate: Fate) {
        for (row, name) in loaded.iter().enumerate() {
            let is_saved = rows.is_changed(row);
            assert_eq!(
                is_saved, made.changed[*name],
                "name {name} is saved exactly if it was changed"
            );
            let is_other = rows.resource(row) != &self.disk[*name];
            assert!(is_saved || !is_other, "name {name} was changed and is not saved");
        }
        if fate != Fate::RolledBack {
            self.recorded.extend(rows.events());
            for (row, resource, change) in rows.changed() {
                let saved = &mut self.disk[loaded[row]];
                match (change, &mut saved.lock, &resource.lock) {
                    (Change::Lease, Some(saved), Some(lock)) => {
                        saved.ttl = lock.ttl;
                        saved.expires_at = lock.expires_at;
                        saved.renewals = lock.renewals;
                    }
                    _ => *saved = resource.clone(),
                }
                assert_eq!(saved, resource, "more was changed than is saved");
            }
        }
        // What was taken is not taken again, whatever becomes of the commit.
        self.tokens = rows.tokens_taken().map_or(self.tokens, |counter| counter.highest());
        assert_eq!(self.tokens.as_i64(), self.naive.highest_token);
    }
}

pub(super) fn index_of(name: &crate::lock::ResourceName) -> usize {
    (0..NAMES)
        .find(|index| name_of(*index) == *name)
        .expect("a name of ours")
}
