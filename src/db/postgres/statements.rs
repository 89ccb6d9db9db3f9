//! The statements on `resources` that run for each batch.
//!
//! By hand, because diesel prepares its own updates and upserts anew each
//! time, and so that the rows, the time and the tokens come in one answer. A
//! golden copy of their text lies in `tests/store`.

use diesel::pg::{Pg, PgConnection};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text};

use crate::db::models::{COMPOSED, Columns, EVENT_COLUMNS, EventColumns, NUMBERS, TEXTS};
use crate::db::postgres::session::AdvisoryLock;
use crate::lock::{Event, Resource};

/// Where a locked row is: its number, and its position in the file (ctid). That
/// stays where it is for as long as the row is locked, and saves where there are many
/// a second search through an index.
pub(super) type RowAddress = (i64, String);

/// A transaction has it from before it takes numbers for its events until it has
/// ended, with all others that do: by that those who read know who may still add
/// some.
const RECORDING: i64 = AdvisoryLock::Record.key();

/// Locks the rows of some names, in the order of names, and then asks for the
/// time and for fencing tokens: the block that the session has, if nobody has
/// taken a later one, or the next.
///
/// First the rows, because a time from before a wait for them would be old,
/// and so might be a token: the subquery cannot say anything before it has
/// counted them. There is always one row in the answer.
pub(super) struct LockResources<'a> {
    pub(super) names: &'a [&'a str],
    /// The first token of the block that the session has; 0 if it has none, or
    /// wants another.
    pub(super) block: i64,
    /// How many blocks of numbers for events are wanted.
    pub(super) event_blocks: i64,
}

/// What `ResourceRow` takes.
type ResourceColumns = (
    Nullable<Text>,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
    BigInt,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<BigInt>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<BigInt>,
    Nullable<BigInt>,
);

/// now_us, block, the blocks for events, and the row, if there is any at all: where it is, name,
/// has_waiters, and the rest.
pub(super) type LockedRow = (
    BigInt,
    BigInt,
    Nullable<Array<BigInt>>,
    Nullable<((BigInt, Text), Text, Bool, ResourceColumns)>,
);

impl QueryId for LockResources<'_> {
    type QueryId = LockResources<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for LockResources<'_> {
    type SqlType = LockedRow;
}

impl QueryFragment<Pg> for LockResources<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "WITH locked AS MATERIALIZED (\n    \
             SELECT ctid, id, name, has_waiters, locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token,\n           \
             label, acquire_request, release_request, told_again, owner, broken, client, info, renewals, last_event_id\n      \
             FROM resources\n     \
             WHERE name = ANY (",
        );
        out.push_bind_param::<Array<Text>, _>(&self.names)?;
        out.push_sql(
            ")\n     \
             ORDER BY name\n       \
             FOR UPDATE\n\
             )\n\
             SELECT now_us, block, event_blocks,\n       \
             id, ctid::text, name, has_waiters, locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token,\n       \
             label, acquire_request, release_request, told_again, owner, broken, client, info, renewals, last_event_id\n  \
             FROM (SELECT clock_us() AS now_us,\n               \
             CASE WHEN pg_sequence_last_value('fencing_tokens') = ",
        );
        out.push_bind_param::<BigInt, _>(&self.block)?;
        out.push_sql(
            "\n               \
             THEN ",
        );
        out.push_bind_param::<BigInt, _>(&self.block)?;
        out.push_sql(
            "\n               \
             ELSE nextval('fencing_tokens') END AS block,\n               \
             CASE WHEN ",
        );
        out.push_bind_param::<BigInt, _>(&self.event_blocks)?;
        out.push_sql(" > 0 AND pg_advisory_xact_lock_shared(");
        out.push_bind_param::<BigInt, _>(&RECORDING)?;
        out.push_sql(
            ") IS NOT NULL\n               \
             THEN ARRAY(SELECT nextval('lock_event_ids') FROM generate_series(1, ",
        );
        out.push_bind_param::<BigInt, _>(&self.event_blocks)?;
        out.push_sql(
            ")) END AS event_blocks\n          \
             FROM (SELECT count(*) AS rows FROM locked) AS all_locked\n         \
             WHERE rows >= 0) AS moment\n  \
             LEFT JOIN locked ON TRUE",
        );
        Ok(())
    }
}

impl RunQueryDsl<PgConnection> for LockResources<'_> {}

/// Counts the locks that some clients hold: the client and its count, if it holds
/// any. One that was freed by hand may have the rest of it left standing.
pub(super) struct CountHeld<'a> {
    pub(super) clients: &'a [&'a str],
    pub(super) now_us: i64,
}

impl QueryId for CountHeld<'_> {
    type QueryId = CountHeld<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for CountHeld<'_> {
    type SqlType = (Text, BigInt);
}

impl QueryFragment<Pg> for CountHeld<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT client, count(*)\n  \
             FROM resources\n \
             WHERE client = ANY (",
        );
        out.push_bind_param::<Array<Text>, _>(&self.clients)?;
        out.push_sql(
            ")\n   \
             AND locked_by IS NOT NULL\n   \
             AND (expires_at_us IS NULL OR expires_at_us > ",
        );
        out.push_bind_param::<BigInt, _>(&self.now_us)?;
        out.push_sql(")\n GROUP BY client");
        Ok(())
    }
}

impl RunQueryDsl<PgConnection> for CountHeld<'_> {}

/// Reads rows as they are: now_us, the number of the name, counted from 1, and
/// the row, if there is one: how many wait for it at living servers, and the
/// rest.
pub(super) struct ReadResources<'a> {
    pub(super) names: &'a [&'a str],
    pub(super) believing_since_us: i64,
    pub(super) silent_us_max: i64,
}

impl QueryId for ReadResources<'_> {
    type QueryId = ReadResources<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for ReadResources<'_> {
    type SqlType = (BigInt, BigInt, Nullable<(BigInt, ResourceColumns)>);
}

impl QueryFragment<Pg> for ReadResources<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT now_us, number,\n       \
             CASE WHEN id IS NULL THEN NULL\n            \
             WHEN NOT has_waiters THEN 0\n            \
             ELSE (SELECT count(*)\n                    \
             FROM waiters\n                    \
             JOIN replicas ON replicas.id = waiters.replica\n                   \
             WHERE waiters.name = resources.name\n                     \
             AND greatest(seen_us, ",
        );
        out.push_bind_param::<BigInt, _>(&self.believing_since_us)?;
        out.push_sql(") + ");
        out.push_bind_param::<BigInt, _>(&self.silent_us_max)?;
        out.push_sql(
            " > now_us) END,\n       \
             locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token,\n       \
             label, acquire_request, release_request, told_again, owner, broken, client, info, renewals, last_event_id\n  \
             FROM unnest(",
        );
        out.push_bind_param::<Array<Text>, _>(&self.names)?;
        out.push_sql(
            ") WITH ORDINALITY AS wanted (wanted_name, number)\n \
             CROSS JOIN (SELECT clock_us() AS now_us) AS moment\n  \
             LEFT JOIN resources ON name = wanted_name",
        );
        Ok(())
    }
}

impl RunQueryDsl<PgConnection> for ReadResources<'_> {}

/// Makes rows for names that have none; free ones, never granted.
pub(super) struct InsertResources<'a> {
    /// In the order of names.
    pub(super) names: &'a [&'a str],
}

impl QueryId for InsertResources<'_> {
    type QueryId = InsertResources<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Pg> for InsertResources<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO resources (name, fencing_token)\n\
             SELECT name, 0\n  \
             FROM unnest(",
        );
        out.push_bind_param::<Array<Text>, _>(&self.names)?;
        out.push_sql(
            ") AS missing (name)\n \
             ORDER BY name COLLATE \"C\"\n    \
             ON CONFLICT (name) DO NOTHING",
        );
        Ok(())
    }
}

impl RunQueryDsl<PgConnection> for InsertResources<'_> {}

/// Writes what was decided to rows that are locked: a list for each column.
#[derive(Default)]
pub(super) struct UpdateResources<'a> {
    ids: Vec<i64>,
    ctids: Vec<&'a str>,
    fencing_tokens: Vec<i64>,
    texts: [Vec<Option<&'a str>>; TEXTS.len()],
    composed: [Vec<Option<String>>; COMPOSED.len()],
    numbers: [Vec<Option<i64>>; NUMBERS.len()],
}

impl<'a> UpdateResources<'a> {
    pub(super) fn of(rows: &[(&'a RowAddress, &'a Resource)]) -> Self {
        let mut update = Self::default();
        for ((id, ctid), resource) in rows {
            let columns = Columns::from(*resource);
            update.ids.push(*id);
            update.ctids.push(ctid);
            update.fencing_tokens.push(columns.fencing_token);
            for (list, text) in update.texts.iter_mut().zip(columns.texts) {
                list.push(text);
            }
            for (list, text) in update.composed.iter_mut().zip(columns.composed) {
                list.push(text);
            }
            for (list, number) in update.numbers.iter_mut().zip(columns.numbers) {
                list.push(number);
            }
        }
        update
    }
}

impl QueryId for UpdateResources<'_> {
    type QueryId = UpdateResources<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Pg> for UpdateResources<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "UPDATE resources\n   \
             SET fencing_token = changed.fencing_token,\n       \
             locked_by = changed.locked_by,\n       \
             label = changed.label,\n       \
             owner = changed.owner,\n       \
             client = changed.client,\n       \
             info = changed.info,\n       \
             acquire_request = changed.acquire_request,\n       \
             release_request = changed.release_request,\n       \
             broken = changed.broken,\n       \
             ttl = changed.ttl,\n       \
             acquired_at_us = changed.acquired_at_us,\n       \
             expires_at_us = changed.expires_at_us,\n       \
             released_at_us = changed.released_at_us,\n       \
             told_again = changed.told_again,\n       \
             renewals = changed.renewals,\n       \
             last_event_id = changed.last_event_id\n  \
             FROM unnest(",
        );
        out.push_bind_param::<Array<BigInt>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.ctids)?;
        out.push_sql("::tid[], ");
        out.push_bind_param::<Array<BigInt>, _>(&self.fencing_tokens)?;
        for list in &self.texts {
            out.push_sql(", ");
            out.push_bind_param::<Array<Nullable<Text>>, _>(list)?;
        }
        for list in &self.composed {
            out.push_sql(", ");
            out.push_bind_param::<Array<Nullable<Text>>, _>(list)?;
        }
        for list in &self.numbers {
            out.push_sql(", ");
            out.push_bind_param::<Array<Nullable<BigInt>>, _>(list)?;
        }
        out.push_sql(
            ")\n    \
             AS changed (id, position, fencing_token, locked_by, label, owner, client, info, acquire_request, release_request, broken,\n                \
             ttl, acquired_at_us, expires_at_us, released_at_us, told_again, renewals, last_event_id)\n \
             WHERE resources.ctid = changed.position\n   \
             AND resources.id = changed.id",
        );
        Ok(())
    }
}

impl RunQueryDsl<PgConnection> for UpdateResources<'_> {}

/// Both in one round trip.
pub(super) struct UpdateAndRecord<U, R> {
    pub(super) update: U,
    pub(super) record: R,
}

impl<U: QueryId, R: QueryId> QueryId for UpdateAndRecord<U, R> {
    type QueryId = UpdateAndRecord<U::QueryId, R::QueryId>;
    const HAS_STATIC_QUERY_ID: bool = U::HAS_STATIC_QUERY_ID && R::HAS_STATIC_QUERY_ID;
}

impl<U: QueryFragment<Pg>, R: QueryFragment<Pg>> QueryFragment<Pg> for UpdateAndRecord<U, R> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH recorded AS (\n");
        self.record.walk_ast(out.reborrow())?;
        out.push_sql("\n)\n");
        self.update.walk_ast(out)
    }
}

impl<U, R> RunQueryDsl<PgConnection> for UpdateAndRecord<U, R> {}

/// Appends events: a list for each column.
#[derive(Default)]
pub(super) struct InsertManyEvents<'a> {
    numbers: [Vec<i64>; 3],
    texts: [Vec<&'a str>; 2],
    optional_numbers: [Vec<Option<i64>>; 3],
    optional_texts: [Vec<Option<&'a str>>; 4],
    addresses: Vec<Option<String>>,
}

impl<'a> InsertManyEvents<'a> {
    pub(super) fn of(events: &'a [Event]) -> Self {
        let mut insert = Self::default();
        for event in events {
            let columns = EventColumns::from(event);
            for (list, number) in insert.numbers.iter_mut().zip(columns.numbers) {
                list.push(number);
            }
            for (list, text) in insert.texts.iter_mut().zip(columns.texts) {
                list.push(text);
            }
            for (list, number) in insert.optional_numbers.iter_mut().zip(columns.optional_numbers) {
                list.push(number);
            }
            for (list, text) in insert.optional_texts.iter_mut().zip(columns.optional_texts) {
                list.push(text);
            }
            insert.addresses.push(columns.address);
        }
        // PostgreSQL fills a list that is too short up with NULLs; most have nothing else.
        for list in &mut insert.optional_numbers {
            clear_if_empty(list);
        }
        for list in &mut insert.optional_texts {
            clear_if_empty(list);
        }
        insert
    }
}

fn clear_if_empty<T>(list: &mut Vec<Option<T>>) {
    if list.iter().all(Option::is_none) {
        list.clear();
    }
}

impl QueryId for InsertManyEvents<'_> {
    type QueryId = InsertManyEvents<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Pg> for InsertManyEvents<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut separator = "INSERT INTO lock_events (";
        for column in EVENT_COLUMNS {
            out.push_sql(separator);
            out.push_sql(column);
            separator = ", ";
        }
        let mut separator = ")\nSELECT * FROM unnest(";
        for list in &self.numbers {
            out.push_sql(std::mem::replace(&mut separator, ", "));
            out.push_bind_param::<Array<BigInt>, _>(list)?;
        }
        for list in &self.texts {
            out.push_sql(separator);
            out.push_bind_param::<Array<Text>, _>(list)?;
        }
        for list in &self.optional_numbers {
            out.push_sql(separator);
            out.push_bind_param::<Array<Nullable<BigInt>>, _>(list)?;
        }
        for list in &self.optional_texts {
            out.push_sql(separator);
            out.push_bind_param::<Array<Nullable<Text>>, _>(list)?;
        }
        out.push_sql(separator);
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.addresses)?;
        out.push_sql(")");
        Ok(())
    }
}

impl RunQueryDsl<PgConnection> for InsertManyEvents<'_> {}
