//! A server's session with the simulated database: what the real stores do, step
//! by step, with a wait wherever others may do something.

use std::collections::HashMap;
use std::time::Duration;

use central_locking_system::clock::Timestamp;
use central_locking_system::db::{Announcement, Askers, History, Kept, Listener, Seen, Standing, Store, StoreError};
use central_locking_system::limits::{
    REOPEN_INTERVAL, REPLICA_FORGOTTEN_AFTER, REPLICA_SILENT_MAX, ROW_LOCK_AGAIN_WAIT_MAX, ROW_LOCK_WAIT_MAX,
    VACANT_PLACE_MAX,
};
use central_locking_system::lock::{FencingCounter, FencingToken, Place, Resource, ResourceName, Rows};
use tokio::time::Instant;

use crate::baton::{Baton, Wait};
use crate::database::{Database, Notice, ReplicaRow, State, VACANT};
use crate::lines::{self, CLOCK_SLACK, Elsewhere, Viewpoint};
use crate::plan::Kind;

/// Numbers that one transaction on the shared database may give, first tokens and
/// then places.
const NUMBERS: i64 = 1 << 20;

pub struct SimulatedStore {
    database: Database,
    baton: Baton,
    /// Of the server, in the histories.
    server: usize,
    /// In the tables.
    replica: i64,
    session: Option<Session>,
    reopened: Instant,
    worked: Instant,
    beat: Option<Instant>,
    forgot_silent: Option<Instant>,
    believing_since: Timestamp,
    failing: bool,
    last_place: Place,
    /// No token up to this one is granted again: a commit of which nobody knows may
    /// have granted it.
    tokens_floor: FencingToken,
}

#[derive(Clone, Copy)]
struct Session {
    epoch: u64,
}

/// What became of a commit.
enum Committed {
    Known,
    Unknown,
}

impl SimulatedStore {
    /// One more server on it, and its number in the tables.
    pub fn open(database: Database, baton: Baton, server: usize) -> (Self, i64) {
        let mut state = database.lock();
        let now = Instant::now();
        let replica = register(&mut state);
        // The wall clock counts when a server starts; it is not asked again.
        state.embedded_clock = Some((state.wall_clock().max(state.latest()), now));
        let (epoch, believing_since) = (state.epoch, state.started);
        drop(state);
        let store = Self {
            database,
            baton,
            server,
            replica,
            session: Some(Session { epoch }),
            reopened: now,
            worked: now,
            beat: Some(now),
            forgot_silent: None,
            believing_since,
            failing: false,
            last_place: Place::NONE,
            tokens_floor: FencingToken::NONE,
        };
        (store, replica)
    }

    fn is_shared(&self) -> bool {
        self.database.kind == Kind::Shared
    }

    fn now(&self, state: &State) -> Timestamp {
        state.now(self.database.kind)
    }

    fn pause(&self, ms_max: usize) {
        let wait = self.database.chance.ms(0..ms_max + 1);
        if !wait.is_zero() {
            self.baton.wait(Wait::For(wait));
        }
    }

    /// Runs `work` with a session.
    fn with_session<T>(
        &mut self,
        work: impl FnOnce(&mut Self, Session) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let session = match self.session.take() {
            Some(session) => session,
            None if self.reopened.elapsed() < REOPEN_INTERVAL => {
                return Err(StoreError::Failed("it is being opened again".to_owned()));
            }
            None => {
                self.pause(10);
                self.reopened = Instant::now();
                self.failing = true;
                self.beat = None;
                let state = self.database.lock();
                if !state.is_up {
                    return Err(StoreError::Failed("it is down".to_owned()));
                }
                if self.worked.elapsed() > REPLICA_SILENT_MAX / 2 {
                    self.believing_since = self.now(&state);
                }
                Session { epoch: state.epoch }
            }
        };
        let result = work(self, session);
        self.failing = result.is_err();
        match &result {
            Ok(_) | Err(StoreError::Refused(_)) => self.session = Some(session),
            Err(_) => {}
        }
        match &result {
            Ok(_) => self.worked = Instant::now(),
            Err(error) => {
                self.reopened = Instant::now();
                self.database
                    .judge
                    .trouble(Some(self.server), &format!("its database: {error}"));
            }
        }
        result
    }

    fn check(&self, session: Session) -> Result<(), StoreError> {
        let state = self.database.lock();
        if state.is_up && state.epoch == session.epoch {
            return Ok(());
        }
        Err(StoreError::Failed("the session was lost".to_owned()))
    }

    fn lock_rows(&self, session: Session, names: &[ResourceName], wait_max: Duration) -> Result<u64, StoreError> {
        let until = Instant::now() + wait_max;
        loop {
            self.check(session)?;
            if let Some(transaction) = self.database.lock().lock_rows(names) {
                return Ok(transaction);
            }
            if Instant::now() >= until {
                return Err(StoreError::Refused("a row is locked".to_owned()));
            }
            self.baton.wait(Wait::ForRows(until));
        }
    }

    fn batch(
        &mut self,
        wait_max: Duration,
        names: &[ResourceName],
        askers: Askers<'_>,
        decide: &mut dyn FnMut(Timestamp, &mut Rows),
    ) -> Result<(), StoreError> {
        self.with_session(|store, session| {
            store.pause(1);
            let transaction = store.lock_rows(session, names, wait_max)?;
            store.database.judge.transaction_began(store.server, transaction);
            let done = store.transact(session, transaction, names, askers, decide);
            store.database.lock().unlock(transaction);
            store.database.judge.transaction_ended(store.server);
            done
        })
    }

    fn transact(
        &mut self,
        session: Session,
        transaction: u64,
        names: &[ResourceName],
        askers: Askers<'_>,
        decide: &mut dyn FnMut(Timestamp, &mut Rows),
    ) -> Result<(), StoreError> {
        self.pause(1);
        let mut state = self.database.lock();
        let now = self.now(&state);
        let before: Vec<Resource> = names.iter().map(|name| state.row(name)).collect();
        let viewpoint = Viewpoint {
            replica: self.replica,
            believing_since: self.believing_since,
            now,
        };
        let (elsewhere, tokens, last_place) = match self.database.kind {
            Kind::Shared => {
                let first = state.sequence;
                state.sequence += 2 * NUMBERS;
                let elsewhere = Elsewhere::load(&state, viewpoint, names, askers);
                (elsewhere, FencingToken::new(first), Place::new(first + NUMBERS))
            }
            Kind::Embedded => {
                let highest = state.highest_token().max(self.tokens_floor);
                (Elsewhere::default(), highest, self.last_place)
            }
        };
        let held = askers.clients.iter().map(|client| {
            let locks = state.rows.values().filter_map(|row| row.holder_at(now));
            let theirs = locks.filter(|lock| lock.client.as_ref() == Some(client));
            (client.clone(), theirs.count())
        });
        let mut rows = Rows::loaded(before.clone(), FencingCounter::continuing_after(tokens), last_place)
            .with_ahead(elsewhere.ahead(names.len()))
            .with_returning(elsewhere.returning())
            .with_held(held.collect::<HashMap<_, _>>());
        drop(state);
        decide(now, &mut rows);
        self.last_place = rows.last_place();
        if let Some(tokens) = rows.tokens_taken() {
            self.tokens_floor = tokens.highest();
        }
        for joined in rows.joined() {
            let what = format!(
                "server {} decides: place {} is taken",
                self.server,
                joined.place.as_i64()
            );
            self.database.judge.note_of(&rows.resource(joined.row).name, &what);
        }
        for (row, place) in rows.left() {
            let what = format!("server {} decides: place {} is left", self.server, place.as_i64());
            self.database.judge.note_of(&rows.resource(*row).name, &what);
        }
        let notices = match self.database.kind {
            Kind::Shared => elsewhere.notices(now, &rows),
            Kind::Embedded => Vec::new(),
        };
        let are_lines_changed = self.is_shared() && lines::are_changed(&rows);
        if rows.changed().next().is_none() && !are_lines_changed && notices.is_empty() {
            return Ok(());
        }
        match self.commit(session, transaction, viewpoint, &before, &rows, &notices)? {
            Committed::Known => Ok(()),
            Committed::Unknown => Err(StoreError::Unknown("nobody said whether it is committed".to_owned())),
        }
    }

    fn commit(
        &self,
        session: Session,
        transaction: u64,
        viewpoint: Viewpoint,
        before: &[Resource],
        rows: &Rows,
        notices: &[Notice],
    ) -> Result<Committed, StoreError> {
        let weather = self.database.lock().weather.clone();
        self.pause(weather.commit_ms_max);
        let mut state = self.database.lock();
        if !state.is_up || state.epoch != session.epoch || !state.is_alive(transaction) {
            return Ok(Committed::Unknown);
        }
        let chance = &self.database.chance;
        if chance.percent(weather.failing_percent) {
            // It says that it failed; or it does not.
            return match chance.percent(50) {
                true => Ok(Committed::Unknown),
                false => Err(StoreError::Failed("the commit failed".to_owned())),
            };
        }
        let changed: Vec<_> = rows
            .changed()
            .map(|(row, after, _)| (before[row].clone(), after.clone()))
            .collect();
        for (_, after) in &changed {
            let is_worth_a_row = after.fencing_token != FencingToken::NONE || after.lock.is_some();
            if is_worth_a_row {
                state.rows.insert(after.name.clone(), after.clone());
            }
        }
        if self.is_shared() {
            lines::save(&mut state, viewpoint, rows);
        }
        self.database.judge.committed(self.server, viewpoint.now, &changed);
        self.database.announce(&state, notices);
        state.unlock(transaction);
        drop(state);
        self.pause(weather.commit_ms_max / 2);
        match chance.percent(weather.unknown_percent) {
            true => Ok(Committed::Unknown),
            false => Ok(Committed::Known),
        }
    }
}

impl Store for SimulatedStore {
    fn transaction(
        &mut self,
        names: &[ResourceName],
        askers: Askers<'_>,
        decide: &mut dyn FnMut(Timestamp, &mut Rows),
    ) -> Result<(), StoreError> {
        let wait_max = match self.failing {
            true => ROW_LOCK_AGAIN_WAIT_MAX,
            false => ROW_LOCK_WAIT_MAX,
        };
        self.batch(wait_max, names, askers, decide)
    }

    fn look(
        &mut self,
        names: &[ResourceName],
        askers: Askers<'_>,
        decide: &mut dyn FnMut(Timestamp, &mut Rows),
    ) -> Result<(), StoreError> {
        self.batch(ROW_LOCK_AGAIN_WAIT_MAX, names, askers, decide)
    }

    fn read(&mut self, names: &[ResourceName]) -> Result<Seen, StoreError> {
        self.with_session(|store, session| {
            store.check(session)?;
            let state = store.database.lock();
            let now = store.now(&state);
            let is_waiting = |replica: i64| {
                let seen = state.replicas.get(&replica);
                seen.is_some_and(|row| row.seen.max(store.believing_since) + REPLICA_SILENT_MAX > now)
            };
            let waiting = |name: &ResourceName| {
                let waiters = state.waiters.iter().filter(|waiter| waiter.name == *name);
                waiters.filter(|waiter| is_waiting(waiter.replica)).count()
            };
            Ok(Seen {
                now,
                resources: names.iter().map(|name| state.row(name)).collect(),
                waiters: match store.database.kind {
                    Kind::Shared => names.iter().map(waiting).collect(),
                    Kind::Embedded => Vec::new(),
                },
            })
        })
    }

    fn expired(&mut self, rows_max: usize, lock_delay: Duration) -> Result<Vec<ResourceName>, StoreError> {
        self.with_session(|store, session| {
            store.check(session)?;
            let state = store.database.lock();
            let now = store.now(&state);
            let ends = |row: &Resource| row.lock.as_ref().and_then(|lock| lock.expires_at);
            let expired = state.rows.values().filter(|row| !state.is_locked(&row.name));
            let expired = expired.filter_map(|row| Some((ends(row)? + lock_delay, &row.name)));
            let mut expired: Vec<_> = expired.filter(|(at, _)| *at <= now).collect();
            expired.sort();
            Ok(expired
                .into_iter()
                .take(rows_max)
                .map(|(_, name)| name.clone())
                .collect())
        })
    }

    fn prune(&mut self, _rows_max: usize, _idle_days: u32) -> Result<usize, StoreError> {
        // No run lasts for days.
        Ok(0)
    }

    fn record(&mut self, _history: History) {}

    fn prune_events(&mut self, _rows_max: usize, _kept: Kept) -> Result<usize, StoreError> {
        Ok(0)
    }

    fn beat(&mut self, call: bool) -> Result<Standing, StoreError> {
        if !self.is_shared() {
            return Ok(Standing::Known);
        }
        self.with_session(|store, session| {
            let began = Instant::now();
            store.pause(2);
            store.check(session)?;
            let mut state = store.database.lock();
            let now = state.wall_clock();
            let before = state
                .replicas
                .insert(store.replica, ReplicaRow { seen: now })
                .map(|row| row.seen);
            store.believing_since = store.believing_since.min(now);
            if before.is_some_and(|before| before > now) {
                bring_back(&mut state, now);
            }
            if before.is_none() {
                state.replicas.remove(&store.replica);
                store.replica = register(&mut state);
                let replica = store.replica;
                if let Some(ear) = state.ear(store.server) {
                    ear.replica = replica;
                }
            }
            let last_beat = store.beat.replace(began);
            if call {
                store.database.announce(&state, &[Notice::Call]);
            }
            if store
                .forgot_silent
                .is_none_or(|at| at.elapsed() >= REPLICA_FORGOTTEN_AFTER)
            {
                store.forgot_silent = Some(Instant::now());
                forget_the_silent(&mut state, store.believing_since, now);
            }
            let was_in_time = last_beat.is_some_and(|last_beat| last_beat.elapsed() < REPLICA_SILENT_MAX);
            let was_heard = |before: Timestamp| before <= now && now.since(before) < REPLICA_SILENT_MAX;
            Ok(match before {
                None => Standing::Forgotten,
                Some(before) if was_in_time && was_heard(before) => Standing::Known,
                Some(_) => Standing::Doubted,
            })
        })
    }

    fn leave(&mut self) -> Result<(), StoreError> {
        if !self.is_shared() {
            return Ok(());
        }
        self.with_session(|store, session| {
            store.check(session)?;
            let mut state = store.database.lock();
            let now = state.wall_clock();
            if state.replicas.remove(&store.replica).is_some() {
                lines::vacate(&mut state, store.replica, now, |_| true);
                state.waiters.retain(|waiter| waiter.replica != store.replica);
            }
            Ok(())
        })
    }

    fn listen(&mut self) -> Option<Box<dyn Listener>> {
        self.is_shared().then(|| Box::new(Listening) as Box<dyn Listener>)
    }
}

/// That there is something to listen to; what is heard is told by hand.
struct Listening;

impl Listener for Listening {
    fn hear(&mut self, _patience: Duration) -> Vec<Announcement> {
        unreachable!("no thread listens")
    }
}

fn register(state: &mut State) -> i64 {
    state.last_replica += 1;
    let (replica, seen) = (state.last_replica, state.wall_clock());
    state.replicas.insert(replica, ReplicaRow { seen });
    replica
}

/// What was written before the clock was set back counts as if it were written now.
fn bring_back(state: &mut State, now: Timestamp) {
    for row in state.replicas.values_mut().filter(|row| row.seen > now + CLOCK_SLACK) {
        row.seen = now - REPLICA_FORGOTTEN_AFTER / 2;
    }
    let latest = now + VACANT_PLACE_MAX;
    for waiter in &mut state.waiters {
        waiter.vacant_until = waiter.vacant_until.map(|until| until.min(latest));
    }
}

fn forget_the_silent(state: &mut State, believing_since: Timestamp, now: Timestamp) {
    let long_ago = now - REPLICA_FORGOTTEN_AFTER;
    if believing_since < long_ago {
        state.replicas.retain(|_, row| row.seen >= long_ago);
    }
    let replicas = &state.replicas;
    state.waiters.retain(|waiter| match waiter.replica {
        VACANT => waiter.vacant_until.is_some_and(|until| until >= now),
        replica => replicas.contains_key(&replica),
    });
}
