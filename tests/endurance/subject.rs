//! A server, its database, and what an operator sees of both.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::endurance::Plan;
use crate::endurance::churn::Counts;
use crate::endurance::sample::{Latencies, Sample};
use crate::operating::Scrape;
use crate::support::{Cls, Cluster, PostgresDatabase, PsqlSession, Server, eventually, is_on_postgres};

/// Days by which a row is made to look older: one more than PRUNE_AFTER_DAYS.
const PRUNE_AFTER_DAYS: u64 = 1;
const AGED_US: u64 = (PRUNE_AFTER_DAYS + 1) * 24 * 3600 * 1_000_000;

/// In the order in which they are to end.
pub struct Subject {
    pub server: Server,
    /// For whoever asks again and again.
    session: Option<RefCell<PsqlSession>>,
    _postgres: Option<PostgresDatabase>,
    cluster: Option<Cluster>,
    _directory: TempDir,
}

impl Subject {
    pub fn start(plan: &Plan) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let naptime = format!("autovacuum_naptime={}", plan.vacuum_interval().as_secs());
        let cluster = is_on_postgres().then(|| Cluster::with_settings(&[&naptime]));
        let postgres = cluster.as_ref().map(Cluster::database);
        let mut cls = Cls::in_directory(directory.path())
            .with("PRUNE_AFTER_DAYS", &PRUNE_AFTER_DAYS.to_string())
            .with("HISTORY_EVENTS_MAX", &plan.events_max.to_string());
        if let Some(database) = &postgres {
            cls = cls.with("DATABASE_URL", &database.url);
        }
        Self {
            server: cls.start(),
            session: postgres.as_ref().map(|database| RefCell::new(database.session())),
            _postgres: postgres,
            cluster,
            _directory: directory,
        }
    }

    pub fn is_on_postgres(&self) -> bool {
        self.cluster.is_some()
    }

    fn sql(&self, statement: &str) -> Vec<String> {
        match &self.session {
            Some(session) => session.borrow_mut().sql(statement),
            None => self.server.select(statement),
        }
    }

    /// Makes rows that have been free for `idle` look as if they had been for days,
    /// as anybody may who has the database.
    pub fn age(&self, idle: Duration) {
        // Whoever writes to an SQLite database would write its log back in place of the server.
        let (before, now_us) = match self.is_on_postgres() {
            true => ("", "clock_us()"),
            false => (
                "PRAGMA wal_autocheckpoint = 0;",
                "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)",
            ),
        };
        self.sql(&format!(
            "{before}
             UPDATE resources
                SET released_at_us = released_at_us - {AGED_US}
              WHERE locked_by IS NULL
                AND released_at_us BETWEEN {now_us} - {} AND {now_us} - {}",
            AGED_US / 2,
            idle.as_micros()
        ));
    }

    /// Removes the dead rows that no transaction sees, as autovacuum would in time.
    pub fn vacuum(&self) {
        if self.is_on_postgres() {
            self.sql("VACUUM resources, lock_events");
        }
    }

    pub fn descriptors(&self) -> u64 {
        let folder = format!("/proc/{}/fd", self.server.pid());
        std::fs::read_dir(folder).expect("the server runs").count() as u64
    }

    /// Returns when nobody comes or goes.
    pub fn until_descriptors_rest(&self) {
        const LOOKS: usize = 10;
        let (mut before, mut same) = (0, 0);
        eventually(
            "descriptors are neither opened nor closed",
            Duration::from_secs(10),
            || {
                thread::sleep(Duration::from_millis(20));
                let now = self.descriptors();
                same = if now == before { same + 1 } else { 0 };
                before = now;
                same == LOOKS
            },
        );
    }

    /// Who waits for a lock, as the server says and, where it is, the table.
    pub fn waiters(&self) -> u64 {
        let told = Scrape::of(&self.server).value("cls_waiters") as u64;
        if !self.is_on_postgres() {
            return told;
        }
        told.max(number(&self.sql("SELECT count(*) FROM waiters")[0]))
    }

    /// What there is now; of the clients, what came since the sample before.
    pub fn sample(&self, counts: &Counts, began: Instant) -> Sample {
        let at = began.elapsed();
        let latencies = std::mem::take(&mut *counts.latencies_us.lock().expect("nobody panics with it"));
        let of_process = |key| status(self.server.pid(), key);
        let mut sample = Sample {
            at,
            rss_kib: of_process("VmRSS:"),
            threads: of_process("Threads:"),
            descriptors: self.descriptors(),
            waiters: self.waiters(),
            latencies: Latencies::of(latencies),
            ..Sample::default()
        };
        match self.is_on_postgres() {
            true => self.note_postgres(&mut sample),
            false => self.note_sqlite(&mut sample),
        }
        // After the rows were counted: there are no more of them than of names.
        sample.names = counts.names.load(Ordering::Relaxed);
        sample
    }

    fn note_sqlite(&self, sample: &mut Sample) {
        let database = self.server.database();
        let row = &self.sql(
            "SELECT (SELECT count(*) FROM resources), (SELECT count(*) FROM lock_events),
                    (SELECT page_size * freelist_count FROM pragma_page_size, pragma_freelist_count)",
        )[0];
        [sample.rows, sample.events, sample.unused_bytes] = numbers(row);
        sample.table_bytes = size_of(&database);
        sample.log_bytes = size_of(&PathBuf::from(format!("{}-wal", database.display())));
    }

    fn note_postgres(&self, sample: &mut Sample) {
        let row = &self.sql(
            "SELECT (SELECT count(*) FROM resources), (SELECT count(*) FROM lock_events),
                (SELECT count(*) FROM replicas),
                (SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables),
                (SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables
                  WHERE relname IN ('waiters', 'replicas')),
                (SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'resources'),
                (SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'lock_events'),
                (SELECT sum(size) FROM pg_ls_waldir())",
        )[0];
        [
            sample.rows,
            sample.events,
            sample.replicas,
            sample.table_bytes,
            sample.small_bytes,
            sample.dead_rows,
            sample.dead_events,
            sample.log_bytes,
        ] = numbers(row);
    }

    /// Counts that the clients know too are the same in the metrics; what is over is
    /// not counted as going on.
    pub fn require_true_metrics(&self, counts: &Counts) {
        let known = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let abandoned = known(&counts.abandoned);
        // What was left to its ttl last is counted when that is over and the table is tidied.
        eventually("all locks that were left are over", Duration::from_secs(10), || {
            Scrape::of(&self.server).value("cls_expirations_total") >= abandoned
        });
        let scrape = Scrape::of(&self.server);
        let granted = scrape.value("cls_grants_total{how=\"at_once\"}")
            + scrape.value("cls_grants_total{how=\"after_waiting\"}")
            - scrape.value("cls_grants_returned_total");
        let told = [
            ("grants that reached somebody", granted, known(&counts.grants)),
            (
                "grants that were told again",
                scrape.value("cls_grants_total{how=\"told_again\"}"),
                known(&counts.repeats),
            ),
            ("releases", scrape.value("cls_releases_total"), known(&counts.releases)),
            ("renewals", scrape.value("cls_renewals_total"), known(&counts.renewals)),
            ("expirations", scrape.value("cls_expirations_total"), abandoned),
            (
                "timeouts",
                scrape.value("cls_refusals_total{reason=\"timeout\"}"),
                known(&counts.timeouts),
            ),
            ("waiters", scrape.value("cls_waiters"), 0.0),
            ("queued operations", scrape.value("cls_queued_operations"), 0.0),
        ];
        let wrong: Vec<_> = told.iter().filter(|(_, seen, expected)| seen != expected).collect();
        assert!(wrong.is_empty(), "the metrics and the clients say: {wrong:?}");
    }
}

/// A figure of `/proc/PID/status`.
fn status(pid: u32, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let value = text.lines().find_map(|line| line.strip_prefix(key));
    number(
        value
            .and_then(|value| value.split_whitespace().next())
            .expect("it is there"),
    )
}

fn size_of(path: &Path) -> u64 {
    std::fs::metadata(path).expect("the server made it").len()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

fn numbers<const COUNT: usize>(row: &str) -> [u64; COUNT] {
    let found: Vec<_> = row.split('|').map(number).collect();
    found.try_into().expect("as many columns")
}
