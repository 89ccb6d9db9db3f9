//! What becomes of the decisions of a batch: told if they are on disk, undone
//! if not.

use std::time::Instant;

use super::{Batcher, answer};
use crate::clock::Timestamp;
use crate::db::Store;
use crate::engine::decisions::{Decided, Decisions, Prospect};
use crate::engine::messages::{Parked, Reply, ReplySender, Told};
use crate::engine::tasks::Task;
use crate::engine::{Unavailable, time};
use crate::limits::REOPEN_INTERVAL;
use crate::lock::{HandOver, Outcome, ResourceName, Waiter};

/// Entries beyond twice what is needed at which the timers are compacted.
const STALE_TIMERS_MAX: usize = 1024;

impl<S: Store + 'static> Batcher<S> {
    /// Answers everybody: the decisions are on disk.
    pub(super) fn tell(&mut self, names: &[ResourceName], decisions: Decisions) {
        let Decisions { now, decided, .. } = decisions;
        // Beyond what the clock can express is never.
        let instant = |at: Timestamp| decided.checked_add(at.since(now));
        for Decided { rows, reply, result } in decisions.replies {
            match result {
                Ok(told) => {
                    self.counting.told(&told);
                    let names = rows.as_slice().iter().map(|row| &names[*row]);
                    self.send(names, reply, told, instant);
                }
                Err(unavailable) => answer(reply, Err(unavailable)),
            }
        }
        for HandOver { waiter, mut grants } in decisions.handed_over {
            let (count, since) = (grants.len(), waiter.ticket.since);
            let outcome = match grants.pop() {
                Some(grant) if grants.is_empty() && !waiter.wants_several() => Outcome::Acquired(grant),
                last => {
                    grants.extend(last);
                    Outcome::AcquiredTogether(grants)
                }
            };
            self.send(&waiter.names, waiter.ticket.reply, Told::Outcome(outcome), instant);
            self.counting.handed_over(count, since, decided);
        }
        self.pass_over(names, decisions.passed_over);
        self.put_off.extend(decisions.put_off);
        self.unfinished.extend(decisions.unfinished);
        for (row, until) in decisions.kept_free {
            if let Some(until) = instant(until) {
                self.timers.arm(until, names[row].clone());
            }
        }
        for row in decisions.unserved {
            if self.lines.waiting_for(&names[row]) > 0 {
                self.timers.arm(decided, names[row].clone());
            }
        }
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
        if !self.shared.watches.is_empty() {
            let changed = names.iter().zip(decisions.changed).filter(|(_, changed)| *changed);
            self.shared.watches.wake(changed.map(|(name, _)| name));
        }
        self.compact_timers();
    }

    /// Their own timers answer those whose time is over; the others have left.
    /// Those who wanted several stood in lines that this batch may not know.
    fn pass_over(&mut self, names: &[ResourceName], passed_over: Vec<Waiter<Parked>>) {
        let now = time::now();
        for waiter in passed_over.iter().filter(|waiter| waiter.wants_several()) {
            for name in waiter.lines() {
                if self.hearing.is_some() && !names.contains(name) {
                    self.left.push((name.clone(), waiter.place));
                }
                self.timers.arm(now, name.clone());
            }
        }
    }

    fn compact_timers(&mut self) {
        if self.timers.len() > 2 * self.lines.lines() + STALE_TIMERS_MAX {
            let lines = &self.lines;
            self.timers.compact(|name| lines.waiting_for(name) > 0);
        }
    }

    fn send<'n>(
        &mut self,
        names: impl IntoIterator<Item = &'n ResourceName>,
        reply: ReplySender,
        told: Told,
        instant: impl Fn(Timestamp) -> Option<Instant>,
    ) {
        let lapses = match &told {
            Told::Outcome(outcome) => outcome.first_end().and_then(instant),
            _ => None,
        };
        if let Err(Ok(undelivered)) = reply.send(Ok(Reply { told, lapses })) {
            self.take_back(names, &undelivered.told);
        }
    }

    /// Notes grants of which nobody knows.
    fn take_back<'n>(&mut self, names: impl IntoIterator<Item = &'n ResourceName>, told: &Told) {
        if let Told::Outcome(outcome) = told {
            let tokens = outcome.granted().iter().map(|grant| grant.fencing_token);
            self.returns.extend(names.into_iter().cloned().zip(tokens));
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
            for Decided { rows, reply, result } in decisions.replies {
                if let Ok(Told::Superseded) = result {
                    // Whoever took over its place waits there, whatever became of the commit.
                    let told = Told::Superseded;
                    answer(reply, Ok(Reply { told, lapses: None }));
                    continue;
                }
                // If it was committed after all, nobody knows of it.
                if let (true, Ok(told)) = (is_unknown, &result) {
                    self.take_back(rows.as_slice().iter().map(|row| &names[*row]), told);
                }
                answer(reply, Err(Unavailable::Store));
            }
            for HandOver { waiter, grants } in decisions.handed_over {
                if is_unknown {
                    let tokens = grants.iter().map(|grant| grant.fencing_token);
                    self.returns.extend(waiter.names.iter().cloned().zip(tokens));
                }
                self.lines.put_back(waiter);
            }
            for submission in decisions.put_off {
                answer(submission.reply, Err(Unavailable::Store));
            }
            self.pass_over(&names, decisions.passed_over);
            let returned = decisions.returned.iter();
            for waiter in returned.filter_map(|place| self.lines.take(*place)).collect::<Vec<_>>() {
                answer(waiter.ticket.reply, Err(Unavailable::Store));
            }
            for name in &names {
                for waiter in self.lines.take_behind(name, decisions.last_place_before) {
                    answer(waiter.ticket.reply, Err(Unavailable::Store));
                }
            }
        }
        // Those that are suspect are looked at as such.
        let retry = time::now() + REOPEN_INTERVAL;
        for name in names {
            if self.lines.waiting_for(&name) > 0 && !self.suspects.contains(&name) {
                self.timers.arm(retry, name);
            }
        }
        self.compact_timers();
    }
}
