//! Decides a batch of operations over the rows they touch, in arrival order,
//! and hands what becomes free to those who wait.
//!
//! Separate from `decide`, which knows one resource and no line.

use crate::clock::Timestamp;
use crate::lock::{
    FencingCounter, Grant, Operation, Outcome, Resource, ResourceName, StillWaits, Waiter, WaitingLines, decide,
};

/// The rows of one transaction: loaded, decided over, saved.
#[derive(Debug)]
pub struct Rows {
    resources: Vec<Resource>,
    changed: Vec<bool>,
    tokens: FencingCounter,
    tokens_before: FencingCounter,
}

impl Rows {
    /// The rows as the store has them.
    pub fn loaded(resources: Vec<Resource>, tokens: FencingCounter) -> Self {
        Self {
            changed: vec![false; resources.len()],
            resources,
            tokens,
            tokens_before: tokens,
        }
    }

    /// The resource at this index, in the order in which they were loaded.
    pub fn resource(&self, row: usize) -> &Resource {
        &self.resources[row]
    }

    /// All resources, in the order in which they were loaded.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter()
    }

    /// What has to be saved, each with its index.
    pub fn changed(&self) -> impl Iterator<Item = (usize, &Resource)> {
        let rows = self.resources.iter().enumerate();
        rows.filter(|(row, _)| self.changed[*row])
    }

    /// The resources as they are after the decisions.
    pub fn into_resources(self) -> impl Iterator<Item = Resource> {
        self.resources.into_iter()
    }

    /// The counter, if a token was taken from it.
    pub fn tokens_taken(&self) -> Option<FencingCounter> {
        (self.tokens != self.tokens_before).then_some(self.tokens)
    }
}

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
    /// Whoever waits for it is served first, so that nobody overtakes the
    /// line, and served again if the operation freed the resource.
    pub fn apply(&mut self, row: usize, operation: &Operation) -> Outcome {
        self.hand_over_if_free(row);
        let outcome = self.decide(row, operation);
        if outcome == Outcome::Released {
            self.hand_over_if_free(row);
        }
        outcome
    }

    /// Goes to the end of the line for the resource at index `row`.
    pub fn join(&mut self, row: usize, acquire: Operation, ticket: W) {
        self.lines.join(&self.rows.resources[row].name, acquire, ticket);
    }

    /// How many wait: for the resource at index `row`, and in all.
    pub fn waiting(&self, row: usize) -> (usize, usize) {
        (
            self.lines.waiting_for(&self.rows.resources[row].name),
            self.lines.waiting(),
        )
    }

    fn hand_over_if_free(&mut self, row: usize) {
        while self.rows.resources[row].is_free_at(self.now) {
            let name = &self.rows.resources[row].name;
            let Some(waiter) = self.lines.take_first(name) else {
                return;
            };
            if !waiter.ticket.still_waits() {
                self.passed_over.push(waiter);
                continue;
            }
            let name = name.clone();
            let Outcome::Acquired(grant) = self.decide(row, &waiter.acquire) else {
                unreachable!("whoever is in a line wants to acquire, and the resource is free");
            };
            self.handed_over.push(HandOver { name, waiter, grant });
        }
    }

    fn decide(&mut self, row: usize, operation: &Operation) -> Outcome {
        let outcome = decide(
            self.now,
            &mut self.rows.resources[row],
            &mut self.rows.tokens,
            operation,
        );
        self.rows.changed[row] |= outcome.is_change();
        outcome
    }
}
