//! What the metrics are told of what the engine decides.

use std::time::Instant;

use crate::engine::Unavailable;
use crate::engine::decisions::Decisions;
use crate::engine::messages::Told;
use crate::lock::{End, Outcome};
use crate::metrics::{Metrics, Refusal, Tally, Way};

/// Counts what the batcher thread does; nothing is counted that is not on disk.
#[derive(Debug)]
pub(super) struct Counting(Tally);

impl Counting {
    pub(super) fn of(metrics: &Metrics) -> Self {
        Self(Tally::of(metrics))
    }

    /// A transaction was committed, at this moment.
    pub(super) fn transaction(&self, decisions: &Decisions, operations: usize, is_asked: bool) {
        if decisions.changed.contains(&true) {
            self.0.commit(decisions.decided.elapsed());
        }
        if is_asked {
            self.0.batch(operations);
        }
        self.0.renewals(decisions.renewed);
        for ended in &decisions.ended {
            match ended.how {
                End::Released => self.0.release(),
                End::Expired => self.0.expiration(),
                End::Broken => self.0.lock_broken(),
                // Nobody held it.
                End::GivenBack => {
                    self.0.grant_returned();
                    continue;
                }
            }
            self.0.hold(ended.held);
        }
    }

    /// A request is told this.
    pub(super) fn told(&self, told: &Told) {
        let outcome = match told {
            Told::Outcome(outcome) => outcome,
            Told::Superseded => return self.0.refusal(Refusal::Superseded),
            Told::Count(_) | Told::Seen(_) | Told::Waiting(_) | Told::Line(_) => return,
        };
        match outcome {
            Outcome::Acquired(_) => self.0.grants(Way::AtOnce, 1),
            Outcome::AcquiredTogether(grants) => self.0.grants(Way::AtOnce, grants.len()),
            Outcome::AcquiredBefore(_) => self.0.grants(Way::ToldAgain, 1),
            Outcome::AcquiredTogetherBefore(grants) => self.0.grants(Way::ToldAgain, grants.len()),
            Outcome::Locked => self.0.refusal(Refusal::Locked),
            Outcome::Deadlock(_) => self.0.refusal(Refusal::Deadlock),
            Outcome::NotAcquired => self.0.refusal(Refusal::NotAcquired),
            Outcome::WasBroken(_) => self.0.refusal(Refusal::WasBroken),
            Outcome::InvalidUnlock => self.0.refusal(Refusal::InvalidUnlock),
            Outcome::InvalidRenew => self.0.refusal(Refusal::InvalidRenew),
            Outcome::KeyReused => self.0.refusal(Refusal::KeyReused),
            // Counted as ends of locks, and as renewals.
            Outcome::Released | Outcome::ReleasedBefore | Outcome::Renewed(_) | Outcome::Broken(_) => {}
        }
    }

    /// Somebody who was in line since `since` has the answer to its request, as
    /// was decided at `decided`.
    pub(super) fn handed_over(&self, grants: usize, since: Instant, decided: Instant) {
        self.0.grants(Way::AfterWaiting, grants);
        self.0.hand_over(decided.elapsed());
        self.0.wait(since.elapsed());
    }

    /// Shows what was counted since the last time.
    pub(super) fn add(&self) {
        self.0.add();
    }
}

/// What a request is counted as that has no outcome.
pub(super) fn refusal(reason: Unavailable) -> Refusal {
    match reason {
        Unavailable::Queue => Refusal::QueueFull,
        Unavailable::Waiters => Refusal::WaitersFull,
        Unavailable::Line => Refusal::LineFull,
        Unavailable::ClientLocks => Refusal::ClientLocks,
        Unavailable::Store => Refusal::Store,
        Unavailable::Late => Refusal::Late,
        Unavailable::Stopping => Refusal::Stopping,
    }
}
