//! What is asked of this server, and whether the figures have it.

use super::figures::{Figures, System};
use super::statistics::quantile;
use super::systems::Durability;

/// Connections from which it has to be ahead of every durable rival.
pub const CONNECTIONS: usize = 256;

/// What a hand-over may take beyond one fsync.
pub const HAND_OVER_BEYOND_FSYNC_MS: f64 = 1.0;

/// What a take-over may take beyond the expiry.
pub const TAKE_OVER_MS: f64 = 20.0;

/// A target, as a row of the report.
pub struct Target {
    pub asked: String,
    pub of: System,
    pub measured: String,
    pub verdict: &'static str,
}

const MET: &str = "**met**";
const NOT_MET: &str = "**not met**";
const MET_AT_THE_MEDIAN: &str = "**met at the median only**";

pub fn all(figures: &Figures) -> Vec<Target> {
    let ours = [System::Sqlite, System::Postgres, System::Replicas];
    let throughput = ours.into_iter().filter_map(|of| throughput(figures, of));
    let hand_over = ours.into_iter().filter_map(|of| hand_over(figures, of));
    let take_over = ours.into_iter().filter_map(|of| take_over(figures, of));
    throughput.chain(hand_over).chain(take_over).collect()
}

fn throughput(figures: &Figures, of: System) -> Option<Target> {
    let rate = figures.rate(of, CONNECTIONS)?;
    let durable = System::ALL
        .into_iter()
        .filter(|system| system.is_rival() && system.durability() == Durability::BeforeTheAnswer);
    let (rival, rivals_rate) = durable
        .filter_map(|system| Some((system, figures.rate(system, CONNECTIONS)?)))
        .max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    Some(Target {
        asked: format!("ahead of every durable rival at {CONNECTIONS} connections"),
        of,
        measured: format!(
            "{rate:.0} operations/s; of the rivals {} has the most, {rivals_rate:.0}",
            rival.title()
        ),
        verdict: if rate > rivals_rate { MET } else { NOT_MET },
    })
}

fn hand_over(figures: &Figures, of: System) -> Option<Target> {
    let allowed_ms = figures.fsync_ms() + HAND_OVER_BEYOND_FSYNC_MS;
    let lines: Vec<_> = figures.hand_over.iter().filter(|row| row.system == of).collect();
    let slowest = |quantile: fn(&&super::figures::HandOver) -> f64| lines.iter().map(quantile).max_by(f64::total_cmp);
    let (p50_ms, p99_ms) = (slowest(|row| row.p50_ms())?, slowest(|row| row.p99_ms())?);
    Some(Target {
        asked: format!(
            "hand-over within one fsync and {HAND_OVER_BEYOND_FSYNC_MS:.0} ms of the release: {allowed_ms:.2} ms"
        ),
        of,
        measured: format!("p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms in the slowest of the lines"),
        verdict: verdict(p50_ms, p99_ms, allowed_ms),
    })
}

fn take_over(figures: &Figures, of: System) -> Option<Target> {
    let after_ms = &figures.take_over.iter().find(|row| row.system == of)?.after_ms;
    let (p50_ms, last_ms) = (quantile(after_ms, 0.5), quantile(after_ms, 1.0));
    Some(Target {
        asked: format!("take-over within {TAKE_OVER_MS:.0} ms of the expiry"),
        of,
        measured: format!("median {p50_ms:.1} ms, slowest {last_ms:.1} ms"),
        verdict: verdict(p50_ms, last_ms, TAKE_OVER_MS),
    })
}

fn verdict(median_ms: f64, slow_ms: f64, allowed_ms: f64) -> &'static str {
    if slow_ms <= allowed_ms {
        MET
    } else if median_ms <= allowed_ms {
        MET_AT_THE_MEDIAN
    } else {
        NOT_MET
    }
}
