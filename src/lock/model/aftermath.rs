//! What becomes of the decisions of a batch, as the engine does it, and what has
//! to be true then.

use super::asks::{key_of, label_of, name_of, ttl_of};
use super::history::Fate;
use super::ledger::Ledger;
use super::naive::{NAMES, Naive};
use super::turn::Made;
use super::world::{Ticket, World, index_of};
use crate::clock::Timestamp;
use crate::lock::{HandOver, Place, ResourceName, Rows, StillWaits, Waiter};

impl World {
    pub(super) fn tell(&mut self, rows: &Rows, loaded: &[usize], made: Made) {
        for hand_over in &made.handed_over {
            self.here.remove(&hand_over.waiter.ticket.id);
        }
        self.pass_over(&made.passed_over);
        self.owed.put_off.extend(made.put_off);
        self.owed.unfinished.extend(made.unfinished);
        for name in made.unserved {
            self.arm(name, self.now);
        }
        for (name, until) in made.kept_free {
            self.arm(name, until);
        }
        let now = Timestamp::from_us(self.now);
        for (row, name) in loaded.iter().enumerate() {
            let resource = rows.resource(row);
            let held = resource.holder_at(now).and_then(|lock| lock.expires_at);
            let kept = self.rules.keep_for_its_holder(now, resource);
            let kept = kept.and_then(|lock| lock.expires_at);
            if let Some(at) = held.or(kept.map(|end| end + self.rules.lock_delay)) {
                self.arm(*name, at.as_us());
            }
        }
    }

    /// Takes the engine back, and the model as far as it has to go.
    pub(super) fn undo(
        &mut self,
        (naive, ledger, last_place): (Naive, Ledger, Place),
        loaded: &[usize],
        made: Made,
        fate: Fate,
    ) {
        let is_unknown = fate == Fate::CommittedUnknown;
        if is_unknown {
            self.owed.returns.extend(made.granted);
        }
        for HandOver { waiter, grants } in made.handed_over {
            if is_unknown {
                let tokens = grants.iter().map(|grant| grant.fencing_token.as_i64());
                self.owed.returns.extend(waiter.names.iter().map(index_of).zip(tokens));
            }
            self.lines.put_back(waiter);
        }
        self.pass_over(&made.passed_over);
        let mut left: Vec<_> = loaded
            .iter()
            .flat_map(|name| self.lines.take_behind(&name_of(*name), last_place))
            .map(|waiter| waiter.ticket.id)
            .collect();
        left.sort_unstable();
        let mut joiners = made.joiners;
        joiners.sort_unstable();
        assert_eq!(left, joiners, "exactly those who joined now leave again");
        self.here.retain(|id, _| !left.contains(id));
        for name in loaded {
            self.arm(*name, self.now);
        }

        let after = std::mem::replace(&mut self.naive, naive);
        self.naive.highest_token = after.highest_token;
        if is_unknown {
            self.naive.resources = after.resources;
        } else {
            self.ledger.roll_back(&ledger);
        }
        for waiting in made.taken_over {
            if waiting.place <= last_place.as_i64() {
                self.naive.give_place(waiting);
            }
        }
    }

    /// Whoever wanted several stood in lines that the batch may not know.
    fn pass_over(&mut self, passed_over: &[Waiter<Ticket>]) {
        for waiter in passed_over.iter().filter(|waiter| waiter.wants_several()) {
            self.arm_lines_of(waiter);
        }
    }

    pub(super) fn arm_lines_of(&mut self, waiter: &Waiter<Ticket>) {
        let lines: Vec<_> = waiter.lines().map(index_of).collect();
        for name in lines {
            self.owed.looks[name] = Some(self.now);
        }
    }

    /// Looks at a resource at that time, if somebody is in line there.
    fn arm(&mut self, name: usize, at: i64) {
        if self.lines.waiting_for(&name_of(name)) > 0 {
            let look = self.owed.looks[name].get_or_insert(at);
            *look = at.min(*look);
        }
    }

    /// Disk, lines and model agree.
    pub(super) fn check(&self) {
        self.check_recorded();
        for waiting in &self.naive.waiting {
            let waiter = self.lines.get(Place::new(waiting.place)).expect("it has its place");
            assert_eq!(waiter.ticket.id, waiting.id);
            assert!(waiter.ticket.still_waits() && waiter.acquire == waiting.wish.proper());
            let wanted = waiting.wish.names.iter().copied().map(name_of);
            assert!(waiter.names.iter().cloned().eq(wanted));
            let is_in_line = |name: &ResourceName| self.lines.line(name).any(|other| other.place == waiter.place);
            assert!(
                waiter.lines().count() > 0 && waiter.lines().all(is_in_line),
                "{waiting:?} is in its lines"
            );
        }
        for name in 0..NAMES {
            let places: Vec<_> = self.lines.line(&name_of(name)).map(|waiter| waiter.place).collect();
            assert!(places.is_sorted(), "the line for name {name} is in order");
            assert_eq!(
                self.lines.waiting_for(&name_of(name)),
                places.len(),
                "nobody else is in it"
            );
            self.check_row(name);
        }
    }

    fn check_row(&self, name: usize) {
        let (row, resource) = (&self.disk[name], &self.naive.resources[name]);
        assert_eq!(row.fencing_token.as_i64(), resource.latest_token);
        assert_eq!(row.lock.is_some(), resource.lock.is_some(), "name {name}");
        if let (Some(lock), Some(expected)) = (&row.lock, &resource.lock) {
            assert_eq!(lock.locked_by, key_of(expected.wish.key));
            assert_eq!(lock.ttl, expected.ttl.map(ttl_of));
            assert_eq!(lock.label, expected.label.map(label_of));
            assert_eq!(lock.acquired_at.as_us(), expected.since);
            assert_eq!(lock.expires_at, expected.until.map(Timestamp::from_us));
            assert_eq!(lock.request, expected.wish.proper().request);
            assert_eq!(lock.is_told_again, expected.is_told_again);
        }
        let was_freed = resource.lock.is_none() && resource.latest_token > 0;
        assert_eq!(row.released_at.is_some(), was_freed);
    }
}
