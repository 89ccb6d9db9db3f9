//! Ends a transaction that does not end by itself.
//!
//! PostgreSQL bounds each statement but COMMIT: that waits for a synchronous
//! standby for as long as there is none, and the thread that asked waits with
//! it. So another thread looks, several times a second, whether a transaction
//! has run for too long, and has PostgreSQL end its session. What became of it
//! is unknown then, as after any connection that is lost at COMMIT.
//!
//! The transaction may end while its session is being ended. Then that hits the
//! next one, which fails; nothing worse.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::thread::{self, Builder};
use std::time::Instant;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Integer};
use log::Level;

use crate::db::PostgresUrl;
use crate::db::postgres::session::connect;
use crate::limits::{TRANSACTION_TIME_MAX, WATCH_INTERVAL};

/// The thread ends soon after this value.
pub(super) struct Watchdog {
    watched: Arc<Watched>,
}

/// Written by the store's thread, read by the watchdog's.
struct Watched {
    started: Instant,
    /// The session, by its number at the server.
    backend_pid: AtomicI32,
    /// When its transaction began, in ms after `started` and never 0; 0 if
    /// there is none.
    began_ms: AtomicU64,
}

impl Watchdog {
    pub(super) fn spawn(url: PostgresUrl) -> io::Result<Self> {
        let watched = Arc::new(Watched {
            started: Instant::now(),
            backend_pid: AtomicI32::new(0),
            began_ms: AtomicU64::new(0),
        });
        let looked_at = Arc::downgrade(&watched);
        let look = move || {
            let mut ended_ms = 0;
            while let Some(watched) = looked_at.upgrade() {
                watched.look(&url, &mut ended_ms);
                drop(watched);
                thread::sleep(WATCH_INTERVAL);
            }
        };
        Builder::new().name("watchdog".to_owned()).spawn(look)?;
        Ok(Self { watched })
    }

    /// A transaction begins.
    pub(super) fn begin(&self, backend_pid: i32) {
        self.watched.backend_pid.store(backend_pid, Ordering::Relaxed);
        self.watched.began_ms.store(self.watched.now_ms(), Ordering::Release);
    }

    /// It has ended, in whatever way.
    pub(super) fn end(&self) {
        self.watched.began_ms.store(0, Ordering::Release);
    }
}

impl Watched {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).map_or(u64::MAX, |ms| ms.max(1))
    }

    /// `ended_ms` is the beginning of the transaction whose end is being tried:
    /// said once of each.
    fn look(&self, url: &PostgresUrl, ended_ms: &mut u64) {
        let began_ms = self.began_ms.load(Ordering::Acquire);
        let age_ms = self.now_ms().saturating_sub(began_ms);
        if began_ms == 0 || u128::from(age_ms) < TRANSACTION_TIME_MAX.as_millis() {
            return;
        }
        let backend_pid = self.backend_pid.load(Ordering::Relaxed);
        let is_new = std::mem::replace(ended_ms, began_ms) != began_ms;
        let level = if is_new { Level::Warn } else { Level::Debug };
        log::log!(level, "a transaction has not ended in {age_ms} ms; ending its session");
        if let Err(error) = terminate(url, backend_pid) {
            log::log!(level, "cannot end the session: {error}");
        }
    }
}

fn terminate(url: &PostgresUrl, backend_pid: i32) -> Result<(), String> {
    let application = format!("cls watchdog (pid {})", std::process::id());
    let mut conn = connect(url, &application).map_err(|e| e.to_string())?;
    let terminated = sql::<Bool>("SELECT pg_terminate_backend(")
        .bind::<Integer, _>(backend_pid)
        .sql(")");
    terminated
        .get_result::<bool>(&mut conn)
        .map(drop)
        .map_err(|e| e.to_string())
}
