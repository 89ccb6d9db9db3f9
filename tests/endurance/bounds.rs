//! What of the samples is not to grow, and by how much it may differ.
//!
//! The first third of a run fills caches and tables. The other two are compared:
//! what grows with the work shows as a difference between them, whatever the level.

use std::time::Duration;

use central_locking_system::limits::{
    CATALOG_CONNECTIONS_MAX, HISTORY_PRUNE_INTERVAL, PRUNE_INTERVAL, PRUNE_ROWS_MAX, SWEEP_DELAY_MAX,
};

use crate::endurance::sample::{Latencies, Sample};
use crate::endurance::{NAMES_PER_SECOND, Plan, SAMPLES};

/// Resident memory that the last third may have more than the second. The allocator
/// gives back late, and in a short run what is cached still becomes more: half of
/// this was seen. In an hour it is two bytes a request.
const RSS_GROWTH_KIB_MAX: u64 = 2048;

/// Descriptors are as many as connections, which come and go: some 45 at a time.
const DESCRIPTORS_GROWTH_MAX: u64 = 15;

/// SQLite's log is made of 4,200 pages and their heads, and used anew from its
/// beginning. What is committed while somebody reads may go beyond.
const SQLITE_LOG_BYTES_MAX: u64 = 4200 * (4096 + 24) / 2 * 3;

/// max_wal_size is 1 GiB if nobody says otherwise; PostgreSQL may exceed it a
/// little.
const POSTGRES_LOG_BYTES_MAX: u64 = (1 << 30) / 8 * 9;

/// The file or the tables may differ between the thirds by a quarter: when they
/// are vacuumed, and which pages are full, is chance.
const TABLE_GROWTH: f64 = 1.25;

/// And by what is of no account.
const TABLE_GROWTH_BYTES_MAX: u64 = 1 << 20;

/// waiters and replicas have no more than some rows. Both are written twice a
/// second and more, and vacuumed once a minute.
const SMALL_BYTES_MAX: u64 = 2 << 20;

/// Events that a name leaves, at most: grant and release, some are renewed, some are
/// waited for by one who is served, most of each sixteen are not.
const EVENTS_PER_NAME: f64 = 2.5;

/// What is due at a moment may come later by so much on a busy machine.
const BUSY: f64 = 1.5;

/// Rows that come and go between two samples.
const ROWS_OF_NO_ACCOUNT: u64 = 50;

/// Dead rows of a table of so many at which autovacuum begins.
fn of_table(rows: u64) -> u64 {
    50 + rows / 5
}

/// How long it may take.
const VACUUM_TIME_MAX: Duration = Duration::from_secs(4);

/// Dead rows that each name leaves in `resources`: one when it is granted, one when
/// it is released, one when this test makes it look old, one when it is pruned; some
/// are renewed or expire.
const DEAD_PER_NAME: u64 = 5;

/// The 99th percentile of the last third may be half as long again as that of the
/// first, and this longer: others use the machine.
const LATENCY_GROWTH: f64 = 1.5;
const LATENCY_NOISE_MAX: Duration = Duration::from_millis(40);

/// What is bounded by what the run does.
pub struct Bounds {
    pub names_min: u64,
    /// A name is deleted so long after it was new, at the latest.
    pub gone_after: Duration,
    /// Events that are kept.
    pub events_kept: u64,
    /// Between two looks of autovacuum; none where a run is too short to hold it to them.
    pub vacuum_interval: Option<Duration>,
    pub log_bytes_max: u64,
    /// 0 on SQLite, where there is no such table.
    pub replicas: u64,
}

impl Bounds {
    /// Of a run that made `names`.
    pub fn of(plan: &Plan, is_on_postgres: bool, names: u64) -> Self {
        // A row is deleted when it is looked at first after it has been idle for long; all are looked at in turn. What
        // is idle for a time came in that time, and what comes while all are looked at is looked at too.
        let coming = names as f64 / plan.seconds as f64;
        let looked_at = PRUNE_ROWS_MAX as f64 / PRUNE_INTERVAL.as_secs_f64();
        assert!(looked_at > coming, "more rows come than are looked at");
        let round = plan.idle.mul_f64(coming / (looked_at - coming));
        // They are made to look old every tenth of that time.
        let gone_after = plan.idle.mul_f64(1.1) + round + PRUNE_INTERVAL + SWEEP_DELAY_MAX;
        Self {
            // Where the machine is so slow that nothing is shown, that is told.
            names_min: plan.seconds * u64::from(NAMES_PER_SECOND) / 10,
            gone_after: gone_after.mul_f64(BUSY),
            events_kept: plan.events_max,
            // How soon it comes within seconds says how busy the machine is, and nothing of the server.
            vacuum_interval: plan.is_long().then(|| plan.vacuum_interval()),
            log_bytes_max: match is_on_postgres {
                true => POSTGRES_LOG_BYTES_MAX,
                false => SQLITE_LOG_BYTES_MAX,
            },
            replicas: is_on_postgres.into(),
        }
    }
}

/// How many names came in the time before the last of `samples`.
fn came_within(time: Duration, samples: &[Sample]) -> u64 {
    let Some(last) = samples.last() else {
        return 0;
    };
    let before = samples.iter().rev().find(|sample| sample.at + time <= last.at);
    last.names - before.map_or(0, |sample| sample.names)
}

/// A column.
type Figure = fn(&Sample) -> u64;

/// What was found to be wrong, each once.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn at_most(&mut self, what: &str, found: u64, max: u64) {
        if found > max {
            self.add(what, format!("{what}: {found}, at most {max} were expected"));
        }
    }

    fn at_least(&mut self, what: &str, found: u64, min: u64) {
        if found < min {
            self.add(what, format!("{what}: {found}, at least {min} were expected"));
        }
    }

    fn add(&mut self, what: &str, finding: String) {
        if !self.0.iter().any(|told| told.starts_with(what)) {
            self.0.push(finding);
        }
    }
}

/// What grew, each as a sentence.
pub fn broken(bounds: &Bounds, base: &Sample, samples: &[Sample], settled: &Sample) -> Vec<String> {
    let mut findings = Findings::default();
    compare_thirds(samples, &mut findings);
    for count in 1..=samples.len() {
        require_levels(bounds, &samples[..count], &mut findings);
    }
    // Once there are enough, as many are kept: about, where they are counted by statistics.
    let reached = samples.iter().skip_while(|sample| sample.events < bounds.events_kept);
    if let Some(fewest) = reached.map(|sample| sample.events).min() {
        findings.at_least("rows of lock_events", fewest, bounds.events_kept / 2);
    }
    // Connections on which events were read beside the thread that does are kept for some time.
    let descriptors_max = base.descriptors + CATALOG_CONNECTIONS_MAX as u64;
    findings.at_most("descriptors at the end", settled.descriptors, descriptors_max);
    findings.at_most("threads at the end", settled.threads, base.threads);
    // They were vacuumed before: what is left is what a transaction of the server would still see.
    findings.at_most(
        "dead rows at the end",
        settled.dead_rows + settled.dead_events,
        ROWS_OF_NO_ACCOUNT,
    );
    findings.at_most("waiters at the end", settled.waiters, 0);
    findings.at_most("replicas", settled.replicas, bounds.replicas);
    findings.at_least("names", settled.names, bounds.names_min);
    findings.0
}

/// What grows with the work is more in the last third than in the second.
fn compare_thirds(samples: &[Sample], findings: &mut Findings) {
    let third = samples.len() / 3;
    let (first, second, last) = (&samples[..third], &samples[third..2 * third], &samples[2 * third..]);
    let growth: [(&str, Figure, u64); 3] = [
        ("memory in KiB", |sample| sample.rss_kib, RSS_GROWTH_KIB_MAX),
        ("descriptors", |sample| sample.descriptors, DESCRIPTORS_GROWTH_MAX),
        ("threads", |sample| sample.threads, 0),
    ];
    for (what, figure, growth_max) in growth {
        findings.at_most(what, median(last, figure), median(second, figure) + growth_max);
    }
    let table_bytes = |samples| highest(samples, |sample| sample.table_bytes);
    let table_bytes_max = (table_bytes(second) as f64 * TABLE_GROWTH) as u64 + TABLE_GROWTH_BYTES_MAX;
    findings.at_most("bytes of tables", table_bytes(last), table_bytes_max);
    let us = |samples: &[Sample]| Latencies::together(samples).percentile(99).as_micros() as u64;
    let latency_max = (us(first) as f64 * LATENCY_GROWTH) as u64 + LATENCY_NOISE_MAX.as_micros() as u64;
    findings.at_most("99th percentile in µs", us(last), latency_max);
}

/// The last of these samples is within what the work before it allows.
fn require_levels(bounds: &Bounds, samples: &[Sample], findings: &mut Findings) {
    let Some(sample) = samples.last() else {
        return;
    };
    let events = |time| (EVENTS_PER_NAME * came_within(time, samples) as f64) as u64;
    let looked = HISTORY_PRUNE_INTERVAL.mul_f64(BUSY);
    let rows_max = came_within(bounds.gone_after, samples) + ROWS_OF_NO_ACCOUNT;
    let events_max = bounds.events_kept + events(looked) + ROWS_OF_NO_ACCOUNT;
    if let Some(interval) = bounds.vacuum_interval {
        let vacuumed = interval + VACUUM_TIME_MAX;
        // It goes by how many rows there were at its last look.
        let highest = |figure| of_table(highest(samples, figure));
        let dead_rows_max = highest(|sample| sample.rows) + DEAD_PER_NAME * came_within(vacuumed, samples);
        let dead_events_max = highest(|sample| sample.events) + events(vacuumed.max(looked));
        findings.at_most("dead rows of resources", sample.dead_rows, dead_rows_max);
        findings.at_most("dead rows of lock_events", sample.dead_events, dead_events_max);
    }
    for (what, found, max) in [
        ("rows of resources", sample.rows, rows_max),
        ("rows of lock_events", sample.events, events_max),
        ("bytes of waiters and replicas", sample.small_bytes, SMALL_BYTES_MAX),
        ("bytes of the log", sample.log_bytes, bounds.log_bytes_max),
    ] {
        findings.at_most(what, found, max);
    }
}

fn highest(samples: &[Sample], figure: Figure) -> u64 {
    samples.iter().map(figure).max().unwrap_or(0)
}

fn median(samples: &[Sample], figure: Figure) -> u64 {
    let mut figures: Vec<_> = samples.iter().map(figure).collect();
    figures.sort_unstable();
    figures.get(figures.len() / 2).copied().unwrap_or(0)
}

#[test]
fn what_grows_is_told_and_nothing_else() {
    type Grow = fn(&mut Sample, u64);
    let bounds = Bounds {
        names_min: 1,
        gone_after: Duration::from_secs(5),
        events_kept: 100,
        vacuum_interval: Some(Duration::from_secs(1)),
        log_bytes_max: 1000,
        replicas: 1,
    };
    let base = Sample {
        rss_kib: 1 << 14,
        threads: 9,
        descriptors: 20,
        replicas: 1,
        table_bytes: 1 << 20,
        ..Sample::default()
    };
    let told = |grow: Grow| {
        let at = |number: u64| {
            let mut sample = Sample {
                at: Duration::from_secs(number),
                names: 100 * number,
                ..base.clone()
            };
            grow(&mut sample, number);
            sample
        };
        let samples: Vec<_> = (1..=SAMPLES.into()).map(at).collect();
        broken(&bounds, &base, &samples, &at(u64::from(SAMPLES) + 1))
    };

    assert_eq!(told(|_, _| {}), [""; 0]);
    let grown: [(&str, Grow); 15] = [
        ("memory in KiB", |sample, number| sample.rss_kib += 500 * number),
        ("descriptors", |sample, number| sample.descriptors += 2 * number),
        ("threads", |sample, number| sample.threads += number / 8),
        ("bytes of tables", |sample, number| sample.table_bytes += number << 20),
        ("rows of resources", |sample, _| sample.rows = sample.names),
        ("rows of lock_events", |sample, _| sample.events = 2 * sample.names),
        ("rows of lock_events", |sample, number| {
            sample.events = 200 * (number % 2)
        }),
        ("dead rows of resources", |sample, _| {
            sample.dead_rows = 2 * sample.names
        }),
        ("dead rows of lock_events", |sample, _| {
            sample.dead_events = 2 * sample.names
        }),
        ("dead rows at the end", |sample, number| {
            sample.dead_rows = if number > u64::from(SAMPLES) { 100 } else { 0 };
        }),
        ("bytes of waiters and replicas", |sample, number| {
            sample.small_bytes = number << 18
        }),
        ("bytes of the log", |sample, number| sample.log_bytes = 50 * number),
        ("waiters at the end", |sample, number| sample.waiters = number),
        ("replicas", |sample, number| sample.replicas += number),
        ("99th percentile in µs", |sample, number| {
            sample.latencies = Latencies::of(vec![5000 * number as u32; 100]);
        }),
    ];
    for (expected, grow) in grown {
        let told = told(grow);
        let first = told.first().and_then(|told| told.split(':').next());
        assert_eq!(first, Some(expected), "{told:?}");
    }
}
