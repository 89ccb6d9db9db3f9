//! The work of one batch: which operations on which rows.
//!
//! Separate from the batcher, which knows threads, time and failure; and from
//! the decisions, which come of it.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use crate::engine::messages::{PutOff, ReplySender, Submission, Wish};
use crate::limits::BATCH_OPERATIONS_MAX;
use crate::lock::{
    Acquire, ClientName, FencingToken, Operation, Place, RequestId, ResourceName, StillWaits, WaitingLines,
};

/// One thing that a batch does, and whom to tell.
pub(super) struct Task {
    pub(super) what: What,
    pub(super) asker: Option<Asker>,
}

/// What it does to which rows.
pub(super) enum What {
    One(usize, Operation),
    Together(Vec<usize>, Acquire),
    Each(Vec<usize>, Operation),
}

pub(super) struct Asker {
    pub(super) wait_until: Option<Instant>,
    pub(super) reply: ReplySender,
    /// How often it was put off.
    pub(super) times: u32,
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
    /// Whose place may be at another server now: the row and the place.
    pub(super) moved: Vec<(usize, Place)>,
}

/// Where the names of a batch stand among its rows.
#[derive(Default)]
pub(super) struct RowIndex {
    pub(super) names: Vec<ResourceName>,
    rows: HashMap<ResourceName, usize>,
}

impl Work {
    /// Makes room for so many more tasks, of one name each.
    pub(super) fn reserve(&mut self, tasks: usize) {
        self.index.names.reserve(tasks);
        self.index.rows.reserve(tasks);
        self.tasks.reserve(tasks);
    }

    /// Adds what nobody asked for. Says in which row.
    pub(super) fn add_own(&mut self, name: ResourceName, operation: Operation) -> usize {
        let row = self.index.row(name);
        self.tasks.push(Task {
            what: What::One(row, operation),
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
        let Submission {
            wish,
            wait_until,
            reply,
            put_off,
        } = submission;
        let what = match wish {
            Wish::One(name, operation) => What::One(self.index.row(name), operation),
            Wish::Together(names, acquire) => What::Together(self.index.rows(names), acquire),
            Wish::Each(names, operation) => What::Each(self.index.rows(names), operation),
            Wish::Look(_) | Wish::CountWaiting(_) | Wish::ShowLine(_) => unreachable!("a look is not decided"),
        };
        let times = put_off.as_ref().map_or(0, |put_off| put_off.times);
        if let Some(put_off) = put_off {
            self.index.rows(put_off.names);
        }
        let asker = Asker {
            wait_until,
            reply,
            times,
        };
        self.tasks.push(Task {
            what,
            asker: Some(asker),
        });
    }

    /// Loads with each resource whose line begins with somebody who wants several
    /// the others of these.
    pub(super) fn add_companions<W: StillWaits>(&mut self, lines: &WaitingLines<W>) {
        if lines.is_empty() {
            return;
        }
        for row in 0..self.index.names.len() {
            let first = lines.first(&self.index.names[row]);
            if let Some(first) = first.filter(|first| first.wants_several()) {
                self.index.rows(first.names.iter().cloned());
            }
        }
    }

    /// Those among whose locks what is asked for would count.
    pub(super) fn clients(&self) -> Vec<ClientName> {
        let clients = self.tasks.iter().filter_map(|task| match &task.what {
            What::One(_, Operation::Acquire(acquire)) | What::Together(_, acquire) => acquire.client.as_ref(),
            _ => None,
        });
        clients.collect::<HashSet<_>>().into_iter().cloned().collect()
    }

    /// Requests that may have a place at another server: those that are decided,
    /// and of those who wait here the ones whose place may have moved or for whose
    /// row the line is restated.
    pub(super) fn requests<W: StillWaits>(&self, lines: &WaitingLines<W>) -> Vec<(usize, RequestId)> {
        let mut requests = Vec::new();
        for task in &self.tasks {
            let (rows, acquire) = match &task.what {
                What::One(row, Operation::Acquire(acquire)) => (std::slice::from_ref(row), acquire),
                What::Together(rows, acquire) => (rows.as_slice(), acquire),
                _ => continue,
            };
            if let Some(request) = &acquire.request {
                requests.extend(rows.iter().map(|row| (*row, request.clone())));
            }
        }
        for row in &self.restated {
            let line = lines.line(&self.index.names[*row]);
            let waiting = line.filter_map(|waiter| waiter.acquire.request.clone());
            requests.extend(waiting.map(|request| (*row, request)));
        }
        for (row, place) in &self.moved {
            let waiting = lines.get(*place).and_then(|waiter| waiter.acquire.request.clone());
            requests.extend(waiting.map(|request| (*row, request)));
        }
        requests
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

impl Asker {
    /// The request once more, to be decided when `names` are loaded with it.
    pub(super) fn put_off(self, wish: Wish, names: Vec<ResourceName>) -> Submission {
        let times = self.times + 1;
        Submission {
            wish,
            wait_until: self.wait_until,
            reply: self.reply,
            put_off: Some(Box::new(PutOff { names, times })),
        }
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

    fn rows(&mut self, names: impl IntoIterator<Item = ResourceName>) -> Vec<usize> {
        names.into_iter().map(|name| self.row(name)).collect()
    }
}
