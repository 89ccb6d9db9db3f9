//! What is measured every so often, as a row of a table.

use std::fmt;
use std::time::Duration;

/// One row. What the backend does not have is 0.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Since the load began.
    pub at: Duration,
    /// Names that were new until then.
    pub names: u64,
    /// Of the server's process.
    pub rss_kib: u64,
    pub threads: u64,
    pub descriptors: u64,
    pub waiters: u64,
    /// Rows of the tables.
    pub rows: u64,
    pub events: u64,
    pub replicas: u64,
    /// The file of SQLite; on PostgreSQL all tables with their indexes.
    pub table_bytes: u64,
    /// Of those, waiters and replicas.
    pub small_bytes: u64,
    /// In the file of SQLite, what is free for new rows.
    pub unused_bytes: u64,
    /// Of PostgreSQL, rows that no transaction sees any more, of resources and
    /// of lock_events.
    pub dead_rows: u64,
    pub dead_events: u64,
    /// The write-ahead log.
    pub log_bytes: u64,
    pub latencies: Latencies,
}

/// Latencies in microseconds, in rising order.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    pub fn of(mut latencies_us: Vec<u32>) -> Self {
        latencies_us.sort_unstable();
        Self(latencies_us)
    }

    /// Those of several samples together.
    pub fn together(samples: &[Sample]) -> Self {
        Self::of(
            samples
                .iter()
                .flat_map(|sample| sample.latencies.0.iter().copied())
                .collect(),
        )
    }

    pub fn percentile(&self, percent: usize) -> Duration {
        let at = self.0.len() * percent / 100;
        let us = self.0.get(at.min(self.0.len().saturating_sub(1)));
        Duration::from_micros(us.copied().unwrap_or(0).into())
    }
}

/// The names of the columns.
pub fn header() -> String {
    format!(
        "{:>6} {:>8} {:>7} {:>4} {:>4} {:>5} {:>7} {:>7} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>7}",
        "s",
        "names",
        "rss MiB",
        "thr",
        "fds",
        "wait",
        "rows",
        "events",
        "table MiB",
        "unused",
        "small",
        "dead r.",
        "dead ev.",
        "log MiB",
        "p50 ms",
        "p99 ms"
    )
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let ms = |percent| self.latencies.percentile(percent).as_secs_f64() * 1000.0;
        write!(
            f,
            "{:>6.1} {:>8} {:>7.1} {:>4} {:>4} {:>5} {:>7} {:>7} {:>9.1} {:>8.1} {:>8.2} {:>8} {:>8} {:>8.1} {:>7.1} {:>7.1}",
            self.at.as_secs_f64(),
            self.names,
            self.rss_kib as f64 / 1024.0,
            self.threads,
            self.descriptors,
            self.waiters,
            self.rows,
            self.events,
            mib(self.table_bytes),
            mib(self.unused_bytes),
            mib(self.small_bytes),
            self.dead_rows,
            self.dead_events,
            mib(self.log_bytes),
            ms(50),
            ms(99)
        )
    }
}
