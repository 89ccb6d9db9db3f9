//! Who comes to stand in a line, and where.
//!
//! Whoever waited at another server with an `Idempotency-Key` and sends the same
//! request here has its place here from then on: the store says where that is,
//! if the place is still there. Of somebody who wants several it is one place
//! in each line in which it stood.

use crate::clock::Timestamp;
use crate::lock::{Acquire, Batch, Joined, Place, StillWaits, Waiter};

impl<W: StillWaits> Batch<'_, W> {
    /// Goes to wait for the resources at these indices. It stands in the line
    /// for the one at position `missing` among them; at its old place if it comes
    /// back, and then in those in which it stood as well.
    pub fn join(&mut self, rows: &[usize], missing: usize, acquire: Acquire, wait_until: Timestamp, ticket: W) {
        let back = self.come_back(rows, &acquire);
        let (place, mut stands_in) = back.unwrap_or_else(|| (self.rows.take_place(), Vec::new()));
        if !stands_in.contains(&missing) {
            stands_in.push(missing);
        }
        for index in &stands_in {
            self.rows.note_joined(Joined {
                row: rows[*index],
                place,
                wait_until,
                request: acquire.request.clone(),
            });
        }
        let names = rows.iter().map(|row| self.rows.resource(*row).name.clone()).collect();
        let waiter = Waiter::new(names, acquire, wait_until, ticket, place);
        self.lines.join(waiter, stands_in);
    }

    /// Notes that somebody who waited for the resource at index `row` has left
    /// its line.
    pub fn leave(&mut self, row: usize, place: Place) {
        self.rows.note_left(row, place);
    }

    /// Tells the store once more who waits for the resource at index `row`,
    /// because it may believe something else. To be called before anybody joins.
    ///
    /// Whose place another server has now does not wait here any more.
    pub fn restate(&mut self, row: usize) {
        self.rows.note_restated(row);
        let name = self.rows.resource(row).name.clone();
        let line = self.lines.line(&name);
        let moved = line.filter(|waiter| self.rows.is_returning(row, waiter.place));
        for place in moved.map(|waiter| waiter.place).collect::<Vec<_>>() {
            self.let_go(row, place);
        }
        for waiter in self.lines.line(&name) {
            self.rows.note_joined(Joined {
                row,
                place: waiter.place,
                wait_until: waiter.wait_until,
                request: waiter.acquire.request.clone(),
            });
        }
    }

    /// The same where those who waited were sent away and may come back: the
    /// places of those whose requests can be known again stay, vacant.
    pub fn vacate(&mut self, row: usize) {
        self.rows.note_vacated(row);
        self.restate(row);
    }

    /// Whoever has this place in the line for the resource at index `row` does not
    /// wait here any more, if another server has the place now.
    pub fn let_go(&mut self, row: usize, place: Place) {
        if self.rows.is_returning(row, place) {
            let moved = self.lines.take(place).map(|waiter| (row, waiter));
            self.superseded.extend(moved);
        }
    }

    /// Gives the place of somebody who waits here for the resources at these
    /// indices to the same request, sent again; answers with the ticket that had
    /// it.
    pub fn take_over(&mut self, rows: &[usize], place: Place, wait_until: Timestamp, ticket: W) -> Option<W> {
        let before = self.lines.take_over(place, wait_until, ticket)?;
        let waiter = self.lines.get(place)?;
        let was_elsewhere: Vec<_> = rows
            .iter()
            .copied()
            .filter(|row| self.rows.is_returning(*row, place))
            .collect();
        // It was at another server meanwhile, and comes back from there.
        if !was_elsewhere.is_empty() {
            for row in was_elsewhere {
                self.rows.note_returned(row, place);
            }
            for (index, row) in rows.iter().enumerate().filter(|(index, _)| waiter.stands_in(*index)) {
                debug_assert_eq!(waiter.names[index], self.rows.resource(*row).name);
                self.rows.note_joined_again(Joined {
                    row: *row,
                    place,
                    wait_until,
                    request: waiter.acquire.request.clone(),
                });
            }
        }
        Some(before)
    }

    /// The place to which whoever wants the resources at these indices may come
    /// back: the first, if it has several.
    pub(super) fn place_of(&self, rows: &[usize], acquire: &Acquire) -> Option<Place> {
        let request = acquire.request.as_ref()?;
        let places = rows.iter().filter_map(|row| self.rows.place_of(*row, request));
        // Nobody stands twice at one place.
        places.min().filter(|place| self.lines.get(*place).is_none())
    }

    /// Takes that place away from elsewhere. Answers with it and with the
    /// positions of the resources in whose lines it was.
    pub(super) fn come_back(&mut self, rows: &[usize], acquire: &Acquire) -> Option<(Place, Vec<usize>)> {
        let place = self.place_of(rows, acquire)?;
        let mut stood_in = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            if self.rows.is_returning(*row, place) {
                self.rows.note_returned(*row, place);
                stood_in.push(index);
            }
        }
        Some((place, stood_in))
    }
}
