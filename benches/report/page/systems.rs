//! What is known of each system without measuring it.

use super::figures::System;

/// What an answer promises about the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// What was answered is on disk.
    BeforeTheAnswer,
    /// It may be lost for a second or two after the answer.
    Later,
    /// It is never on disk.
    Never,
}

impl Durability {
    pub fn in_words(self) -> &'static str {
        match self {
            Self::BeforeTheAnswer => "before the answer",
            Self::Later => "within a second or two after the answer",
            Self::Never => "never",
        }
    }
}

impl System {
    /// In the order of the report.
    pub const ALL: [Self; 13] = [
        Self::Sqlite,
        Self::Postgres,
        Self::Replicas,
        Self::Constants,
        Self::RedisAlways,
        Self::RedisSignal,
        Self::RedisEverysec,
        Self::EtcdLock,
        Self::EtcdTransaction,
        Self::EtcdJson,
        Self::Zookeeper,
        Self::Advisory,
        Self::Naive,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::Sqlite => "cls on SQLite",
            Self::Postgres => "cls on PostgreSQL",
            Self::Replicas => "three cls on PostgreSQL",
            Self::Constants => "actix, constants",
            Self::RedisAlways => "Redis, always",
            Self::RedisSignal => "Redis, always, BLPOP",
            Self::RedisEverysec => "Redis, everysec",
            Self::EtcdLock => "etcd, gRPC, lock service",
            Self::EtcdTransaction => "etcd, gRPC, transactions",
            Self::EtcdJson => "etcd, JSON, lock service",
            Self::Zookeeper => "ZooKeeper",
            Self::Advisory => "PostgreSQL, advisory locks",
            Self::Naive => "PostgreSQL, FOR UPDATE",
        }
    }

    pub fn is_ours(self) -> bool {
        matches!(self, Self::Sqlite | Self::Postgres | Self::Replicas)
    }

    /// Gives locks and is not ours.
    pub fn is_rival(self) -> bool {
        !self.is_ours() && self != Self::Constants
    }

    pub fn durability(self) -> Durability {
        match self {
            Self::RedisEverysec => Durability::Later,
            Self::Constants | Self::Advisory => Durability::Never,
            _ => Durability::BeforeTheAnswer,
        }
    }

    /// Has an end to each lock, which comes by itself.
    pub fn expires(self) -> bool {
        !matches!(self, Self::Advisory | Self::Naive | Self::Constants)
    }

    /// What is asked, and by whom.
    pub fn asked(self) -> &'static str {
        match self {
            Self::Sqlite => "`PUT` and `DELETE`, JSON over HTTP/1.1; a server as it comes, history and all",
            Self::Postgres => "the same, the database on the same machine, as it comes",
            Self::Replicas => "the same from three servers on one database, connections spread over them",
            Self::Constants => {
                "the same requests, answered without looking at them by the HTTP library that cls uses: the ceiling of any server on it"
            }
            Self::RedisAlways => {
                "`SET NX PX` with a random value, and by `EVALSHA` the script that deletes the key if it has that value; `appendfsync always`. Who waits asks again every 50 ms, give or take half (libraries of Redlock: 200 ms)"
            }
            Self::RedisSignal => {
                "the same, but who waits blocks on a list into which the releasing script puts an element, as python-redis-lock does it"
            }
            Self::RedisEverysec => "as the first, with `appendfsync everysec`, as it is advised",
            Self::EtcdLock => {
                "`v3lock.Lock` and `Unlock` by the Rust crate etcd-client; a lease for each connection. The server does what etcd's own client does: put a key, watch the one before it"
            }
            Self::EtcdTransaction => {
                "what `concurrency.Mutex` of etcd's own client does where nobody is in the way: a transaction that puts the key if it is not there, and a delete; the same crate and leases"
            }
            Self::EtcdJson => "`/v3/lock/lock` and `/v3/lock/unlock` of the JSON gateway; a lease for each connection",
            Self::Zookeeper => {
                "the recipe of the Rust crate zookeeper-client: an ephemeral node in sequence, a look at the others, a watch on the one before; a session for each connection, ticks of a second"
            }
            Self::Advisory => {
                "`pg_advisory_lock` and `pg_advisory_unlock` of a session; by pgbench, prepared; lines by the Rust crate tokio-postgres"
            }
            Self::Naive => "`BEGIN; SELECT … FOR UPDATE; UPDATE …; COMMIT` on a table of its own; by pgbench, prepared",
        }
    }

    /// Why it may acquire and release more quickly than ours.
    pub fn why_quick(self) -> &'static str {
        match self {
            Self::RedisAlways | Self::RedisSignal => {
                "one thread appends a line to a log for each request and syncs it once for all that it read together; no table, no history and no HTTP are in the way"
            }
            Self::RedisEverysec => "it answers before its log is on disk, so nobody waits for that",
            Self::EtcdLock | Self::EtcdTransaction | Self::EtcdJson => {
                "a request is an entry of one log, which is synced once for many"
            }
            Self::Zookeeper => "a request is an entry of one log, which is synced once for all that came meanwhile",
            Self::Advisory => "it writes nothing: a lock is a place in shared memory, gone with the connection",
            Self::Naive => {
                "the process that reads the request commits it too, so there is no way from one thread to another"
            }
            _ => "it does nothing else",
        }
    }

    /// Why it may hand over more quickly than ours.
    pub fn why_quick_to_hand_over(self) -> &'static str {
        match self {
            Self::RedisAlways => "with many who ask every 50 ms there is one who asks in the very moment",
            Self::RedisSignal => "the release wakes the first that waits, which then asks in a few microseconds",
            Self::EtcdLock | Self::Zookeeper => {
                "the places in line are on disk already: a release writes one entry, and the next grant none"
            }
            Self::Advisory => "it writes nothing: the release wakes the next process",
            _ => "why is not known",
        }
    }

    /// Why it may give away what has expired sooner than ours.
    pub fn why_quick_to_take_over(self) -> &'static str {
        match self {
            Self::RedisAlways | Self::RedisSignal | Self::RedisEverysec => {
                "whoever waits happened to ask in the right moment"
            }
            Self::EtcdLock => "it looks twice a second for leases that are over, and happened to look then",
            Self::Zookeeper => "a tick happened to end then",
            _ => "why is not known",
        }
    }

    /// Why it may need less memory than ours.
    pub fn why_small(self) -> &'static str {
        match self {
            Self::RedisAlways => "a lock is a key in a table, a connection one small buffer, and there is nothing else",
            Self::EtcdLock => "those who wait are streams on shared connections, and keys are in a file that is mapped",
            Self::Zookeeper => "a lock is two nodes of a tree, a connection one object",
            _ => "why is not known",
        }
    }
}
