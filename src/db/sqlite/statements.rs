//! The statements that run for each batch and each operation.
//!
//! Most of them by hand, because diesel prepares its own updates and upserts,
//! and every text of SQL, anew each time. A golden copy of their text lies in `tests/store`.

use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};

use crate::clock::Timestamp;
use crate::db::models::{COMPOSED, Columns, NUMBERS, ResourceRow, TEXTS, stored_renewals};
use crate::db::row_statements::assign;
use crate::db::schema::resources;
use crate::lock::{ClientName, Resource, ResourceName};

/// One row by its name.
pub(super) fn select_resource(
    conn: &mut SqliteConnection,
    name: &ResourceName,
) -> QueryResult<Option<(i64, ResourceRow)>> {
    resources::table
        .filter(resources::name.eq(name.as_str()))
        .select((resources::id, ResourceRow::as_select()))
        .get_result(conn)
        .optional()
}

/// How many locks a client holds at `now`; of one that was freed by hand the client
/// may be left standing. Reads an entry of an index for each of them.
pub(super) fn select_held(conn: &mut SqliteConnection, client: &ClientName, now: Timestamp) -> QueryResult<i64> {
    resources::table
        .filter(resources::client.eq(client.as_str()))
        .filter(resources::acquired_at_us.is_not_null())
        .filter(
            resources::expires_at_us
                .is_null()
                .or(resources::expires_at_us.gt(now.as_us())),
        )
        .count()
        .get_result(conn)
}

/// SQLite's count of what other connections have committed to the file.
pub(super) struct DataVersion;

impl QueryId for DataVersion {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for DataVersion {
    type SqlType = BigInt;
}

impl QueryFragment<Sqlite> for DataVersion {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("PRAGMA data_version");
        Ok(())
    }
}

impl RunQueryDsl<SqliteConnection> for DataVersion {}

/// Writes the log back to the database as far as nobody is in the way. Answers
/// with whether somebody was, the frames in the log, and those written back.
pub(super) struct Checkpoint;

impl QueryId for Checkpoint {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for Checkpoint {
    type SqlType = (BigInt, BigInt, BigInt);
}

impl QueryFragment<Sqlite> for Checkpoint {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("PRAGMA wal_checkpoint(PASSIVE)");
        Ok(())
    }
}

impl RunQueryDsl<SqliteConnection> for Checkpoint {}

/// Writes the first row of a name.
pub(super) struct InsertResource<'a> {
    name: &'a str,
    columns: Columns<'a>,
}

impl<'a> InsertResource<'a> {
    pub(super) fn of(resource: &'a Resource) -> Self {
        Self {
            name: resource.name.as_str(),
            columns: resource.into(),
        }
    }
}

impl QueryId for InsertResource<'_> {
    type QueryId = InsertResource<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Sqlite> for InsertResource<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("INSERT INTO resources (name, fencing_token");
        for column in TEXTS.iter().chain(&COMPOSED).chain(&NUMBERS) {
            out.push_sql(", ");
            out.push_sql(column);
        }
        out.push_sql(")\nVALUES (");
        out.push_bind_param::<Text, _>(self.name)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.columns.fencing_token)?;
        for text in &self.columns.texts {
            out.push_sql(", ");
            out.push_bind_param::<Nullable<Text>, _>(text)?;
        }
        for text in &self.columns.composed {
            out.push_sql(", ");
            out.push_bind_param::<Nullable<Text>, _>(text)?;
        }
        for number in &self.columns.numbers {
            out.push_sql(", ");
            out.push_bind_param::<Nullable<BigInt>, _>(number)?;
        }
        out.push_sql(")");
        Ok(())
    }
}

impl RunQueryDsl<SqliteConnection> for InsertResource<'_> {}

/// Writes how long the lock of a row lasts, and until when: a renewal changes
/// nothing else, and of the rest no check has to be made again.
pub(super) struct UpdateLease {
    id: i64,
    ttl: Option<i64>,
    expires_at_us: Option<i64>,
    renewals: Option<i64>,
}

impl UpdateLease {
    pub(super) fn of(id: i64, resource: &Resource) -> Self {
        let lock = resource.lock.as_ref();
        Self {
            id,
            ttl: lock.and_then(|lock| lock.ttl).map(|ttl| ttl.as_seconds().into()),
            expires_at_us: lock.and_then(|lock| lock.expires_at).map(Timestamp::as_us),
            renewals: lock.and_then(stored_renewals),
        }
    }
}

impl QueryId for UpdateLease {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Sqlite> for UpdateLease {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("UPDATE resources\n   SET ttl = ");
        out.push_bind_param::<Nullable<BigInt>, _>(&self.ttl)?;
        assign(&mut out, "expires_at_us");
        out.push_bind_param::<Nullable<BigInt>, _>(&self.expires_at_us)?;
        assign(&mut out, "renewals");
        out.push_bind_param::<Nullable<BigInt>, _>(&self.renewals)?;
        out.push_sql("\n WHERE id = ");
        out.push_bind_param::<BigInt, _>(&self.id)
    }
}

impl RunQueryDsl<SqliteConnection> for UpdateLease {}

/// Writes the counter and the clock.
pub(super) struct SaveServerState {
    pub(super) fencing_token: i64,
    pub(super) clock_us: i64,
}

impl QueryId for SaveServerState {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Sqlite> for SaveServerState {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("UPDATE server_state\n   SET fencing_token = ");
        out.push_bind_param::<BigInt, _>(&self.fencing_token)?;
        out.push_sql(", clock_us = ");
        out.push_bind_param::<BigInt, _>(&self.clock_us)
    }
}

impl RunQueryDsl<SqliteConnection> for SaveServerState {}
