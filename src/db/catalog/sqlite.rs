//! Who looks at an SQLite file.
//!
//! A connection lives as long as its query, and is opened read-only. So nobody
//! goes on reading a file that was deleted or replaced, nothing is kept of the
//! log that a checkpoint would have to leave, and no write lock is waited for.
//! Opening one costs a fifth of a millisecond.
//!
//! The store may have to open its file anew. Until it has looked at what is
//! there by then, nobody else may open it: SQLite shares the index of the log
//! among the connections of a process, whichever file that log belongs to.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockWriteGuard};

use diesel::connection::{CacheSize, SimpleConnection};
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::connection::AnyConnection;
use super::failed;
use crate::clock::ProcessClock;
use crate::db::StoreError;
use crate::db::database::uri;
use crate::db::sqlite::open_file::Identity;
use crate::limits::{BUSY_WAIT_MAX, CATALOG_CONNECTIONS_MAX, CATALOG_WAIT_MAX};

/// Those who look at one file.
pub(super) struct SqliteReaders {
    path: PathBuf,
    /// The store's.
    clock: ProcessClock,
    /// The file that the store serves from; `None` while it has none. Whoever
    /// reads has the lock for as long as the connection is open.
    served: RwLock<Option<Arc<Identity>>>,
    turns: Turns,
}

/// Nobody reads while this is there.
pub(in crate::db) struct Door<'r> {
    served: RwLockWriteGuard<'r, Option<Arc<Identity>>>,
}

impl Door<'_> {
    /// Lets in who wants to read this file.
    pub(in crate::db) fn open(mut self, served: Arc<Identity>) {
        *self.served = Some(served);
    }
}

impl SqliteReaders {
    pub(super) fn new(path: PathBuf, clock: ProcessClock, served: Arc<Identity>) -> Self {
        Self {
            path,
            clock,
            served: RwLock::new(Some(served)),
            turns: Turns::default(),
        }
    }

    pub(super) fn clock(&self) -> ProcessClock {
        self.clock
    }

    pub(super) fn in_use(&self) -> usize {
        *self.turns.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shut(&self) -> Door<'_> {
        // What it guards is whole whatever panicked.
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        *served = None;
        Door { served }
    }

    pub(super) fn read<T>(&self, work: impl FnOnce(&mut AnyConnection) -> QueryResult<T>) -> Result<T, StoreError> {
        let _turn = self.turns.take()?;
        self.read_at_once(work)
    }

    /// The same for what is not to wait for its turn.
    pub(super) fn read_at_once<T>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> QueryResult<T>,
    ) -> Result<T, StoreError> {
        self.with_connection("ro", |mut conn| work(&mut conn).map_err(failed))
    }

    /// The same for what changes a little, seldom: meanwhile batches wait. It
    /// leaves the log to the store.
    pub(super) fn write<T>(&self, work: impl FnOnce(AnyConnection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.with_connection("rw", |mut conn| {
            conn.batch_execute("PRAGMA wal_autocheckpoint = 0").map_err(failed)?;
            work(conn)
        })
    }

    fn with_connection<T>(
        &self,
        mode: &str,
        work: impl FnOnce(AnyConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        let Some(served) = served.as_ref() else {
            return Err(StoreError::Failed("the database is being opened again".to_owned()));
        };
        let path = self.path.display();
        if !served.is_at(&self.path) {
            return Err(StoreError::Failed(format!("{path} is gone or was replaced")));
        }
        let mut conn = SqliteConnection::establish(&uri(&self.path, mode))
            .map_err(|e| StoreError::Failed(format!("cannot open {path}: {e}")))?;
        conn.set_prepared_statement_cache_size(CacheSize::Disabled);
        conn.batch_execute(&format!("PRAGMA busy_timeout = {}", BUSY_WAIT_MAX.as_millis()))
            .map_err(failed)?;
        work(AnyConnection::Sqlite(conn))
    }
}

/// How many read at the moment.
#[derive(Default)]
struct Turns {
    taken: Mutex<usize>,
    ended: Condvar,
}

/// The right to read, for as long as this value lives.
struct Turn<'t>(&'t Turns);

impl Turns {
    fn take(&self) -> Result<Turn<'_>, StoreError> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all_taken = |taken: &mut usize| *taken >= CATALOG_CONNECTIONS_MAX;
        let waited = self.ended.wait_timeout_while(taken, CATALOG_WAIT_MAX, all_taken);
        let (mut taken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(StoreError::Failed("too many lists are being read".to_owned()));
        }
        *taken += 1;
        Ok(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.ended.notify_one();
    }
}
