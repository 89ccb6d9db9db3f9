//! What one thread counts by itself and adds to the metrics now and then.

use std::time::Duration;

use prometheus::local::{LocalHistogram, LocalIntCounter};

use super::labels::{Label, Refusal, Way};
use super::{Counters, Metrics};

/// Counts without touching what others read, until [`Tally::add`].
#[derive(Debug)]
pub struct Tally {
    grants: Vec<LocalIntCounter>,
    grants_returned: LocalIntCounter,
    refusals: Vec<LocalIntCounter>,
    releases: LocalIntCounter,
    renewals: LocalIntCounter,
    expirations: LocalIntCounter,
    breaks: LocalIntCounter,
    hold_seconds: LocalHistogram,
    wait_seconds: LocalHistogram,
    hand_over_seconds: LocalHistogram,
    commit_seconds: LocalHistogram,
    batch_operations: LocalHistogram,
}

impl Tally {
    /// Of nothing yet.
    pub fn of(metrics: &Metrics) -> Self {
        Self {
            grants: local(&metrics.grants),
            grants_returned: metrics.grants_returned.local(),
            refusals: local(&metrics.refusals),
            releases: metrics.releases.local(),
            renewals: metrics.renewals.local(),
            expirations: metrics.expirations.local(),
            breaks: metrics.breaks.local(),
            hold_seconds: metrics.hold_seconds.local(),
            wait_seconds: metrics.wait_seconds.local(),
            hand_over_seconds: metrics.hand_over_seconds.local(),
            commit_seconds: metrics.commit_seconds.local(),
            batch_operations: metrics.batch_operations.local(),
        }
    }

    /// So many locks were granted.
    pub fn grants(&self, how: Way, count: usize) {
        self.grants[how.place()].inc_by(count as u64);
    }

    /// A grant was undone.
    pub fn grant_returned(&self) {
        self.grants_returned.inc();
    }

    /// A request was refused.
    pub fn refusal(&self, reason: Refusal) {
        self.refusals[reason.place()].inc();
    }

    /// A lock was released.
    pub fn release(&self) {
        self.releases.inc();
    }

    /// So many locks were renewed.
    pub fn renewals(&self, count: usize) {
        self.renewals.inc_by(count as u64);
    }

    /// A lock ended with its ttl.
    pub fn expiration(&self) {
        self.expirations.inc();
    }

    /// A lock was broken.
    pub fn lock_broken(&self) {
        self.breaks.inc();
    }

    /// A lock ended that was held for so long.
    pub fn hold(&self, held: Duration) {
        self.hold_seconds.observe(held.as_secs_f64());
    }

    /// Somebody in line was granted what it wanted after so long.
    pub fn wait(&self, waited: Duration) {
        self.wait_seconds.observe(waited.as_secs_f64());
    }

    /// Such a grant reached its request so long after it was decided.
    pub fn hand_over(&self, took: Duration) {
        self.hand_over_seconds.observe(took.as_secs_f64());
    }

    /// What was decided was on disk after so long.
    pub fn commit(&self, took: Duration) {
        self.commit_seconds.observe(took.as_secs_f64());
    }

    /// So many operations had one transaction.
    pub fn batch(&self, operations: usize) {
        self.batch_operations.observe(operations as f64);
    }

    /// Shows what was counted since the last time.
    pub fn add(&self) {
        let counters = [
            &self.grants_returned,
            &self.releases,
            &self.renewals,
            &self.expirations,
            &self.breaks,
        ];
        for counter in self.grants.iter().chain(&self.refusals).chain(counters) {
            counter.flush();
        }
        for histogram in [
            &self.hold_seconds,
            &self.wait_seconds,
            &self.hand_over_seconds,
            &self.commit_seconds,
            &self.batch_operations,
        ] {
            histogram.flush();
        }
    }
}

fn local<L>(counters: &Counters<L>) -> Vec<LocalIntCounter> {
    counters
        .each
        .iter()
        .map(prometheus::core::GenericCounter::local)
        .collect()
}
