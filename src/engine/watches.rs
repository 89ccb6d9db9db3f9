//! Who wants to know when something happens to a resource.
//!
//! A watch is woken after each commit that changed the resource and then looks
//! by itself, so one that is woken in vain costs a read and nothing else. What
//! other servers commit is found by a look at all that is watched, now and then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::engine::shared::lock;
use crate::lock::{Held, ResourceName, Snapshot};

/// All watches.
#[derive(Debug, Default)]
pub(super) struct Watches {
    by_name: Mutex<HashMap<ResourceName, Watched>>,
    /// How many there are, so that nobody takes the mutex while there are none.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Watched {
    wake: Arc<Notify>,
    watchers: usize,
    /// What was seen last of the changes of others.
    seen: Option<(i64, Option<Held>)>,
}

/// One watch; it ends when this is dropped.
pub(super) struct Watch<'w> {
    watches: &'w Watches,
    name: ResourceName,
    wake: Arc<Notify>,
}

impl Watches {
    /// Begins to watch a resource. `None` if `watches_max` watch already.
    pub(super) fn watch(&self, name: ResourceName, watches_max: usize) -> Option<Watch<'_>> {
        if self.count.fetch_add(1, Ordering::SeqCst) >= watches_max {
            self.count.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let mut by_name = lock(&self.by_name);
        let watched = by_name.entry(name.clone()).or_default();
        watched.watchers += 1;
        // Whoever comes may have seen something else than those before.
        watched.seen = None;
        Some(Watch {
            watches: self,
            name,
            wake: Arc::clone(&watched.wake),
        })
    }

    /// Whether nobody watches anything.
    ///
    /// Somebody who begins at this moment looks after that, and so sees whatever
    /// was committed before this was asked.
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// What is watched.
    pub(super) fn names(&self) -> Vec<ResourceName> {
        lock(&self.by_name).keys().cloned().collect()
    }

    /// Wakes those who watch one of these.
    pub(super) fn wake<'n>(&self, names: impl IntoIterator<Item = &'n ResourceName>) {
        let by_name = lock(&self.by_name);
        for watched in names.into_iter().filter_map(|name| by_name.get(name)) {
            watched.wake.notify_waiters();
        }
    }

    /// Wakes all.
    pub(super) fn wake_all(&self) {
        for watched in lock(&self.by_name).values() {
            watched.wake.notify_waiters();
        }
    }

    /// Wakes those who watch a resource that looks different than when this was
    /// called last.
    pub(super) fn compare(&self, snapshot: &Snapshot) {
        if let Some(watched) = lock(&self.by_name).get_mut(&snapshot.name) {
            let seen = Some((snapshot.fencing_token.as_i64(), snapshot.held.clone()));
            if watched.seen != seen {
                watched.seen = seen;
                watched.wake.notify_waiters();
            }
        }
    }
}

impl Watch<'_> {
    /// What wakes it. Whoever enables that before a look misses nothing that
    /// happens after the look.
    pub(super) fn wake(&self) -> &Notify {
        &self.wake
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut by_name = lock(&self.watches.by_name);
        if let Some(watched) = by_name.get_mut(&self.name) {
            watched.watchers -= 1;
            if watched.watchers == 0 {
                by_name.remove(&self.name);
            }
        }
        self.watches.count.fetch_sub(1, Ordering::SeqCst);
    }
}
