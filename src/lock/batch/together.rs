//! Several resources at once, all or none.
//!
//! Who wants several gets all or none, and holds none while it waits. It stands
//! in the line for one that cannot be had; when that is free and it is first
//! there, and something else is missing, it stays first and goes to the line for
//! that, too. From then on the first is kept free for it. So it waits at most
//! as long as it would if it went through the lines one after the other, however
//! many come for single ones; and while the resource that it stands for is held,
//! it is in nobody's way at the others.
//!
//! Nothing is kept free for ever: after a while others get it, and who waits
//! stands only in the line for what was missing last. When that is free the same
//! begins again, with twice the time. So whoever holds something for long keeps
//! others only from that; and yet there comes a time that is longer than
//! everybody holds what is wanted.
//!
//! Nobody waits for each other in this: of two who want several, the one with
//! the lower place is before the other in each line that both stand in, and what
//! is kept free is kept for the first only. There is one exception: who keeps a
//! resource from others because it waits for another one may not keep it from
//! the holder of that, who perhaps needs it to come to an end. That one passes, if
//! it wants nothing else or comes just now. Where the wait for each other goes by
//! way of more of them, the time ends it for which things are kept.

use crate::lock::{Acquire, Batch, Joined, Likeness, LockedBy, Operation, Outcome, Place, StillWaits, Waiter};

/// Resources that one batch hands to waiters who want several. The others get
/// theirs in the next.
const HANDED_TOGETHER_MAX: usize = 1024;

/// Whether all of several resources can be had.
enum Together {
    /// All.
    Free,
    /// The one with this index cannot.
    Missing(usize),
    /// Not all were loaded.
    Unknown,
    /// Nobody wants them any more.
    Gone,
}

impl<W: StillWaits> Batch<'_, W> {
    /// Acquires the resources at these indices, which are distinct, or none.
    /// `Err` if one cannot be had: its position among them.
    pub fn apply_together(&mut self, rows: &[usize], acquire: &Acquire) -> Result<Outcome, usize> {
        for row in rows {
            self.serve(*row);
        }
        if let Some(told) = self.tell_again_together(rows, acquire) {
            return Ok(told);
        }
        match self.missing(rows, acquire) {
            Some(missing) => Err(missing),
            None => {
                self.come_back(rows, acquire);
                let grants = rows.iter().map(|row| self.grant(*row, acquire));
                Ok(Outcome::AcquiredTogether(grants.collect()))
            }
        }
    }

    /// Gives somebody who wants several, and is first in a line, all of them.
    /// Else it goes to the line for one that is missing.
    pub(super) fn serve_together(&mut self, row: usize, place: Place) -> bool {
        match self.together(place) {
            Together::Free => {
                self.hand_over(row, place);
                true
            }
            Together::Missing(index) => {
                self.go_to_line(place, index);
                let kept_until = self.lines.keep_free(place, self.now, self.rules.kept_free_max);
                match kept_until.filter(|kept_until| self.now < *kept_until) {
                    Some(kept_until) => {
                        self.kept_free.push((row, kept_until));
                        false
                    }
                    None => self.keep_nothing_free(row, place, index),
                }
            }
            Together::Unknown => {
                let waiter = self.lines.get(place).expect("who is first in a line waits");
                self.unfinished.push(waiter.names.clone());
                false
            }
            Together::Gone => true,
        }
    }

    /// Comes to stand in the line for the name with this index.
    fn go_to_line(&mut self, place: Place, index: usize) {
        let waiter = self.lines.get(place).expect("who is first in a line waits");
        let (name, wait_until) = (&waiter.names[index], waiter.wait_until);
        let row = self.rows.find(name).expect("all were loaded");
        let request = waiter.acquire.request.clone();
        if self.lines.stand_in(place, index) {
            self.rows.note_joined_again(Joined {
                row,
                place,
                wait_until,
                request,
            });
        }
    }

    /// Lets others have what is kept free for somebody, who from now on stands in
    /// the line for the name with this index only. That for the resource at index
    /// `row` is being served; the others are looked at afterwards. Says whether it
    /// left that one.
    fn keep_nothing_free(&mut self, row: usize, place: Place, index: usize) -> bool {
        let mut has_left = false;
        let waiter = self.lines.get(place).expect("who is first in a line waits");
        let names = waiter.names.clone();
        for (other, name) in names.iter().enumerate() {
            if other == index || !self.lines.stand_out(place, other) {
                continue;
            }
            let left = self.rows.find(name).expect("all were loaded");
            self.rows.note_left(left, place);
            if left == row {
                has_left = true;
            } else {
                self.unfinished.push(vec![name.clone()]);
            }
        }
        self.lines.note_kept_in_vain(place);
        has_left
    }

    /// Whether somebody at `place` can have all that it wants.
    fn together(&mut self, place: Place) -> Together {
        let waiter = self.lines.get(place).expect("who is first in a line waits");
        let names = waiter.names.clone();
        if self.handed_together + names.len() > HANDED_TOGETHER_MAX {
            return Together::Unknown;
        }
        let rows = names.iter().map(|name| self.rows.find(name));
        let Some(rows) = rows.collect::<Option<Vec<_>>>() else {
            return Together::Unknown;
        };
        for (name, row) in names.iter().zip(&rows) {
            while let Some(gone) = self.lines.first(name).filter(|first| !first.ticket.still_waits()) {
                self.pass_over(*row, gone.place);
            }
        }
        let Some(waiter) = self.lines.get(place) else {
            // Its time was over when it was looked at as the first of another line.
            return Together::Gone;
        };
        let key = &waiter.acquire.locked_by;
        let is_missing = |row: &usize| {
            let resource = self.rows.resource(*row);
            let ahead = self.rows.ahead(*row).map(|ahead| ahead.place);
            let first = self.lines.first(&resource.name).map(|first| first.place);
            let is_behind = |other: Option<Place>| other.is_some_and(|other| other < place);
            self.rules.forbid(self.now, resource, key) || is_behind(ahead) || is_behind(first)
        };
        match rows.iter().position(is_missing) {
            None => Together::Free,
            Some(index) => Together::Missing(index),
        }
    }

    /// Gives the resource at index `row` to one who stands behind the first, if
    /// the first waits for something that this one holds.
    pub(super) fn let_pass(&mut self, row: usize, first: Place) -> bool {
        let Some(waiter) = self.lines.get(first) else {
            return true;
        };
        let name = &self.rows.resource(row).name;
        let rows = waiter.names.iter().filter_map(|name| self.rows.find(name));
        let holders = rows.filter_map(|row| self.rows.resource(row).holder_at(self.now));
        let passing = holders.filter_map(|lock| self.first_of_key(name, &lock.locked_by));
        let ahead = self.rows.ahead(row).map(|ahead| ahead.place);
        match passing.min() {
            Some(place) if ahead.is_none_or(|ahead| place < ahead) => {
                self.hand_over(row, place);
                true
            }
            _ => false,
        }
    }

    /// Whether a waiter who wants several lacks one that `locked_by` holds.
    pub(super) fn waits_for_a_lock_of(&self, waiter: &Waiter<W>, locked_by: &LockedBy) -> bool {
        let mut rows = waiter.names.iter().filter_map(|name| self.rows.find(name));
        waiter.wants_several()
            && rows.any(|row| {
                let holder = self.rows.resource(row).holder_at(self.now);
                holder.is_some_and(|lock| lock.locked_by == *locked_by)
            })
    }

    /// The answer to a request for several resources that is sent again.
    fn tell_again_together(&mut self, rows: &[usize], acquire: &Acquire) -> Option<Outcome> {
        let request = acquire.request.as_ref()?;
        let likeness = |row: &usize| {
            let lock = self.rows.resource(*row).holder_at(self.now);
            let earlier = lock.and_then(|lock| lock.request.as_ref());
            earlier.map(|earlier| request.likeness(earlier))
        };
        if rows.iter().any(|row| likeness(row) == Some(Likeness::KeyReused)) {
            return Some(Outcome::KeyReused);
        }
        if !rows.iter().all(|row| likeness(row) == Some(Likeness::Same)) {
            return None;
        }
        let acquire = Operation::Acquire(acquire.clone());
        let told = rows.iter().map(|row| match self.decide(*row, &acquire) {
            Outcome::AcquiredBefore(grant) => grant,
            outcome => unreachable!("the request was granted, but it was decided: {outcome:?}"),
        });
        Some(Outcome::AcquiredTogetherBefore(told.collect()))
    }
}
