//! Whether the server can do its work, for those who decide whether to send it
//! requests: not while it stops, nor without its database.
//!
//! The database is looked at when somebody asks, by one thread at a time, and
//! what it saw is believed for READINESS_BELIEVED_MAX: so it does not matter how
//! many ask. Who asks waits READINESS_WAIT_MAX for that, however long the
//! database says nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::Instant;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::db::{Catalog, StoreError};
use crate::limits::{READINESS_BELIEVED_MAX, READINESS_WAIT_MAX};

/// What is known of it. Cloning copies a pointer.
#[derive(Clone)]
pub struct Readiness {
    inner: Arc<Inner>,
}

struct Inner {
    catalog: Catalog,
    /// Set once, when the server is told to stop.
    is_draining: AtomicBool,
    /// Whether there is a thread that looks.
    is_looking: AtomicBool,
    /// What it saw last.
    seen: watch::Sender<Option<Seen>>,
}

struct Seen {
    found: Result<(), Unready>,
    /// When the look ended.
    at: Instant,
}

/// Why a server is not ready, without what strangers should not know: the log
/// has that.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unready {
    /// It was told to stop.
    #[error("the server is being stopped")]
    Draining,
    /// The database says nothing.
    #[error("the database did not answer within {} ms", READINESS_WAIT_MAX.as_millis())]
    Silent,
    /// It cannot be asked.
    #[error("the database cannot be asked; the server's log says why")]
    Failing,
    /// It is not as this version needs it.
    #[error("not applied: {}", .0.join(", "))]
    Unmigrated(Vec<String>),
}

impl Readiness {
    /// Of a server on the database of this catalog.
    pub fn of(catalog: Catalog) -> Self {
        Self {
            inner: Arc::new(Inner {
                catalog,
                is_draining: AtomicBool::new(false),
                is_looking: AtomicBool::new(false),
                seen: watch::Sender::new(None),
            }),
        }
    }

    /// From now on the server is not ready, because it is going to stop.
    pub fn drain(&self) {
        self.inner.is_draining.store(true, Ordering::Release);
    }

    /// Errors: what keeps the server from being ready.
    pub async fn require(&self) -> Result<(), Unready> {
        if self.inner.is_draining.load(Ordering::Acquire) {
            return Err(Unready::Draining);
        }
        let mut seen = self.inner.seen.subscribe();
        if !is_believed(&seen.borrow_and_update()) {
            self.look();
        }
        match timeout(READINESS_WAIT_MAX, seen.wait_for(is_believed)).await {
            Ok(Ok(seen)) => seen.as_ref().map_or(Err(Unready::Silent), |seen| seen.found.clone()),
            _ => Err(Unready::Silent),
        }
    }

    /// Has somebody look, if nobody does.
    fn look(&self) {
        if self.inner.is_looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let inner = Arc::clone(&self.inner);
        let thread = Builder::new().name("readiness".to_owned());
        if let Err(error) = thread.spawn(move || inner.look()) {
            log::warn!("cannot look whether the server is ready: {error}");
            self.inner.is_looking.store(false, Ordering::Release);
        }
    }
}

impl Inner {
    fn look(&self) {
        let found = match self.catalog.unapplied() {
            Ok(names) if names.is_empty() => Ok(()),
            Ok(names) => Err(Unready::Unmigrated(names)),
            Err(error) => {
                self.say(&error);
                Err(Unready::Failing)
            }
        };
        let at = Instant::now();
        self.seen.send_replace(Some(Seen { found, at }));
        // After that: who finds nobody looking either believes this, or looks anew.
        self.is_looking.store(false, Ordering::Release);
    }

    /// Logs why the database cannot be asked, if that is news.
    fn say(&self, error: &StoreError) {
        let is_known = matches!(&*self.seen.borrow(), Some(seen) if seen.found == Err(Unready::Failing));
        if is_known {
            log::debug!("not ready: {error}");
        } else {
            log::warn!("not ready: {error}");
        }
    }
}

fn is_believed(seen: &Option<Seen>) -> bool {
    matches!(seen, Some(seen) if seen.at.elapsed() < READINESS_BELIEVED_MAX)
}
