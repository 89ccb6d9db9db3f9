//! The promises to those who wait, judged by what was seen and not by how it
//! came about.

use super::Seen;
use super::asks::{Wish, name_of};
use super::naive::{NAMES, Naive, Waiting};
use super::turn::Turn;
use super::world::{Ticket, World, index_of};
use crate::lock::{Batch, Grant, StillWaits, Waiter, WaitingLines};

impl Naive {
    /// Gives somebody a place, whoever had it.
    pub(super) fn give_place(&mut self, waiting: Waiting) {
        self.waiting.retain(|other| other.place != waiting.place);
        let at = self.waiting.partition_point(|other| other.place < waiting.place);
        self.waiting.insert(at, waiting);
    }

    /// Whether somebody wants several and `key` holds one of them.
    fn lacks_a_lock_of(&self, wish: &Wish, now: i64, key: u8) -> bool {
        wish.is_for_several() && wish.names.iter().any(|name| self.is_held_by(*name, now, key))
    }

    /// Whether `key` may have `name` before somebody who waits for nothing else:
    /// it held it until a moment ago, or it holds what one of several before both
    /// lacks.
    fn may_overtake(&self, name: usize, now: i64, key: u8, overtaken: &Waiting) -> bool {
        let passes = |several: &Waiting| {
            several.place < overtaken.place
                && several.wish.is_for(name)
                && self.lacks_a_lock_of(&several.wish, now, key)
                && !self.lacks_a_lock_of(&several.wish, now, overtaken.wish.key)
        };
        let is_kept = self.kept_for(name, now) == Some(key) && overtaken.wish.key != key;
        is_kept || self.waiting.iter().any(passes)
    }

    /// Whether a wait would be for itself, by way of others.
    pub(super) fn closes_a_circle(&self, now: i64, wish: &Wish) -> bool {
        let holder = |name: &usize| self.lock_at(*name, now).map(|lock| lock.wish.key);
        if wish.is_for_several() && wish.names.iter().any(|name| holder(name) == Some(wish.key)) {
            return true;
        }
        let mut keys: Vec<_> = wish
            .names
            .iter()
            .filter_map(holder)
            .filter(|key| *key != wish.key)
            .collect();
        let mut at = 0;
        while at < keys.len() {
            let waits = self.waiting.iter().filter(|waiting| waiting.wish.key == keys[at]);
            let further: Vec<_> = waits
                .flat_map(|waiting| &waiting.wish.names)
                .filter_map(holder)
                .collect();
            for key in further {
                if key == wish.key {
                    return true;
                }
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            at += 1;
        }
        false
    }
}

impl World {
    /// Lets the model know of the next hand-overs, and judges each.
    pub(super) fn judge_hand_overs(&mut self, turn: &mut Turn<'_>, count: usize, seen: &mut Seen) {
        for hand_over in &turn.batch.handed_over[turn.judged..turn.judged + count] {
            let id = hand_over.waiter.ticket.id;
            let at = self.naive.waiting.iter().position(|waiting| waiting.id == id);
            let waiting = self.naive.waiting.remove(at.expect("it waits and has not left"));
            let names: Vec<_> = waiting.wish.names.iter().copied().map(name_of).collect();
            assert_eq!(hand_over.waiter.names, names);
            self.judge_grant(&waiting.wish, Some(waiting.place), &hand_over.grants, seen);
            waiting
                .wish
                .names
                .iter()
                .for_each(|name| turn.made.changed[*name] = true);
            if waiting.wish.is_for_several() {
                seen.note("several handed over", 1);
            }
        }
        turn.judged += count;
    }

    /// One holder at a time, all or nothing, and nobody overtakes who may not.
    pub(super) fn judge_grant(&mut self, wish: &Wish, place: Option<i64>, grants: &[Grant], seen: &mut Seen) {
        assert_eq!(grants.len(), wish.names.len(), "all or nothing");
        let now = self.now;
        for name in &wish.names {
            assert!(
                self.naive.is_open_to(*name, now, wish.key),
                "name {name} is not for {wish:?}"
            );
            if self.naive.kept_for(*name, now).is_some() {
                seen.note("granted within the delay", 1);
            }
            for other in &self.naive.waiting {
                let is_before = place.is_none_or(|place| other.place < place);
                if !is_before || other.wish.names != [*name] {
                    continue;
                }
                let may = self.naive.may_overtake(*name, now, wish.key, other);
                assert!(may, "{wish:?} at {place:?} overtook {other:?}");
                seen.note("overtaken rightly", 1);
            }
        }
        for (name, grant) in wish.names.iter().zip(grants) {
            let expected = self.naive.grant(*name, now, wish);
            assert_eq!(*grant, expected);
            self.ledger.grant(*name, now, grant);
        }
    }

    /// Whoever asks and does not get a resource that is open finds a line there
    /// that it may not pass, as far as that can be known from what was `loaded`.
    pub(super) fn judge_refusal(&self, batch: &Batch<'_, Ticket>, loaded: &[usize], name: usize, wish: &Wish) {
        if !self.naive.is_open_to(name, self.now, wish.key) {
            return;
        }
        let first = first_living(batch.lines(), name).expect("it is free and nobody waits");
        let first = self.naive.waiting.iter().find(|waiting| waiting.id == first.ticket.id);
        let first = &first.expect("it waits").wish;
        let is_kept = self.naive.kept_for(name, self.now).is_some();
        assert!(!is_kept, "name {name} is kept for {wish:?}");
        let is_known = first.names.iter().all(|name| loaded.contains(name));
        let passes = is_known && self.naive.lacks_a_lock_of(first, self.now, wish.key);
        assert!(!passes, "{first:?} lacks what {wish:?} has, and stands in its way");
    }

    /// A resource that was looked at is not free for those who wait for it.
    pub(super) fn judge_service(&self, batch: &Batch<'_, Ticket>, loaded: &[usize], name: usize) {
        if self.naive.lock_at(name, self.now).is_some() {
            return;
        }
        match self.naive.kept_for(name, self.now) {
            Some(key) => self.judge_kept(name, key),
            None => {
                let Some(first) = first_living(batch.lines(), name) else {
                    return;
                };
                let is_its_own = |name: &usize| {
                    let is_before = |other: &Waiter<Ticket>| other.place < first.place;
                    let is_free = self.naive.lock_at(*name, self.now).is_none();
                    is_free
                        && self.naive.kept_for(*name, self.now).is_none()
                        && !first_living(batch.lines(), *name).is_some_and(is_before)
                };
                let mut names = first.names.iter().map(index_of);
                let could = names.all(|name| loaded.contains(&name) && is_its_own(&name));
                assert!(!could, "name {name} is free and somebody waits");
            }
        }
    }

    pub(super) fn judge_kept(&self, name: usize, key: u8) {
        let mut wishes = self.naive.waiting.iter().map(|waiting| &waiting.wish);
        let is_unserved = wishes.any(|wish| wish.names == [name] && wish.key == key);
        assert!(!is_unserved, "name {name} is kept for one who waits");
    }

    /// Each of the resources is held by one who waits for the next, the last by
    /// whoever would wait for the first.
    pub(super) fn judge_circle(&self, wish: &Wish, circle: &[usize]) {
        assert!(wish.is_for(circle[0]));
        for (at, name) in circle.iter().enumerate() {
            let holder = self.naive.lock_at(*name, self.now).expect("it is held").wish.key;
            match circle.get(at + 1) {
                None => assert_eq!(holder, wish.key, "{circle:?}"),
                Some(next) => {
                    let waits = |waiting: &Waiting| waiting.wish.key == holder && waiting.wish.is_for(*next);
                    assert!(
                        self.naive.waiting.iter().any(waits),
                        "{circle:?} is no circle for {wish:?}"
                    );
                }
            }
        }
    }

    /// When all is quiet nobody waits who could have all that it wants, with
    /// nobody before it.
    pub(super) fn check_rest(&self) {
        for waiting in &self.naive.waiting {
            let Waiting { wish, place, .. } = waiting;
            // Who wants several is not served while one of them is kept, be it for its own key.
            let is_kept = |name: &usize| wish.is_for_several() && self.naive.kept_for(*name, self.now).is_some();
            let is_open = |name: &usize| self.naive.is_open_to(*name, self.now, wish.key) && !is_kept(name);
            let is_first = |name: &usize| {
                let first = first_living(&self.lines, *name);
                first.is_none_or(|first| first.place.as_i64() >= *place)
            };
            let could = wish.names.iter().all(|name| is_open(name) && is_first(name));
            assert!(!could, "{waiting:?} waits for nothing");
        }
        for name in 0..NAMES {
            if let Some(key) = self.naive.kept_for(name, self.now) {
                self.judge_kept(name, key);
            }
            let wanted = self.naive.waiting.iter().filter(|waiting| waiting.wish.is_for(name));
            let (in_line, looking_on) = (
                self.lines.waiting_for(&name_of(name)),
                self.lines.onlookers(&name_of(name)),
            );
            assert_eq!(in_line + looking_on, wanted.count(), "name {name} is wanted by so many");
        }
        assert_eq!(
            self.lines.waiting(),
            self.naive.waiting.len(),
            "whoever has left is in no line"
        );
    }
}

fn first_living(lines: &WaitingLines<Ticket>, name: usize) -> Option<&Waiter<Ticket>> {
    lines.line(&name_of(name)).find(|waiter| waiter.ticket.still_waits())
}
