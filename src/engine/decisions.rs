//! What is decided of the work of one batch.
//!
//! Runs within the store's transaction; nobody is told before that is on disk.

use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::engine::messages::{Parked, ReplySender, Submission, Told, Wish};
use crate::engine::policy::Policy;
use crate::engine::tasks::{Asker, Task, What};
use crate::engine::{Unavailable, time};
use crate::limits::{DEADLOCK_TOLD_FROM, PUT_OFF_MAX};
use crate::lock::{
    Acquire, Batch, Circle, Ended, HandOver, Likeness, Operation, Outcome, Place, ResourceName, Rows, Rules, Waiter,
    WaitingLines,
};

/// What was decided, to be told once it is on disk.
pub(super) struct Decisions {
    pub(super) now: Timestamp,
    /// The same instant by the clock of this process. The commit comes after
    /// it and may take long; leases run from here all the same.
    pub(super) decided: Instant,
    pub(super) replies: Vec<Decided>,
    pub(super) handed_over: Vec<HandOver<Parked>>,
    pub(super) passed_over: Vec<Waiter<Parked>>,
    /// The locks that ended.
    pub(super) ended: Vec<Ended>,
    /// How many locks were renewed.
    pub(super) renewed: usize,
    /// Resources that are to be looked at together.
    pub(super) unfinished: Vec<Vec<ResourceName>>,
    /// Rows that are to be looked at later, because nobody gets them before, and
    /// when.
    pub(super) kept_free: Vec<(usize, Timestamp)>,
    /// Requests that are decided in the next batch, with more rows.
    pub(super) put_off: Vec<Submission>,
    /// Places beyond this one were given by these decisions.
    pub(super) last_place_before: Place,
    /// The places elsewhere that were taken by these decisions.
    pub(super) returned: Vec<Place>,
    /// The rows of whose lines the store is told something.
    pub(super) lines_told: Vec<usize>,
    /// The rows that changed and those who wait for which are still to be
    /// served.
    pub(super) unserved: Vec<usize>,
    /// For each row, what comes next for those in line.
    pub(super) prospects: Vec<Prospect>,
    /// Whether something was recorded.
    pub(super) is_recorded: bool,
    /// For each row, whether it changed.
    pub(super) changed: Vec<bool>,
}

/// What the store is told of the lines, beside what is decided.
#[derive(Clone, Copy)]
pub(super) struct LinesToTell<'w> {
    /// Rows whose lines the store may not know as they are.
    pub(super) restated: &'w [usize],
    /// Who left a line before it was served: the row and the place.
    pub(super) left: &'w [(usize, Place)],
    /// Whose place may be at another server now: the row and the place.
    pub(super) moved: &'w [(usize, Place)],
    /// Whether those who waited for the rows that are restated may come back.
    pub(super) vacates: bool,
}

/// What was decided of one operation, and whom to tell.
pub(super) struct Decided {
    pub(super) rows: RowsOf,
    pub(super) reply: ReplySender,
    pub(super) result: Result<Told, Unavailable>,
}

/// To which rows an operation was applied.
pub(super) enum RowsOf {
    One(usize),
    Several(Vec<usize>),
}

/// What those in line for a resource have to expect, if nothing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prospect {
    /// It stays as it is.
    Nothing,
    /// It comes to be free, for some at least.
    Ends(Timestamp),
    /// It is free, and another server will serve it if that lives; it is
    /// believed to, for so long.
    Promised(Duration),
}

/// The same instant by the store's clock and by that of this process.
#[derive(Clone, Copy)]
struct Moment {
    now: Timestamp,
    decided: Instant,
}

/// Decides one task after the other.
struct Decider<'d, 'b> {
    batch: Batch<'b, Parked>,
    policy: &'d Policy,
    moment: Moment,
    replies: Vec<Decided>,
    put_off: Vec<Submission>,
    unserved: Vec<usize>,
    renewed: usize,
}

impl RowsOf {
    pub(super) fn as_slice(&self) -> &[usize] {
        match self {
            Self::One(row) => std::slice::from_ref(row),
            Self::Several(rows) => rows,
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
        lines_to_tell: LinesToTell<'_>,
    ) -> Self {
        let decided = time::now();
        let last_place_before = rows.last_place();
        let mut batch = Batch::new(now, policy.rules, rows, lines);
        for row in lines_to_tell.restated {
            match lines_to_tell.vacates {
                true => batch.vacate(*row),
                false => batch.restate(*row),
            }
        }
        for (row, place) in lines_to_tell.moved {
            batch.let_go(*row, *place);
        }
        for (row, place) in lines_to_tell.left {
            batch.leave(*row, *place);
        }
        let mut decider = Decider {
            batch,
            policy,
            moment: Moment { now, decided },
            replies: Vec::with_capacity(tasks.len()),
            put_off: Vec::new(),
            unserved: Vec::new(),
            renewed: 0,
        };
        for task in tasks {
            decider.decide(task);
        }
        let Decider {
            mut batch,
            mut replies,
            put_off,
            unserved,
            renewed,
            ..
        } = decider;
        batch.note_holders();
        let Batch {
            handed_over,
            passed_over,
            superseded,
            unfinished,
            kept_free,
            ended,
            ..
        } = batch;
        replies.extend(superseded.into_iter().map(|(row, waiter)| Decided {
            rows: RowsOf::One(row),
            reply: waiter.ticket.reply,
            result: Ok(Told::Superseded),
        }));
        Self {
            now,
            decided,
            replies,
            handed_over,
            passed_over,
            ended,
            renewed,
            unfinished,
            kept_free,
            put_off,
            last_place_before,
            is_recorded: !rows.events().is_empty(),
            returned: rows.returned().iter().map(|(_, place)| *place).collect(),
            lines_told: rows.lines_told().collect(),
            unserved,
            prospects: (0..rows.len())
                .map(|row| prospect(now, &policy.rules, rows, row))
                .collect(),
            changed: (0..rows.len()).map(|row| rows.is_changed(row)).collect(),
        }
    }
}

fn prospect(now: Timestamp, rules: &Rules, rows: &Rows, row: usize) -> Prospect {
    let resource = rows.resource(row);
    // When a lock ends its own key may have it at once, the others after the delay.
    let kept = rules.keep_for_its_holder(now, resource);
    let ends = match (resource.holder_at(now), kept) {
        (Some(lock), _) => lock.expires_at,
        (None, Some(lock)) => lock.expires_at.map(|expires_at| expires_at + rules.lock_delay),
        (None, None) => {
            let ahead = rows.ahead(row);
            return ahead.map_or(Prospect::Nothing, |ahead| Prospect::Promised(ahead.believed_for));
        }
    };
    ends.map_or(Prospect::Nothing, Prospect::Ends)
}

impl Decider<'_, '_> {
    fn decide(&mut self, task: Task) {
        let Task { what, asker } = task;
        match what {
            What::One(row, operation) => {
                if let Operation::Acquire(acquire) = &operation
                    && self.would_grant_too_many(&[row], acquire)
                {
                    return self.refuse_more_locks(RowsOf::One(row), asker);
                }
                let outcome = self.batch.apply(row, &operation);
                self.renewed += usize::from(matches!(outcome, Outcome::Renewed(_)));
                match (outcome, operation, asker) {
                    (_, _, None) => {}
                    (Outcome::Locked, Operation::Acquire(acquire), Some(asker)) => {
                        self.refuse(RowsOf::One(row), 0, acquire, asker);
                    }
                    (outcome, _, Some(asker)) => self.tell(RowsOf::One(row), asker, Ok(Told::Outcome(outcome))),
                }
            }
            What::Together(rows, acquire) => {
                if self.would_grant_too_many(&rows, &acquire) {
                    return self.refuse_more_locks(RowsOf::Several(rows), asker);
                }
                let outcome = self.batch.apply_together(&rows, &acquire);
                match (outcome, asker) {
                    (_, None) => {}
                    (Err(missing), Some(asker)) => self.refuse(RowsOf::Several(rows), missing, acquire, asker),
                    (Ok(outcome), Some(asker)) => {
                        self.tell(RowsOf::Several(rows), asker, Ok(Told::Outcome(outcome)));
                    }
                }
            }
            What::Each(rows, operation) => {
                let count = self.batch.apply_to_each(&rows, &operation);
                match operation {
                    Operation::Renew(_) => self.renewed += count,
                    _ => self.unserved.extend(&rows),
                }
                if let Some(asker) = asker {
                    self.tell(RowsOf::Several(rows), asker, Ok(Told::Count(count)));
                }
            }
        }
    }

    /// Whether an acquisition would be granted, but for the bound on the locks of
    /// its client. What is answered without a grant is not bounded: that the
    /// resource is locked, or that the same request was granted before.
    fn would_grant_too_many(&mut self, rows: &[usize], acquire: &Acquire) -> bool {
        self.are_too_many(rows, acquire) && self.batch.would_grant(rows, acquire)
    }

    /// Whether the client of an acquisition would hold more than it may with these.
    fn are_too_many(&self, rows: &[usize], acquire: &Acquire) -> bool {
        match (self.policy.client_locks_max, &acquire.client) {
            (Some(max), Some(client)) => self.batch.locks_of(client) + rows.len() > max,
            _ => false,
        }
    }

    fn refuse_more_locks(&mut self, rows: RowsOf, asker: Option<Asker>) {
        if let Some(asker) = asker {
            self.tell(rows, asker, Err(Unavailable::ClientLocks));
        }
    }

    /// Refuses an acquisition, or lets it wait if it has time; the row at
    /// position `missing` is one that it cannot have.
    fn refuse(&mut self, rows: RowsOf, missing: usize, acquire: Acquire, asker: Asker) {
        if let Some(likeness) = self.likeness_of_who_waits(&rows, &acquire) {
            match (likeness, asker.wait_until) {
                ((Likeness::Same, place), Some(wait_until)) => return self.take_over(rows, place, wait_until, asker),
                ((Likeness::Same, _), None) => {}
                _ => return self.tell(rows, asker, Ok(Told::Outcome(Outcome::KeyReused))),
            }
        }
        let Some(wait_until) = asker.wait_until else {
            return self.tell(rows, asker, Ok(Told::Outcome(Outcome::Locked)));
        };
        match self.circle(&rows, &acquire, wait_until) {
            Circle::Closed(names) => {
                self.batch.note_deadlock(rows.as_slice()[missing], &acquire, &names);
                return self.tell(rows, asker, Ok(Told::Outcome(Outcome::Deadlock(names))));
            }
            Circle::Perhaps(names) if asker.times < PUT_OFF_MAX => {
                let wish = self.wish(&rows, acquire);
                self.put_off.push(asker.put_off(wish, names));
                return;
            }
            _ => {}
        }
        match self.room_to_wait(rows.as_slice(), missing, &acquire) {
            Err(full) => self.tell(rows, asker, Err(full)),
            Ok(()) => {
                let until = self.moment.timestamp(wait_until);
                let reply = asker.reply;
                let parked = Parked {
                    since: self.moment.decided,
                    wait_until,
                    reply,
                };
                self.batch.join(rows.as_slice(), missing, acquire, until, parked);
            }
        }
    }

    /// How a request compares to one with its `Idempotency-Key` that waits for
    /// the same, and the place of that.
    fn likeness_of_who_waits(&self, rows: &RowsOf, acquire: &Acquire) -> Option<(Likeness, Place)> {
        let request = acquire.request.as_ref()?;
        let names: Vec<_> = rows
            .as_slice()
            .iter()
            .map(|row| self.batch.name(*row).clone())
            .collect();
        let waiter = self.batch.lines().of_request(&names, request)?;
        let earlier = waiter.acquire.request.as_ref()?;
        Some((request.likeness(earlier), waiter.place))
    }

    fn take_over(&mut self, rows: RowsOf, place: Place, wait_until: Instant, asker: Asker) {
        let parked = Parked {
            since: self.moment.decided,
            wait_until,
            reply: asker.reply,
        };
        let until = self.moment.timestamp(wait_until);
        if let Some(before) = self.batch.take_over(rows.as_slice(), place, until, parked) {
            self.replies.push(Decided {
                rows,
                reply: before.reply,
                result: Ok(Told::Superseded),
            });
        }
    }

    /// Whether the wait would be for itself in the end.
    ///
    /// Of one resource only where the wait is long. The original knows no owner
    /// beyond one resource: clients that have nothing to do with each other may
    /// use the same key for different ones, and are to get what they waited for.
    /// Nor is it a circle there if somebody waits for a lock of its own key: the
    /// original lets it wait.
    fn circle(&self, rows: &RowsOf, acquire: &Acquire, wait_until: Instant) -> Circle {
        match rows {
            RowsOf::One(_) if wait_until.saturating_duration_since(self.moment.decided) < DEADLOCK_TOLD_FROM => {
                return Circle::None;
            }
            RowsOf::Several(rows) => {
                if let Some(name) = self.batch.held_by(rows, &acquire.locked_by) {
                    return Circle::Closed(vec![name.clone()]);
                }
            }
            RowsOf::One(_) => {}
        }
        self.batch.circle(rows.as_slice(), &acquire.locked_by)
    }

    fn wish(&self, rows: &RowsOf, acquire: Acquire) -> Wish {
        match rows {
            RowsOf::One(row) => Wish::One(self.batch.name(*row).clone(), Operation::Acquire(acquire)),
            RowsOf::Several(rows) => {
                let names = rows.iter().map(|row| self.batch.name(*row).clone());
                Wish::Together(names.collect(), acquire)
            }
        }
    }

    /// Whether one more may wait. Those whose departure was told do not count.
    fn room_to_wait(&self, rows: &[usize], missing: usize, acquire: &Acquire) -> Result<(), Unavailable> {
        let lines = self.batch.lines();
        if self.are_too_many(rows, acquire) {
            Err(Unavailable::ClientLocks)
        } else if lines.waiting_for(self.batch.name(rows[missing])) >= self.policy.waiters_per_resource_max {
            Err(Unavailable::Line)
        } else if lines.waiting() >= self.policy.waiters_max {
            Err(Unavailable::Waiters)
        } else {
            Ok(())
        }
    }

    fn tell(&mut self, rows: RowsOf, asker: Asker, result: Result<Told, Unavailable>) {
        self.replies.push(Decided {
            rows,
            reply: asker.reply,
            result,
        });
    }
}

impl Moment {
    fn timestamp(self, instant: Instant) -> Timestamp {
        self.now + instant.saturating_duration_since(self.decided)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{FencingCounter, FencingToken, LockedBy, Resource, Ttl, decide};

    #[test]
    fn where_a_lock_ends_its_own_key_is_looked_for_before_the_others() {
        let at = |seconds| Timestamp::from_us(1_000_000_000) + Duration::from_secs(seconds);
        let rules = Rules {
            lock_delay: Duration::from_secs(5),
            ..Rules::default()
        };
        let mut tokens = FencingCounter::continuing_after(FencingToken::NONE);
        let mut resource = Resource::unseen(ResourceName::new("r").expect("well formed"));
        let leased = Acquire {
            ttl: Ttl::from_seconds(10),
            ..Acquire::by(LockedBy::new("k").expect("well formed"))
        };
        decide(at(0), &rules, &mut resource, &mut tokens, &Operation::Acquire(leased));
        let rows = Rows::loaded(vec![resource], tokens, Place::NONE);

        for (now, expected) in [
            (9, Prospect::Ends(at(10))),
            (10, Prospect::Ends(at(15))),
            (14, Prospect::Ends(at(15))),
            (15, Prospect::Nothing),
        ] {
            assert_eq!(prospect(at(now), &rules, &rows, 0), expected, "{now}");
        }
    }
}
