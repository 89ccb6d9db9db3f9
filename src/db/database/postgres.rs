//! A PostgreSQL database: reached, let in, and fit to keep locks in.

use diesel::dsl::sql;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};

use crate::db::database::DatabaseError;
use crate::db::migrations::{HISTORY_TABLE, Migrations};
use crate::db::postgres::session::{AdvisoryLock, Share, connect, take, wait_for_locks};
use crate::db::{PostgresStore, PostgresUrl, StoreError};
use crate::limits::{MIGRATION_WAIT_MAX, OWNER_WAIT_MAX, ROW_LOCK_WAIT_MAX};

/// An open connection.
pub(in crate::db) struct PostgresDatabase {
    url: PostgresUrl,
    conn: PgConnection,
}

impl PostgresDatabase {
    pub(super) fn open(url: &PostgresUrl) -> Result<Self, DatabaseError> {
        let conn = connect(url, &format!("cls (pid {})", std::process::id()))?;
        let url = url.clone();
        Ok(Self { url, conn })
    }

    pub(super) fn wait_to_migrate(&mut self) -> Result<(), DatabaseError> {
        take(
            &self.url,
            &mut self.conn,
            AdvisoryLock::Migrate,
            Share::Alone,
            MIGRATION_WAIT_MAX,
        )?;
        // While a migration waits for a table, servers wait behind it.
        wait_for_locks(&mut self.conn, ROW_LOCK_WAIT_MAX).map_err(|e| DatabaseError::unfit(&self.url, e))
    }

    pub(super) fn keep_servers_off(&mut self) -> Result<(), DatabaseError> {
        take(
            &self.url,
            &mut self.conn,
            AdvisoryLock::Serve,
            Share::Alone,
            OWNER_WAIT_MAX,
        )
    }

    pub(super) fn migrations(&mut self) -> Result<Migrations<'_>, DatabaseError> {
        let has_history = sql::<Bool>("SELECT to_regclass(")
            .bind::<Text, _>(HISTORY_TABLE)
            .sql(") IS NOT NULL")
            .get_result(&mut self.conn)
            .map_err(|e| DatabaseError::unfit(&self.url, e))?;
        Ok(Migrations::on_postgres(&mut self.conn, has_history)?)
    }

    pub(super) fn into_store(self) -> Result<PostgresStore, StoreError> {
        let Self { url, conn } = self;
        drop(conn);
        PostgresStore::open(url)
    }
}
