//! The rows of a batch: found or made, locked, and written.
//!
//! Separate from the store, which knows sessions and failure.

use std::collections::{BTreeSet, HashMap};

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::models::ResourceRow;
use crate::db::postgres::failed;
use crate::db::postgres::statements::{
    CountHeld, InsertManyEvents, InsertResources, LockResources, ReadResources, RowAddress, UpdateAndRecord,
    UpdateResources,
};
use crate::db::row_statements::{InsertEvents, UpdateResource};
use crate::db::schema::resources;
use crate::db::{Seen, StoreError};
use crate::limits::{INSERT_ATTEMPTS_MAX, REPLICA_SILENT_MAX};
use crate::lock::{ClientName, Event, FencingToken, Resource, ResourceName, Rows};

/// The rows of a batch, locked.
pub(super) struct LockedRows {
    pub(super) now: Timestamp,
    /// The first number of the block that may be given from.
    pub(super) block: i64,
    /// The blocks of numbers for events, if those are recorded.
    pub(super) event_blocks: Option<Vec<i64>>,
    /// In the order of names that were asked for.
    pub(super) resources: Vec<Resource>,
    /// What else their rows say.
    pub(super) marks: Vec<RowMarks>,
    /// Whether the transaction itself made some of them.
    pub(super) inserted: bool,
}

/// Which numbers a batch wants.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// As [`LockResources`] has it.
    pub(super) block: i64,
    pub(super) event_blocks: i64,
}

/// What a row says beside the resource.
pub(super) struct RowMarks {
    address: RowAddress,
    pub(super) has_waiters: bool,
}

impl RowMarks {
    pub(super) fn id(&self) -> i64 {
        self.address.0
    }
}

/// Rows by name, as they are read.
struct Read {
    now: Timestamp,
    block: i64,
    event_blocks: Option<Vec<i64>>,
    rows: HashMap<String, (RowMarks, ResourceRow)>,
}

/// Begins a transaction, by `begin`, in which a row for each name is there and
/// locked.
///
/// A deadlock can only happen here, with a session of somebody who locks rows in
/// another order. It is not tried again: PostgreSQL takes a second to see it, and
/// the other session may keep the row.
///
/// FOR UPDATE locks nothing where there is no row, so missing ones are made
/// first: in the order of names, with no other row locked, for else two
/// sessions could wait for each other. They are not there for others before
/// COMMIT.
pub(super) fn lock(
    conn: &mut PgConnection,
    names: &[ResourceName],
    wanted: Wanted,
    begin: &str,
) -> Result<LockedRows, StoreError> {
    let mut sorted: Vec<_> = names.iter().map(ResourceName::as_str).collect();
    sorted.sort_unstable();
    conn.batch_execute(begin).map_err(failed)?;
    let mut read = lock_rows(conn, &sorted, wanted)?;
    // All that were missing at some time: with what is rolled back go the rows that were made before.
    let mut made = BTreeSet::new();
    for _ in 0..INSERT_ATTEMPTS_MAX {
        let is_missing = |name: &&str| !read.rows.contains_key(*name);
        let missing: Vec<_> = sorted.iter().copied().filter(is_missing).collect();
        if missing.is_empty() {
            return in_order(read, names, !made.is_empty());
        }
        made.extend(missing);
        if !read.rows.is_empty() {
            conn.batch_execute(&format!("ROLLBACK; {begin}")).map_err(failed)?;
        }
        let missing: Vec<_> = made.iter().copied().collect();
        InsertResources { names: &missing }.execute(conn).map_err(failed)?;
        let wanted = Wanted {
            block: read.block,
            ..wanted
        };
        read = lock_rows(conn, &sorted, wanted)?;
    }
    Err(StoreError::Failed("somebody else deletes rows all the time".to_owned()))
}

fn lock_rows(conn: &mut PgConnection, names: &[&str], wanted: Wanted) -> Result<Read, StoreError> {
    type Answer = (
        i64,
        i64,
        Option<Vec<i64>>,
        Option<(RowAddress, String, bool, ResourceRow)>,
    );
    let answer: Vec<Answer> = LockResources {
        names,
        block: wanted.block,
        event_blocks: wanted.event_blocks,
    }
    .load(conn)
    .map_err(failed)?;
    let (now_us, block, event_blocks) = match answer.first() {
        Some((now_us, block, event_blocks, _)) => (*now_us, *block, event_blocks.clone()),
        None => {
            return Err(StoreError::Failed(
                "the database did not say what time it is".to_owned(),
            ));
        }
    };
    let rows = answer.into_iter().filter_map(|(.., row)| row);
    let rows = rows.map(|(address, name, has_waiters, row)| (name, (RowMarks { address, has_waiters }, row)));
    Ok(Read {
        now: Timestamp::from_us(now_us),
        block,
        event_blocks,
        rows: rows.collect(),
    })
}

fn in_order(mut read: Read, names: &[ResourceName], inserted: bool) -> Result<LockedRows, StoreError> {
    let mut resources = Vec::with_capacity(names.len());
    let mut marks = Vec::with_capacity(names.len());
    for name in names {
        let (mark, row) = read
            .rows
            .remove(name.as_str())
            .ok_or_else(|| StoreError::Failed(format!("table resources lost the row of {name:?}")))?;
        resources.push(into_resource(row, name)?);
        marks.push(mark);
    }
    Ok(LockedRows {
        now: read.now,
        block: read.block,
        event_blocks: read.event_blocks,
        resources,
        marks,
        inserted,
    })
}

/// How many locks each of `clients` holds at `now`, as far as that is committed:
/// what another server grants in the same instant is not seen.
pub(super) fn count_held(
    conn: &mut PgConnection,
    now: Timestamp,
    clients: &[ClientName],
) -> Result<HashMap<ClientName, usize>, StoreError> {
    let mut held: HashMap<_, _> = clients.iter().map(|client| (client.clone(), 0)).collect();
    if clients.is_empty() {
        return Ok(held);
    }
    let texts: Vec<_> = clients.iter().map(ClientName::as_str).collect();
    let counts: Vec<(String, i64)> = CountHeld {
        clients: &texts,
        now_us: now.as_us(),
    }
    .load(conn)
    .map_err(failed)?;
    for (client, count) in counts {
        held.insert(ClientName::new(&client), usize::try_from(count).unwrap_or_default());
    }
    Ok(held)
}

/// Reads rows without a lock on them: one statement sees everything that was
/// committed before it began. Those are counted as waiting who are at servers
/// that are believed to live.
pub(super) fn read(
    conn: &mut PgConnection,
    names: &[ResourceName],
    believing_since_us: i64,
) -> Result<Seen, StoreError> {
    type Answer = (i64, i64, Option<(i64, ResourceRow)>);
    let wanted: Vec<_> = names.iter().map(ResourceName::as_str).collect();
    let read = ReadResources {
        names: &wanted,
        believing_since_us,
        silent_us_max: REPLICA_SILENT_MAX.as_micros() as i64,
    };
    let answer: Vec<Answer> = read.load(conn).map_err(failed)?;
    let mut seen = Seen {
        now: Timestamp::from_us(answer.first().map_or(0, |(now_us, ..)| *now_us)),
        resources: names.iter().cloned().map(Resource::unseen).collect(),
        waiters: vec![0; names.len()],
    };
    for (_, number, row) in answer {
        let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
        let (Some(resource), Some((waiters, row))) = (seen.resources.get_mut(index), row) else {
            continue;
        };
        *resource = into_resource(row, &resource.name)?;
        seen.waiters[index] = usize::try_from(waiters).unwrap_or_default();
    }
    Ok(seen)
}

fn into_resource(row: ResourceRow, name: &ResourceName) -> Result<Resource, StoreError> {
    row.into_resource(name.clone())
        .map_err(|column| StoreError::Failed(format!("row {name:?} of table resources has an impossible {column}")))
}

/// Writes what changed, and what happened. Says whether that was anything.
pub(super) fn save(conn: &mut PgConnection, rows: &Rows, marks: &[RowMarks]) -> Result<bool, StoreError> {
    let changed = rows.changed().map(|(row, resource, _)| (&marks[row].address, resource));
    let changed: Vec<(&RowAddress, &Resource)> = changed.collect();
    let written = match (&changed[..], rows.events()) {
        ([], []) => return Ok(false),
        ([], events) => return InsertManyEvents::of(events).execute(conn).map(|_| true).map_err(failed),
        ([one], []) => update_of(one).execute(conn),
        ([one], [event]) => save_one(conn, one, std::array::from_ref(event)),
        // The end of one lock, and the grant of the next.
        ([one], both @ [_, _]) => save_one::<2>(conn, one, both.first_chunk().expect("two")),
        (many, []) => UpdateResources::of(many).execute(conn),
        (many, events) => {
            let (update, record) = (UpdateResources::of(many), InsertManyEvents::of(events));
            UpdateAndRecord { update, record }.execute(conn)
        }
    };
    match written.map_err(failed)? {
        written if written == changed.len() => Ok(true),
        written => Err(StoreError::Failed(format!("wrote {written} of {} rows", changed.len()))),
    }
}

/// Writes one row, and what happened to it. By a value for each column: where there is
/// so little, lists cost more than all else that the statement does.
fn save_one<const EVENTS: usize>(
    conn: &mut PgConnection,
    one: &(&RowAddress, &Resource),
    events: &[Event; EVENTS],
) -> QueryResult<usize> {
    let (update, record) = (update_of(one), InsertEvents::<EVENTS, false>::of(events));
    UpdateAndRecord { update, record }.execute(conn)
}

fn update_of<'a>(((id, _), resource): &(&RowAddress, &'a Resource)) -> UpdateResource<'a, false> {
    UpdateResource::of(*id, resource)
}

/// Takes back the rows that were made for names that nobody acquired or waits
/// for.
pub(super) fn delete_never_granted(conn: &mut PgConnection, rows: &Rows, marks: &[RowMarks]) -> Result<(), StoreError> {
    let never_granted = |row: &usize| {
        let resource = rows.resource(*row);
        resource.lock.is_none() && resource.fencing_token == FencingToken::NONE && rows.ahead(*row).is_none()
    };
    let doomed: Vec<_> = (0..marks.len())
        .filter(never_granted)
        .map(|row| marks[row].id())
        .collect();
    if doomed.is_empty() {
        return Ok(());
    }
    diesel::delete(resources::table.filter(resources::id.eq_any(doomed)))
        .execute(conn)
        .map(drop)
        .map_err(failed)
}
