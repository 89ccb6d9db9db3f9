//! Who waits at which server, as the shared database shows it to the others, and
//! what is announced of it; as `src/db/postgres` does it with SQL.

use std::time::Duration;

use central_locking_system::clock::Timestamp;
use central_locking_system::db::Askers;
use central_locking_system::limits::{REMIND_AFTER, REPLICA_SILENT_MAX, VACANT_PLACE_MAX};
use central_locking_system::lock::{Ahead, Place, RequestId, ResourceName, Returning, Rows};

use crate::database::{Notice, State, VACANT, WaiterRow};

/// By how much a sign of life may be ahead of the clock and still be one.
pub const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// Who looks.
#[derive(Clone, Copy)]
pub struct Viewpoint {
    pub replica: i64,
    pub believing_since: Timestamp,
    pub now: Timestamp,
}

/// Who waits elsewhere for the rows of a batch.
#[derive(Default)]
pub struct Elsewhere {
    firsts: Vec<First>,
    found: Vec<(i64, Returning)>,
}

struct First {
    row: usize,
    replica: i64,
    ahead: Ahead,
}

impl Elsewhere {
    pub fn load(state: &State, viewpoint: Viewpoint, names: &[ResourceName], askers: Askers<'_>) -> Self {
        let mut found: Vec<(i64, Returning)> = Vec::new();
        for (row, request) in askers.requests {
            let text = request.to_text();
            let is_known = |replica: i64| replica == VACANT || state.replicas.contains_key(&replica);
            let waiters = state.waiters.iter().filter(|waiter| {
                let is_wanted = waiter.name == names[*row] && waiter.request.as_ref() == Some(&text);
                is_wanted && waiter.replica != viewpoint.replica && is_known(waiter.replica)
            });
            if let Some(waiter) = waiters.min_by_key(|waiter| waiter.place) {
                let returning = Returning {
                    row: *row,
                    request: request.clone(),
                    place: waiter.place,
                };
                found.push((waiter.replica, returning));
            }
        }
        let mut firsts = Vec::new();
        for (row, name) in names.iter().enumerate() {
            let is_found = |place: Place| found.iter().any(|(_, returning)| returning.place == place);
            let waiting = state.waiters.iter();
            let waiting = waiting.filter(|waiter| waiter.name == *name && !is_found(waiter.place));
            let waiting: Vec<_> = waiting.collect();
            let living = state.replicas.iter().filter_map(|(replica, seen)| {
                let until = seen.seen.max(viewpoint.believing_since) + REPLICA_SILENT_MAX;
                let is_living = *replica != viewpoint.replica && seen.seen < viewpoint.now + CLOCK_SLACK;
                (is_living && until > viewpoint.now).then_some((*replica, until))
            });
            for (replica, until) in living {
                let here = waiting.iter().filter(|waiter| waiter.replica == replica);
                if let Some(first) = here.min_by_key(|waiter| waiter.place) {
                    firsts.push(First {
                        row,
                        replica,
                        ahead: Ahead {
                            place: first.place,
                            believed_for: until.since(viewpoint.now),
                        },
                    });
                }
            }
            let latest = viewpoint.now + VACANT_PLACE_MAX + CLOCK_SLACK;
            let vacant = waiting.iter().filter_map(|waiter| {
                let until = waiter.vacant_until.filter(|_| waiter.replica == VACANT)?;
                (until > viewpoint.now && until < latest).then_some((waiter.place, until))
            });
            if let Some((place, until)) = vacant.min() {
                firsts.push(First {
                    row,
                    replica: VACANT,
                    ahead: Ahead {
                        place,
                        believed_for: until.since(viewpoint.now),
                    },
                });
            }
        }
        firsts.sort_by_key(|first| (first.row, first.ahead.place));
        Self { firsts, found }
    }

    pub fn returning(&self) -> Vec<Returning> {
        self.found.iter().map(|(_, returning)| returning.clone()).collect()
    }

    pub fn ahead(&self, rows: usize) -> Vec<Option<Ahead>> {
        let mut ahead = vec![None; rows];
        for first in self.firsts.iter().rev() {
            ahead[first.row] = Some(first.ahead);
        }
        ahead
    }

    /// What the others have to hear of the batch.
    pub fn notices(&self, now: Timestamp, rows: &Rows) -> Vec<Notice> {
        let mut notices = Vec::new();
        for (replica, returning) in &self.found {
            if *replica != VACANT && rows.returned().contains(&(returning.row, returning.place)) {
                let name = rows.resource(returning.row).name.clone();
                notices.push(Notice::Moved(*replica, name, returning.place));
            }
        }
        let firsts = self
            .firsts
            .iter()
            .map(|first| (first.row, first.ahead.place, first.replica));
        let found = self.found.iter();
        let untaken = found.filter(|(_, returning)| rows.is_returning(returning.row, returning.place));
        let untaken = untaken.map(|(replica, returning)| (returning.row, returning.place, *replica));
        let mut firsts: Vec<_> = firsts
            .chain(untaken)
            .filter(|(.., replica)| *replica != VACANT)
            .collect();
        firsts.sort_unstable();
        firsts.dedup_by_key(|(row, ..)| *row);
        for (row, _, replica) in firsts {
            let resource = rows.resource(row);
            match resource.holder_at(now) {
                None => {
                    let lock = resource.lock.as_ref();
                    let freed = resource.released_at.or_else(|| lock.and_then(|lock| lock.expires_at));
                    let is_waiting_long = freed.is_none_or(|freed| now.since(freed) >= REMIND_AFTER);
                    let has_left = rows.left().iter().any(|(left, _)| *left == row);
                    if rows.is_changed(row) || is_waiting_long || has_left || rows.restated().contains(&row) {
                        notices.push(Notice::Free(replica, resource.name.clone()));
                    }
                }
                Some(lock) => {
                    if let Some(expires_at) = lock.expires_at
                        && rows.is_changed(row)
                    {
                        notices.push(Notice::Ends(resource.name.clone(), expires_at.since(now)));
                    }
                }
            }
        }
        notices
    }
}

/// Whether the lines are not as they were.
pub fn are_changed(rows: &Rows) -> bool {
    let is_restated = !rows.restated().is_empty() || !rows.vacated().is_empty();
    is_restated || !rows.returned().is_empty() || !rows.joined().is_empty() || !rows.left().is_empty()
}

/// Writes who joined and left.
pub fn save(state: &mut State, viewpoint: Viewpoint, rows: &Rows) {
    let Viewpoint { replica, now, .. } = viewpoint;
    let name_of = |row: usize| &rows.resource(row).name;
    for row in rows.vacated() {
        vacate(state, replica, now, |waiter| waiter.name == *name_of(*row));
    }
    let is_restated = |waiter: &WaiterRow| rows.restated().iter().any(|row| waiter.name == *name_of(*row));
    state
        .waiters
        .retain(|waiter| waiter.replica != replica || !is_restated(waiter));
    let is_among = |of: &[(usize, Place)], waiter: &WaiterRow| {
        of.iter()
            .any(|(row, place)| waiter.place == *place && waiter.name == *name_of(*row))
    };
    state.waiters.retain(|waiter| !is_among(rows.returned(), waiter));
    for joined in rows.joined() {
        let row = WaiterRow {
            name: name_of(joined.row).clone(),
            replica,
            place: joined.place,
            request: joined.request.as_ref().map(RequestId::to_text),
            vacant_until: None,
        };
        let is_same =
            |waiter: &WaiterRow| (&waiter.name, waiter.replica, waiter.place) == (&row.name, row.replica, row.place);
        if !state.waiters.iter().any(is_same) {
            state.waiters.push(row);
        }
    }
    state
        .waiters
        .retain(|waiter| waiter.replica != replica || !is_among(rows.left(), waiter));
}

/// Makes the places vacant that a server has, as far as their requests can be
/// known again.
pub fn vacate(state: &mut State, replica: i64, now: Timestamp, which: impl Fn(&WaiterRow) -> bool) {
    let waiters = state.waiters.iter_mut();
    for waiter in waiters.filter(|waiter| waiter.replica == replica && waiter.request.is_some()) {
        if which(waiter) {
            waiter.replica = VACANT;
            waiter.vacant_until = Some(now + VACANT_PLACE_MAX);
        }
    }
}
