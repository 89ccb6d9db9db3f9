//! Decides a batch of operations over the rows they touch, in arrival order,
//! and hands what becomes free to those who wait.
//!
//! Separate from `decide`, which knows one resource and no line.

mod circle;
mod ended;
mod places;
mod together;

#[cfg(test)]
mod tests;

pub use self::circle::Circle;
use self::ended::Before;
pub use self::ended::{End, Ended};
use crate::clock::Timestamp;
use crate::lock::event::{Former, Happened};
use crate::lock::{
    Acquire, ClientName, Grant, LockedBy, Operation, Outcome, Place, ResourceName, Rows, Rules, StillWaits, Waiter,
    WaitingLines, decide,
};

/// A grant to somebody who waited.
#[derive(Debug)]
pub struct HandOver<W> {
    /// To whom.
    pub waiter: Waiter<W>,
    /// What it gets, in the order of its names.
    pub grants: Vec<Grant>,
}

/// A transaction's decisions. They take effect when the rows are committed;
/// until then nobody may be told of them.
#[derive(Debug)]
pub struct Batch<'a, W> {
    now: Timestamp,
    rules: Rules,
    rows: &'a mut Rows,
    lines: &'a mut WaitingLines<W>,
    /// The grants to those who waited, in the order in which they were made.
    pub handed_over: Vec<HandOver<W>>,
    /// Those who were next in a line but did not wait any more.
    pub passed_over: Vec<Waiter<W>>,
    /// Those who do not wait here any more because the same request, sent again,
    /// has their place at another server; each with the row.
    pub superseded: Vec<(usize, Waiter<W>)>,
    /// Resources that have to be looked at in a batch of their own, each with
    /// others: somebody wants them together, and not all were loaded here.
    pub unfinished: Vec<Vec<ResourceName>>,
    /// Resources that are kept free for somebody who wants others too, and until
    /// when: then they have to be looked at.
    pub kept_free: Vec<(usize, Timestamp)>,
    /// The locks that ended.
    pub ended: Vec<Ended>,
    handed_together: usize,
}

impl<'a, W: StillWaits> Batch<'a, W> {
    /// Begins to decide over `rows` as of `now`.
    pub fn new(now: Timestamp, rules: Rules, rows: &'a mut Rows, lines: &'a mut WaitingLines<W>) -> Self {
        Self {
            now,
            rules,
            rows,
            lines,
            handed_over: Vec::new(),
            passed_over: Vec::new(),
            superseded: Vec::new(),
            unfinished: Vec::new(),
            kept_free: Vec::new(),
            ended: Vec::new(),
            handed_together: 0,
        }
    }

    /// Decides one operation on the resource at index `row`.
    ///
    /// Whoever waits for it here is served first, so that nobody overtakes the
    /// line, and served again if the operation freed the resource. It stays
    /// free while the first of all waits at another server, and nobody here
    /// gets it then.
    pub fn apply(&mut self, row: usize, operation: &Operation) -> Outcome {
        self.serve(row);
        if let Operation::Acquire(acquire) = operation
            && self.is_promised(row, acquire, self.place_of(&[row], acquire))
        {
            return Outcome::Locked;
        }
        let mut outcome = self.decide(row, operation);
        match (&mut outcome, operation) {
            (Outcome::Released | Outcome::Broken(_), _) => self.serve(row),
            (Outcome::Renewed(snapshot), _) => snapshot.waiters = self.waiters(row),
            (Outcome::Acquired(_), Operation::Acquire(acquire)) => {
                self.come_back(&[row], acquire);
            }
            _ => {}
        }
        outcome
    }

    /// Whether whoever comes now would be granted all of these resources, which are
    /// distinct. Those who wait for them are served first, as by an acquisition.
    pub fn would_grant(&mut self, rows: &[usize], acquire: &Acquire) -> bool {
        for row in rows {
            self.serve(*row);
        }
        self.missing(rows, acquire).is_none()
    }

    /// How many locks a client holds.
    pub fn locks_of(&self, client: &ClientName) -> usize {
        self.rows.locks_of(client)
    }

    /// Applies an operation of a holder to all of these resources that it holds.
    /// Says at how many it did. Nobody who waits is served by that: the caller
    /// looks at the resources afterwards, which may be many.
    pub fn apply_to_each(&mut self, rows: &[usize], operation: &Operation) -> usize {
        let changed = |row: &&usize| self.decide(**row, operation).is_change();
        rows.iter().filter(changed).count()
    }

    /// Records that somebody is refused, for whom the resource at index `row` is
    /// kept by who waits, by way of others perhaps, for itself.
    pub fn note_deadlock(&mut self, row: usize, acquire: &Acquire, circle: &[ResourceName]) {
        let happened = Happened::deadlock(self.now, self.rows.resource(row), acquire, circle);
        self.rows.record(row, happened);
    }

    /// The lines, to look at.
    pub fn lines(&self) -> &WaitingLines<W> {
        self.lines
    }

    /// The name of the resource at index `row`.
    pub fn name(&self, row: usize) -> &ResourceName {
        &self.rows.resource(row).name
    }

    /// Notes who holds the resources for which somebody waits. To be called at
    /// the end.
    pub fn note_holders(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        for row in 0..self.rows.len() {
            let resource = self.rows.resource(row);
            let holder = resource.holder_at(self.now).map(|lock| &lock.locked_by);
            self.lines.note_holder(&resource.name, holder);
        }
    }

    /// How many wait for the resource at index `row`, if all of them do so here.
    fn waiters(&self, row: usize) -> Option<usize> {
        let name = &self.rows.resource(row).name;
        let here = self.lines.waiting_for(name) + self.lines.onlookers(name);
        self.rows.ahead(row).is_none().then_some(here)
    }

    /// The position of a resource that cannot be had by whoever comes now.
    fn missing(&self, rows: &[usize], acquire: &Acquire) -> Option<usize> {
        let place = self.place_of(rows, acquire);
        rows.iter().position(|row| {
            let resource = self.rows.resource(*row);
            self.rules.forbid(self.now, resource, &acquire.locked_by) || self.is_promised(*row, acquire, place)
        })
    }

    /// Whether a free resource is not for whoever comes now, or comes back to
    /// `place`, because somebody waits for it.
    fn is_promised(&self, row: usize, acquire: &Acquire, place: Option<Place>) -> bool {
        let locked_by = &acquire.locked_by;
        let resource = self.rows.resource(row);
        if !resource.is_free_at(self.now) {
            return false;
        }
        if self.rules.keep_for_its_holder(self.now, resource).is_some() {
            return self.rules.is_kept_from(self.now, resource, locked_by);
        }
        let is_before = |other: Place| place.is_none_or(|place| other < place);
        if self.rows.ahead(row).is_some_and(|ahead| is_before(ahead.place)) {
            return true;
        }
        match self.lines.first(&resource.name) {
            None => false,
            Some(first) => is_before(first.place) && !self.waits_for_a_lock_of(first, locked_by),
        }
    }

    /// Gives a free resource to whoever has waited longest.
    fn serve(&mut self, row: usize) {
        while self.rows.resource(row).is_free_at(self.now) {
            let name = &self.rows.resource(row).name;
            let Some(first) = self.lines.first(name) else {
                self.rows.note_unclaimed(row);
                return;
            };
            let (place, wants_several) = (first.place, first.wants_several());
            if self.rows.ahead(row).is_some_and(|ahead| ahead.place < place) {
                return;
            }
            let served = if !first.ticket.still_waits() {
                self.pass_over(row, place);
                true
            } else if let Some(lock) = self.rules.keep_for_its_holder(self.now, self.rows.resource(row)) {
                // Only its own key may have it, if even that, and if that waits.
                let resource = self.rows.resource(row);
                let may_return = !self.rules.is_kept_from(self.now, resource, &lock.locked_by);
                let again = self.first_of_key(name, &lock.locked_by).filter(|_| may_return);
                again.inspect(|place| self.hand_over(row, *place)).is_some()
            } else if wants_several {
                self.serve_together(row, place) || self.let_pass(row, place)
            } else {
                self.hand_over(row, place);
                true
            };
            if !served {
                return;
            }
        }
    }

    /// The first who waits for nothing but `name`, with the key `locked_by`.
    fn first_of_key(&self, name: &ResourceName, locked_by: &LockedBy) -> Option<Place> {
        let mut waiters = self.lines.of_key(locked_by);
        let waits = |waiter: &&Waiter<W>| waiter.names.as_slice() == std::slice::from_ref(name);
        waiters
            .find(|waiter| waits(waiter) && waiter.ticket.still_waits())
            .map(|waiter| waiter.place)
    }

    /// Gives somebody who stands in the line for the resource at index `row` all
    /// that it waits for, which is free.
    fn hand_over(&mut self, row: usize, place: Place) {
        let (waiter, rows) = self.take(row, place);
        let grants = rows.as_slice().iter().map(|row| self.grant(*row, &waiter.acquire));
        let grants = grants.collect();
        self.handed_over.push(HandOver { waiter, grants });
    }

    fn pass_over(&mut self, row: usize, place: Place) {
        let (waiter, _) = self.take(row, place);
        self.passed_over.push(waiter);
    }

    /// Takes somebody who stands in the line for the resource at index `row` out
    /// of all lines, of which the store is told as far as they are here. Answers
    /// with the rows that it wants as well, as far as those are.
    fn take(&mut self, row: usize, place: Place) -> (Waiter<W>, Vec<usize>) {
        let waiter = self.lines.take(place).expect("who is in a line waits");
        if !waiter.wants_several() {
            self.rows.note_left(row, place);
            return (waiter, vec![row]);
        }
        self.handed_together += waiter.names.len();
        let mut rows = Vec::with_capacity(waiter.names.len());
        for (index, name) in waiter.names.iter().enumerate() {
            if let Some(row) = self.rows.find(name) {
                rows.push(row);
                if waiter.stands_in(index) {
                    self.rows.note_left(row, place);
                }
            }
        }
        (waiter, rows)
    }

    /// Grants a resource that is free.
    fn grant(&mut self, row: usize, acquire: &Acquire) -> Grant {
        match self.decide(row, &Operation::Acquire(acquire.clone())) {
            Outcome::Acquired(grant) => grant,
            outcome => unreachable!("the resource is free, but it was decided: {outcome:?}"),
        }
    }

    fn decide(&mut self, row: usize, operation: &Operation) -> Outcome {
        let client_before = self.rows.client(self.now, row);
        let is_recorded = self.rows.is_recorded();
        let former = is_recorded.then(|| Former::of(self.rows.resource(row), self.now, operation));
        let (resource, tokens, change) = self.rows.resource_mut(row);
        let before = Before::of(resource);
        let outcome = decide(self.now, &self.rules, resource, tokens, operation);
        self.ended
            .extend(before.and_then(|before| before.ended_by(self.now, operation, &outcome)));
        *change = (*change).max(outcome.change(operation));
        if let Some(former) = former {
            let happened = former.happened(self.now, operation, &outcome, resource);
            happened.for_each(|event| self.rows.record(row, event));
        }
        let client = self.rows.client(self.now, row);
        self.rows.recount(client_before.as_ref(), client.as_ref());
        outcome
    }
}
