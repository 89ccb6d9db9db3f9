//! Who waits here for which resource: one line a resource, first come, first
//! served.
//!
//! Whoever wants several resources at once has one place for all of them. Plain
//! collections: what a waiter is, and how it is told, is the engine's
//! affair and appears here only as the type `W`. Those who wait at another
//! server on the same database are not here; where the first of them stands is
//! known to a [`Rows`](crate::lock::Rows).

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limits::NAMES_TOGETHER_MAX;
use crate::lock::{Acquire, LockedBy, RequestId, ResourceName};

/// A place in line. Of two who wait for the same resource, at whichever server,
/// the one with the lower number began to wait earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// Somebody who waits: for one resource, or for several at once.
#[derive(Debug)]
pub struct Waiter<W> {
    /// What it wants, all or nothing; distinct, in the order in which they were
    /// asked for.
    pub names: Vec<ResourceName>,
    /// How it wants them.
    pub acquire: Acquire,
    /// Until when it waits.
    pub wait_until: Timestamp,
    /// Whom to tell.
    pub ticket: W,
    /// Where it stands.
    pub place: Place,
    /// In which of the lines for its names it stands: the bit of each.
    stands_in: u64,
    /// Since when something is kept free for it.
    kept_since: Option<Timestamp>,
    /// How often something was kept free for it in vain.
    kept_in_vain: u32,
}

impl<W> Waiter<W> {
    /// Somebody who stands in no line yet.
    pub fn new(names: Vec<ResourceName>, acquire: Acquire, wait_until: Timestamp, ticket: W, place: Place) -> Self {
        debug_assert!((1..=NAMES_TOGETHER_MAX).contains(&names.len()));
        Self {
            names,
            acquire,
            wait_until,
            ticket,
            place,
            stands_in: 0,
            kept_since: None,
            kept_in_vain: 0,
        }
    }

    /// Whether it wants several resources at once.
    pub fn wants_several(&self) -> bool {
        self.names.len() > 1
    }

    /// Whether it stands in the line for the name with this index.
    pub fn stands_in(&self, index: usize) -> bool {
        self.stands_in & (1 << index) != 0
    }

    /// The names of the lines in which it stands.
    pub fn lines(&self) -> impl Iterator<Item = &ResourceName> {
        let names = self.names.iter().enumerate();
        names.filter(|(index, _)| self.stands_in(*index)).map(|(_, name)| name)
    }
}

/// The line for one resource.
#[derive(Debug, Default)]
struct Line {
    /// In their order; never empty but for a moment.
    places: VecDeque<Place>,
    /// Who holds the resource, as far as was seen last.
    holder: Option<LockedBy>,
}

/// All who wait here, and the lines in which they stand.
///
/// Who waits for one resource stands in the line for it. Who waits for several
/// stands at first only in the line for one that cannot be had, and comes to
/// stand in the lines for others, at its old place, when that is its turn there
/// and something else is missing. So it keeps nobody from a resource that is of
/// no use to itself yet, and yet gets all of them in the end.
#[derive(Debug)]
pub struct WaitingLines<W> {
    waiters: HashMap<Place, Waiter<W>>,
    lines: HashMap<ResourceName, Line>,
    /// Those of each key, by place.
    by_key: HashMap<LockedBy, BTreeSet<Place>>,
    /// Those whose request may be sent again, by its `Idempotency-Key`.
    by_request: HashMap<Box<str>, BTreeSet<Place>>,
    /// By resource: how many want it among others and do not stand in the line.
    onlookers: HashMap<ResourceName, usize>,
}

impl<W> Default for WaitingLines<W> {
    fn default() -> Self {
        Self {
            waiters: HashMap::new(),
            lines: HashMap::new(),
            by_key: HashMap::new(),
            by_request: HashMap::new(),
            onlookers: HashMap::new(),
        }
    }
}

impl<W: StillWaits> WaitingLines<W> {
    /// How many wait in all.
    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// How many resources have a line.
    pub fn lines(&self) -> usize {
        self.lines.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// How many stand in the line for one resource.
    pub fn waiting_for(&self, name: &ResourceName) -> usize {
        self.lines.get(name).map_or(0, |line| line.places.len())
    }

    /// How many want a resource among others and do not stand in its line.
    pub fn onlookers(&self, name: &ResourceName) -> usize {
        self.onlookers.get(name).copied().unwrap_or_default()
    }

    /// The names of all resources that have a line.
    pub fn names(&self) -> impl Iterator<Item = &ResourceName> {
        self.lines.keys()
    }

    /// Those who stand in the line for one resource, in order.
    pub fn line(&self, name: &ResourceName) -> impl Iterator<Item = &Waiter<W>> {
        let places = self.lines.get(name).into_iter().flat_map(|line| &line.places);
        places.filter_map(|place| self.waiters.get(place))
    }

    /// The first in the line for `name`.
    pub fn first(&self, name: &ResourceName) -> Option<&Waiter<W>> {
        self.line(name).next()
    }

    /// Who has this place.
    pub fn get(&self, place: Place) -> Option<&Waiter<W>> {
        self.waiters.get(&place)
    }

    /// Those who wait with the key `locked_by`, in the order of their places.
    pub fn of_key(&self, locked_by: &LockedBy) -> impl Iterator<Item = &Waiter<W>> {
        let places = self.by_key.get(locked_by).into_iter().flatten();
        places.filter_map(|place| self.waiters.get(place))
    }

    /// Who waits for `names` by a request with the same `Idempotency-Key`.
    pub fn of_request(&self, names: &[ResourceName], request: &RequestId) -> Option<&Waiter<W>> {
        let places = self.by_request.get(request.key())?.iter();
        let mut waiters = places.filter_map(|place| self.waiters.get(place));
        waiters.find(|waiter| waiter.names == names)
    }

    /// Gives the place of a waiter to another ticket, which waits until another
    /// time; answers with the one that had it.
    pub fn take_over(&mut self, place: Place, wait_until: Timestamp, ticket: W) -> Option<W> {
        let waiter = self.waiters.get_mut(&place)?;
        waiter.wait_until = wait_until;
        Some(std::mem::replace(&mut waiter.ticket, ticket))
    }

    /// Who holds a resource that has a line, as it was seen last.
    pub fn holder(&self, name: &ResourceName) -> Option<&LockedBy> {
        self.lines.get(name)?.holder.as_ref()
    }

    /// Notes who holds a resource, if it has a line.
    pub fn note_holder(&mut self, name: &ResourceName, holder: Option<&LockedBy>) {
        if let Some(line) = self.lines.get_mut(name) {
            line.holder = holder.cloned();
        }
    }

    /// Comes to wait, in the lines for the names with these indices.
    pub fn join(&mut self, mut waiter: Waiter<W>, indices: impl IntoIterator<Item = usize>) {
        waiter.stands_in = 0;
        for index in indices {
            waiter.stands_in |= 1 << index;
        }
        self.put_back(waiter);
    }

    /// Puts somebody back who was taken out, where it stood.
    pub fn put_back(&mut self, waiter: Waiter<W>) {
        for (index, name) in waiter.names.iter().enumerate() {
            if waiter.stands_in(index) {
                insert(self.lines.entry(name.clone()).or_default(), waiter.place);
            } else {
                *self.onlookers.entry(name.clone()).or_default() += 1;
            }
        }
        let key = waiter.acquire.locked_by.clone();
        self.by_key.entry(key).or_default().insert(waiter.place);
        if let Some(request) = &waiter.acquire.request {
            self.by_request
                .entry(request.key().into())
                .or_default()
                .insert(waiter.place);
        }
        self.waiters.insert(waiter.place, waiter);
    }

    /// Comes to stand in one more line, at its place: that for the name with
    /// this index. Says whether it did not stand there yet.
    pub fn stand_in(&mut self, place: Place, index: usize) -> bool {
        let Some(waiter) = self.waiters.get_mut(&place).filter(|waiter| !waiter.stands_in(index)) else {
            return false;
        };
        waiter.stands_in |= 1 << index;
        let name = waiter.names[index].clone();
        count_down(&mut self.onlookers, &name);
        insert(self.lines.entry(name).or_default(), place);
        true
    }

    /// Leaves the line for the name with this index, and looks on. Says whether
    /// it stood there.
    pub fn stand_out(&mut self, place: Place, index: usize) -> bool {
        let Some(waiter) = self.waiters.get_mut(&place).filter(|waiter| waiter.stands_in(index)) else {
            return false;
        };
        waiter.stands_in &= !(1 << index);
        let name = waiter.names[index].clone();
        leave(&mut self.lines, &name, place);
        *self.onlookers.entry(name).or_default() += 1;
        true
    }

    /// Notes that something is kept free for whoever has this place. Answers
    /// until when: the longer, the more often that was in vain, so that it gets
    /// everything in the end from those who hold it for however long.
    pub fn keep_free(&mut self, place: Place, now: Timestamp, at_first: Duration) -> Option<Timestamp> {
        let waiter = self.waiters.get_mut(&place)?;
        let since = *waiter.kept_since.get_or_insert(now);
        let patience = at_first.saturating_mul(1_u32.checked_shl(waiter.kept_in_vain).unwrap_or(u32::MAX));
        Some(since + patience)
    }

    /// Notes that nothing is kept free any more for whoever has this place.
    pub fn note_kept_in_vain(&mut self, place: Place) {
        if let Some(waiter) = self.waiters.get_mut(&place) {
            waiter.kept_since = None;
            waiter.kept_in_vain += 1;
        }
    }

    /// Takes somebody out of all lines.
    pub fn take(&mut self, place: Place) -> Option<Waiter<W>> {
        let waiter = self.waiters.remove(&place)?;
        for (index, name) in waiter.names.iter().enumerate() {
            if !waiter.stands_in(index) {
                count_down(&mut self.onlookers, name);
            } else {
                leave(&mut self.lines, name, place);
            }
        }
        remove(&mut self.by_key, &waiter.acquire.locked_by, place);
        if let Some(request) = &waiter.acquire.request {
            remove(&mut self.by_request, request.key(), place);
        }
        Some(waiter)
    }

    /// Takes out those in the line for `name` who do not wait any more.
    pub fn take_departed(&mut self, name: &ResourceName) -> Vec<Waiter<W>> {
        let departed = self.line(name).filter(|waiter| !waiter.ticket.still_waits());
        let places: Vec<_> = departed.map(|waiter| waiter.place).collect();
        places.into_iter().filter_map(|place| self.take(place)).collect()
    }

    /// Takes out those in the line for `name` who stand behind `place`.
    pub fn take_behind(&mut self, name: &ResourceName, place: Place) -> Vec<Waiter<W>> {
        let places = self.lines.get(name).map(|line| &line.places);
        let behind = places.into_iter().flatten().rev().copied();
        let behind: Vec<_> = behind.take_while(|stands| *stands > place).collect();
        behind.into_iter().filter_map(|place| self.take(place)).collect()
    }

    /// Whether nothing is left of those who waited, be it of no use to anybody.
    #[cfg(test)]
    pub(super) fn is_without_trace(&self) -> bool {
        let is_without_waiters = self.waiters.is_empty() && self.lines.is_empty() && self.onlookers.is_empty();
        is_without_waiters && self.by_key.is_empty() && self.by_request.is_empty()
    }

    /// How many wait for whom something was kept free in vain.
    #[cfg(test)]
    pub(super) fn kept_in_vain(&self) -> usize {
        self.waiters.values().filter(|waiter| waiter.kept_in_vain > 0).count()
    }

    /// Empties all lines; those who waited longest come first.
    pub fn take_all(&mut self) -> impl Iterator<Item = Waiter<W>> {
        let mut waiters: Vec<_> = std::mem::take(self).waiters.into_values().collect();
        waiters.sort_unstable_by_key(|waiter| waiter.place);
        waiters.into_iter()
    }
}

/// Nearly always at the end.
fn insert(line: &mut Line, place: Place) {
    if line.places.back().is_none_or(|last| *last < place) {
        line.places.push_back(place);
    } else if let Err(at) = line.places.binary_search(&place) {
        line.places.insert(at, place);
    }
}

fn leave(lines: &mut HashMap<ResourceName, Line>, name: &ResourceName, place: Place) {
    if let Some(line) = lines.get_mut(name) {
        if let Ok(at) = line.places.binary_search(&place) {
            line.places.remove(at);
        }
        if line.places.is_empty() {
            lines.remove(name);
        }
    }
}

fn count_down(counts: &mut HashMap<ResourceName, usize>, name: &ResourceName) {
    if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
}

fn remove<K, Q>(places: &mut HashMap<K, BTreeSet<Place>>, key: &Q, place: Place)
where
    K: Hash + Eq + Borrow<Q>,
    Q: Hash + Eq + ?Sized,
{
    if let Some(of_key) = places.get_mut(key) {
        of_key.remove(&place);
        if of_key.is_empty() {
            places.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
