//! The handle by which requests reach the batcher thread.

use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::oneshot;

use crate::db::Announcement;
use crate::engine::counting::refusal;
use crate::engine::messages::{Departure, InLine, Message, Reply, Submission, Told, Wish};
use crate::engine::policy::Policy;
use crate::engine::shared::Shared;
use crate::engine::time;
use crate::limits::{DECISION_WAIT_MAX, WATCH_RETRY_INTERVAL};
use crate::lock::{
    Acquire, BreakLock, FencingToken, Grant, Operation, Outcome, Release, Renew, ResourceName, Snapshot,
};
use crate::metrics::Refusal;

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
    /// The client holds as many locks as it may, or would with these.
    #[error("this client would hold too many locks")]
    ClientLocks,
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

/// What a request learns that may have waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was decided, and the decision is on disk. A lock of which it tells
    /// lapses at the instant, if at any.
    Decided(Outcome, Option<Instant>),
    /// The deadline of its wait passed.
    TimedOut,
    /// The same request was sent again and waits in its place.
    Superseded,
}

impl Answer {
    /// To be asked once more by whoever did something else before it tells.
    ///
    /// Errors: [`Unavailable::Late`].
    pub fn require_in_time(&self) -> Result<(), Unavailable> {
        match self {
            Self::Decided(_, Some(lapses)) if *lapses <= time::now() => Err(Unavailable::Late),
            _ => Ok(()),
        }
    }
}

/// The engine, as the rest of the server sees it. Cloning copies pointers.
#[derive(Clone, Debug)]
pub struct Engine {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
    watches_max: usize,
}

impl Engine {
    pub(super) fn new(queue: SyncSender<Message>, shared: Arc<Shared>, watches_max: usize) -> Self {
        Self {
            queue,
            shared,
            watches_max,
        }
    }

    /// Takes the lock on `name`, or waits up to `timeout` for it.
    ///
    /// Answers with `Acquired`, `AcquiredBefore`, `Locked` (no timeout was
    /// given), `Deadlock`, `KeyReused`; or that it timed out or was superseded.
    /// Dropping the future leaves the waiting line; a grant that was already
    /// made is given back.
    pub async fn acquire(
        &self,
        name: ResourceName,
        acquire: Acquire,
        timeout: Option<Duration>,
    ) -> Result<Answer, Unavailable> {
        let wish = Wish::One(name, Operation::Acquire(acquire));
        self.wait_for(wish, timeout).await
    }

    /// Takes the locks on all of `names`, which are distinct and at most
    /// NAMES_TOGETHER_MAX, or on none.
    ///
    /// Answers as `acquire` does, with `AcquiredTogether` in place of `Acquired`.
    pub async fn acquire_together(
        &self,
        names: Vec<ResourceName>,
        acquire: Acquire,
        timeout: Option<Duration>,
    ) -> Result<Answer, Unavailable> {
        self.wait_for(Wish::Together(names, acquire), timeout).await
    }

    /// Frees `name`.
    ///
    /// Answers with `Released`, `ReleasedBefore`, `NotAcquired`, `WasBroken`,
    /// `InvalidUnlock` or `KeyReused`. A release that was submitted is done even if the future
    /// is dropped.
    pub async fn release(&self, name: ResourceName, release: Release) -> Result<Outcome, Unavailable> {
        self.decide(Wish::One(name, Operation::Release(release))).await
    }

    /// Frees `name` without its key.
    ///
    /// Answers with `Broken`, `NotAcquired` or `InvalidUnlock` (another grant was
    /// meant).
    pub async fn break_lock(&self, name: ResourceName, break_lock: BreakLock) -> Result<Outcome, Unavailable> {
        self.decide(Wish::One(name, Operation::Break(break_lock))).await
    }

    /// Lets the lock on `name` last longer.
    ///
    /// Answers with `Renewed`, `NotAcquired`, `WasBroken` or `InvalidRenew`.
    pub async fn renew(&self, name: ResourceName, renew: Renew) -> Result<Outcome, Unavailable> {
        let mut outcome = self.decide(Wish::One(name, Operation::Renew(renew))).await?;
        if let Outcome::Renewed(snapshot) = &mut outcome
            && snapshot.waiters.is_none()
        {
            snapshot.waiters = self.look(snapshot.name.clone()).await?.waiters;
        }
        Ok(outcome)
    }

    /// Renews all of `names` that the key holds, in one transaction. Says how
    /// many.
    pub async fn renew_each(&self, names: Vec<ResourceName>, renew: Renew) -> Result<usize, Unavailable> {
        self.count(names, Operation::Renew(renew)).await
    }

    /// Frees all of `names` that the key holds, in one transaction. Says how
    /// many.
    pub async fn release_each(&self, names: Vec<ResourceName>, release: Release) -> Result<usize, Unavailable> {
        self.count(names, Operation::Release(release)).await
    }

    /// Shows a resource as it is; one that nobody ever acquired too. What was
    /// committed before the call is seen.
    pub async fn look(&self, name: ResourceName) -> Result<Snapshot, Unavailable> {
        match self.ask(Wish::Look(name)).await? {
            Told::Seen(snapshot) => Ok(*snapshot),
            told => unreachable!("a look was answered with {told:?}"),
        }
    }

    /// Shows a resource as soon as `is_news` says so of it, or as it is when
    /// `wait` is over or the server is being stopped.
    pub async fn look_for_news(
        &self,
        name: ResourceName,
        wait: Duration,
        is_news: impl Fn(&Snapshot) -> bool,
    ) -> Result<Snapshot, Unavailable> {
        let deadline = deadline(wait);
        let watch = self.shared.watches.watch(name.clone(), self.watches_max);
        let watch = watch.ok_or(Unavailable::Waiters)?;
        loop {
            let mut wake = pin!(watch.wake().notified());
            // From here on nothing is missed that is committed after the look.
            wake.as_mut().enable();
            let snapshot = match self.look(name.clone()).await {
                // Thousands may be woken at once; those who find no room come again in a moment.
                Err(Unavailable::Queue) if time::now() < deadline => {
                    tokio::time::sleep(WATCH_RETRY_INTERVAL).await;
                    continue;
                }
                looked => looked?,
            };
            let now = time::now();
            if is_news(&snapshot) || now >= deadline || self.shared.is_draining() {
                return Ok(snapshot);
            }
            let expires = snapshot.expires_in().and_then(|expires_in| now.checked_add(expires_in));
            let until = expires.map_or(deadline, |expires| expires.min(deadline));
            tokio::select! {
                biased;
                () = wake => {}
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    /// How many wait for each of `names` of whom the database does not know: all
    /// of them where it is this server's own, else those who want others too.
    pub async fn waiting_here(&self, names: Vec<ResourceName>) -> Result<Vec<usize>, Unavailable> {
        match self.ask(Wish::CountWaiting(names)).await? {
            Told::Waiting(waiting) => Ok(waiting),
            told => unreachable!("a count was answered with {told:?}"),
        }
    }

    /// Who stands in the line for `name` at this server, in order.
    pub async fn line_here(&self, name: ResourceName) -> Result<Vec<InLine>, Unavailable> {
        match self.ask(Wish::ShowLine(name)).await? {
            Told::Line(line) => Ok(line),
            told => unreachable!("a look at a line was answered with {told:?}"),
        }
    }

    /// Whether the locks of each client are bounded; then who acquires has to say
    /// which client it is.
    pub fn counts_locks(&self) -> bool {
        self.shared.counts_locks()
    }

    /// Decides by `policy` from the next batch on; what was decided stands. Its
    /// `operations_queued_max` and `waiters_max` cannot be changed.
    pub fn set_policy(&self, policy: Policy) {
        self.shared.set_policy(policy);
        self.nudge();
    }

    /// Refuses new acquisitions and answers everybody who waits that the
    /// server is being stopped. Releases are served to the last.
    pub fn drain(&self) {
        self.shared.drain();
        self.shared.watches.wake_all();
        self.nudge();
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Makes the batcher thread finish what is queued and end.
    pub fn stop(&self) {
        // It can only fail because the thread has ended already.
        let _ = self.queue.send(Message::Stop);
    }

    async fn wait_for(&self, wish: Wish, timeout: Option<Duration>) -> Result<Answer, Unavailable> {
        if self.shared.is_draining() {
            return Err(self.refuse(Unavailable::Stopping));
        }
        let wait_until = timeout.map(deadline);
        let mut pending = self.submit(wish, wait_until).map_err(|reason| self.refuse(reason))?;
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
                Some(deadline) if deadline <= time::now() => {
                    self.shared.metrics.refusals.count(Refusal::Timeout);
                    Ok(Answer::TimedOut)
                }
                _ => Err(self.refuse(Unavailable::Stopping)),
            };
        };
        let reply = reply.map_err(|reason| self.refuse(reason))?;
        let answer = match reply.told {
            Told::Outcome(outcome) => Answer::Decided(outcome, reply.lapses),
            Told::Superseded => Answer::Superseded,
            told => unreachable!("an acquisition was answered with {told:?}"),
        };
        answer.require_in_time().map_err(|reason| self.refuse(reason))?;
        Ok(answer)
    }

    /// Counts a request that is refused.
    fn refuse(&self, reason: Unavailable) -> Unavailable {
        self.shared.metrics.refusals.count(refusal(reason));
        reason
    }

    /// What comes of a wish that does not wait for a lock.
    async fn ask(&self, wish: Wish) -> Result<Told, Unavailable> {
        let reply = self.submit(wish, None)?.reply_in_time().await;
        Ok(reply.unwrap_or(Err(Unavailable::Stopping))?.told)
    }

    async fn decide(&self, wish: Wish) -> Result<Outcome, Unavailable> {
        match self.ask(wish).await.map_err(|reason| self.refuse(reason))? {
            Told::Outcome(outcome) => Ok(outcome),
            told => unreachable!("an operation was answered with {told:?}"),
        }
    }

    async fn count(&self, names: Vec<ResourceName>, operation: Operation) -> Result<usize, Unavailable> {
        if names.is_empty() {
            return Ok(0);
        }
        let told = self.ask(Wish::Each(names, operation)).await;
        match told.map_err(|reason| self.refuse(reason))? {
            Told::Count(count) => Ok(count),
            told => unreachable!("an operation on several was answered with {told:?}"),
        }
    }

    fn submit(&self, wish: Wish, wait_until: Option<Instant>) -> Result<Pending<'_>, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let wanted = match &wish {
            Wish::One(name, Operation::Acquire(_)) => Wanted::One(name.clone()),
            Wish::Together(names, _) => Wanted::Several(names.clone()),
            _ => Wanted::Nothing,
        };
        let submission = Submission {
            wish,
            wait_until,
            reply,
            put_off: None,
        };
        // Before it is taken, so that there are never less than none.
        self.shared.metrics.queued_operations.inc();
        let reason = match self.queue.try_send(Message::Submit(submission)) {
            Ok(()) => {
                return Ok(Pending {
                    engine: self,
                    wanted,
                    answer: Some(answer),
                });
            }
            Err(TrySendError::Full(_)) => Unavailable::Queue,
            Err(TrySendError::Disconnected(_)) => Unavailable::Stopping,
        };
        self.shared.metrics.queued_operations.dec();
        Err(reason)
    }

    /// Holds grants that were answered with and of which the client does not know
    /// yet: dropped, it gives them back.
    pub fn untold(&self, names: Vec<ResourceName>, granted: &[Grant]) -> Untold<'_> {
        Untold {
            engine: self,
            names,
            grants: granted.iter().map(|grant| grant.fencing_token).collect(),
        }
    }

    fn depart(&self, departure: Departure) {
        self.shared.add_departure(departure);
        self.nudge();
    }

    /// Tells the batcher what other servers announce, as a listener heard it.
    pub fn announce(&self, heard: Vec<Announcement>) {
        self.shared.add_announcements(heard);
        self.nudge();
    }

    /// Wakes the batcher. A full queue means that it is awake.
    fn nudge(&self) {
        let _ = self.queue.try_send(Message::Look);
    }
}

/// Grants of which the client does not know yet.
pub struct Untold<'e> {
    engine: &'e Engine,
    names: Vec<ResourceName>,
    grants: Vec<FencingToken>,
}

impl Untold<'_> {
    /// From now on the client is told, and they stand.
    pub fn tell(mut self) {
        self.grants.clear();
    }
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        let grants = std::mem::take(&mut self.grants);
        if !grants.is_empty() {
            let names = std::mem::take(&mut self.names);
            self.engine.depart(Departure { names, grants });
        }
    }
}

/// What a request may come to hold.
enum Wanted {
    Nothing,
    One(ResourceName),
    Several(Vec<ResourceName>),
}

/// A request that waits for its reply. Dropped without one, it tells the
/// batcher, so that nothing stays granted to nobody.
struct Pending<'e> {
    engine: &'e Engine,
    wanted: Wanted,
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
        let names = match std::mem::replace(&mut self.wanted, Wanted::Nothing) {
            Wanted::Nothing => return,
            Wanted::One(name) => vec![name],
            Wanted::Several(names) => names,
        };
        let grants = match self.last_look() {
            None => Vec::new(),
            Some(Ok(Reply {
                told: Told::Outcome(outcome),
                ..
            })) if !outcome.granted().is_empty() => {
                let grants = outcome.granted().iter();
                grants.map(|grant| grant.fencing_token).collect()
            }
            Some(_) => return,
        };
        self.engine.depart(Departure { names, grants });
    }
}

/// The instant `timeout` from now, or one so far ahead that it does not
/// matter where the clock cannot express it.
fn deadline(timeout: Duration) -> Instant {
    const FAR_AHEAD: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    let now = time::now();
    now.checked_add(timeout).unwrap_or(now + FAR_AHEAD)
}
