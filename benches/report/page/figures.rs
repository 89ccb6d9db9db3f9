//! The raw figures, as `docs/benchmarks/figures.json` has them.

use serde::{Deserialize, Serialize};

/// Everything that one run measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figures {
    pub run: Run,
    pub machine: Machine,
    pub versions: Vec<Version>,
    pub throughput: Vec<Throughput>,
    pub hand_over: Vec<HandOver>,
    pub take_over: Vec<TakeOver>,
    pub memory: Vec<Memory>,
    pub failed: Vec<Failed>,
}

/// How it was run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// The day, as ISO 8601 has it.
    pub date: String,
    pub quick: bool,
    pub minutes: f64,
    pub throughput_rounds: usize,
    pub throughput_seconds: f64,
    pub hand_over_rounds: usize,
    /// Locks whose holders die in a round.
    pub take_over_locks: usize,
    pub take_over_rounds: usize,
    pub held: usize,
    pub waiting: usize,
}

/// Where it was run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_gib: f64,
    pub kernel: String,
    pub distribution: String,
    pub file_system: String,
    /// The median of writing and syncing 4 KiB, at the start of every round.
    pub fsync_ms: Vec<f64>,
    /// Processors that were at work, also for other machines on the same hardware, at
    /// the start of every round: it is other people's work.
    pub busy_with_others: Vec<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Version {
    pub program: String,
    pub version: String,
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// This server on SQLite.
    Sqlite,
    /// One of this server on PostgreSQL.
    Postgres,
    /// Three of this server on one PostgreSQL database.
    Replicas,
    /// actix answering constants.
    Constants,
    RedisAlways,
    RedisEverysec,
    /// etcd's lock service over gRPC.
    EtcdLock,
    /// etcd's transactions over gRPC.
    EtcdTransaction,
    /// etcd's lock service over its JSON gateway.
    EtcdJson,
    Zookeeper,
    /// PostgreSQL's advisory locks.
    Advisory,
    /// `SELECT … FOR UPDATE` and `UPDATE` on PostgreSQL.
    Naive,
    /// Redis with `appendfsync always`, and a list on which those who wait block.
    RedisSignal,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Throughput {
    pub system: System,
    pub connections: usize,
    pub rounds: Vec<ThroughputRound>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ThroughputRound {
    /// Operations a second.
    pub rate: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Microseconds of processor time for an operation: of the server and, if
    /// there is one, its database.
    pub server_us: f64,
    /// The same of the load generator, if it is known.
    pub generator_us: Option<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HandOver {
    pub system: System,
    pub waiters: usize,
    pub rounds: Vec<HandOverRound>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct HandOverRound {
    pub hand_overs: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TakeOver {
    pub system: System,
    /// From the holder's expiry; of those who have none, from its death.
    pub after_ms: Vec<f64>,
}

/// Resident memory in KiB of all processes of a server, shared pages divided
/// among those who share them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Memory {
    pub system: System,
    pub idle_kib: u64,
    pub held_kib: u64,
    /// Of another one that was started for it, before and with those who wait.
    pub waiting_kib: (u64, u64),
}

/// What was tried and did not work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failed {
    pub system: System,
    /// What was measured, as a part of a sentence.
    pub what: String,
    pub why: String,
}
