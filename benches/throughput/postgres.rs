//! The PostgreSQL server of the benchmark, on the same disk and machine.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::postgres_server::{PostgresFiles, PostgresProcess, find_binaries, must_run, psql};
use crate::rounds::{Figures, ROUND_LENGTH};
use crate::servers::{Kind, fresh_directory, migrate, processor_seconds_of};

/// As many clients as make the most of it.
pub const PGBENCH_CLIENTS: usize = 32;

/// A PostgreSQL server as it comes: fsync and synchronous_commit are on. It
/// ends with the value or with this process.
pub struct Cluster {
    url: String,
    process: PostgresProcess,
    /// Removed by the process when that ends, and else by this.
    _directory: TempDir,
}

impl Cluster {
    /// Says which PostgreSQL it is, and how it is set.
    pub fn start() -> Self {
        let directory = fresh_directory();
        let files = PostgresFiles::make(directory.path(), &[]);
        let cluster = Self {
            url: files.url(),
            process: files.run(),
            _directory: directory,
        };
        let facts = "SELECT current_setting('server_version'), current_setting('fsync'), \
                     current_setting('shared_buffers')";
        let facts = psql(&cluster.url_of("postgres"), facts).concat();
        let facts: Vec<_> = facts.split('|').collect();
        println!(
            "PostgreSQL {}, fsync {}, shared_buffers {}; the rest as it comes.\n",
            facts[0], facts[1], facts[2]
        );
        cluster
    }

    /// The URL of one of its databases.
    pub fn url_of(&self, database: &str) -> String {
        format!("{}/{database}", self.url)
    }

    /// The URL of a new database, migrated by `kind`, whose table has so many
    /// free rows.
    pub fn database(&self, kind: Kind, rows: usize) -> String {
        let name = format!("locks_{kind:?}_{rows}").to_lowercase();
        let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        psql(&self.url_of("postgres"), &drop);
        psql(
            &self.url_of("postgres"),
            &format!("CREATE DATABASE {name} TEMPLATE template0"),
        );
        let url = self.url_of(&name);
        migrate(kind, &url);
        let fill = format!(
            "INSERT INTO resources (name, released_at_us, fencing_token) \
             SELECT 'bench-' || lpad(number::text, 6, '0'), clock_us(), 0 \
               FROM generate_series(0, {rows} - 1) AS number"
        );
        psql(&url, &fill);
        psql(&url, "VACUUM ANALYZE resources");
        psql(&url, "CHECKPOINT");
        url
    }

    /// All of its processes.
    pub fn pids(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.process.pid);
        let children = std::fs::read_to_string(path).expect("Linux says so");
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        std::iter::once(self.process.pid).chain(children).collect()
    }

    /// Processor time of all of its processes so far.
    pub fn processor_seconds(&self) -> f64 {
        self.pids().into_iter().map(processor_seconds_of).sum()
    }

    /// Runs the same transaction from clients of its own: the most that one
    /// gets who asks PostgreSQL directly.
    pub fn pgbench(&self, url: &str) -> Figures {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/throughput/acquire.sql");
        let program = find_binaries(&["pgbench"]).join("pgbench");
        let run = |seconds: u64| {
            must_run(
                Command::new(&program)
                    .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
                    .arg(format!("--client={PGBENCH_CLIENTS}"))
                    .arg(format!("--time={seconds}"))
                    .arg(format!("--file={}", script.display()))
                    .arg(url),
            )
        };
        run(1);
        let before = self.processor_seconds();
        let output = run(ROUND_LENGTH.as_secs());
        let used = self.processor_seconds() - before;
        let number_after = |words: &str| -> f64 {
            let rest = output.split_once(words).expect("pgbench says so").1;
            let number = rest.split_whitespace().next().expect("a number follows");
            number.parse().expect("a number")
        };
        let rate = number_after("tps = ");
        assert_eq!(number_after("number of failed transactions: "), 0.0);
        Figures {
            rate,
            p50_ms: f64::NAN,
            p99_ms: f64::NAN,
            processor_us: used * 1e6 / number_after("number of transactions actually processed: "),
            errors_per_second: 0.0,
        }
    }
}

/// Frees what a server held that was killed at work.
pub fn free_all(url: &str) {
    // Its last transaction may be under way.
    let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    psql(url, end);
    let free = "UPDATE resources SET locked_by = NULL, ttl = NULL, acquired_at_us = NULL, expires_at_us = NULL \
                 WHERE locked_by IS NOT NULL";
    psql(url, free);
}
