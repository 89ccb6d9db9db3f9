//! Group commit: the one thread that loads, decides, saves and commits.
//!
//! It takes one operation, then all others that are queued up to a bound, and
//! runs them in one transaction. There is no timer: what arrives during a
//! commit is the next batch, so an operation that comes alone waits for no
//! other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use crate::clock::Timestamp;
use crate::db::{Store, StoreError};
use crate::engine::expiry::ExpiryTimers;
use crate::engine::handle::{Engine, Message, Parked, Reply, ReplySender, Shared, Submission, Unavailable};
use crate::limits::{
    BATCH_OPERATIONS_MAX, PRUNE_INTERVAL, PRUNE_ROWS_MAX, REOPEN_INTERVAL, SWEEP_INTERVAL, SWEEP_ROWS_MAX,
};
use crate::lock::{Batch, FencingToken, Grant, HandOver, Operation, Outcome, ResourceName, Waiter, WaitingLines};

/// Entries beyond twice what is needed at which the timers are compacted.
const STALE_TIMERS_MAX: usize = 1024;

/// What an operator may set.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Operations that may be queued.
    pub operations_queued_max: usize,
    /// Requests that may wait in all.
    pub waiters_max: usize,
    /// Requests that may wait for one resource.
    pub waiters_per_resource_max: usize,
    /// Days after which an unused row is deleted; 0 is never.
    pub prune_after_days: u32,
}

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
    /// What the store said when it last failed, until it works again.
    failing: Option<String>,
    /// Before this instant nothing is tried again that has failed.
    retry_at: Instant,
    next_sweep: Instant,
    next_prune: Instant,
    stopping: bool,
}

/// One operation of a batch, and whom to tell.
struct Task {
    row: usize,
    operation: Operation,
    asker: Option<Asker>,
}

struct Asker {
    wait_until: Option<Instant>,
    reply: ReplySender,
}

/// Where the names of a batch stand among its rows.
#[derive(Default)]
struct RowIndex {
    names: Vec<ResourceName>,
    rows: HashMap<ResourceName, usize>,
}

/// What was decided, to be told once it is on disk.
struct Decisions {
    now: Timestamp,
    /// The same instant by the clock of this process. The commit comes after
    /// it and may take long; leases run from here all the same.
    decided: Instant,
    replies: Vec<(ResourceName, ReplySender, Result<Outcome, Unavailable>)>,
    handed_over: Vec<HandOver<Parked>>,
    passed_over: Vec<Waiter<Parked>>,
    /// For each row, when its lock ends.
    expiries: Vec<Option<Timestamp>>,
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
            failing: None,
            retry_at: now,
            next_sweep: now + SWEEP_INTERVAL,
            next_prune: now + PRUNE_INTERVAL,
            stopping: false,
        };
        let thread = Builder::new().name("batcher".to_owned()).spawn(move || batcher.run())?;
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
            if idle {
                self.tidy();
            }
        }
        // Nothing stays granted to nobody over the restart.
        for waiter in self.lines.take_all() {
            answer(waiter.ticket.reply, Err(Unavailable::Stopping));
        }
        self.take_departures();
        while !self.returns.is_empty() && self.failing.is_none() {
            self.run_batch(Vec::new());
            self.take_departures();
        }
    }

    /// Waits for something to do and takes it, and whatever else is queued.
    fn collect(&mut self) -> Vec<Submission> {
        let mut submissions = Vec::new();
        // Those who were just answered have more to ask: where all processors are busy they come first, and the next
        // commit is shared by more. Where one is idle this returns at once.
        std::thread::yield_now();
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
        if !self.returns.is_empty() && self.failing.is_none() {
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
        for submission in submissions {
            // Nobody would learn of the grant.
            if matches!(submission.operation, Operation::Acquire { .. }) && submission.reply.is_closed() {
                continue;
            }
            tasks.push(Task {
                row: index.row(submission.name),
                operation: submission.operation,
                asker: Some(Asker {
                    wait_until: submission.wait_until,
                    reply: submission.reply,
                }),
            });
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
            let decided = Instant::now();
            let mut batch = Batch::new(now, rows, lines);
            let mut replies = Vec::with_capacity(tasks.len());
            for task in tasks {
                decide_task(&mut batch, policy, task, &names, &mut replies);
            }
            let (handed_over, passed_over) = (batch.handed_over, batch.passed_over);
            let expiry = |row| rows.resource(row).lock.as_ref().and_then(|lock| lock.expires_at);
            decisions = Some(Decisions {
                now,
                decided,
                replies,
                handed_over,
                passed_over,
                expiries: (0..names.len()).map(expiry).collect(),
            });
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
                self.undo(names, joined_from, tasks, decisions);
                false
            }
        }
    }

    /// Answers everybody: the decisions are on disk.
    fn tell(&mut self, names: &[ResourceName], decisions: Decisions) {
        let Decisions { now, decided, .. } = decisions;
        // Beyond what the clock can express is never.
        let instant = |at: Timestamp| decided.checked_add(at.since(now));
        for (name, reply, result) in decisions.replies {
            match result {
                Ok(outcome) => self.send(name, reply, outcome, instant),
                Err(unavailable) => answer(reply, Err(unavailable)),
            }
        }
        for HandOver { name, waiter, grant } in decisions.handed_over {
            self.send(name, waiter.ticket.reply, Outcome::Acquired(grant), instant);
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
        if self.timers.len() > 2 * self.lines.waiting() + STALE_TIMERS_MAX {
            let lines = &self.lines;
            self.timers.compact(|name| lines.waiting_for(name) > 0);
        }
    }

    fn send(
        &mut self,
        name: ResourceName,
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
            self.returns.push((name, token));
        }
    }

    /// Takes back what was decided: the commit did not succeed. Those who
    /// waited before keep their places; those who asked now are told.
    fn undo(
        &mut self,
        names: Vec<ResourceName>,
        joined_from: u64,
        undecided: Option<Vec<Task>>,
        decisions: Option<Decisions>,
    ) {
        let askers = undecided.into_iter().flatten().filter_map(|task| task.asker);
        for asker in askers {
            answer(asker.reply, Err(Unavailable::Store));
        }
        if let Some(decisions) = decisions {
            for (name, reply, result) in decisions.replies {
                // It may have been committed after all; then nobody knows of it.
                if let Ok(Outcome::Acquired(grant)) = &result {
                    self.returns.push((name, grant.fencing_token));
                }
                answer(reply, Err(Unavailable::Store));
            }
            for HandOver { name, waiter, grant } in decisions.handed_over.into_iter().rev() {
                self.returns.push((name.clone(), grant.fencing_token));
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
    }

    /// What can wait until nobody else does.
    fn tidy(&mut self) {
        let now = Instant::now();
        if now < self.next_sweep {
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
        if self.failing.take().is_some() {
            log::warn!("the database works again");
        }
    }

    fn note_failure(&mut self, error: &StoreError, operations: usize) {
        let cause = error.to_string();
        if self.failing.is_none() {
            log::error!("commit of {operations} operations failed: {cause}");
        }
        self.failing.get_or_insert(cause);
    }
}

fn decide_task(
    batch: &mut Batch<'_, Parked>,
    policy: &Policy,
    task: Task,
    names: &[ResourceName],
    replies: &mut Vec<(ResourceName, ReplySender, Result<Outcome, Unavailable>)>,
) {
    let outcome = batch.apply(task.row, &task.operation);
    let Some(asker) = task.asker else {
        return;
    };
    let result = match (outcome, asker.wait_until) {
        (Outcome::Locked, Some(wait_until)) => match room_in_line(batch, policy, task.row) {
            Ok(()) => {
                let parked = Parked {
                    wait_until,
                    reply: asker.reply,
                };
                batch.join(task.row, task.operation, parked);
                return;
            }
            Err(full) => Err(full),
        },
        (outcome, _) => Ok(outcome),
    };
    replies.push((names[task.row].clone(), asker.reply, result));
}

/// Whether one more may wait. Those who have left do not count.
fn room_in_line(batch: &mut Batch<'_, Parked>, policy: &Policy, row: usize) -> Result<(), Unavailable> {
    let (in_line, _) = batch.waiting(row);
    if in_line >= policy.waiters_per_resource_max {
        batch.remove_departed(row);
    }
    let (in_line, in_all) = batch.waiting(row);
    if in_line >= policy.waiters_per_resource_max {
        Err(Unavailable::Line)
    } else if in_all >= policy.waiters_max {
        Err(Unavailable::Waiters)
    } else {
        Ok(())
    }
}

fn answer(reply: ReplySender, result: Result<Reply, Unavailable>) {
    // Whoever has left needs no answer.
    let _ = reply.send(result);
}

impl Task {
    fn internal(row: usize, operation: Operation) -> Self {
        Self {
            row,
            operation,
            asker: None,
        }
    }
}

impl RowIndex {
    fn row(&mut self, name: ResourceName) -> usize {
        match self.rows.get(&name) {
            Some(row) => *row,
            None => {
                let row = self.names.len();
                self.names.push(name.clone());
                self.rows.insert(name, row);
                row
            }
        }
    }
}
