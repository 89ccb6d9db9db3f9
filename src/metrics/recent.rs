//! What was counted in the last minutes, for people who look at it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::Metrics;
use crate::limits::{FIGURES_INTERVAL, FIGURES_MAX};

/// The samples of the last minutes, the oldest first.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Samples>);

#[derive(Debug, Default)]
struct Samples {
    kept: VecDeque<Sample>,
    last: Option<Totals>,
}

/// What was counted from the start on.
#[derive(Clone, Copy, Debug)]
struct Totals {
    grants: u64,
    releases: u64,
    refusals: u64,
    batches: u64,
    operations: f64,
    waited: u64,
    waited_seconds: f64,
    commits: u64,
    commit_seconds: f64,
}

/// What one interval was like. Means of nothing are `None`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Locks granted, a second.
    pub grants: f64,
    /// Locks released by their holders, a second.
    pub releases: f64,
    /// Requests refused, a second.
    pub refusals: f64,
    /// Operations of a transaction, in the mean.
    pub batch: Option<f64>,
    /// Seconds that those waited who were granted what they waited for, in the mean.
    pub wait_seconds: Option<f64>,
    /// Seconds of a commit, in the mean.
    pub commit_seconds: Option<f64>,
    /// Requests in line at the end of the interval.
    pub waiters: i64,
}

impl Recent {
    /// Takes a sample; to be called once each FIGURES_INTERVAL.
    pub fn take(&self, metrics: &Metrics) {
        let now = Totals::of(metrics);
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = samples.last.replace(now) {
            if samples.kept.len() >= FIGURES_MAX {
                samples.kept.pop_front();
            }
            let sample = now.since(&last, metrics.waiters.get());
            samples.kept.push_back(sample);
        }
    }

    /// All that are kept.
    pub fn samples(&self) -> Vec<Sample> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.kept.iter().copied().collect()
    }
}

impl Totals {
    fn of(metrics: &Metrics) -> Self {
        let sum = |counters: &[prometheus::IntCounter]| counters.iter().map(prometheus::IntCounter::get).sum();
        Self {
            grants: sum(&metrics.grants.each),
            releases: metrics.releases.get(),
            refusals: sum(&metrics.refusals.each),
            batches: metrics.batch_operations.get_sample_count(),
            operations: metrics.batch_operations.get_sample_sum(),
            waited: metrics.wait_seconds.get_sample_count(),
            waited_seconds: metrics.wait_seconds.get_sample_sum(),
            commits: metrics.commit_seconds.get_sample_count(),
            commit_seconds: metrics.commit_seconds.get_sample_sum(),
        }
    }

    fn since(&self, before: &Self, waiters: i64) -> Sample {
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / FIGURES_INTERVAL.as_secs_f64();
        let mean = |sum: f64, count: u64| (count > 0).then(|| sum / count as f64);
        Sample {
            grants: rate(self.grants, before.grants),
            releases: rate(self.releases, before.releases),
            refusals: rate(self.refusals, before.refusals),
            batch: mean(self.operations - before.operations, self.batches - before.batches),
            wait_seconds: mean(self.waited_seconds - before.waited_seconds, self.waited - before.waited),
            commit_seconds: mean(
                self.commit_seconds - before.commit_seconds,
                self.commits - before.commits,
            ),
            waiters,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_tells_what_happened_since_the_one_before() {
        let (metrics, recent) = (Metrics::new(), Recent::default());
        recent.take(&metrics);
        assert!(recent.samples().is_empty());

        metrics.releases.inc_by(10);
        metrics.batch_operations.observe(4.0);
        metrics.batch_operations.observe(8.0);
        metrics.waiters.set(3);
        recent.take(&metrics);
        recent.take(&metrics);

        let samples = recent.samples();
        assert_eq!(samples.len(), 2);
        assert_eq!(
            (samples[0].releases, samples[0].batch, samples[0].waiters),
            (2.0, Some(6.0), 3)
        );
        assert_eq!(
            (samples[1].releases, samples[1].batch, samples[1].wait_seconds),
            (0.0, None, None)
        );
        for _ in 0..FIGURES_MAX {
            recent.take(&metrics);
        }
        assert_eq!(recent.samples().len(), FIGURES_MAX);
    }
}
