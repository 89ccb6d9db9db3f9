//! The handle by which requests reach the batcher thread.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::oneshot;

use crate::db::Announcement;
use crate::limits::DECISION_WAIT_MAX;
use crate::lock::{FencingToken, LockedBy, Operation, Outcome, ResourceName, StillWaits, Ttl};

/// Why a request has no outcome. None of these changed anything, but for
/// [`Unavailable::Store`], which leaves it open, and [`Unavailable::Late`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// More operations are queued than fit.
    #[error("too many operations are queued")]
    Queue,
    /// More requests wait for locks than fit.
    #[error("too many requests wait for locks")]
    Waiters,
    /// More requests wait for this resource than may.
    #[error("too many requests wait for this resource")]
    Line,
    /// The database failed.
    #[error("the database is not available")]
    Store,
    /// The answer came so late that the lock it speaks of has expired.
    #[error("the lock expired before the answer could be sent")]
    Late,
    /// The server is being stopped.
    #[error("the server is being stopped")]
    Stopping,
}

/// What a request learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was decided, and the decision is on disk.
    Decided(Outcome),
    /// The deadline of its wait passed.
    TimedOut,
}

/// What the batcher sends back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) outcome: Outcome,
    /// From this instant on the lock that was granted no longer holds.
    pub(super) lapses: Option<Instant>,
}

pub(super) type ReplySender = oneshot::Sender<Result<Reply, Unavailable>>;

/// A request on its way to the batcher.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) name: ResourceName,
    pub(super) operation: Operation,
    /// Until when it waits in line if the resource is locked.
    pub(super) wait_until: Option<Instant>,
    pub(super) reply: ReplySender,
}

/// A request in a waiting line.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) wait_until: Instant,
    pub(super) reply: ReplySender,
}

impl StillWaits for Parked {
    fn still_waits(&self) -> bool {
        !self.reply.is_closed() && Instant::now() < self.wait_until
    }
}

/// What goes through the queue.
#[derive(Debug)]
pub(super) enum Message {
    Submit(Submission),
    /// There is something in [`Shared`].
    Look,
    /// Finish what is queued and end.
    Stop,
}

/// Somebody who will not take an answer any more.
#[derive(Debug)]
pub(super) struct Departure {
    pub(super) name: ResourceName,
    /// The grant that reached nobody, if there was one.
    pub(super) grant: Option<FencingToken>,
}

/// What requests and the batcher share beside the queue.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Written by requests that were dropped, emptied by the batcher with each
    /// batch. Not bounded by itself: each entry is a request that was admitted.
    departures: Mutex<Vec<Departure>>,
    /// Written by the listener, emptied by the batcher with each batch. While
    /// that is held up it grows with what other servers do meanwhile, some
    /// hundred bytes for each transaction of theirs that anybody waits for.
    announcements: Mutex<Vec<Announcement>>,
    /// Set once, when the server begins to stop.
    draining: AtomicBool,
    /// Whether anybody is in a line; written by the batcher for the listener.
    somebody_waits: AtomicBool,
    /// Set once, when the batcher thread ends.
    ended: AtomicBool,
}

impl Shared {
    pub(super) fn take_departures(&self) -> Vec<Departure> {
        take(&self.departures)
    }

    pub(super) fn take_announcements(&self) -> Vec<Announcement> {
        take(&self.announcements)
    }

    pub(super) fn note_waiting(&self, somebody_waits: bool) {
        self.somebody_waits.store(somebody_waits, Ordering::Relaxed);
    }

    pub(super) fn somebody_waits(&self) -> bool {
        self.somebody_waits.load(Ordering::Relaxed)
    }

    pub(super) fn note_end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// The engine, as the rest of the server sees it. Cloning copies pointers.
#[derive(Clone, Debug)]
pub struct Engine {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

impl Engine {
    pub(super) fn new(queue: SyncSender<Message>, shared: Arc<Shared>) -> Self {
        Self { queue, shared }
    }

    /// Takes the lock on `name`, or waits up to `timeout` for it.
    ///
    /// Answers with `Acquired`, `Locked` (no timeout was given) or `TimedOut`.
    /// Dropping the future leaves the waiting line; a grant that was already
    /// made is given back.
    pub async fn acquire(
        &self,
        name: ResourceName,
        locked_by: LockedBy,
        ttl: Option<Ttl>,
        timeout: Option<Duration>,
    ) -> Result<Answer, Unavailable> {
        if self.shared.is_draining() {
            return Err(Unavailable::Stopping);
        }
        let wait_until = timeout.map(deadline);
        let mut pending = self.submit(name, Operation::Acquire { locked_by, ttl }, wait_until)?;
        let reply = match wait_until {
            None => pending.reply_in_time().await,
            Some(deadline) => tokio::select! {
                biased;
                reply = pending.reply() => reply,
                () = tokio::time::sleep_until(deadline.into()) => pending.last_look(),
            },
        };
        let Some(reply) = reply else {
            // The batcher drops a request unanswered when its time is over, and else only when its thread ends.
            return match wait_until {
                Some(deadline) if deadline <= Instant::now() => Ok(Answer::TimedOut),
                _ => Err(Unavailable::Stopping),
            };
        };
        let reply = reply?;
        if reply.lapses.is_some_and(|lapses| lapses <= Instant::now()) {
            return Err(Unavailable::Late);
        }
        Ok(Answer::Decided(reply.outcome))
    }

    /// Frees `name`, given its holder's key; `None` is nobody's key.
    ///
    /// Answers with `Released`, `NotAcquired` or `InvalidUnlock`. A release
    /// that was submitted is done even if the future is dropped.
    pub async fn release(&self, name: ResourceName, locked_by: Option<LockedBy>) -> Result<Outcome, Unavailable> {
        let mut pending = self.submit(name, Operation::Release { locked_by }, None)?;
        let reply = pending.reply_in_time().await.unwrap_or(Err(Unavailable::Stopping));
        reply.map(|reply| reply.outcome)
    }

    /// Refuses new acquisitions and answers everybody who waits that the
    /// server is being stopped. Releases are served to the last.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
        self.nudge();
    }

    /// Makes the batcher thread finish what is queued and end.
    pub fn stop(&self) {
        // It can only fail because the thread has ended already.
        let _ = self.queue.send(Message::Stop);
    }

    fn submit(
        &self,
        name: ResourceName,
        operation: Operation,
        wait_until: Option<Instant>,
    ) -> Result<Pending<'_>, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let submission = Submission {
            name: name.clone(),
            operation,
            wait_until,
            reply,
        };
        match self.queue.try_send(Message::Submit(submission)) {
            Ok(()) => Ok(Pending {
                engine: self,
                name,
                answer: Some(answer),
            }),
            Err(TrySendError::Full(_)) => Err(Unavailable::Queue),
            Err(TrySendError::Disconnected(_)) => Err(Unavailable::Stopping),
        }
    }

    fn depart(&self, departure: Departure) {
        lock(&self.shared.departures).push(departure);
        self.nudge();
    }

    /// Tells the batcher what other servers announce.
    pub(super) fn announce(&self, heard: Vec<Announcement>) {
        lock(&self.shared.announcements).extend(heard);
        self.nudge();
    }

    /// Wakes the batcher. A full queue means that it is awake.
    fn nudge(&self) {
        let _ = self.queue.try_send(Message::Look);
    }
}

/// A request that waits for its reply. Dropped without one, it tells the
/// batcher, so that nothing stays granted to nobody.
struct Pending<'e> {
    engine: &'e Engine,
    name: ResourceName,
    /// `None` once the reply was taken.
    answer: Option<oneshot::Receiver<Result<Reply, Unavailable>>>,
}

impl Pending<'_> {
    /// The reply; `None` if the batcher dropped the request unanswered.
    async fn reply(&mut self) -> Option<Result<Reply, Unavailable>> {
        let reply = self.answer.as_mut()?.await.ok();
        self.answer = None;
        reply
    }

    /// The same for a request that does not wait for a lock: it need not wait
    /// either while the batcher thread hangs in a database that says nothing.
    async fn reply_in_time(&mut self) -> Option<Result<Reply, Unavailable>> {
        match tokio::time::timeout(DECISION_WAIT_MAX, self.reply()).await {
            Ok(reply) => reply,
            Err(_) => Some(self.last_look().unwrap_or(Err(Unavailable::Store))),
        }
    }

    /// The reply, if it came at the last moment. Afterwards none can come.
    fn last_look(&mut self) -> Option<Result<Reply, Unavailable>> {
        let answer = self.answer.as_mut()?;
        answer.close();
        let reply = answer.try_recv().ok()?;
        self.answer = None;
        Some(reply)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.answer.is_none() {
            return;
        }
        let grant = match self.last_look() {
            Some(Ok(Reply {
                outcome: Outcome::Acquired(grant),
                ..
            })) => Some(grant.fencing_token),
            Some(_) => return,
            None => None,
        };
        self.engine.depart(Departure {
            name: self.name.clone(),
            grant,
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn take<T: Default>(mutex: &Mutex<T>) -> T {
    mem::take(&mut *lock(mutex))
}

/// The instant `timeout` from now, or one so far ahead that it does not
/// matter where the clock cannot express it.
fn deadline(timeout: Duration) -> Instant {
    const FAR_AHEAD: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or(now + FAR_AHEAD)
}
