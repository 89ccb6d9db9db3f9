//! The rows of one transaction, and what becomes of them and of the lines
//! beside them.
//!
//! Separate from `batch`, which decides over them: the store loads and saves
//! these without knowing any rule.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::lock::event::Happened;
use crate::lock::{
    ClientName, Event, EventIds, FencingCounter, FencingToken, Place, RequestId, Resource, ResourceName,
};

/// The first who waits for a resource at another server on the same database, or
/// whose place there is vacant and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Where it stands.
    pub place: Place,
    /// For how long that server is believed to live, if nothing more is heard
    /// of it; or for how long the place is kept.
    pub believed_for: Duration,
}

/// A place in line that is not one of this server's, and whose request is in the
/// batch: whoever had it may have come here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returning {
    /// For which row.
    pub row: usize,
    /// By which request somebody stands there.
    pub request: RequestId,
    /// Where it stands.
    pub place: Place,
}

/// Somebody whose wait at this server is to be known to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// For which row.
    pub row: usize,
    /// Where it stands.
    pub place: Place,
    /// Until when it waits.
    pub wait_until: Timestamp,
    /// So that it can come back to its place.
    pub request: Option<RequestId>,
}

/// How much of a resource is different, the least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing.
    #[default]
    None,
    /// For how long its lock lasts, and until when.
    Lease,
    /// Anything.
    Any,
}

/// The rows of one transaction: loaded, decided over, saved.
#[derive(Debug)]
pub struct Rows {
    resources: Vec<Resource>,
    changes: Vec<Change>,
    tokens: FencingCounter,
    tokens_before: FencingCounter,
    /// For each row; empty if nobody waits elsewhere for any.
    ahead: Vec<Option<Ahead>>,
    last_place: Place,
    joined: Vec<Joined>,
    left: Vec<(usize, Place)>,
    restated: Vec<usize>,
    vacated: Vec<usize>,
    returning: Vec<Returning>,
    returned: Vec<(usize, Place)>,
    unclaimed: Vec<usize>,
    /// What happened, in its order.
    events: Vec<Event>,
    /// Numbers for them; `None` if nothing is recorded.
    event_ids: Option<EventIds>,
    /// How many locks each client holds; of those who ask for more.
    held: HashMap<ClientName, usize>,
    /// By name; made when somebody asks.
    index: OnceCell<HashMap<ResourceName, usize>>,
}

impl Rows {
    /// The rows as the store has them; places in line go on after `last_place`.
    pub fn loaded(resources: Vec<Resource>, tokens: FencingCounter, last_place: Place) -> Self {
        Self {
            changes: vec![Change::None; resources.len()],
            resources,
            tokens,
            tokens_before: tokens,
            ahead: Vec::new(),
            last_place,
            joined: Vec::new(),
            left: Vec::new(),
            restated: Vec::new(),
            vacated: Vec::new(),
            returning: Vec::new(),
            returned: Vec::new(),
            unclaimed: Vec::new(),
            events: Vec::new(),
            event_ids: None,
            held: HashMap::new(),
            index: OnceCell::new(),
        }
    }

    /// The same, with the first who waits elsewhere for each row.
    pub fn with_ahead(mut self, ahead: Vec<Option<Ahead>>) -> Self {
        self.ahead = ahead;
        self
    }

    /// The same, with the places elsewhere of requests that are in the batch.
    pub fn with_returning(mut self, returning: Vec<Returning>) -> Self {
        self.returning = returning;
        self
    }

    /// The same, with how many locks each of some clients holds.
    pub fn with_held(mut self, held: HashMap<ClientName, usize>) -> Self {
        self.held = held;
        self
    }

    /// The same, with everything recorded that happens, under these numbers; or
    /// nothing.
    pub fn recorded_under(mut self, event_ids: Option<EventIds>) -> Self {
        if event_ids.is_some() {
            // One each, mostly.
            self.events.reserve(self.resources.len());
        }
        self.event_ids = event_ids;
        self
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "a batch has rows")]
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// The resource at this index, in the order in which they were loaded.
    pub fn resource(&self, row: usize) -> &Resource {
        &self.resources[row]
    }

    /// The index of the resource with this name, if it was loaded.
    pub fn find(&self, name: &ResourceName) -> Option<usize> {
        let index = || {
            let names = self.resources.iter().map(|resource| resource.name.clone());
            names.enumerate().map(|(row, name)| (name, row)).collect()
        };
        self.index.get_or_init(index).get(name).copied()
    }

    /// Whether it has to be saved.
    pub fn is_changed(&self, row: usize) -> bool {
        self.changes[row] != Change::None
    }

    /// What has to be saved, each with its index and how much of it.
    pub fn changed(&self) -> impl Iterator<Item = (usize, &Resource, Change)> {
        let changes = self.changes.iter().enumerate();
        let changes = changes.filter(|(_, change)| **change != Change::None);
        changes.map(|(row, change)| (row, &self.resources[row], *change))
    }

    /// The resources as they are after the decisions.
    pub fn into_resources(self) -> impl Iterator<Item = Resource> {
        self.resources.into_iter()
    }

    /// The counter, if a token was taken from it.
    pub fn tokens_taken(&self) -> Option<FencingCounter> {
        (self.tokens != self.tokens_before).then_some(self.tokens)
    }

    /// The last place that was given, or `last_place` as it was loaded.
    pub fn last_place(&self) -> Place {
        self.last_place
    }

    /// The first who waits elsewhere for this row. One of them may be about to be
    /// decided here, and is taken for there until it is: the row is looked at again
    /// if it is still there at the end.
    pub fn ahead(&self, row: usize) -> Option<Ahead> {
        let elsewhere = self.ahead.get(row).copied().flatten();
        let returning = self.returning.iter().filter(|returning| returning.row == row);
        let returning = returning.map(|returning| Ahead {
            place: returning.place,
            believed_for: Duration::ZERO,
        });
        elsewhere.into_iter().chain(returning).min_by_key(|ahead| ahead.place)
    }

    /// The place elsewhere in the line for this row of whoever sent `request`, as
    /// long as nobody has taken it here.
    pub fn place_of(&self, row: usize, request: &RequestId) -> Option<Place> {
        let mut returning = self.returning.iter().filter(|returning| returning.row == row);
        returning
            .find(|returning| returning.request == *request)
            .map(|returning| returning.place)
    }

    /// Whether this place elsewhere belongs to a request of the batch and nobody
    /// has taken it here.
    pub fn is_returning(&self, row: usize, place: Place) -> bool {
        let mut returning = self.returning.iter();
        returning.any(|returning| returning.row == row && returning.place == place)
    }

    /// The places elsewhere that were taken here: nobody has them there any more.
    pub fn returned(&self) -> &[(usize, Place)] {
        &self.returned
    }

    /// Those who wait here since now, or again since their lines are restated.
    pub fn joined(&self) -> &[Joined] {
        &self.joined
    }

    /// Those who waited here until now, in vain or not: the row and the place.
    pub fn left(&self) -> &[(usize, Place)] {
        &self.left
    }

    /// The rows for which nobody else waits here than those who joined.
    pub fn restated(&self) -> &[usize] {
        &self.restated
    }

    /// Those of them whose places are kept for whoever comes back with the same
    /// request.
    pub fn vacated(&self) -> &[usize] {
        &self.vacated
    }

    /// The rows of all who joined or left, or whose lines are restated; some more
    /// than once.
    pub fn lines_told(&self) -> impl Iterator<Item = usize> {
        let joined = self.joined.iter().map(|joined| joined.row);
        let left = self.left.iter().map(|(row, _)| *row);
        joined.chain(left).chain(self.restated.iter().copied())
    }

    /// The rows that were free at some moment without anybody in line here.
    pub fn unclaimed(&self) -> &[usize] {
        &self.unclaimed
    }

    /// What happened, in its order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// How many locks this client holds, if that was asked of the store; changed by
    /// what was decided since.
    pub fn locks_of(&self, client: &ClientName) -> usize {
        self.held.get(client).copied().unwrap_or_default()
    }

    /// Among whose locks that of a row counts at `now`; nobody's where none are
    /// counted.
    pub(super) fn client(&self, now: Timestamp, row: usize) -> Option<ClientName> {
        if self.held.is_empty() {
            return None;
        }
        self.resources[row].holder_at(now)?.client.clone()
    }

    /// Counts a lock that was `before`'s and is `after`'s.
    pub(super) fn recount(&mut self, before: Option<&ClientName>, after: Option<&ClientName>) {
        if let Some(held) = before.and_then(|client| self.held.get_mut(client)) {
            *held = held.saturating_sub(1);
        }
        if let Some(held) = after.and_then(|client| self.held.get_mut(client)) {
            *held += 1;
        }
    }

    pub(super) fn resource_mut(&mut self, row: usize) -> (&mut Resource, &mut FencingCounter, &mut Change) {
        (&mut self.resources[row], &mut self.tokens, &mut self.changes[row])
    }

    pub(super) fn is_recorded(&self) -> bool {
        self.event_ids.is_some()
    }

    /// Records what happened at a row, if anything is recorded.
    pub(super) fn record(&mut self, row: usize, happened: Happened) {
        let Some(ids) = &mut self.event_ids else {
            return;
        };
        let id = ids.take();
        let resource = &mut self.resources[row];
        self.events.push(happened.numbered(id, resource));
        // A row is not made only to say that there is something about it.
        if resource.fencing_token != FencingToken::NONE {
            resource.last_event = Some(id);
            self.changes[row] = Change::Any;
        }
    }

    pub(super) fn take_place(&mut self) -> Place {
        self.last_place = Place::new(self.last_place.as_i64() + 1);
        self.last_place
    }

    pub(super) fn note_joined(&mut self, joined: Joined) {
        self.joined.push(joined);
    }

    /// The same for somebody who may have left the line in these decisions.
    pub(super) fn note_joined_again(&mut self, joined: Joined) {
        self.left.retain(|left| *left != (joined.row, joined.place));
        self.note_joined(joined);
    }

    pub(super) fn note_left(&mut self, row: usize, place: Place) {
        self.left.push((row, place));
    }

    pub(super) fn note_restated(&mut self, row: usize) {
        self.restated.push(row);
    }

    /// To be told beside that the line is restated.
    pub(super) fn note_vacated(&mut self, row: usize) {
        self.vacated.push(row);
    }

    /// Somebody has this place elsewhere no more, but here, or is served.
    pub(super) fn note_returned(&mut self, row: usize, place: Place) {
        self.returning
            .retain(|returning| (returning.row, returning.place) != (row, place));
        self.returned.push((row, place));
    }

    pub(super) fn note_unclaimed(&mut self, row: usize) {
        self.unclaimed.push(row);
    }
}
