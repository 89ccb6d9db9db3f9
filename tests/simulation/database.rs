//! The simulated database: what its tables say, who has which row locked, and how
//! it fails.
//!
//! It keeps the promises of the real ones and no more. What is committed stays.
//! Whoever has a row locked keeps others from it. Its clock is the one by which
//! locks end. A commit may fail, or be done without anybody learning of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use central_locking_system::clock::Timestamp;
use central_locking_system::db::Announcement;
use central_locking_system::lock::{FencingToken, Place, Resource, ResourceName};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::judge::Judge;
use crate::plan::{Kind, Plan};

/// As good as any.
const STARTED_US: i64 = 1_800_000_000_000_000;

/// By what rows of vacant places are known.
pub const VACANT: i64 = 0;

/// One database. Cloning copies a pointer.
#[derive(Clone)]
pub struct Database {
    state: Arc<Mutex<State>>,
    pub chance: Chance,
    pub judge: Judge,
    pub kind: Kind,
}

pub struct State {
    pub rows: BTreeMap<ResourceName, Resource>,
    pub waiters: Vec<WaiterRow>,
    pub replicas: BTreeMap<i64, ReplicaRow>,
    /// Tokens and places of the shared one come from here; it is never set back.
    pub sequence: i64,
    pub last_replica: i64,
    pub is_up: bool,
    /// Sessions that began before a restart are not served any more.
    pub epoch: u64,
    pub started: Timestamp,
    /// By whom, a number of a transaction.
    locked_rows: BTreeMap<ResourceName, u64>,
    are_rows_unlocked: bool,
    last_transaction: u64,
    /// Transactions that the database ended by itself.
    ended: BTreeSet<u64>,
    born: Instant,
    offset_us: i64,
    pub weather: Weather,
    ears: BTreeMap<usize, Ear>,
    /// Where the clock of the server started that has the embedded one, and when.
    pub embedded_clock: Option<(Timestamp, Instant)>,
}

/// How the database does at present.
#[derive(Clone, Debug)]
pub struct Weather {
    pub commit_ms_max: usize,
    /// Of a hundred commits so many fail.
    pub failing_percent: usize,
    /// Of those that do not, nobody learns of so many of a hundred.
    pub unknown_percent: usize,
    pub notify_ms_max: usize,
    /// Of a hundred announcements so many are heard twice.
    pub doubled_percent: usize,
}

#[derive(Clone, Debug)]
pub struct WaiterRow {
    pub name: ResourceName,
    pub replica: i64,
    pub place: Place,
    pub request: Option<String>,
    pub vacant_until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
pub struct ReplicaRow {
    pub seen: Timestamp,
}

/// What was announced, before anybody knows what it means to it.
#[derive(Clone, Debug)]
pub enum Notice {
    Free(i64, ResourceName),
    Ends(ResourceName, Duration),
    Moved(i64, ResourceName, Place),
    Call,
}

/// What a server's listener is connected to.
#[derive(Clone)]
pub struct Ear {
    pub to: UnboundedSender<(Duration, Vec<Announcement>)>,
    /// The number by which it is known in the tables; it may get another one.
    pub replica: i64,
    pub is_connected: bool,
    /// It seems to hear and does not.
    pub is_deaf: bool,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            commit_ms_max: 5,
            failing_percent: 0,
            unknown_percent: 0,
            notify_ms_max: 3,
            doubled_percent: 0,
        }
    }
}

impl Database {
    pub fn new(plan: &Plan, chance: Chance, judge: Judge) -> Self {
        let state = State {
            rows: BTreeMap::new(),
            waiters: Vec::new(),
            replicas: BTreeMap::new(),
            sequence: 0,
            last_replica: 0,
            is_up: true,
            epoch: 0,
            started: Timestamp::from_us(STARTED_US),
            locked_rows: BTreeMap::new(),
            are_rows_unlocked: false,
            last_transaction: 0,
            ended: BTreeSet::new(),
            born: Instant::now(),
            offset_us: 0,
            weather: Weather::default(),
            ears: BTreeMap::new(),
            embedded_clock: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            chance,
            judge,
            kind: plan.kind,
        }
    }

    /// Only one runs at a time, so nobody ever waits for it.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.try_lock().expect("nobody waits while having it")
    }

    pub fn announce(&self, state: &State, notices: &[Notice]) {
        for ear in state.ears.values().filter(|ear| ear.is_connected && !ear.is_deaf) {
            let heard: Vec<_> = notices.iter().filter_map(|notice| notice.to(ear.replica)).collect();
            if heard.is_empty() {
                continue;
            }
            let times = 1 + usize::from(self.chance.percent(state.weather.doubled_percent));
            for _ in 0..times {
                let delay = self.chance.ms(0..state.weather.notify_ms_max + 1);
                // Whoever is gone hears nothing.
                let _ = ear.to.send((delay, heard.clone()));
            }
        }
    }
}

impl Notice {
    /// What it means to the server with this number.
    fn to(&self, replica: i64) -> Option<Announcement> {
        match self {
            Self::Free(first, name) if *first == replica => Some(Announcement::Free(name.clone())),
            Self::Free(_, name) => Some(Announcement::Promised(name.clone())),
            Self::Ends(name, after) => Some(Announcement::Ends(name.clone(), *after)),
            Self::Moved(from, name, place) if *from == replica => Some(Announcement::Moved(name.clone(), *place)),
            Self::Moved(..) => None,
            Self::Call => Some(Announcement::Call),
        }
    }
}

impl State {
    /// The wall clock of the machine.
    pub fn wall_clock(&self) -> Timestamp {
        let passed_us = self.born.elapsed().as_micros() as i64;
        Timestamp::from_us(STARTED_US + passed_us + self.offset_us)
    }

    pub fn set_clock(&mut self, by_us: i64) {
        self.offset_us += by_us;
    }

    /// The instant by which locks end.
    pub fn now(&self, kind: Kind) -> Timestamp {
        match (kind, self.embedded_clock) {
            (Kind::Embedded, Some((started_at, started))) => started_at + started.elapsed(),
            _ => self.wall_clock(),
        }
    }

    /// The latest instant that is stored.
    pub fn latest(&self) -> Timestamp {
        let instants = self.rows.values().flat_map(|row| {
            let acquired_at = row.lock.as_ref().map(|lock| lock.acquired_at);
            acquired_at.into_iter().chain(row.released_at)
        });
        instants.max().unwrap_or(Timestamp::from_us(0))
    }

    pub fn highest_token(&self) -> FencingToken {
        let tokens = self.rows.values().map(|row| row.fencing_token);
        tokens.max().unwrap_or(FencingToken::NONE)
    }

    pub fn row(&self, name: &ResourceName) -> Resource {
        self.rows
            .get(name)
            .cloned()
            .unwrap_or_else(|| Resource::unseen(name.clone()))
    }

    /// Locks all of these rows for a new transaction, or none.
    pub fn lock_rows(&mut self, names: &[ResourceName]) -> Option<u64> {
        if names.iter().any(|name| self.locked_rows.contains_key(name)) {
            return None;
        }
        self.last_transaction += 1;
        let transaction = self.last_transaction;
        self.locked_rows
            .extend(names.iter().map(|name| (name.clone(), transaction)));
        Some(transaction)
    }

    pub fn is_locked(&self, name: &ResourceName) -> bool {
        self.locked_rows.contains_key(name)
    }

    /// Whether the database has not ended it.
    pub fn is_alive(&self, transaction: u64) -> bool {
        !self.ended.contains(&transaction)
    }

    /// It has no rows locked any more.
    pub fn unlock(&mut self, transaction: u64) {
        let before = self.locked_rows.len();
        self.locked_rows.retain(|_, by| *by != transaction);
        self.are_rows_unlocked |= self.locked_rows.len() < before;
    }

    /// Whether any rows were unlocked since this was asked last.
    pub fn take_unlocked(&mut self) -> bool {
        std::mem::take(&mut self.are_rows_unlocked)
    }

    /// Ends a transaction whose server says nothing.
    pub fn end(&mut self, transaction: u64) {
        self.unlock(transaction);
        self.ended.insert(transaction);
    }

    /// Ends all sessions.
    pub fn restart(&mut self, now: Timestamp) {
        self.epoch += 1;
        self.started = now;
        self.ended.extend(self.locked_rows.values());
        self.locked_rows.clear();
        self.are_rows_unlocked = true;
    }

    pub fn connect_ear(&mut self, server: usize, ear: Ear) {
        self.ears.insert(server, ear);
    }

    pub fn ear(&mut self, server: usize) -> Option<&mut Ear> {
        self.ears.get_mut(&server)
    }

    pub fn remove_ear(&mut self, server: usize) {
        self.ears.remove(&server);
    }
}
