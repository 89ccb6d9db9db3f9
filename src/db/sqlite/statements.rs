//! The statements that run for each batch and each operation.
//!
//! Most of them by hand, because diesel prepares its own updates and upserts,
//! and every text of SQL, anew each time. A golden copy of their text lies in `tests/store`.

use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};

use crate::clock::Timestamp;
use crate::db::models::ResourceRow;
use crate::db::schema::resources;
use crate::lock::{Resource, ResourceName};

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

/// The columns that a decision changes.
struct Columns<'a> {
    locked_by: Option<&'a str>,
    /// ttl, acquired_at_us, expires_at_us, released_at_us.
    numbers: [Option<i64>; 4],
    fencing_token: i64,
}

impl<'a> From<&'a Resource> for Columns<'a> {
    fn from(resource: &'a Resource) -> Self {
        let lock = resource.lock.as_ref();
        Self {
            locked_by: lock.map(|lock| lock.locked_by.reveal()),
            numbers: [
                lock.and_then(|lock| lock.ttl).map(|ttl| ttl.as_seconds().into()),
                lock.map(|lock| lock.acquired_at.as_us()),
                lock.and_then(|lock| lock.expires_at).map(Timestamp::as_us),
                resource.released_at.map(Timestamp::as_us),
            ],
            fencing_token: resource.fencing_token.as_i64(),
        }
    }
}

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
        out.push_sql(
            "INSERT INTO resources (name, locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token)\n\
             VALUES (",
        );
        out.push_bind_param::<Text, _>(self.name)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.columns.locked_by)?;
        for number in &self.columns.numbers {
            out.push_sql(", ");
            out.push_bind_param::<Nullable<BigInt>, _>(number)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.columns.fencing_token)?;
        out.push_sql(")");
        Ok(())
    }
}

impl RunQueryDsl<SqliteConnection> for InsertResource<'_> {}

/// Writes a row that is there.
pub(super) struct UpdateResource<'a> {
    id: i64,
    columns: Columns<'a>,
}

impl<'a> UpdateResource<'a> {
    pub(super) fn of(id: i64, resource: &'a Resource) -> Self {
        Self {
            id,
            columns: resource.into(),
        }
    }
}

impl QueryId for UpdateResource<'_> {
    type QueryId = UpdateResource<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Sqlite> for UpdateResource<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        const NUMBERS: [&str; 4] = [
            ",\n       ttl = ",
            ",\n       acquired_at_us = ",
            ",\n       expires_at_us = ",
            ",\n       released_at_us = ",
        ];
        out.push_sql("UPDATE resources\n   SET locked_by = ");
        out.push_bind_param::<Nullable<Text>, _>(&self.columns.locked_by)?;
        for (column, number) in NUMBERS.iter().zip(&self.columns.numbers) {
            out.push_sql(column);
            out.push_bind_param::<Nullable<BigInt>, _>(number)?;
        }
        out.push_sql(",\n       fencing_token = ");
        out.push_bind_param::<BigInt, _>(&self.columns.fencing_token)?;
        out.push_sql("\n WHERE id = ");
        out.push_bind_param::<BigInt, _>(&self.id)
    }
}

impl RunQueryDsl<SqliteConnection> for UpdateResource<'_> {}

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
