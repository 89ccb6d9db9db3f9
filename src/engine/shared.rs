//! What requests, listener and batcher share beside the queue.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::{self, Thread};

use crate::db::Announcement;
use crate::engine::feed::FeedState;
use crate::engine::messages::Departure;
use crate::engine::policy::Policy;
use crate::engine::watches::Watches;
use crate::metrics::Metrics;

#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Counted by requests, listener and batcher.
    pub(super) metrics: Arc<Metrics>,
    /// Written by requests that were dropped, emptied by the batcher with each
    /// batch. Not bounded by itself: each entry is a request that was admitted.
    departures: Mutex<Vec<Departure>>,
    /// Written by the listener, emptied by the batcher with each batch. While
    /// that is held up it grows with what other servers do meanwhile, some
    /// hundred bytes for each transaction of theirs that anybody waits for.
    announcements: Mutex<Vec<Announcement>>,
    /// Who wants to know when something happens to a resource.
    pub(super) watches: Watches,
    /// Who wants to know of all that happens.
    pub(super) feed: FeedState,
    /// Written by an operator's reload, taken by the batcher with each batch.
    new_policy: Mutex<Option<Policy>>,
    /// Whether the policy bounds the locks of each client; read by requests.
    counts_locks: AtomicBool,
    /// Set once, when the server begins to stop.
    draining: AtomicBool,
    /// Whether anybody is in a line; written by the batcher for the listener.
    somebody_waits: AtomicBool,
    /// The thread of the listener, which is woken when the first comes into a line.
    listener: OnceLock<Thread>,
    /// Set once, when the batcher thread ends.
    ended: AtomicBool,
}

impl Shared {
    pub(super) fn counted_in(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            ..Self::default()
        }
    }

    pub(super) fn add_departure(&self, departure: Departure) {
        lock(&self.departures).push(departure);
    }

    pub(super) fn take_departures(&self) -> Vec<Departure> {
        mem::take(&mut *lock(&self.departures))
    }

    pub(super) fn add_announcements(&self, heard: Vec<Announcement>) {
        lock(&self.announcements).extend(heard);
    }

    pub(super) fn take_announcements(&self) -> Vec<Announcement> {
        mem::take(&mut *lock(&self.announcements))
    }

    pub(super) fn set_policy(&self, policy: Policy) {
        self.note_policy(&policy);
        *lock(&self.new_policy) = Some(policy);
    }

    /// Notes what requests have to know of the policy.
    pub(super) fn note_policy(&self, policy: &Policy) {
        self.counts_locks
            .store(policy.client_locks_max.is_some(), Ordering::Relaxed);
    }

    pub(super) fn counts_locks(&self) -> bool {
        self.counts_locks.load(Ordering::Relaxed)
    }

    pub(super) fn take_policy(&self) -> Option<Policy> {
        lock(&self.new_policy).take()
    }

    /// Notes whether anybody is in a line. The listener looks at it after it is woken,
    /// or sleeps only after it has looked: then the wake-up ends that sleep.
    pub(super) fn note_waiting(&self, somebody_waits: bool) {
        let did_wait = self.somebody_waits.swap(somebody_waits, Ordering::Relaxed);
        if somebody_waits
            && !did_wait
            && let Some(listener) = self.listener.get()
        {
            listener.unpark();
        }
    }

    /// The calling thread is the listener.
    pub(super) fn note_listener(&self) {
        // There is one.
        let _ = self.listener.set(thread::current());
    }

    pub(super) fn somebody_waits(&self) -> bool {
        self.somebody_waits.load(Ordering::Relaxed)
    }

    pub(super) fn note_end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.feed.end();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.feed.end();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// What is behind it is whole at any time, also where a thread panicked.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
