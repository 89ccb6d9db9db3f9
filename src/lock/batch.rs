//! Decides a batch of operations over the rows they touch, in arrival order,
//! and hands what becomes free to those who wait.
//!
//! Separate from `decide`, which knows one resource and no line.

use crate::clock::Timestamp;
use crate::lock::{
    Grant, Joined, Operation, Outcome, Place, ResourceName, Rows, StillWaits, Waiter, WaitingLines, decide,
};

/// A grant to somebody who waited.
#[derive(Debug)]
pub struct HandOver<W> {
    /// What was handed over.
    pub name: ResourceName,
    /// To whom.
    pub waiter: Waiter<W>,
    /// What it gets.
    pub grant: Grant,
}

/// A transaction's decisions. They take effect when the rows are committed;
/// until then nobody may be told of them.
#[derive(Debug)]
pub struct Batch<'a, W> {
    now: Timestamp,
    rows: &'a mut Rows,
    lines: &'a mut WaitingLines<W>,
    /// The grants to those who waited, in the order in which they were made.
    pub handed_over: Vec<HandOver<W>>,
    /// Those who were next in a line but did not wait any more.
    pub passed_over: Vec<Waiter<W>>,
}

impl<'a, W: StillWaits> Batch<'a, W> {
    /// Begins to decide over `rows` as of `now`.
    pub fn new(now: Timestamp, rows: &'a mut Rows, lines: &'a mut WaitingLines<W>) -> Self {
        Self {
            now,
            rows,
            lines,
            handed_over: Vec::new(),
            passed_over: Vec::new(),
        }
    }

    /// Decides one operation on the resource at index `row`.
    ///
    /// Whoever waits for it here is served first, so that nobody overtakes the
    /// line, and served again if the operation freed the resource. It stays
    /// free while the first of all waits at another server, and nobody here
    /// gets it then.
    pub fn apply(&mut self, row: usize, operation: &Operation) -> Outcome {
        self.hand_over_if_free(row);
        if matches!(operation, Operation::Acquire { .. }) && self.rows.ahead(row).is_some() {
            // Held, or to be fetched by the one who is ahead.
            return Outcome::Locked;
        }
        let outcome = self.decide(row, operation);
        if outcome == Outcome::Released {
            self.hand_over_if_free(row);
        }
        outcome
    }

    /// Goes to the end of the line for the resource at index `row`.
    pub fn join(&mut self, row: usize, acquire: Operation, wait_until: Timestamp, ticket: W) {
        let place = self.rows.take_place();
        self.rows.note_joined(Joined { row, place, wait_until });
        let waiter = Waiter { acquire, ticket, place };
        self.lines.join(&self.rows.resource(row).name, waiter);
    }

    /// Notes that somebody who waited for the resource at index `row` has left
    /// its line.
    pub fn leave(&mut self, row: usize, place: Place) {
        self.rows.note_left(row, place);
    }

    /// Tells the store once more who waits for the resource at index `row`,
    /// because it may believe something else. To be called before anybody joins.
    pub fn restate(&mut self, row: usize, wait_until: impl Fn(&W) -> Timestamp) {
        self.rows.note_restated(row);
        let name = self.rows.resource(row).name.clone();
        for waiter in self.lines.line(&name) {
            let (place, wait_until) = (waiter.place, wait_until(&waiter.ticket));
            self.rows.note_joined(Joined { row, place, wait_until });
        }
    }

    /// How many wait here: for the resource at index `row`, and in all.
    pub fn waiting(&self, row: usize) -> (usize, usize) {
        (
            self.lines.waiting_for(&self.rows.resource(row).name),
            self.lines.waiting(),
        )
    }

    fn hand_over_if_free(&mut self, row: usize) {
        while self.rows.resource(row).is_free_at(self.now) {
            let name = &self.rows.resource(row).name;
            let Some(first) = self.lines.first_place(name) else {
                self.rows.note_unclaimed(row);
                return;
            };
            if self.rows.ahead(row).is_some_and(|ahead| ahead.place < first) {
                return;
            }
            let name = name.clone();
            let waiter = self.lines.take_first(&name).expect("there is a first");
            self.rows.note_left(row, waiter.place);
            if !waiter.ticket.still_waits() {
                self.passed_over.push(waiter);
                continue;
            }
            let Outcome::Acquired(grant) = self.decide(row, &waiter.acquire) else {
                unreachable!("whoever is in a line wants to acquire, and the resource is free");
            };
            self.handed_over.push(HandOver { name, waiter, grant });
        }
    }

    fn decide(&mut self, row: usize, operation: &Operation) -> Outcome {
        let (resource, tokens, changed) = self.rows.resource_mut(row);
        let outcome = decide(self.now, resource, tokens, operation);
        *changed |= outcome.is_change();
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lock::{Ahead, FencingCounter, FencingToken, LockedBy, Resource};

    const NOW: Timestamp = Timestamp::from_us(1_000_000_000);

    /// Whether it waits.
    struct Ticket(bool);

    impl StillWaits for Ticket {
        fn still_waits(&self) -> bool {
            self.0
        }
    }

    fn name() -> ResourceName {
        ResourceName::new("r").expect("well formed")
    }

    fn acquire(key: &str) -> Operation {
        Operation::Acquire {
            locked_by: LockedBy::new(key).expect("well formed"),
            ttl: None,
        }
    }

    /// A free resource, with somebody at `ahead` in line at another server.
    fn rows(ahead: Option<i64>) -> Rows {
        let tokens = FencingCounter::continuing_after(FencingToken::NONE);
        let ahead = ahead.map(|place| Ahead {
            place: Place::new(place),
            believed_for: Duration::from_secs(1),
        });
        Rows::loaded(vec![Resource::unseen(name())], tokens, Place::new(100)).with_ahead(vec![ahead])
    }

    fn line(waiters: &[(i64, bool)]) -> WaitingLines<Ticket> {
        let mut lines = WaitingLines::default();
        for (place, waits) in waiters {
            let waiter = Waiter {
                acquire: acquire(&place.to_string()),
                ticket: Ticket(*waits),
                place: Place::new(*place),
            };
            lines.join(&name(), waiter);
        }
        lines
    }

    #[test]
    fn whoever_began_to_wait_first_is_served_and_only_by_the_server_where_that_was() {
        /// Who waits here and whether they still do, who waits elsewhere; who
        /// is served, who leaves, and whether a plain PUT that comes gets it.
        type Case = (&'static str, Here, Option<i64>, Places, Places, bool);
        type Here = &'static [(i64, bool)];
        type Places = &'static [i64];
        let table: [Case; 9] = [
            ("nobody waits", &[], None, &[], &[], true),
            ("somebody here", &[(5, true)], None, &[5], &[5], false),
            ("somebody elsewhere", &[], Some(5), &[], &[], false),
            ("here first", &[(4, true)], Some(5), &[4], &[4], false),
            ("elsewhere first", &[(6, true)], Some(5), &[], &[], false),
            ("gone here", &[(4, false), (6, true)], Some(5), &[], &[4], false),
            (
                "gone, then here",
                &[(3, false), (4, true)],
                Some(5),
                &[4],
                &[3, 4],
                false,
            ),
            ("all gone here", &[(3, false), (4, false)], Some(5), &[], &[3, 4], false),
            ("all gone", &[(3, false), (4, false)], None, &[], &[3, 4], true),
        ];
        for (claim, here, elsewhere, served, left, is_free_for_all) in table {
            let (mut rows, mut lines) = (rows(elsewhere), line(here));
            let mut batch = Batch::new(NOW, &mut rows, &mut lines);

            let outcome = batch.apply(0, &acquire("plain"));

            let places = batch
                .handed_over
                .iter()
                .map(|hand_over| hand_over.waiter.place.as_i64());
            assert!(places.eq(served.iter().copied()), "{claim}");
            assert_eq!(matches!(outcome, Outcome::Acquired(_)), is_free_for_all, "{claim}");
            assert!(
                rows.left()
                    .iter()
                    .map(|(_, place)| place.as_i64())
                    .eq(left.iter().copied()),
                "{claim}"
            );
        }
    }

    #[test]
    fn whoever_joins_stands_behind_all_others() {
        let (mut rows, mut lines) = (rows(Some(50)), line(&[(70, true)]));
        let mut batch = Batch::new(NOW, &mut rows, &mut lines);
        let until = NOW + Duration::from_secs(1);

        for _ in 0..2 {
            assert_eq!(batch.apply(0, &acquire("k")), Outcome::Locked);
            batch.join(0, acquire("k"), until, Ticket(true));
        }

        let joined: Vec<_> = rows.joined().iter().map(|joined| joined.place.as_i64()).collect();
        assert_eq!(joined, [101, 102]);
        assert_eq!(rows.last_place(), Place::new(102));
        let places: Vec<_> = lines.line(&name()).map(|waiter| waiter.place.as_i64()).collect();
        assert_eq!(places, [70, 101, 102]);
    }

    #[test]
    fn a_release_hands_over_here_only_if_nobody_elsewhere_is_ahead() {
        for (elsewhere, served) in [(None, 1), (Some(80), 1), (Some(60), 0)] {
            let (mut rows, mut lines) = (rows(elsewhere), line(&[]));
            let (resource, ..) = rows.resource_mut(0);
            let mut tokens = FencingCounter::continuing_after(FencingToken::NONE);
            decide(NOW, resource, &mut tokens, &acquire("holder"));
            lines.join(
                &name(),
                Waiter {
                    acquire: acquire("next"),
                    ticket: Ticket(true),
                    place: Place::new(70),
                },
            );
            let mut batch = Batch::new(NOW, &mut rows, &mut lines);
            let release = Operation::Release {
                locked_by: LockedBy::new("holder"),
            };

            assert_eq!(batch.apply(0, &release), Outcome::Released);

            assert_eq!(batch.handed_over.len(), served, "{elsewhere:?}");
            assert_eq!(rows.resource(0).is_free_at(NOW), served == 0, "{elsewhere:?}");
        }
    }

    #[test]
    fn a_line_that_is_restated_is_told_whole() {
        let (mut rows, mut lines) = (rows(None), line(&[(4, true), (6, true)]));
        let mut batch = Batch::new(NOW, &mut rows, &mut lines);

        batch.restate(0, |_| NOW);

        let joined: Vec<_> = rows.joined().iter().map(|joined| joined.place.as_i64()).collect();
        assert_eq!((rows.restated(), &joined[..]), (&[0][..], &[4, 6][..]));
        assert!(rows.left().is_empty() && rows.unclaimed().is_empty());
    }
}
