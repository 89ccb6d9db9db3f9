//! Who looks at a PostgreSQL database: a few sessions that are kept a while.
//!
//! They can write nothing, a statement of theirs ends after STATEMENT_TIME_MAX,
//! and none takes help of PostgreSQL's parallel workers: servers that decide
//! need the processors more. Whether a session still works is tried before each
//! use; one that was lost is connected anew.

use std::error::Error;
use std::sync::OnceLock;

use diesel::connection::{CacheSize, SimpleConnection};
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::r2d2::{HandleError, ManageConnection, Pool, R2D2Connection};

use super::connection::AnyConnection;
use super::failed;
use crate::db::postgres::session::{connect, expect_signs_of_life};
use crate::db::{PostgresUrl, StoreError};
use crate::limits::{CATALOG_IDLE_MAX, CATALOG_WAIT_MAX, IDLE_IN_TRANSACTION_MAX, STATEMENT_TIME_MAX};

/// Those who look at one database.
pub(super) struct PostgresReaders {
    url: PostgresUrl,
    sessions_max: u32,
    /// Made by the first query, with the threads that connect and disconnect.
    pool: OnceLock<Pool<Sessions>>,
}

impl PostgresReaders {
    pub(super) fn new(url: PostgresUrl, sessions_max: u32) -> Self {
        Self {
            url,
            sessions_max,
            pool: OnceLock::new(),
        }
    }

    /// Of the database.
    pub(super) fn url(&self) -> &PostgresUrl {
        &self.url
    }

    pub(super) fn read<T>(&self, work: impl FnOnce(&mut AnyConnection) -> QueryResult<T>) -> Result<T, StoreError> {
        let mut conn = self.pool().get().map_err(failed)?;
        work(&mut conn).map_err(failed)
    }

    pub(super) fn in_use(&self) -> usize {
        let state = self.pool.get().map(Pool::state);
        state.map_or(0, |state| {
            state.connections.saturating_sub(state.idle_connections) as usize
        })
    }

    fn pool(&self) -> &Pool<Sessions> {
        self.pool.get_or_init(|| {
            Pool::builder()
                .max_size(self.sessions_max)
                .min_idle(Some(0))
                .idle_timeout(Some(CATALOG_IDLE_MAX))
                .connection_timeout(CATALOG_WAIT_MAX)
                .error_handler(Box::new(Quiet))
                .build_unchecked(Sessions { url: self.url.clone() })
        })
    }
}

/// How the pool comes to its sessions.
struct Sessions {
    url: PostgresUrl,
}

impl ManageConnection for Sessions {
    type Connection = AnyConnection;
    type Error = StoreError;

    fn connect(&self) -> Result<AnyConnection, StoreError> {
        let application = format!("cls catalog (pid {})", std::process::id());
        let mut conn = connect(&self.url, &application).map_err(failed)?;
        set_up(&mut conn).map_err(failed)?;
        Ok(AnyConnection::Postgres(conn))
    }

    fn is_valid(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        conn.ping().map_err(failed)
    }

    fn has_broken(&self, conn: &mut AnyConnection) -> bool {
        std::thread::panicking() || conn.is_broken()
    }
}

fn set_up(conn: &mut PgConnection) -> QueryResult<()> {
    // There are as many statements as clients think of, and each is planned best for what it asks.
    conn.set_prepared_statement_cache_size(CacheSize::Disabled);
    conn.batch_execute(&format!(
        "SET default_transaction_isolation = 'repeatable read';
         SET default_transaction_read_only = on;
         SET statement_timeout = {statement_ms};
         SET idle_in_transaction_session_timeout = {idle_ms};
         SET max_parallel_workers_per_gather = 0;
         SET jit = off;",
        statement_ms = STATEMENT_TIME_MAX.as_millis(),
        idle_ms = IDLE_IN_TRANSACTION_MAX.as_millis(),
    ))?;
    expect_signs_of_life(conn)
}

/// Whoever waits for a session is told why there is none; the pool, which tries
/// again all the time, says nothing more.
#[derive(Debug)]
struct Quiet;

impl<E: Error> HandleError<E> for Quiet {
    fn handle_error(&self, error: E) {
        log::debug!("no session for the catalog: {error}");
    }
}
