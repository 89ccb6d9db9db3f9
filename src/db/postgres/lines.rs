//! The lines of those who wait, as all servers on the database see them: the
//! rows of `waiters`.
//!
//! # The design
//!
//! A waiter's connection is at one server, and only that server can answer it.
//! So each server keeps its own line in memory, grants only to those in it, and
//! shows the others where they stand: one row of `waiters` for each.
//!
//! * **Joining.** A request that is refused and has a timeout takes a *place*,
//!   and its row is committed by the transaction that refused it.
//! * **Serving.** Whoever has the row of a resource locked, and finds it free,
//!   compares the first in the own line with the first of each other living
//!   server. If its own is first of all it grants, and deletes the row of the
//!   waiter. Else it leaves the resource free, grants it to nobody, and
//!   announces to that server that it is free; which then locks the row and
//!   serves its own. A request that comes in between is refused or goes in line.
//! * **Changing servers.** Whoever can be known again keeps its place when its
//!   server stops, and when it asks at another one: see [`places`].
//! * **Leaving.** Whoever leaves a line (client gone, time over) has its row
//!   deleted by the next transaction of its server, which looks whether the
//!   resource is free and serves the next, or announces it.
//!
//! # Why the order is kept
//!
//! 1. *Places of one resource are in the order in which they were given.* They
//!    are taken while the row of the resource is locked, from numbers of which
//!    later holders of that row lock get later ones (see the migration).
//! 2. *Whoever has the row locked sees everybody who waits.* Rows of `waiters`
//!    are inserted only with the row of the resource locked and are committed
//!    before that lock goes; they are read by a statement that begins when it
//!    has the lock, and so sees what was committed before (READ COMMITTED). That
//!    `has_waiters` is true while there are any, which saves that statement for
//!    resources nobody waits for, holds by the same argument: both are written
//!    under the lock.
//! 3. *So a grant goes to the lowest place* of those who are at servers that are
//!    believed to live, or whose vacant place is kept, and whose departure was not
//!    committed yet. One that joins later has a higher place, or had a lower one
//!    before and comes back to it.
//!
//! One holder at a time needs none of this: a grant is made only to a row that
//! is locked and free.
//!
//! # Why nobody waits for ever
//!
//! Let a resource be free and somebody wait for it; h is the first of those who
//! are believed in. The transaction after which this is so first either freed
//! the resource, or took away whoever was before h: it has the row locked, sees
//! h and announces it at COMMIT, to all. Or a lock ended without any
//! transaction: then each server with a line has a timer for it, set when it
//! was refused last or when the end was announced; and the sweep of any server
//! finds it a second later. Whoever hears of it, or sees it in a transaction of
//! its own, and is not h's server but has a line, looks again when that server
//! can no longer be believed to live: REPLICA_SILENT_MAX after its last sign of
//! life. An announcement that a server cannot hear is made good by the look at
//! all lines that follows each new LISTEN, or by that of every second while it
//! is deaf. And whoever comes to a resource that has been free for longer than
//! REMIND_AFTER announces it again.
//!
//! All that is about those who are believed in. A server that was not, for a
//! moment, was told nothing then; so whenever one gives a sign of life and finds
//! that the last was REPLICA_SILENT_MAX ago, by the database's clock or its own,
//! or is yet to come, because the clock was set back, or that it had to connect
//! again, it restates all its lines and looks at them.
//! Whoever locks the row after that look sees the sign of life; whoever locked
//! it before left it free, and the look finds that.
//!
//! A server whose transaction failed does not know what `waiters` says of it,
//! and so restates its line for each name in that transaction. So does one
//! that finds itself forgotten, for all its lines. Until then others may pass
//! over those who wait there, or wait for somebody who does not: the order is
//! not kept over such a fault, but it ends with the next transaction.

use std::time::Duration;

use diesel::pg::PgConnection;
use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::StoreError;
use crate::db::postgres::failed;
use crate::db::postgres::listener::CHANNEL;
use crate::db::postgres::message::Messages;
use crate::db::postgres::places::{self, Found, VACANT};
use crate::db::postgres::rows::{LockedRows, RowMarks};
use crate::db::postgres::waiter_statements::{DeleteWaiters, FirstWaiters, InsertWaiters, MarkLines, Notify};
use crate::db::schema::waiters;
use crate::limits::{REMIND_AFTER, REPLICA_SILENT_MAX};
use crate::lock::{Ahead, FencingToken, Place, RequestId, ResourceName, Returning, Rows};

/// By how much the clock may seem to have been set back when it was not: a beat
/// reads it after a transaction that is under way.
pub(super) const CLOCK_SLACK_US: i64 = 1_000_000;

/// The first of each other living server, in line for a row; and the first place
/// that is vacant.
struct First {
    row: usize,
    replica: i64,
    ahead: Ahead,
}

/// Who waits elsewhere for the rows of a batch.
#[derive(Default)]
pub(super) struct Elsewhere {
    /// By row, then by place; without those that were found.
    firsts: Vec<First>,
    found: Vec<Found>,
}

/// Where the session stands from which lines are looked at.
#[derive(Clone, Copy)]
pub(super) struct Viewpoint {
    /// This server.
    pub(super) replica: i64,
    /// No server is taken for gone because it was silent before this instant.
    pub(super) believing_since_us: i64,
    pub(super) now: Timestamp,
}

impl Elsewhere {
    /// Reads who waits at other servers for those of the rows, all locked, that
    /// somebody may wait for; and where those stand who sent `requests`, each with
    /// its row.
    pub(super) fn load(
        conn: &mut PgConnection,
        viewpoint: Viewpoint,
        rows: &[(usize, &str)],
        requests: &[&(usize, RequestId)],
    ) -> Result<Self, StoreError> {
        if rows.is_empty() {
            return Ok(Self::default());
        }
        let found = places::find(conn, viewpoint, rows, requests)?;
        let returning: Vec<_> = found.iter().map(|found| found.returning.place.as_i64()).collect();
        let names: Vec<_> = rows.iter().map(|(_, name)| *name).collect();
        let first_waiters = FirstWaiters {
            names: &names,
            replica: viewpoint.replica,
            now_us: viewpoint.now.as_us(),
            soon_us: viewpoint.now.as_us() + CLOCK_SLACK_US,
            believing_since_us: viewpoint.believing_since_us,
            silent_us_max: REPLICA_SILENT_MAX.as_micros() as i64,
            vacant_until_us_max: places::vacant_until_us(viewpoint.now) + CLOCK_SLACK_US,
            without: &returning,
        };
        let firsts: Vec<(i64, i64, i64, i64)> = first_waiters.load(conn).map_err(failed)?;
        let first = |(number, replica, place, believed_us): (i64, i64, i64, i64)| {
            let (row, _) = rows.get(usize::try_from(number - 1).ok()?)?;
            Some(First {
                row: *row,
                replica,
                ahead: Ahead {
                    place: Place::new(place),
                    believed_for: Duration::from_micros(believed_us.max(0).unsigned_abs()),
                },
            })
        };
        let firsts = firsts.into_iter().filter_map(first).collect();
        Ok(Self { firsts, found })
    }

    /// The places that were found.
    pub(super) fn returning(&self) -> Vec<Returning> {
        self.found.iter().map(|found| found.returning.clone()).collect()
    }

    /// The first of all, for each of so many rows.
    pub(super) fn ahead(&self, rows: usize) -> Vec<Option<Ahead>> {
        if self.firsts.is_empty() {
            return Vec::new();
        }
        let mut ahead = vec![None; rows];
        for first in self.firsts.iter().rev() {
            ahead[first.row] = Some(first.ahead);
        }
        ahead
    }

    /// What the others have to hear of the batch.
    fn messages(&self, now: Timestamp, rows: &Rows) -> Messages {
        let mut messages = Messages::default();
        for Found { replica, returning } in &self.found {
            if *replica != VACANT && rows.returned().contains(&(returning.row, returning.place)) {
                messages.push_moved(*replica, &rows.resource(returning.row).name, returning.place);
            }
        }
        let mut last_row = None;
        for (row, _, replica) in self.firsts_after(rows) {
            // Nobody is there to be told; whoever is next looks when the place is not kept any more.
            if replica == VACANT {
                continue;
            }
            if last_row.replace(row) == Some(row) {
                continue;
            }
            let resource = rows.resource(row);
            // Whoever was before the first has just gone, or never was there.
            let has_left = || rows.left().iter().any(|(left, _)| *left == row);
            let is_restated = || rows.restated().contains(&row);
            match resource.holder_at(now) {
                None => {
                    let lock = resource.lock.as_ref();
                    let freed = resource.released_at.or_else(|| lock.and_then(|lock| lock.expires_at));
                    let is_waiting_long = freed.is_none_or(|freed| now.since(freed) >= REMIND_AFTER);
                    if rows.is_changed(row) || is_waiting_long || has_left() || is_restated() {
                        messages.push_free(replica, &resource.name);
                    }
                }
                Some(lock) => {
                    if let Some(expires_at) = lock.expires_at
                        && rows.is_changed(row)
                    {
                        messages.push_end(&resource.name, expires_at.since(now));
                    }
                }
            }
        }
        messages
    }

    /// Those who are first elsewhere after the batch, each with row, place and
    /// server: of those that were found the ones that nobody took are among them.
    fn firsts_after(&self, rows: &Rows) -> Vec<(usize, Place, i64)> {
        let firsts = self
            .firsts
            .iter()
            .map(|first| (first.row, first.ahead.place, first.replica));
        let found = self
            .found
            .iter()
            .map(|Found { replica, returning }| (returning, *replica));
        let untaken = found.filter(|(returning, _)| rows.is_returning(returning.row, returning.place));
        let untaken = untaken.map(|(returning, replica)| (returning.row, returning.place, replica));
        let mut firsts: Vec<_> = firsts.chain(untaken).collect();
        firsts.sort_unstable();
        firsts
    }

    /// The highest of the places that are known.
    pub(super) fn highest_place(&self) -> i64 {
        let places = self.firsts.iter().map(|first| first.ahead.place);
        let found = self.found.iter().map(|found| found.returning.place);
        places.chain(found).max().map_or(0, Place::as_i64)
    }
}

/// Writes who joined and left the lines of this server, and announces what
/// others have to hear. Says whether that was anything.
pub(super) fn save(
    conn: &mut PgConnection,
    viewpoint: Viewpoint,
    rows: &Rows,
    marks: &[RowMarks],
    elsewhere: &Elsewhere,
) -> Result<bool, StoreError> {
    let name_of = |row: usize| rows.resource(row).name.as_str();
    let names_of = |rows: &[usize]| rows.iter().map(|row| name_of(*row)).collect::<Vec<_>>();
    let vacated = names_of(rows.vacated());
    places::vacate(conn, viewpoint, &vacated)?;
    let restated = names_of(rows.restated());
    if !restated.is_empty() {
        let own = waiters::table.filter(waiters::replica.eq(viewpoint.replica));
        diesel::delete(own.filter(waiters::name.eq_any(restated)))
            .execute(conn)
            .map_err(failed)?;
    }
    places::take(conn, rows)?;
    if !rows.joined().is_empty() {
        let mut insert = InsertWaiters::by(viewpoint.replica);
        for joined in rows.joined() {
            let request = joined.request.as_ref().map(RequestId::to_text);
            let (place, wait_until) = (joined.place.as_i64(), joined.wait_until.as_us());
            insert.push(name_of(joined.row), place, wait_until, request);
        }
        insert.execute(conn).map_err(failed)?;
    }
    if !rows.left().is_empty() {
        let mut delete = DeleteWaiters::of(viewpoint.replica);
        for (row, place) in rows.left() {
            delete.push(name_of(*row), place.as_i64());
        }
        delete.execute(conn).map_err(failed)?;
    }
    let marked = mark_lines(conn, viewpoint.now, rows, marks)?;
    let messages = elsewhere.messages(viewpoint.now, rows).into_texts();
    if !messages.is_empty() {
        notify(conn, &messages)?;
    }
    let written = !rows.restated().is_empty()
        || !rows.returned().is_empty()
        || !rows.joined().is_empty()
        || !rows.left().is_empty();
    Ok(written || marked || !messages.is_empty())
}

/// Sends messages with the commit, or at once outside of a transaction.
pub(super) fn notify(conn: &mut PgConnection, texts: &[String]) -> Result<(), StoreError> {
    let channel = CHANNEL;
    Notify { channel, texts }.execute(conn).map(drop).map_err(failed)
}

/// Brings `has_waiters` in step where it may be out of it. Says whether there
/// was such a row.
fn mark_lines(conn: &mut PgConnection, now: Timestamp, rows: &Rows, marks: &[RowMarks]) -> Result<bool, StoreError> {
    let joined = rows.joined().iter().map(|joined| joined.row);
    // Those who wait elsewhere for a row that is new waited for one that somebody deleted.
    let ahead = (0..marks.len()).filter(|row| rows.ahead(*row).is_some());
    let begun = joined.chain(ahead).filter(|row| !marks[*row].has_waiters);
    let unclaimed = rows.unclaimed().iter().copied();
    let ended = unclaimed.filter(|row| marks[*row].has_waiters && rows.ahead(*row).is_none());
    let mut ids: Vec<_> = begun.chain(ended).map(|row| marks[row].id()).collect();
    if ids.is_empty() {
        return Ok(false);
    }
    ids.sort_unstable();
    ids.dedup();
    let now_us = now.as_us();
    MarkLines { ids: &ids, now_us }.execute(conn).map_err(failed)?;
    Ok(true)
}

/// The rows for which somebody may wait: those that say so, and those that the
/// transaction made, of which nothing was known before.
pub(super) fn to_look_at<'a>(names: &'a [ResourceName], locked: &LockedRows) -> Vec<(usize, &'a str)> {
    let is_new = |row: usize| locked.inserted && locked.resources[row].fencing_token == FencingToken::NONE;
    let rows = names.iter().enumerate();
    rows.filter(|(row, _)| locked.marks[*row].has_waiters || is_new(*row))
        .map(|(row, name)| (row, name.as_str()))
        .collect()
}
