//! A PostgreSQL database: reached, let in, and fit to keep locks in.

use diesel::dsl::sql;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};

use crate::db::catalog::AnyConnection;
use crate::db::database::DatabaseError;
use crate::db::migrations::{HISTORY_TABLE, Migrations};
use crate::db::postgres::session::{AdvisoryLock, Share, connect, take, wait_for_locks};
use crate::db::{Catalog, PostgresStore, PostgresUrl, StoreError, TokenTable};
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
        let has_history: bool = sql::<Bool>("SELECT to_regclass(")
            .bind::<Text, _>(HISTORY_TABLE)
            .sql(") IS NOT NULL")
            .get_result(&mut self.conn)
            .map_err(|e| DatabaseError::unfit(&self.url, e))?;
        if has_history {
            self.require_rights(&format!(
                "SELECT 1 WHERE NOT has_table_privilege('{HISTORY_TABLE}', 'SELECT')"
            ))?;
        }
        Ok(Migrations::on_postgres(&mut self.conn, has_history)?)
    }

    /// Refuses a role that could not serve, though all migrations are applied.
    pub(super) fn require_rights_to_serve(&mut self) -> Result<(), DatabaseError> {
        self.require_rights(
            "SELECT 1
               FROM unnest(ARRAY['resources', 'waiters', 'replicas', 'token_timeline']) AS needed (name),
                    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
              WHERE NOT has_table_privilege(name, privilege)
             UNION ALL
             SELECT 1 WHERE NOT has_sequence_privilege('fencing_tokens', 'USAGE')
                         OR NOT has_sequence_privilege('fencing_tokens', 'UPDATE')",
        )
    }

    /// `missing` has a row for each right that is missing.
    fn require_rights(&mut self, missing: &str) -> Result<(), DatabaseError> {
        let missing = sql::<BigInt>(&format!("SELECT count(*) FROM ({missing}) AS missing"))
            .get_result::<i64>(&mut self.conn)
            .map_err(|e| DatabaseError::unfit(&self.url, e))?;
        if missing == 0 {
            return Ok(());
        }
        let reason = "the role lacks rights; as the owner run \
                      GRANT ALL ON ALL TABLES IN SCHEMA public TO it, and the same ON ALL SEQUENCES";
        Err(DatabaseError::unfit(&self.url, reason))
    }

    pub(super) fn catalog(&self) -> Catalog {
        Catalog::on_postgres(self.url.clone())
    }

    pub(super) fn into_tokens(self) -> TokenTable {
        TokenTable::new(AnyConnection::Postgres(self.conn))
    }

    pub(super) fn into_store(self) -> Result<PostgresStore, StoreError> {
        let Self { url, conn } = self;
        drop(conn);
        PostgresStore::open(url)
    }
}
