//! Every system, started in the same way for every measure.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::NAMES;
use crate::figures::{System, ThroughputRound};
use crate::page::statistics::quantile;
use crate::postgres::{Cluster, free_all};
use crate::postgres_server::{find_binaries, psql};
use crate::rivals_started::Rival;
use crate::servers::{Kind, ServerProcess, fresh_directory, processor_seconds_of};

/// Of this server on one database.
const REPLICAS: usize = 3;

/// At the start of a run that are not counted.
const WARM_UP_SECONDS: f64 = 1.0;

/// What PostgreSQL takes for a process and a password, on a busy machine.
const CONNECT_SECONDS_MAX: f64 = 0.02;

/// PostgreSQL, and the databases on it.
pub struct Stage {
    cluster: Cluster,
    /// Of this server.
    locks_url: String,
    /// Of those who ask PostgreSQL themselves.
    pub direct_url: String,
}

impl Stage {
    pub fn set() -> Self {
        let cluster = Cluster::start();
        let locks_url = cluster.database(Kind::Cls, NAMES);
        psql(&cluster.url_of("postgres"), "CREATE DATABASE direct TEMPLATE template0");
        let direct_url = cluster.url_of("direct");
        let make = "CREATE TABLE naive_locks (name TEXT PRIMARY KEY, locked_by TEXT, fencing_token BIGINT NOT NULL)";
        psql(&direct_url, make);
        let fill = format!(
            "INSERT INTO naive_locks (name, fencing_token) SELECT 'bench-' || lpad(number::text, 6, '0'), 0 \
               FROM generate_series(0, {NAMES} - 1) AS number"
        );
        psql(&direct_url, &fill);
        Self {
            cluster,
            locks_url,
            direct_url,
        }
    }

    pub fn postgres_version(&self) -> String {
        psql(&self.direct_url, "SELECT current_setting('server_version')").concat()
    }

    /// `Err` says why it cannot be.
    pub fn start(&self, system: System) -> Result<Started<'_>, String> {
        let ours_on_postgres = |count: usize| {
            free_all(&self.locks_url);
            let start = |_| ServerProcess::start_on(Kind::Cls, &self.locks_url);
            Started {
                ours: (0..count).map(start).collect(),
                rival: None,
                cluster: Some(&self.cluster),
            }
        };
        let ours = |kind| Started {
            ours: vec![ServerProcess::start(kind)],
            rival: None,
            cluster: None,
        };
        let rival = |rival: Result<Rival, String>| {
            Ok(Started {
                ours: Vec::new(),
                rival: Some(rival?),
                cluster: None,
            })
        };
        match system {
            System::Sqlite => Ok(ours(Kind::Cls)),
            System::Constants => Ok(ours(Kind::Constants)),
            System::Postgres => Ok(ours_on_postgres(1)),
            System::Replicas => Ok(ours_on_postgres(REPLICAS)),
            System::RedisAlways | System::RedisSignal => rival(Rival::redis("always")),
            System::RedisEverysec => rival(Rival::redis("everysec")),
            System::EtcdLock | System::EtcdTransaction | System::EtcdJson => rival(Rival::etcd()),
            System::Zookeeper => rival(Rival::zookeeper()),
            System::Advisory | System::Naive => Ok(Started {
                ours: Vec::new(),
                rival: None,
                cluster: Some(&self.cluster),
            }),
        }
    }

    /// Clients that run `script` by themselves, each operation a transaction of it.
    pub fn pgbench(&self, script: &str, clients: usize, seconds: f64) -> Result<ThroughputRound, String> {
        let directory = fresh_directory();
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("benches/report")
            .join(script);
        let free = "UPDATE naive_locks SET locked_by = NULL WHERE locked_by IS NOT NULL";
        psql(&self.direct_url, free);
        // Its time begins before it has connected.
        let run_seconds = (seconds + WARM_UP_SECONDS + clients as f64 * CONNECT_SECONDS_MAX).ceil();
        let mut child = Command::new(find_binaries(&["pgbench"]).join("pgbench"))
            .args(["--no-vacuum", "--protocol=prepared", "--define=held=0"])
            .args(["--log", "--log-prefix=operations"])
            .arg(format!("--client={clients}"))
            .arg(format!("--jobs={}", clients.min(2)))
            .arg(format!("--time={run_seconds}"))
            .arg(format!("--file={}", script.display()))
            .arg(&self.direct_url)
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("pgbench: {error}"))?;
        let mut used = Vec::new();
        let status = loop {
            used.push((epoch_seconds(), self.cluster.processor_seconds()));
            if let Some(status) = child.try_wait().expect("a child of ours") {
                break status;
            }
            thread::sleep(Duration::from_millis(50));
        };
        let logs = fs::read_dir(directory.path()).expect("it is there");
        let operations: Vec<_> = logs
            .map(|log| fs::read_to_string(log.expect("an entry").path()).expect("text"))
            .flat_map(|log| log.lines().map(operation_of).collect::<Vec<_>>())
            .collect();
        let last = operations.iter().map(|(at, _)| *at).fold(f64::NAN, f64::max);
        let first = operations.iter().map(|(at, _)| *at).fold(f64::NAN, f64::min);
        let begin = last - seconds;
        if !status.success() || begin.is_nan() || begin < first {
            return Err(format!("pgbench, {status}, was not at work for {seconds} s"));
        }
        let within = operations.iter().filter(|(at, _)| *at > begin);
        let times_ms: Vec<_> = within.map(|(_, time_us)| time_us / 1e3).collect();
        let used_until = |moment: f64| {
            let nearest = used
                .iter()
                .min_by(|(a, _), (b, _)| (a - moment).abs().total_cmp(&(b - moment).abs()));
            nearest.expect("it was looked at").1
        };
        Ok(ThroughputRound {
            rate: times_ms.len() as f64 / seconds,
            p50_ms: quantile(&times_ms, 0.5),
            p99_ms: quantile(&times_ms, 0.99),
            server_us: (used_until(last) - used_until(begin)) * 1e6 / times_ms.len() as f64,
            generator_us: None,
        })
    }
}

fn epoch_seconds() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is after 1970").as_secs_f64()
}

/// When it ended, in seconds since 1970, and how many microseconds it took.
fn operation_of(line: &str) -> (f64, f64) {
    let columns: Vec<f64> = line
        .split(' ')
        .map(|column| column.parse().expect("a number"))
        .collect();
    let [_client, _number, time_us, _script, seconds, microseconds, ..] = columns[..] else {
        panic!("pgbench writes six columns, not {line}");
    };
    (seconds + microseconds / 1e6, time_us)
}

/// A system at work. What is its own ends with this value.
pub struct Started<'a> {
    /// This server, or the constants.
    pub ours: Vec<ServerProcess>,
    pub rival: Option<Rival>,
    cluster: Option<&'a Cluster>,
}

impl Started<'_> {
    pub fn rival(&self) -> &Rival {
        self.rival.as_ref().expect("it was started as one")
    }

    /// All of its processes, those of its database too.
    fn pids(&self) -> Vec<u32> {
        let ours = self.ours.iter().map(ServerProcess::pid);
        let rival = self.rival.iter().map(Rival::pid);
        let database = self.cluster.iter().flat_map(|cluster| cluster.pids());
        ours.chain(rival).chain(database).collect()
    }

    pub fn processor_seconds(&self) -> f64 {
        self.pids().into_iter().map(processor_seconds_of).sum()
    }

    /// Memory that would be free without it: of pages that processes share each
    /// counts its part.
    pub fn resident_kib(&self) -> u64 {
        let share_of = |pid: u32| {
            // A process of the database may have ended meanwhile.
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
            line.map_or(0, |line| {
                let kib = line.trim().trim_end_matches(" kB").trim();
                kib.parse::<u64>().expect("a number")
            })
        };
        self.pids().into_iter().map(share_of).sum()
    }
}
