//! Group commit: the one thread that loads, decides, saves and commits.
//!
//! It takes one operation, then all others that are queued up to a bound, and
//! runs them in one transaction. There is no timer: what arrives during a
//! commit is the next batch, so an operation that comes alone waits for no
//! other.

use std::collections::HashSet;
use std::process;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, Builder, JoinHandle};
use std::time::Instant;

use crate::clock::Timestamp;
use crate::db::{Store, StoreError};
use crate::engine::expiry::ExpiryTimers;
use crate::engine::handle::{Engine, Message, Parked, Reply, ReplySender, Shared, Submission, Unavailable};
use crate::engine::policy::Policy;
use crate::engine::tasks::{Decided, Decisions, RowIndex, Task};
use crate::limits::{
    BATCH_OPERATIONS_MAX, LAST_RETURNS_WAIT_MAX, PRUNE_INTERVAL, PRUNE_ROWS_MAX, REOPEN_INTERVAL, SWEEP_DELAY_MAX,
    SWEEP_INTERVAL, SWEEP_ROWS_MAX,
};
use crate::lock::{FencingToken, Grant, HandOver, Operation, Outcome, ResourceName, WaitingLines};

/// Entries beyond twice what is needed at which the timers are compacted.
const STALE_TIMERS_MAX: usize = 1024;

/// The state of the batcher thread. Nobody else touches any of it.
pub struct Batcher<S> {
    store: S,
    policy: Policy,
    queue: Receiver<Message>,
    shared: Arc<Shared>,
    lines: WaitingLines<Parked>,
    timers: ExpiryTimers,
    /// Grants to be undone in the next batch: they reached nobody, or their
    /// commit may have failed.
    returns: Vec<(ResourceName, FencingToken)>,
    /// Whether the store failed when it was last used.
    is_failing: bool,
    /// Before this instant nothing is tried again that has failed.
    retry_at: Instant,
    next_sweep: Instant,
    next_prune: Instant,
    stopping: bool,
}

/// Ends the process if the thread panics that alone can decide: a server that
/// only refuses is worse than one that is started again, and what was answered
/// is on disk.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            log::error!("the batcher thread panicked; please report it");
            process::abort();
        }
    }
}

impl<S: Store + 'static> Batcher<S> {
    /// Starts the thread. It ends after [`Engine::stop`], or when the last
    /// handle is gone.
    pub fn spawn(store: S, policy: Policy) -> std::io::Result<(Engine, JoinHandle<()>)> {
        let (sender, queue) = sync_channel(policy.operations_queued_max);
        let shared = Arc::new(Shared::default());
        let engine = Engine::new(sender, Arc::clone(&shared));
        let now = Instant::now();
        let batcher = Self {
            store,
            policy,
            queue,
            shared,
            lines: WaitingLines::default(),
            timers: ExpiryTimers::default(),
            returns: Vec::new(),
            is_failing: false,
            retry_at: now,
            next_sweep: now + SWEEP_INTERVAL,
            next_prune: now + PRUNE_INTERVAL,
            stopping: false,
        };
        let thread = Builder::new().name("batcher".to_owned()).spawn(move || {
            let _guard = AbortOnPanic;
            batcher.run();
        })?;
        Ok((engine, thread))
    }

    fn run(mut self) {
        while !self.stopping {
            let submissions = self.collect();
            self.take_departures();
            if self.shared.is_draining() {
                for waiter in self.lines.take_all() {
                    answer(waiter.ticket.reply, Err(Unavailable::Stopping));
                }
            }
            let idle = submissions.is_empty();
            self.run_batch(submissions);
            self.tidy(idle);
        }
        // Nothing stays granted to nobody over the restart.
        for waiter in self.lines.take_all() {
            answer(waiter.ticket.reply, Err(Unavailable::Stopping));
        }
        self.take_departures();
        let give_up_at = Instant::now() + LAST_RETURNS_WAIT_MAX;
        while !self.returns.is_empty() && Instant::now() < give_up_at {
            if self.is_failing {
                thread::sleep(self.retry_at.saturating_duration_since(Instant::now()));
            }
            self.run_batch(Vec::new());
            self.take_departures();
        }
    }

    /// Waits for something to do and takes it, and whatever else is queued.
    fn collect(&mut self) -> Vec<Submission> {
        let mut submissions = Vec::new();
        // Those who were just answered have more to ask: where all processors are busy they come first, and the next
        // commit is shared by more. Where one is idle this returns at once.
        thread::yield_now();
        let mut message = self.wait();
        while let Some(received) = message {
            match received {
                Message::Submit(submission) => submissions.push(submission),
                Message::Look => {}
                Message::Stop => self.stopping = true,
            }
            if submissions.len() >= BATCH_OPERATIONS_MAX {
                break;
            }
            message = self.queue.try_recv().ok();
        }
        submissions
    }

    fn wait(&mut self) -> Option<Message> {
        if !self.returns.is_empty() && !self.is_failing {
            return self.queue.try_recv().ok();
        }
        let due = self.next_sweep.min(self.timers.next().unwrap_or(self.next_sweep));
        // After a failure nothing that is overdue is tried again at once; a new operation is.
        let until = due.max(self.retry_at);
        match self.queue.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                self.stopping = true;
                None
            }
        }
    }

    fn take_departures(&mut self) {
        // A line is looked through once, however many have left it.
        let mut shortened = HashSet::new();
        for departure in self.shared.take_departures() {
            match departure.grant {
                Some(token) => self.returns.push((departure.name, token)),
                None => {
                    shortened.insert(departure.name);
                }
            }
        }
        for name in shortened {
            self.lines.remove_departed(&name);
        }
    }

    /// Decides everything that is due in one transaction and tells everybody.
    fn run_batch(&mut self, submissions: Vec<Submission>) {
        let mut index = RowIndex::default();
        let mut tasks = Vec::with_capacity(submissions.len());
        let returned = self.returns.drain(..self.returns.len().min(BATCH_OPERATIONS_MAX));
        let returned: Vec<_> = returned.collect();
        for (name, fencing_token) in &returned {
            let operation = Operation::GiveBack {
                fencing_token: *fencing_token,
            };
            tasks.push(Task::internal(index.row(name.clone()), operation));
        }
        let now = Instant::now();
        while tasks.len() < BATCH_OPERATIONS_MAX
            && let Some(name) = self.timers.take_due(now)
        {
            tasks.push(Task::internal(index.row(name), Operation::Expire));
        }
        // Each grant that fails at COMMIT is one to be undone; first those.
        let overburdened = self.is_failing && self.returns.len() >= BATCH_OPERATIONS_MAX;
        for submission in submissions {
            if overburdened {
                answer(submission.reply, Err(Unavailable::Store));
                continue;
            }
            // Nobody would learn of the grant.
            if matches!(submission.operation, Operation::Acquire { .. }) && submission.reply.is_closed() {
                continue;
            }
            tasks.push(Task::asked(&mut index, submission));
        }
        if !tasks.is_empty() && !self.commit(index.names, tasks) {
            self.returns.extend(returned);
        }
    }

    /// Runs one transaction and tells everybody how it went. Says whether it
    /// succeeded.
    fn commit(&mut self, names: Vec<ResourceName>, tasks: Vec<Task>) -> bool {
        let operations = tasks.len();
        let joined_from = self.lines.next_place();
        let mut tasks = Some(tasks);
        let mut decisions = None;
        let Self {
            store, lines, policy, ..
        } = self;
        let result = store.transaction(&names, &mut |now, rows| {
            let Some(tasks) = tasks.take() else {
                return;
            };
            decisions = Some(Decisions::make(now, rows, lines, policy, tasks));
        });
        match (result, decisions) {
            (Ok(()), Some(decisions)) => {
                self.note_success();
                self.tell(&names, decisions);
                true
            }
            (result, decisions) => {
                let error = result
                    .err()
                    .unwrap_or(StoreError::Failed("nothing was decided".to_owned()));
                self.note_failure(&error, operations);
                let is_unknown = matches!(error, StoreError::Unknown(_));
                self.undo(names, joined_from, tasks, decisions, is_unknown);
                false
            }
        }
    }

    /// Answers everybody: the decisions are on disk.
    fn tell(&mut self, names: &[ResourceName], decisions: Decisions) {
        let Decisions { now, decided, .. } = decisions;
        // Beyond what the clock can express is never.
        let instant = |at: Timestamp| decided.checked_add(at.since(now));
        for Decided { row, reply, result } in decisions.replies {
            match result {
                Ok(outcome) => self.send(&names[row], reply, outcome, instant),
                Err(unavailable) => answer(reply, Err(unavailable)),
            }
        }
        for HandOver { name, waiter, grant } in decisions.handed_over {
            self.send(&name, waiter.ticket.reply, Outcome::Acquired(grant), instant);
        }
        // Their own timers answer those whose time is over; the others have left.
        drop(decisions.passed_over);
        for (name, expires_at) in names.iter().zip(decisions.expiries) {
            if let Some(expires) = expires_at.and_then(instant)
                && self.lines.waiting_for(name) > 0
            {
                self.timers.arm(expires, name.clone());
            }
        }
        self.compact_timers();
    }

    fn compact_timers(&mut self) {
        if self.timers.len() > 2 * self.lines.waiting() + STALE_TIMERS_MAX {
            let lines = &self.lines;
            self.timers.compact(|name| lines.waiting_for(name) > 0);
        }
    }

    fn send(
        &mut self,
        name: &ResourceName,
        reply: ReplySender,
        outcome: Outcome,
        instant: impl Fn(Timestamp) -> Option<Instant>,
    ) {
        let granted = match &outcome {
            Outcome::Acquired(grant) => Some(grant.fencing_token),
            _ => None,
        };
        let lapses = match &outcome {
            Outcome::Acquired(Grant { expires_at, .. }) => expires_at.and_then(instant),
            _ => None,
        };
        let undelivered = reply.send(Ok(Reply { outcome, lapses })).is_err();
        if let (true, Some(token)) = (undelivered, granted) {
            self.returns.push((name.clone(), token));
        }
    }

    /// Takes back what was decided: the commit did not succeed, or it
    /// `is_unknown` whether it did. Those who waited before keep their places;
    /// those who asked now are told.
    fn undo(
        &mut self,
        names: Vec<ResourceName>,
        joined_from: u64,
        undecided: Option<Vec<Task>>,
        decisions: Option<Decisions>,
        is_unknown: bool,
    ) {
        for reply in undecided.into_iter().flatten().filter_map(Task::into_reply) {
            answer(reply, Err(Unavailable::Store));
        }
        if let Some(decisions) = decisions {
            for Decided { row, reply, result } in decisions.replies {
                // If it was committed after all, nobody knows of it.
                if is_unknown && let Ok(Outcome::Acquired(grant)) = &result {
                    self.returns.push((names[row].clone(), grant.fencing_token));
                }
                answer(reply, Err(Unavailable::Store));
            }
            for HandOver { name, waiter, grant } in decisions.handed_over.into_iter().rev() {
                if is_unknown {
                    self.returns.push((name.clone(), grant.fencing_token));
                }
                self.lines.put_back(&name, waiter);
            }
        }
        let retry = Instant::now() + REOPEN_INTERVAL;
        self.retry_at = retry;
        for name in names {
            for waiter in self.lines.leave_since(&name, joined_from) {
                answer(waiter.ticket.reply, Err(Unavailable::Store));
            }
            if self.lines.waiting_for(&name) > 0 {
                self.timers.arm(retry, name);
            }
        }
        self.compact_timers();
    }

    /// What can wait until nobody else does, though not for ever.
    fn tidy(&mut self, idle: bool) {
        let now = Instant::now();
        let from = if idle {
            self.next_sweep
        } else {
            self.next_sweep + SWEEP_DELAY_MAX
        };
        if now < from {
            return;
        }
        self.next_sweep = now + SWEEP_INTERVAL;
        if let Err(error) = self.sweep(now) {
            self.note_failure(&error, 0);
        }
    }

    fn sweep(&mut self, now: Instant) -> Result<(), StoreError> {
        self.store.note_clock_offset()?;
        let expired = self.store.expired(SWEEP_ROWS_MAX)?;
        if now >= self.next_prune && self.policy.prune_after_days > 0 {
            self.next_prune = now + PRUNE_INTERVAL;
            let pruned = self.store.prune(PRUNE_ROWS_MAX, self.policy.prune_after_days)?;
            log::debug!("pruned {pruned} rows");
        }
        if !expired.is_empty() {
            let clear = |(row, _)| Task::internal(row, Operation::Expire);
            let tasks = expired.iter().enumerate().map(clear).collect();
            let is_full = expired.len() == SWEEP_ROWS_MAX;
            if self.commit(expired, tasks) && is_full {
                self.next_sweep = now;
            }
        }
        Ok(())
    }

    fn note_success(&mut self) {
        if self.is_failing {
            self.is_failing = false;
            log::warn!("the database works again");
        }
    }

    /// Logs the first cause; what is said while the database is being opened
    /// again mostly follows from it.
    fn note_failure(&mut self, error: &StoreError, operations: usize) {
        if self.is_failing {
            log::debug!("commit of {operations} operations failed again: {error}");
        } else {
            log::error!("commit of {operations} operations failed: {error}");
        }
        self.is_failing = true;
    }
}

fn answer(reply: ReplySender, result: Result<Reply, Unavailable>) {
    // Whoever has left needs no answer.
    let _ = reply.send(result);
}
