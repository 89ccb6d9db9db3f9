//! Places in line that outlive the connection, or the server, of whoever has one.
//!
//! # The design
//!
//! A row of `waiters` says by which request somebody waits, as `acquire_request`
//! does for a lock: a digest, the owner and the `Idempotency-Key`, and no key of
//! a lock. Whoever sends the same request to another server is found by it, and
//! goes on from its place.
//!
//! * **Its server stops.** It is sent away with 503, and the row stays as a *vacant
//!   place*: its server is VACANT, and VACANT_PLACE_MAX from then it is kept. Until
//!   then it counts like somebody who waits: what becomes free stays free for it
//!   while it is the first of all. So whoever does not come back costs those behind
//!   it three seconds, once, and only if it was their turn. Who has no
//!   `Idempotency-Key` leaves no place.
//! * **It comes back.** The transaction that decides its request takes the row for
//!   its own server, and grants at once if it is free and the place the first.
//! * **Its server was killed, or does not answer.** The row is taken from it all the
//!   same, though it says nothing of that. Within the time for which that is
//!   believed to live, nobody has passed meanwhile; later it is before those who
//!   still wait, until the row goes with that server.
//! * **Its server lives**, and has not noticed yet that the client has gone. It is
//!   the same; that server is told that a place has moved.
//!
//! A server of an older version, which shares the database while all are replaced one
//! by one, knows nothing of this: it passes vacant places.
//!
//! Not kept is the place of one whose return failed at COMMIT, where the commit took
//! effect all the same.
//!
//! # Why two servers do not both have a place
//!
//! A row comes to a server only with the row of the resource locked, by a
//! transaction that deletes it wherever it was. It is made vacant by its own server,
//! under the same lock: what comes first is seen by the other. Either the
//! place was vacant when it was taken; or it was taken, and then its old server
//! makes nothing vacant, for it finds no row of its own. What a server could not
//! make vacant so before it ends, because somebody keeps a row locked, it does in one
//! statement without that lock: this touches rows of its own only, and waits for a
//! transaction that is just taking one.
//!
//! In memory the old server may still have the one who went. It grants to it only if
//! nobody with a row elsewhere is before it. When it is told, or restates the line, it
//! looks where that request stands, finds it elsewhere at the same place, and answers
//! 409 to the connection that was left. If it is not told it finds the connection
//! closed when the turn comes; or it is not closed, and both are served, one after the
//! other, as two who wait. Each time it is the turn of that place.
//!
//! # Why the order is kept
//!
//! A place that moves keeps its number. Whoever returns is compared with all others:
//! its row is left out where the first of each other server is read, and those who
//! are to be decided in the same batch count as waiting elsewhere until they
//! are. So it is granted what is free if no place is lower; and a vacant place is
//! lower than those behind it for as long as it is kept.
//!
//! # Why nobody waits for ever
//!
//! Who sees in a transaction of its own that a vacant place is the first looks again
//! at the end of the time for which it is kept, as it does for a server that is
//! believed to live for so long. Who frees a resource of which that is the first
//! announces it to the first who lives, and so that one sees it. The transaction that
//! makes a place vacant restates the line, and so announces what is free. One that
//! returns and is not served joins; one that is refused for lack of room leaves the
//! place as it was, for the rest of its time.
//!
//! Rows whose time is over wait for nothing: `has_waiters` does not count them, and
//! they are deleted with those of servers that are gone.

use std::collections::HashMap;

use diesel::pg::PgConnection;
use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::StoreError;
use crate::db::postgres::failed;
use crate::db::postgres::lines::Viewpoint;
use crate::db::postgres::place_statements::{DeleteReturned, FindRequests, VacatePlaces};
use crate::limits::VACANT_PLACE_MAX;
use crate::lock::{Place, RequestId, Returning, Rows};

/// By what the rows of vacant places are known; no server has this number.
pub(super) const VACANT: i64 = 0;

/// A place that somebody has elsewhere whose request is in the batch.
pub(super) struct Found {
    /// By which server; VACANT if by none.
    pub(super) replica: i64,
    pub(super) returning: Returning,
}

/// Finds the places elsewhere of those who sent `requests`, each with its row,
/// which is among `rows`.
pub(super) fn find(
    conn: &mut PgConnection,
    viewpoint: Viewpoint,
    rows: &[(usize, &str)],
    requests: &[&(usize, RequestId)],
) -> Result<Vec<Found>, StoreError> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let names: HashMap<usize, &str> = rows.iter().copied().collect();
    let find = FindRequests {
        names: requests.iter().map(|(row, _)| names[row]).collect(),
        requests: requests.iter().map(|(_, request)| request.to_text()).collect(),
        replica: viewpoint.replica,
    };
    let found: Vec<(i64, i64, i64)> = find.load(conn).map_err(failed)?;
    let found = found.into_iter().filter_map(|(number, replica, place)| {
        let (row, request) = requests.get(usize::try_from(number - 1).ok()?)?;
        let returning = Returning {
            row: *row,
            request: request.clone(),
            place: Place::new(place),
        };
        Some(Found { replica, returning })
    });
    Ok(found.collect())
}

/// Deletes the places elsewhere that were taken here.
pub(super) fn take(conn: &mut PgConnection, rows: &Rows) -> Result<(), StoreError> {
    if rows.returned().is_empty() {
        return Ok(());
    }
    let mut delete = DeleteReturned::default();
    for (row, place) in rows.returned() {
        delete.push(rows.resource(*row).name.as_str(), place.as_i64());
    }
    delete.execute(conn).map(drop).map_err(failed)
}

/// Keeps the places that this server has in the lines for `names`.
pub(super) fn vacate(conn: &mut PgConnection, viewpoint: Viewpoint, names: &[&str]) -> Result<(), StoreError> {
    if names.is_empty() {
        return Ok(());
    }
    let vacate = VacatePlaces {
        names,
        replica: viewpoint.replica,
        vacant_until_us: vacant_until_us(viewpoint.now),
    };
    vacate.execute(conn).map(drop).map_err(failed)
}

/// Until when a place is kept that is vacant now.
pub(super) fn vacant_until_us(now: Timestamp) -> i64 {
    (now + VACANT_PLACE_MAX).as_us()
}
