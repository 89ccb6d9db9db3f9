//! What happened, for those who look: the history of a resource, all events, and
//! those that are new.
//!
//! The events of a resource are found by their chain (see the migration). All
//! events are read in the order of their numbers. On SQLite that is the order
//! in which they were committed. On PostgreSQL a transaction may commit after
//! another that took higher numbers, so nobody is shown an event as long as one
//! with a lower number may still come: see [`horizon`].

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use diesel::dsl::{count_star, max, sql};
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::connection::{AnyConnection, MultiBackend};
use super::prefix::NameRange;
use super::{Direction, Page};
use crate::clock::Timestamp;
use crate::db::postgres::session::AdvisoryLock;
use crate::db::schema::lock_events;
use crate::limits::{EVENTS_STEP, HISTORY_SHOWN_MAX};
use crate::lock::{EventId, EventKind, ResourceName};

/// Which events are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// Only those that follow this one.
    pub since: EventId,
    /// Only those of resources whose names begin with this, byte by byte.
    pub prefix: Option<String>,
    /// Only those of resources whose names begin with one of these; `None` is any.
    pub within: Option<Vec<String>>,
    /// Only those of this kind.
    pub kind: Option<EventKind>,
    /// By number.
    pub direction: Direction,
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = lock_events)]
pub struct RecordedEvent {
    /// Its number.
    pub id: i64,
    /// Microseconds since 1970.
    pub at_us: i64,
    /// As [`EventKind::as_str`] has it.
    pub event: String,
    /// The name of the resource.
    pub resource: String,
    /// Of the grant that it is about.
    pub fencing_token: i64,
    /// Of the lock's holder.
    pub owner: Option<String>,
    /// For people.
    pub label: Option<String>,
    /// Whole seconds.
    pub ttl: Option<i64>,
    /// Microseconds since 1970.
    pub expires_at_us: Option<i64>,
    /// Who asked.
    pub asked_by: Option<String>,
    /// From where.
    pub address: Option<String>,
    /// For people.
    pub reason: Option<String>,
}

impl RecordedEvent {
    /// Its number.
    pub fn id(&self) -> EventId {
        EventId::new(self.id)
    }

    /// When it happened.
    pub fn at(&self) -> Timestamp {
        Timestamp::from_us(self.at_us)
    }

    /// When the lock ends, or was to end.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at_us.map(Timestamp::from_us)
    }
}

/// A page of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// Of all that were asked for, on whatever page.
    pub count: u64,
    /// Those of this page.
    pub events: Vec<RecordedEvent>,
}

type Events<'q> = lock_events::BoxedQuery<'q, MultiBackend>;

/// For how long is waited for transactions that record.
const RECORDING_WAIT_MAX: Duration = Duration::from_secs(2);

/// Between two looks at whether they have ended: they last for milliseconds.
const RECORDING_LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// The events of a resource, the latest first; `None` if there is no row of that
/// name.
pub(super) fn history(
    conn: &mut AnyConnection,
    name: &ResourceName,
    page: Page,
    page_size: i64,
) -> QueryResult<Option<EventPage>> {
    conn.transaction(|conn| {
        let is_known = crate::db::schema::resources::table
            .filter(crate::db::schema::resources::name.eq(name.as_str()))
            .select(count_star())
            .get_result::<i64>(conn)?;
        if is_known == 0 {
            return Ok(None);
        }
        let count: Count = chain(conn, name, HISTORY_SHOWN_MAX, "SELECT count(*) AS count FROM steps")?
            .pop()
            .unwrap_or(Count { count: 0 });
        let offset = offset(page, page_size, count.count);
        let wanted = format!(
            "SELECT lock_events.* FROM steps JOIN lock_events USING (id)\n ORDER BY step LIMIT {page_size} OFFSET {offset}"
        );
        let events = chain(conn, name, offset.saturating_add(page_size), &wanted)?;
        Ok(Some(EventPage {
            count: count.count.unsigned_abs(),
            events,
        }))
    })
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Walks from the latest event of a resource to the ones before it, `steps_max`
/// at most, and selects from those.
fn chain<T>(conn: &mut AnyConnection, name: &ResourceName, steps_max: i64, select: &str) -> QueryResult<Vec<T>>
where
    T: QueryableByName<diesel::sqlite::Sqlite> + QueryableByName<diesel::pg::Pg> + 'static,
{
    let query = |name_place: &str, steps_place: &str| {
        format!(
            "WITH RECURSIVE steps (id, previous_id, step) AS (
                 SELECT lock_events.id, lock_events.previous_id, 1
                   FROM resources JOIN lock_events ON lock_events.id = resources.last_event_id
                  WHERE resources.name = {name_place}
                 UNION ALL
                 SELECT lock_events.id, lock_events.previous_id, step + 1
                   FROM steps JOIN lock_events ON lock_events.id = steps.previous_id
                  WHERE step < {steps_place}
             )
             {select}"
        )
    };
    let steps_max = steps_max.min(HISTORY_SHOWN_MAX);
    match conn {
        AnyConnection::Sqlite(conn) => sql_query(query("?", "?"))
            .bind::<Text, _>(name.as_str())
            .bind::<BigInt, _>(steps_max)
            .load(conn),
        AnyConnection::Postgres(conn) => sql_query(query("$1", "$2"))
            .bind::<Text, _>(name.as_str())
            .bind::<BigInt, _>(steps_max)
            .load(conn),
    }
}

fn offset(page: Page, page_size: i64, count: i64) -> i64 {
    let number = match page {
        Page::Number(number) => i64::try_from(number).unwrap_or(i64::MAX),
        Page::Last => ((count + page_size - 1) / page_size).max(1),
    };
    (number - 1).saturating_mul(page_size)
}

/// Up to `horizon`, a page of the events that are asked for.
pub(super) fn page(
    conn: &mut AnyConnection,
    query: &EventQuery,
    horizon: EventId,
    page: Page,
    page_size: i64,
) -> QueryResult<EventPage> {
    conn.transaction(|conn| {
        let count: i64 = matching(query, horizon).select(count_star()).get_result(conn)?;
        let offset = offset(page, page_size, count);
        // What comes before a page has to be stepped over: from the end of the list, if that is nearer.
        let size = page_size.min(count.saturating_sub(offset)).max(0);
        let from_end = count - offset - size;
        let is_backwards = from_end < offset;
        let ascends = (query.direction == Direction::Ascending) != is_backwards;
        let ordered = match ascends {
            true => matching(query, horizon).order(lock_events::id.asc()),
            false => matching(query, horizon).order(lock_events::id.desc()),
        };
        let mut events: Vec<RecordedEvent> = match size {
            0 => Vec::new(),
            _ => ordered
                .limit(size)
                .offset(offset.min(from_end))
                .select(RecordedEvent::as_select())
                .load(conn)?,
        };
        if is_backwards {
            events.reverse();
        }
        Ok(EventPage {
            count: count.unsigned_abs(),
            events,
        })
    })
}

/// The first `rows_max` events that follow `after`, up to `horizon`.
pub(super) fn following(
    conn: &mut AnyConnection,
    after: EventId,
    horizon: EventId,
    rows_max: i64,
) -> QueryResult<Vec<RecordedEvent>> {
    lock_events::table
        .into_boxed::<MultiBackend>()
        .filter(lock_events::id.gt(after.as_i64()))
        .filter(lock_events::id.le(horizon.as_i64()))
        .order(lock_events::id)
        .limit(rows_max)
        .select(RecordedEvent::as_select())
        .load(conn)
}

fn matching(query: &EventQuery, horizon: EventId) -> Events<'_> {
    let mut events = lock_events::table
        .into_boxed()
        .filter(lock_events::id.gt(query.since.as_i64()))
        .filter(lock_events::id.le(horizon.as_i64()));
    if let Some(kind) = query.kind {
        events = events.filter(lock_events::event.eq(kind.as_str()));
    }
    if let Some(prefix) = &query.prefix {
        events = events.filter(begins_with(prefix));
    }
    if let Some(within) = &query.within {
        let each = within.iter().map(|prefix| begins_with(prefix));
        let any = each.reduce(|any, one| Box::new(any.or(one)));
        events = events.filter(any.unwrap_or_else(|| Box::new(lock_events::id.lt(0))));
    }
    events
}

type Condition<'q> =
    Box<dyn BoxableExpression<lock_events::table, MultiBackend, SqlType = diesel::sql_types::Bool> + 'q>;

fn begins_with<'q>(prefix: &str) -> Condition<'q> {
    let NameRange { from, below } = NameRange::of_prefix(prefix);
    match below {
        Some(below) => Box::new(lock_events::resource.ge(from).and(lock_events::resource.lt(below))),
        None => Box::new(lock_events::resource.ge(from)),
    }
}

/// The last event below which nothing is going to be added; `None` if that cannot
/// be told, because a transaction that records does not end.
///
/// On PostgreSQL each transaction takes its numbers while it shares the lock for
/// that, and new ones each time. So whatever is numbered up to the last that was
/// taken belongs to a transaction that has ended, or to one that had the lock
/// after that was read: when those have ended nothing is missing. A later one
/// takes higher numbers. Nobody is kept from anything meanwhile.
pub(super) fn horizon(conn: &mut AnyConnection) -> QueryResult<Option<EventId>> {
    match conn {
        AnyConnection::Sqlite(conn) => {
            let last: Option<i64> = lock_events::table.select(max(lock_events::id)).get_result(conn)?;
            Ok(Some(last.map_or(EventId::NONE, EventId::new)))
        }
        AnyConnection::Postgres(conn) => {
            let block = sql::<Nullable<BigInt>>("SELECT pg_sequence_last_value('lock_event_ids')");
            let Some(block) = block.get_result::<Option<i64>>(conn)? else {
                return Ok(Some(EventId::NONE));
            };
            let mut unfinished = recording(conn)?;
            let give_up_at = Instant::now() + RECORDING_WAIT_MAX;
            while !unfinished.is_empty() {
                if Instant::now() >= give_up_at {
                    return Ok(None);
                }
                thread::sleep(RECORDING_LOOK_INTERVAL);
                let now = recording(conn)?;
                unfinished.retain(|transaction| now.contains(transaction));
            }
            Ok(Some(EventId::new(block + EVENTS_STEP - 1)))
        }
    }
}

/// The transactions that may add events, by names that no later one gets.
fn recording(conn: &mut PgConnection) -> QueryResult<HashSet<String>> {
    let key = AdvisoryLock::Record.key();
    // A lock of one number is shown in two halves, and marked by a 1.
    let found: Vec<String> = sql::<Text>(
        "SELECT virtualtransaction FROM pg_locks
          WHERE locktype = 'advisory' AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND classid::BIGINT = ",
    )
    .bind::<BigInt, _>(key >> 32)
    .sql(" AND objid::BIGINT = ")
    .bind::<BigInt, _>(key & 0xFFFF_FFFF)
    .load(conn)?;
    Ok(found.into_iter().collect())
}
