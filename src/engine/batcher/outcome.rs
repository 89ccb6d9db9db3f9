//! What becomes of the decisions of a batch: told if they are on disk, undone
//! if not.

use std::time::Instant;

use super::{Batcher, answer};
use crate::clock::Timestamp;
use crate::db::Store;
use crate::engine::handle::{Reply, ReplySender, Unavailable};
use crate::engine::tasks::{Decided, Decisions, Prospect, Task};
use crate::limits::REOPEN_INTERVAL;
use crate::lock::{Grant, HandOver, Outcome, ResourceName};

/// Entries beyond twice what is needed at which the timers are compacted.
const STALE_TIMERS_MAX: usize = 1024;

impl<S: Store + 'static> Batcher<S> {
    /// Answers everybody: the decisions are on disk.
    pub(super) fn tell(&mut self, names: &[ResourceName], decisions: Decisions) {
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
        for (name, prospect) in names.iter().zip(decisions.prospects) {
            match prospect {
                Prospect::Nothing => {}
                Prospect::Ends(expires_at) => {
                    if let (true, Some(expires)) = (self.lines.waiting_for(name) > 0, instant(expires_at)) {
                        self.timers.arm(expires, name.clone());
                    }
                }
                Prospect::Promised(believed_for) => self.promise(decided + believed_for, name.clone()),
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
    pub(super) fn undo(
        &mut self,
        names: Vec<ResourceName>,
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
            for name in &names {
                for waiter in self.lines.leave_behind(name, decisions.last_place_before) {
                    answer(waiter.ticket.reply, Err(Unavailable::Store));
                }
            }
        }
        // Those that are suspect are looked at as such.
        let retry = Instant::now() + REOPEN_INTERVAL;
        for name in names {
            if self.lines.waiting_for(&name) > 0 && !self.suspects.contains(&name) {
                self.timers.arm(retry, name);
            }
        }
        self.compact_timers();
    }
}
