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
