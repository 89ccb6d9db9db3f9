//! Random histories of batches, against a model that is too simple to be wrong.
//!
//! The model undoes a failed batch by taking a copy back and forgets whoever
//! leaves at once. The rules proper have lazy departures, places and put-backs
//! instead; both must tell the same story.

mod history;
mod ledger;
mod naive;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use self::history::{Ask, Fate, Passage, Step, step};
use self::ledger::Ledger;
use self::naive::{NAMES, Naive, NaiveOperation, Waiting, key_of, name_of};
use crate::clock::Timestamp;
use crate::lock::{
    Batch, FencingCounter, FencingToken, HandOver, Outcome, Place, Resource, Rows, StillWaits, WaitingLines,
};

const HISTORIES: u32 = 768;

#[derive(Debug)]
struct Ticket {
    id: u32,
    here: Rc<Cell<bool>>,
}

impl StillWaits for Ticket {
    fn still_waits(&self) -> bool {
        self.here.get()
    }
}

/// What one batch did.
#[derive(Debug, Default)]
struct Made {
    touched: [bool; NAMES],
    changed: [bool; NAMES],
    /// Names and tokens of those who did not wait.
    granted: Vec<(usize, i64)>,
    joiners: Vec<u32>,
    handed_over: Vec<HandOver<Ticket>>,
}

/// What was seen in all histories, so that none of it is missed for ever.
#[derive(Debug, Default)]
struct Seen {
    handed_over: usize,
    passed_over: usize,
    handed_over_in_vain: usize,
    joiners_undone: usize,
    ghosts_given_back: usize,
}

/// The rules proper with a disk and an engine around them, and the model.
struct World {
    now: i64,
    disk: Vec<Resource>,
    tokens: FencingToken,
    last_place: Place,
    lines: WaitingLines<Ticket>,
    /// As the engine's: grants that reached nobody.
    returns: Vec<(usize, i64)>,
    /// Everybody who is in a line: where, who, and the sign of life.
    present: Vec<(usize, u32, Rc<Cell<bool>>)>,
    next_id: u32,
    naive: Naive,
    ledger: Ledger,
}

impl World {
    fn new() -> Self {
        Self {
            now: 1_000_000_000,
            disk: (0..NAMES).map(|name| Resource::unseen(name_of(name))).collect(),
            tokens: FencingToken::NONE,
            last_place: Place::NONE,
            lines: WaitingLines::default(),
            returns: Vec::new(),
            present: Vec::new(),
            next_id: 0,
            naive: Naive::default(),
            ledger: Ledger::default(),
        }
    }

    fn pass(&mut self, passage: &Passage) {
        let to = match passage {
            Passage::Us(us) => Some(self.now + us),
            Passage::ToExpiryOf { name, us_before } => {
                let holder = self.naive.resources[*name].holder.as_ref();
                holder.and_then(|holder| holder.until).map(|until| until - us_before)
            }
        };
        self.now = to.unwrap_or(self.now).max(self.now);
    }

    fn depart(&mut self, nth: usize, noticed: bool) {
        if nth >= self.present.len() {
            return;
        }
        let (name, id, here) = self.present.remove(nth);
        here.set(false);
        self.naive.resources[name].line.retain(|waiting| waiting.id != id);
        if noticed {
            self.lines.remove_departed(&name_of(name));
        }
    }

    /// What the asker means, given who holds what at this moment.
    fn meant(&self, name: usize, ask: &Ask) -> NaiveOperation {
        let resource = &self.naive.resources[name];
        match ask {
            Ask::Acquire { key, ttl, .. } => NaiveOperation::Acquire { key: *key, ttl: *ttl },
            Ask::ReleaseByHolder => NaiveOperation::Release {
                key: resource.holder.as_ref().map(|holder| holder.key),
            },
            Ask::Release { key } => NaiveOperation::Release { key: *key },
            Ask::GiveBack { tokens_ago } => NaiveOperation::GiveBack {
                token: resource.latest_token - tokens_ago,
            },
            Ask::Expire => NaiveOperation::Expire,
        }
    }

    /// One turn of the engine: what came back first, then what was asked.
    fn batch(&mut self, asked: &[(usize, Ask)], fate: Fate, seen: &mut Seen) {
        let before = (self.naive.clone(), self.ledger.clone(), self.last_place);
        let returned = std::mem::take(&mut self.returns);
        let mut rows = Rows::loaded(
            self.disk.clone(),
            FencingCounter::continuing_after(self.tokens),
            self.last_place,
        );
        let mut lines = std::mem::take(&mut self.lines);
        let mut batch = Batch::new(Timestamp::from_us(self.now), &mut rows, &mut lines);
        let mut made = Made::default();
        for (name, token) in &returned {
            let outcome = self.apply(
                &mut batch,
                *name,
                &NaiveOperation::GiveBack { token: *token },
                &mut made,
            );
            seen.ghosts_given_back += usize::from(outcome == Outcome::Released);
        }
        for (name, ask) in asked {
            let operation = self.meant(*name, ask);
            let outcome = self.apply(&mut batch, *name, &operation, &mut made);
            if outcome == Outcome::Locked
                && let Ask::Acquire { key, ttl, waits: true } = ask
            {
                let (id, here) = (self.next_id, Rc::new(Cell::new(true)));
                self.next_id += 1;
                let ticket = Ticket { id, here: here.clone() };
                batch.join(*name, operation.proper(), Timestamp::from_us(i64::MAX), ticket);
                let waiting = Waiting {
                    id,
                    key: *key,
                    ttl: *ttl,
                };
                self.naive.resources[*name].line.push(waiting);
                self.present.push((*name, id, here));
                made.joiners.push(id);
            }
        }
        made.handed_over = batch.handed_over;
        seen.passed_over += batch.passed_over.len();
        seen.handed_over += made.handed_over.len();
        self.lines = lines;
        self.last_place = rows.last_place();
        self.save(&rows, made.changed, fate);
        if fate == Fate::Committed {
            self.tell(&made);
        } else {
            seen.handed_over_in_vain += made.handed_over.len();
            seen.joiners_undone += made.joiners.len();
            self.undo(before, made, fate);
            self.returns.extend(returned);
        }
        self.check();
    }

    /// One operation, by the rules and by the model, and both compared.
    fn apply(
        &mut self,
        batch: &mut Batch<'_, Ticket>,
        name: usize,
        operation: &NaiveOperation,
        made: &mut Made,
    ) -> Outcome {
        made.touched[name] = true;
        let handed_over_before = batch.handed_over.len();
        let outcome = batch.apply(name, &operation.proper());
        let (expected, served) = self.naive.apply(name, self.now, operation);
        assert_eq!(outcome, expected, "{operation:?} on name {name}");

        let hand_overs = batch.handed_over[handed_over_before..].iter().map(|hand_over| {
            assert_eq!(hand_over.name, name_of(name));
            assert!(hand_over.waiter.ticket.here.get(), "granted to somebody who has left");
            (hand_over.waiter.ticket.id, Outcome::Acquired(hand_over.grant.clone()))
        });
        let told: Vec<_> = hand_overs.collect();
        // Nobody is served before the operation unless the resource was free.
        let at_first = told.len().min(usize::from(!self.ledger.is_held(name, self.now)));
        for (_, grant) in &told[..at_first] {
            self.ledger.grant(name, self.now, grant);
        }
        match &outcome {
            Outcome::Released => self.ledger.held_until[name] = None,
            Outcome::Acquired(grant) => {
                let overtaken = &self.naive.resources[name].line;
                assert!(overtaken.is_empty(), "{overtaken:?} waited and was overtaken");
                self.ledger.grant(name, self.now, &outcome);
                made.granted.push((name, grant.fencing_token.as_i64()));
            }
            _ => {}
        }
        for (_, grant) in &told[at_first..] {
            self.ledger.grant(name, self.now, grant);
        }
        assert_eq!(told, served, "who is served, in which order, with what");
        made.changed[name] |= outcome.is_change() || !served.is_empty();
        outcome
    }

    /// As the store does it.
    fn save(&mut self, rows: &Rows, changed: [bool; NAMES], fate: Fate) {
        let to_save: Vec<_> = rows.changed().map(|(_, resource)| resource.clone()).collect();
        for (name, changed) in changed.into_iter().enumerate() {
            let row = rows.resource(name);
            assert_eq!(
                row != &self.disk[name],
                changed,
                "name {name} differs exactly if it was changed"
            );
            assert_eq!(
                to_save.contains(row),
                changed,
                "name {name} is saved exactly if it was changed"
            );
        }
        // What was taken is not taken again, whatever becomes of the commit.
        self.tokens = rows.tokens_taken().map_or(self.tokens, |counter| counter.highest());
        assert_eq!(self.tokens.as_i64(), self.naive.highest_token);
        if fate != Fate::RolledBack {
            self.disk = (0..NAMES).map(|name| rows.resource(name).clone()).collect();
        }
    }

    fn tell(&mut self, made: &Made) {
        for hand_over in &made.handed_over {
            self.present.retain(|(_, id, _)| *id != hand_over.waiter.ticket.id);
        }
        for name in (0..NAMES).filter(|name| made.touched[*name]) {
            let free = self.disk[name].is_free_at(Timestamp::from_us(self.now));
            assert!(
                !free || self.living(name).is_empty(),
                "name {name} is free and somebody waits"
            );
        }
    }

    /// As the engine does it; and takes the model back as far.
    fn undo(&mut self, (naive, ledger, last_place): (Naive, Ledger, Place), made: Made, fate: Fate) {
        self.returns.extend(made.granted);
        for HandOver { name, waiter, grant } in made.handed_over.into_iter().rev() {
            let row = (0..NAMES).find(|row| name_of(*row) == name).expect("a name of ours");
            self.returns.push((row, grant.fencing_token.as_i64()));
            self.lines.put_back(&name, waiter);
        }
        let mut left: Vec<_> = (0..NAMES)
            .flat_map(|name| self.lines.leave_behind(&name_of(name), last_place))
            .map(|waiter| waiter.ticket.id)
            .collect();
        left.sort_unstable();
        assert_eq!(left, made.joiners, "exactly those who joined now leave again");
        self.present.retain(|(_, id, _)| !left.contains(id));

        let after = std::mem::replace(&mut self.naive, naive);
        self.naive.highest_token = after.highest_token;
        if fate == Fate::CommittedUnknown {
            for (resource, after) in self.naive.resources.iter_mut().zip(after.resources) {
                (resource.holder, resource.latest_token) = (after.holder, after.latest_token);
            }
        } else {
            self.ledger.held_until = ledger.held_until;
        }
    }

    /// Who waits for `name` and is alive, first to last.
    fn living(&mut self, name: usize) -> Vec<u32> {
        let mut all: Vec<_> = std::iter::from_fn(|| self.lines.take_first(&name_of(name))).collect();
        let here = all.iter().filter(|waiter| waiter.ticket.here.get());
        let living = here.map(|waiter| waiter.ticket.id).collect();
        while let Some(waiter) = all.pop() {
            self.lines.put_back(&name_of(name), waiter);
        }
        living
    }

    /// Disk, lines and model agree.
    fn check(&mut self) {
        let mut in_lines = 0;
        for name in 0..NAMES {
            let living = self.living(name);
            let resource = &self.naive.resources[name];
            assert!(
                living
                    .iter()
                    .copied()
                    .eq(resource.line.iter().map(|waiting| waiting.id)),
                "the line for name {name} is {living:?}, not {:?}",
                resource.line
            );
            in_lines += self.lines.waiting_for(&name_of(name));
            let row = &self.disk[name];
            assert_eq!(row.fencing_token.as_i64(), resource.latest_token);
            let lock = row.lock.as_ref().map(|lock| (&lock.locked_by, lock.expires_at));
            let holder = resource.holder.as_ref();
            let expected = holder.map(|holder| (key_of(holder.key), holder.until.map(Timestamp::from_us)));
            assert_eq!(lock, expected.as_ref().map(|(key, until)| (key, *until)));
            let ever_granted = resource.latest_token > 0;
            assert_eq!(row.released_at.is_some(), lock.is_none() && ever_granted);
        }
        assert_eq!(self.lines.waiting(), in_lines);
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
    let result = TestRunner::new(config).run(&vec(step(), 1..40), |history| {
        let mut world = World::new();
        for step in &history {
            match step {
                Step::Batch { tasks, fate } => world.batch(tasks, *fate, &mut seen.borrow_mut()),
                Step::Pass(passage) => world.pass(passage),
                Step::Depart { nth, noticed } => world.depart(*nth, *noticed),
            }
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }

    let Seen {
        handed_over,
        passed_over,
        handed_over_in_vain,
        joiners_undone,
        ghosts_given_back,
    } = seen.into_inner();
    for (what, times) in [
        ("handed over", handed_over),
        ("passed over", passed_over),
        ("handed over in vain", handed_over_in_vain),
        ("joiners undone", joiners_undone),
        ("ghosts given back", ghosts_given_back),
    ] {
        assert!(times >= 50, "{what}: only {times} times in {HISTORIES} histories");
    }
}
