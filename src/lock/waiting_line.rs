//! Who waits here for which resource: one line a resource, first come, first
//! served.
//!
//! Plain collections: what a waiter is, and how it is told, is the engine's
//! affair and appears here only as the type `W`. Those who wait at another
//! server on the same database are not here; where the first of them stands is
//! known to a [`Rows`](crate::lock::Rows).

use std::collections::{HashMap, VecDeque};

use crate::lock::{Operation, ResourceName};

/// A place in line. Of two who wait for the same resource, at whichever server,
/// the one with the lower number began to wait earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(i64);

impl Place {
    /// Before all others; nobody has it.
    pub const NONE: Self = Self(0);

    /// The place with this number.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_i64(self) -> i64 {
        self.0
    }
}

/// Says whether somebody in a line is still there to be served.
pub trait StillWaits {
    /// False once its client has left or its time is over; then it is passed
    /// over for ever.
    fn still_waits(&self) -> bool;
}

/// Somebody in a line.
#[derive(Debug)]
pub struct Waiter<W> {
    /// The [`Operation::Acquire`] to be decided when its turn comes.
    pub acquire: Operation,
    /// Whom to tell.
    pub ticket: W,
    /// Where it stands.
    pub place: Place,
}

/// All the lines.
#[derive(Debug)]
pub struct WaitingLines<W> {
    /// No line is ever empty: the last to leave takes it away.
    lines: HashMap<ResourceName, VecDeque<Waiter<W>>>,
    waiting: usize,
}

impl<W> Default for WaitingLines<W> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            waiting: 0,
        }
    }
}

impl<W: StillWaits> WaitingLines<W> {
    /// How many wait in all lines together.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many wait for one resource.
    pub fn waiting_for(&self, name: &ResourceName) -> usize {
        self.lines.get(name).map_or(0, VecDeque::len)
    }

    /// The names of all resources that somebody waits for.
    pub fn names(&self) -> impl Iterator<Item = &ResourceName> {
        self.lines.keys()
    }

    /// Those who wait for one resource, in order.
    pub fn line(&self, name: &ResourceName) -> impl Iterator<Item = &Waiter<W>> {
        self.lines.get(name).into_iter().flatten()
    }

    /// The place of the first in the line for `name`.
    pub fn first_place(&self, name: &ResourceName) -> Option<Place> {
        self.line(name).next().map(|waiter| waiter.place)
    }

    /// Goes to the end of the line for `name`. Each place is after all that
    /// were given for it before.
    pub fn join(&mut self, name: &ResourceName, waiter: Waiter<W>) {
        self.waiting += 1;
        match self.lines.get_mut(name) {
            Some(line) => line.push_back(waiter),
            None => {
                self.lines.insert(name.clone(), VecDeque::from([waiter]));
            }
        }
    }

    /// Takes the first out of the line for `name`.
    pub fn take_first(&mut self, name: &ResourceName) -> Option<Waiter<W>> {
        let line = self.lines.get_mut(name)?;
        let first = line.pop_front();
        if line.is_empty() {
            self.lines.remove(name);
        }
        self.waiting -= usize::from(first.is_some());
        first
    }

    /// Puts somebody back who was taken out, at the head of the line.
    pub fn put_back(&mut self, name: &ResourceName, waiter: Waiter<W>) {
        self.waiting += 1;
        self.lines.entry(name.clone()).or_default().push_front(waiter);
    }

    /// Removes those from the line for `name` who do not wait any more, and says
    /// where they stood.
    pub fn remove_departed(&mut self, name: &ResourceName) -> Vec<Place> {
        let mut places = Vec::new();
        let Some(line) = self.lines.get_mut(name) else {
            return places;
        };
        line.retain(|waiter| {
            let waits = waiter.ticket.still_waits();
            if !waits {
                places.push(waiter.place);
            }
            waits
        });
        self.waiting -= places.len();
        if line.is_empty() {
            self.lines.remove(name);
        }
        places
    }

    /// Removes those from the line for `name` who stand behind `place`.
    pub fn leave_behind(&mut self, name: &ResourceName, place: Place) -> Vec<Waiter<W>> {
        let Some(line) = self.lines.get_mut(name) else {
            return Vec::new();
        };
        let stay = line.partition_point(|waiter| waiter.place <= place);
        let left: Vec<_> = line.drain(stay..).collect();
        self.waiting -= left.len();
        if line.is_empty() {
            self.lines.remove(name);
        }
        left
    }

    /// Empties all lines.
    pub fn take_all(&mut self) -> impl Iterator<Item = Waiter<W>> {
        self.waiting = 0;
        std::mem::take(&mut self.lines).into_values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Ticket(u32, bool);

    impl StillWaits for Ticket {
        fn still_waits(&self) -> bool {
            self.1
        }
    }

    fn name() -> ResourceName {
        ResourceName::new("r").expect("well formed")
    }

    fn line_of(tickets: &[(u32, bool)]) -> WaitingLines<Ticket> {
        let mut lines = WaitingLines::default();
        for &(number, waits) in tickets {
            lines.join(&name(), waiter(number, waits));
        }
        lines
    }

    /// Its place has the number of its ticket.
    fn waiter(number: u32, waits: bool) -> Waiter<Ticket> {
        Waiter {
            acquire: Operation::Expire,
            ticket: Ticket(number, waits),
            place: Place::new(number.into()),
        }
    }

    fn numbers(mut lines: WaitingLines<Ticket>) -> Vec<u32> {
        std::iter::from_fn(|| lines.take_first(&name()))
            .map(|waiter| waiter.ticket.0)
            .collect()
    }

    #[test]
    fn first_come_first_served_and_put_back_keeps_the_place() {
        let mut lines = line_of(&[(1, true), (2, true), (3, true)]);

        let first = lines.take_first(&name()).expect("somebody waits");
        lines.put_back(&name(), first);

        assert_eq!(lines.waiting(), 3);
        assert_eq!(numbers(lines), [1, 2, 3]);
    }

    #[test]
    fn the_departed_leave_and_the_others_close_up() {
        let mut lines = line_of(&[(1, false), (2, true), (3, false), (4, true)]);

        let places = lines.remove_departed(&name());

        assert_eq!(places, [Place::new(1), Place::new(3)]);
        assert_eq!((lines.waiting(), lines.waiting_for(&name())), (2, 2));
        assert_eq!(numbers(lines), [2, 4]);
    }

    #[test]
    fn those_behind_a_place_leave_together() {
        let mut lines = line_of(&[(1, true), (2, true)]);
        lines.join(&name(), waiter(3, true));

        let left = lines.leave_behind(&name(), Place::new(2));

        assert_eq!(left.len(), 1);
        assert_eq!(left[0].ticket, Ticket(3, true));
        assert_eq!(numbers(lines), [1, 2]);
    }

    #[test]
    fn no_empty_line_stays_behind() {
        let mut lines = line_of(&[(1, true)]);
        lines.take_first(&name());
        assert!(lines.lines.is_empty());

        let mut lines = line_of(&[(1, false)]);
        lines.remove_departed(&name());
        assert!(lines.lines.is_empty());

        let mut lines = line_of(&[(1, true)]);
        lines.leave_behind(&name(), Place::NONE);
        assert!(lines.lines.is_empty() && lines.waiting() == 0);
    }
}
