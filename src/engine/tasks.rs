//! The work of one batch: which operations on which rows, and what was decided
//! of them.
//!
//! Separate from the batcher, which knows threads, time and failure; here is
//! only the way from submissions to decisions.

use std::collections::HashMap;
use std::time::Instant;

use crate::clock::Timestamp;
use crate::engine::handle::{Parked, ReplySender, Submission, Unavailable};
use crate::engine::policy::Policy;
use crate::lock::{Batch, HandOver, Operation, Outcome, Resource, ResourceName, Rows, Waiter, WaitingLines};

/// One operation of a batch, and whom to tell.
pub(super) struct Task {
    row: usize,
    operation: Operation,
    asker: Option<Asker>,
}

struct Asker {
    wait_until: Option<Instant>,
    reply: ReplySender,
}

/// What was decided of one operation, and whom to tell.
pub(super) struct Decided {
    pub(super) row: usize,
    pub(super) reply: ReplySender,
    pub(super) result: Result<Outcome, Unavailable>,
}

/// Where the names of a batch stand among its rows.
#[derive(Default)]
pub(super) struct RowIndex {
    pub(super) names: Vec<ResourceName>,
    rows: HashMap<ResourceName, usize>,
}

/// What was decided, to be told once it is on disk.
pub(super) struct Decisions {
    pub(super) now: Timestamp,
    /// The same instant by the clock of this process. The commit comes after
    /// it and may take long; leases run from here all the same.
    pub(super) decided: Instant,
    pub(super) replies: Vec<Decided>,
    pub(super) handed_over: Vec<HandOver<Parked>>,
    pub(super) passed_over: Vec<Waiter<Parked>>,
    /// For each row, when its lock ends.
    pub(super) expiries: Vec<Option<Timestamp>>,
}

impl Task {
    /// What nobody asked for.
    pub(super) fn internal(row: usize, operation: Operation) -> Self {
        Self {
            row,
            operation,
            asker: None,
        }
    }

    /// What a request asked for.
    pub(super) fn asked(index: &mut RowIndex, submission: Submission) -> Self {
        Self {
            row: index.row(submission.name),
            operation: submission.operation,
            asker: Some(Asker {
                wait_until: submission.wait_until,
                reply: submission.reply,
            }),
        }
    }

    /// Whom to tell, if anybody.
    pub(super) fn into_reply(self) -> Option<ReplySender> {
        self.asker.map(|asker| asker.reply)
    }
}

impl RowIndex {
    /// The index of the row of `name`.
    pub(super) fn row(&mut self, name: ResourceName) -> usize {
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

impl Decisions {
    /// Decides `tasks` in their order as of `now`, over the rows of a batch.
    pub(super) fn make(
        now: Timestamp,
        rows: &mut Rows,
        lines: &mut WaitingLines<Parked>,
        policy: &Policy,
        tasks: Vec<Task>,
    ) -> Self {
        let decided = Instant::now();
        let mut batch = Batch::new(now, rows, lines);
        let mut replies = Vec::with_capacity(tasks.len());
        for task in tasks {
            decide_task(&mut batch, policy, task, &mut replies);
        }
        let (handed_over, passed_over) = (batch.handed_over, batch.passed_over);
        let expiry = |resource: &Resource| resource.lock.as_ref().and_then(|lock| lock.expires_at);
        Self {
            now,
            decided,
            replies,
            handed_over,
            passed_over,
            expiries: rows.resources().map(expiry).collect(),
        }
    }
}

fn decide_task(batch: &mut Batch<'_, Parked>, policy: &Policy, task: Task, replies: &mut Vec<Decided>) {
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
    replies.push(Decided {
        row: task.row,
        reply: asker.reply,
        result,
    });
}

/// Whether one more may wait. Those whose departure was told do not count.
fn room_in_line(batch: &Batch<'_, Parked>, policy: &Policy, row: usize) -> Result<(), Unavailable> {
    let (in_line, in_all) = batch.waiting(row);
    if in_line >= policy.waiters_per_resource_max {
        Err(Unavailable::Line)
    } else if in_all >= policy.waiters_max {
        Err(Unavailable::Waiters)
    } else {
        Ok(())
    }
}
