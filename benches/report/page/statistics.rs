//! What is said of several figures.

use super::figures::{Figures, HandOver, System, Throughput, ThroughputRound};

/// A share of them, from 0 to 1, is not above the answer; NaN if there are none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let place = (share * last as f64).round() as usize;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

impl Throughput {
    pub fn median(&self, of: impl Fn(&ThroughputRound) -> f64) -> f64 {
        median(&self.rounds.iter().map(of).collect::<Vec<_>>())
    }

    /// The lowest and the highest rate of a round.
    pub fn range(&self) -> (f64, f64) {
        let rates: Vec<_> = self.rounds.iter().map(|round| round.rate).collect();
        (quantile(&rates, 0.0), quantile(&rates, 1.0))
    }
}

impl HandOver {
    pub fn p50_ms(&self) -> f64 {
        median(&self.rounds.iter().map(|round| round.p50_ms).collect::<Vec<_>>())
    }

    pub fn p99_ms(&self) -> f64 {
        median(&self.rounds.iter().map(|round| round.p99_ms).collect::<Vec<_>>())
    }
}

impl Figures {
    pub fn fsync_ms(&self) -> f64 {
        median(&self.machine.fsync_ms)
    }

    /// Operations a second, if it was measured.
    pub fn rate(&self, system: System, connections: usize) -> Option<f64> {
        let row = self
            .throughput
            .iter()
            .find(|row| row.system == system && row.connections == connections)?;
        Some(row.median(|round| round.rate))
    }

    pub fn line(&self, system: System, waiters: usize) -> Option<&HandOver> {
        let mut lines = self.hand_over.iter();
        lines.find(|row| row.system == system && row.waiters == waiters)
    }

    /// Numbers of connections, from the fewest.
    pub fn connections(&self) -> Vec<usize> {
        distinct(self.throughput.iter().map(|row| row.connections))
    }

    pub fn waiters(&self) -> Vec<usize> {
        distinct(self.hand_over.iter().map(|row| row.waiters))
    }
}

fn distinct(numbers: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}
