//! A connection to either kind of database, so that there is one query for both.
//!
//! For what runs seldom: nothing of it is prepared once and kept.

use diesel::MultiConnection;
use diesel::pg::PgConnection;
use diesel::sqlite::SqliteConnection;

/// One or the other.
#[derive(MultiConnection)]
pub(in crate::db) enum AnyConnection {
    /// Of an SQLite file.
    Sqlite(SqliteConnection),
    /// Of a PostgreSQL database.
    Postgres(PgConnection),
}
