//! The work of one batch: which operations on which rows, and what was decided
//! of them.
//!
//! Separate from the batcher, which knows threads, time and failure; here is
//! only the way from submissions to decisions.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::engine::handle::{Parked, ReplySender, Submission, Unavailable};
use crate::engine::policy::Policy;
use crate::limits::BATCH_OPERATIONS_MAX;
use crate::lock::{Batch, FencingToken, HandOver, Operation, Outcome, Place, ResourceName, Rows, Waiter, WaitingLines};

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

/// All that one batch is to do.
#[derive(Default)]
pub(super) struct Work {
    pub(super) index: RowIndex,
    pub(super) tasks: Vec<Task>,
    /// Grants that are undone by it.
    pub(super) returned: Vec<(ResourceName, FencingToken)>,
    /// Rows whose lines the store may not know as they are.
    pub(super) restated: Vec<usize>,
    /// Who left a line before it was served: the row and the place.
    pub(super) left: Vec<(usize, Place)>,
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
    /// Places beyond this one were given by these decisions.
    pub(super) last_place_before: Place,
    /// The rows of whose lines the store is told something.
    pub(super) lines_told: Vec<usize>,
    /// For each row, what comes next for those in line.
    pub(super) prospects: Vec<Prospect>,
}

/// What those in line for a resource have to expect, if nothing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prospect {
    /// It stays as it is.
    Nothing,
    /// Its lock ends.
    Ends(Timestamp),
    /// It is free, and another server will serve it if that lives; it is
    /// believed to, for so long.
    Promised(Duration),
}

impl Work {
    /// Adds what nobody asked for. Says in which row.
    pub(super) fn add_own(&mut self, name: ResourceName, operation: Operation) -> usize {
        let row = self.index.row(name);
        self.tasks.push(Task {
            row,
            operation,
            asker: None,
        });
        row
    }

    /// Adds a grant that is to be undone.
    pub(super) fn add_return(&mut self, name: ResourceName, fencing_token: FencingToken) {
        self.add_own(name.clone(), Operation::GiveBack { fencing_token });
        self.returned.push((name, fencing_token));
    }

    /// Adds what a request asked for.
    pub(super) fn add_asked(&mut self, submission: Submission) {
        self.tasks.push(Task {
            row: self.index.row(submission.name),
            operation: submission.operation,
            asker: Some(Asker {
                wait_until: submission.wait_until,
                reply: submission.reply,
            }),
        });
    }

    /// How much more of what nobody asked for fits.
    pub(super) fn room(&self) -> usize {
        BATCH_OPERATIONS_MAX.saturating_sub(self.tasks.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

impl Task {
    /// Whom to tell, if anybody.
    pub(super) fn into_reply(self) -> Option<ReplySender> {
        self.asker.map(|asker| asker.reply)
    }
}

impl RowIndex {
    /// The index of the row of `name`.
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

impl Decisions {
    /// Decides the tasks in their order as of `now`, over the rows of a batch.
    pub(super) fn make(
        now: Timestamp,
        rows: &mut Rows,
        lines: &mut WaitingLines<Parked>,
        policy: &Policy,
        tasks: Vec<Task>,
        (restated, left): (&[usize], &[(usize, Place)]),
    ) -> Self {
        let moment = Moment {
            now,
            decided: Instant::now(),
        };
        let last_place_before = rows.last_place();
        let mut batch = Batch::new(now, rows, lines);
        for row in restated {
            batch.restate(*row, |parked: &Parked| moment.timestamp(parked.wait_until));
        }
        for (row, place) in left {
            batch.leave(*row, *place);
        }
        let mut replies = Vec::with_capacity(tasks.len());
        for task in tasks {
            decide_task(&mut batch, policy, moment, task, &mut replies);
        }
        let (handed_over, passed_over) = (batch.handed_over, batch.passed_over);
        Self {
            now,
            decided: moment.decided,
            replies,
            handed_over,
            passed_over,
            last_place_before,
            lines_told: rows.lines_told().collect(),
            prospects: (0..rows.len()).map(|row| prospect(now, rows, row)).collect(),
        }
    }
}

/// The same instant by the store's clock and by that of this process.
#[derive(Clone, Copy)]
struct Moment {
    now: Timestamp,
    decided: Instant,
}

impl Moment {
    fn timestamp(self, instant: Instant) -> Timestamp {
        self.now + instant.saturating_duration_since(self.decided)
    }
}

fn prospect(now: Timestamp, rows: &Rows, row: usize) -> Prospect {
    let holder = rows.resource(row).holder_at(now);
    match (holder, rows.ahead(row)) {
        (Some(lock), _) => lock.expires_at.map_or(Prospect::Nothing, Prospect::Ends),
        (None, Some(ahead)) => Prospect::Promised(ahead.believed_for),
        (None, None) => Prospect::Nothing,
    }
}

fn decide_task(batch: &mut Batch<'_, Parked>, policy: &Policy, moment: Moment, task: Task, replies: &mut Vec<Decided>) {
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
                batch.join(task.row, task.operation, moment.timestamp(wait_until), parked);
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
