//! The store on PostgreSQL, which servers share.
//!
//! One thread and one session in each server. A batch is one transaction of four
//! round trips, and some more if it has names without a row or somebody waits:
//!
//! 1. BEGIN.
//! 2. Lock the rows, in the order of names; the answer has the database's clock
//!    and the tokens that may be granted, both from after the locks.
//! 3. Write what was decided, all rows in one statement.
//! 4. COMMIT, with `synchronous_commit` on. If nothing changed, ROLLBACK, which
//!    waits for no disk.
//!
//! How those are served in order who wait at several servers stands in [`lines`].
//!
//! What others may do meanwhile: anything, with SQL. Rows that are locked here
//! they cannot change; rows that they have locked are waited for, up to
//! ROW_LOCK_WAIT_MAX. Whoever locks rows in the order of names cannot come into
//! a deadlock with a server, which inserts, also in that order, only while it
//! has no other row locked.
//!
//! A transaction that does not end has its session ended (see [`watchdog`]).
//! A session of which only a transaction failed is kept, with that rolled back.
//! After any other failure, and one at COMMIT, the connection is closed, which
//! takes back whatever it had not committed, and opened again before the next
//! transaction.

mod commit;
mod lines;
mod listener;
mod message;
mod numbers;
mod place_statements;
mod places;
mod replica;
mod rows;
pub(super) mod session;
mod statements;
mod tidy;
mod timeline;
mod waiter_statements;
mod watchdog;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;

use self::commit::commit;
use self::lines::{Elsewhere, Viewpoint, to_look_at};
use self::listener::PostgresListener;
use self::message::Message;
use self::numbers::{Known, Numbers};
use self::replica::{Beat, Registration};
use self::rows::Wanted;
use self::session::{ServingSession, connect_to_serve, wait_for_locks};
use self::timeline::pass_recorded_events;
use self::watchdog::Watchdog;
use crate::clock::Timestamp;
use crate::db::{Askers, DatabaseError, History, Kept, Listener, PostgresUrl, Seen, Standing, Store, StoreError};
use crate::limits::{
    BATCH_OPERATIONS_MAX, EVENTS_STEP, REOPEN_INTERVAL, REPLICA_FORGOTTEN_AFTER, REPLICA_SILENT_MAX,
    ROW_LOCK_AGAIN_WAIT_MAX, ROW_LOCK_WAIT_MAX,
};
use crate::lock::{EventIds, RequestId, ResourceName, Rows};

/// What keeps the numbers of events apart.
const EVENTS_KEY: &str = "lock_events_pkey";

/// The store on a PostgreSQL server.
pub struct PostgresStore {
    url: PostgresUrl,
    numbers: Numbers,
    registration: Registration,
    /// Its number, for the listener.
    replica: Arc<AtomicI64>,
    /// No server is taken for gone because it was silent before this instant, by
    /// the database's clock: while this one was cut off others may have been.
    believing_since_us: i64,
    /// When something last succeeded.
    worked: Instant,
    /// When the last beat began that succeeded; `None` if the session has been
    /// opened since.
    beat: Option<Instant>,
    /// When servers that are silent were last looked for.
    forgot_silent: Option<Instant>,
    /// Whether events are recorded.
    history: History,
    /// Where the next look for idle rows begins.
    prune_after: i64,
    events_deleted: tidy::EventsDeleted,
    conn: Option<PgConnection>,
    /// The number of the session at the server.
    backend_pid: i32,
    watchdog: Watchdog,
    /// Whether nothing has succeeded since the last failure or connect. Until
    /// then a row that is locked is not waited for in full again.
    failing: bool,
    reopened: Instant,
    /// Why it could not be connected to when that was last tried.
    unreachable: String,
}

impl PostgresStore {
    /// Connects to a migrated database as one more of its servers.
    ///
    /// Errors: it cannot be reached, or is not fit.
    pub fn open(url: PostgresUrl) -> Result<Self, StoreError> {
        let ServingSession {
            mut conn,
            backend_pid,
            database_started_us,
            ..
        } = connect_to_serve(&url, ROW_LOCK_WAIT_MAX).map_err(failed)?;
        let registration = replica::register(&mut conn).map_err(failed)?;
        let watchdog = Watchdog::spawn(url.clone()).map_err(failed)?;
        Ok(Self {
            url,
            numbers: Numbers::default(),
            registration,
            replica: Arc::new(AtomicI64::new(registration.id)),
            believing_since_us: database_started_us.min(registration.started_at_us),
            worked: Instant::now(),
            beat: Some(Instant::now()),
            forgot_silent: None,
            history: History::Off,
            prune_after: 0,
            events_deleted: tidy::EventsDeleted::default(),
            conn: Some(conn),
            backend_pid,
            watchdog,
            failing: false,
            reopened: Instant::now(),
            unreachable: String::new(),
        })
    }

    /// Runs `work` on the connection, opened again if it has to be.
    fn with_connection<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None if self.reopened.elapsed() < REOPEN_INTERVAL => {
                return Err(StoreError::Failed(
                    "the database is being connected to again".to_owned(),
                ));
            }
            None => {
                let connected = connect_to_serve(&self.url, ROW_LOCK_AGAIN_WAIT_MAX);
                // From now, and not from before an attempt that took long: else the next request would try at once.
                self.reopened = Instant::now();
                self.failing = true;
                self.numbers.forget_block();
                let session = connected.map_err(|error| self.note_unreachable(error))?;
                self.unreachable.clear();
                self.backend_pid = session.backend_pid;
                self.beat = None;
                // If this one was not cut off for long, nobody was.
                if self.worked.elapsed() > REPLICA_SILENT_MAX / 2 {
                    self.believing_since_us = session.connected_us;
                }
                session.conn
            }
        };
        self.watchdog.begin(self.backend_pid);
        let result = work(self, &mut conn);
        self.watchdog.end();
        let failed_before = std::mem::replace(&mut self.failing, result.is_err());
        let done = match result {
            Ok(done) => done,
            Err(error) => {
                self.reopened = Instant::now();
                return Err(self.keep_if_it_works(conn, error));
            }
        };
        self.worked = Instant::now();
        // Where this fails the connection is gone, and what was done is done all the same.
        if !failed_before || wait_for_locks(&mut conn, ROW_LOCK_WAIT_MAX).is_ok() {
            self.conn = Some(conn);
        }
        Ok(done)
    }

    /// Keeps a session of which only the transaction failed, and not its COMMIT.
    fn keep_if_it_works(&mut self, mut conn: PgConnection, error: StoreError) -> StoreError {
        let StoreError::Failed(reason) = error else {
            return error;
        };
        let mut rolled_back = conn.batch_execute("ROLLBACK");
        // The name of the constraint is the same in every language.
        if rolled_back.is_ok() && reason.contains(EVENTS_KEY) {
            rolled_back = pass_recorded_events(&mut conn);
        }
        // The next transactions do not wait for the same row in full again.
        match rolled_back.and_then(|()| wait_for_locks(&mut conn, ROW_LOCK_AGAIN_WAIT_MAX)) {
            Ok(()) => {
                self.conn = Some(conn);
                StoreError::Refused(reason)
            }
            Err(_) => StoreError::Failed(reason),
        }
    }

    /// Logs why the database cannot be connected to, when that is news. The
    /// failure that is logged is mostly another: that the connection was lost.
    fn note_unreachable(&mut self, error: DatabaseError) -> StoreError {
        let reason = in_one_line(&error.to_string());
        if reason != self.unreachable {
            log::warn!("{reason}");
            self.unreachable.clone_from(&reason);
        }
        StoreError::Failed(reason)
    }

    /// Runs one batch in one transaction that begins with `begin`.
    fn batch(
        &mut self,
        begin: &str,
        names: &[ResourceName],
        askers: Askers<'_>,
        decide: &mut dyn FnMut(Timestamp, &mut Rows),
    ) -> Result<(), StoreError> {
        self.with_connection(|store, conn| {
            let wanted = Wanted {
                block: store.numbers.wanted_block(),
                event_blocks: match store.history {
                    History::On => event_blocks(names.len()),
                    History::Off => 0,
                },
            };
            let locked = rows::lock(conn, names, wanted, begin)?;
            let may_wait = |request: &&(usize, RequestId)| locked.marks[request.0].has_waiters;
            let requests: Vec<_> = askers.requests.iter().filter(may_wait).collect();
            let viewpoint = Viewpoint {
                replica: store.registration.id,
                believing_since_us: store.believing_since_us,
                now: locked.now,
            };
            let elsewhere = Elsewhere::load(conn, viewpoint, &to_look_at(names, &locked), &requests)?;
            let known = Known {
                token: locked.resources.iter().map(|resource| resource.fencing_token).max(),
                place: elsewhere.highest_place(),
            };
            let (tokens, last_place) = store.numbers.begin(conn, locked.block, known)?;
            let mut rows = Rows::loaded(locked.resources, tokens, last_place)
                .with_ahead(elsewhere.ahead(names.len()))
                .with_returning(elsewhere.returning())
                .with_held(rows::count_held(conn, locked.now, askers.clients)?)
                .recorded_under(
                    locked
                        .event_blocks
                        .map(|blocks| EventIds::of_blocks(blocks, EVENTS_STEP)),
                );
            decide(locked.now, &mut rows);
            store.numbers.note_taken(&rows)?;
            let saved = rows::save(conn, &rows, &locked.marks)?;
            let changed = lines::save(conn, viewpoint, &rows, &locked.marks, &elsewhere)? || saved;
            if !changed {
                return conn.batch_execute("ROLLBACK").map_err(failed);
            }
            if locked.inserted {
                rows::delete_never_granted(conn, &rows, &locked.marks)?;
            }
            commit(conn)
        })
    }
}

impl Store for PostgresStore {
    fn transaction(
        &mut self,
        names: &[ResourceName],
        askers: Askers<'_>,
        decide: &mut dyn FnMut(Timestamp, &mut Rows),
    ) -> Result<(), StoreError> {
        self.batch("BEGIN", names, askers, decide)
    }

    fn look(
        &mut self,
        names: &[ResourceName],
        askers: Askers<'_>,
        decide: &mut dyn FnMut(Timestamp, &mut Rows),
    ) -> Result<(), StoreError> {
        let wait_ms = ROW_LOCK_AGAIN_WAIT_MAX.as_millis();
        self.batch(
            &format!("BEGIN; SET LOCAL lock_timeout = {wait_ms}"),
            names,
            askers,
            decide,
        )
    }

    fn read(&mut self, names: &[ResourceName]) -> Result<Seen, StoreError> {
        self.with_connection(|store, conn| rows::read(conn, names, store.believing_since_us))
    }

    fn expired(&mut self, rows_max: usize, lock_delay: Duration) -> Result<Vec<ResourceName>, StoreError> {
        self.with_connection(|_, conn| tidy::expired(conn, rows_max, lock_delay))
    }

    fn prune(&mut self, rows_max: usize, idle_days: u32) -> Result<usize, StoreError> {
        self.with_connection(|store, conn| tidy::prune(conn, &mut store.prune_after, rows_max, idle_days))
    }

    fn record(&mut self, history: History) {
        self.history = history;
    }

    fn prune_events(&mut self, rows_max: usize, kept: Kept) -> Result<usize, StoreError> {
        self.with_connection(|store, conn| tidy::prune_events(conn, &mut store.events_deleted, rows_max, kept))
    }

    fn beat(&mut self, call: bool) -> Result<Standing, StoreError> {
        self.with_connection(|store, conn| {
            let began = Instant::now();
            // What fails below is not known to anybody: the next one says then that it was in doubt.
            let last_beat = store.beat.take();
            let beat = replica::beat(conn, store.registration).map_err(failed)?;
            let now_us = if let Some(beat) = beat {
                if beat.silent_us < 0 {
                    replica::bring_back(conn).map_err(failed)?;
                }
                beat.now_us
            } else {
                store.registration = replica::register(conn).map_err(failed)?;
                store.replica.store(store.registration.id, Ordering::Release);
                store.registration.started_at_us
            };
            // An instant that is yet to come is from before the clock was set back. Whoever was silent
            // would be believed until then.
            store.believing_since_us = store.believing_since_us.min(now_us);
            if call {
                lines::notify(conn, &[Message::call().into_text()])?;
            }
            if store
                .forgot_silent
                .is_none_or(|at| at.elapsed() >= REPLICA_FORGOTTEN_AFTER)
            {
                store.forgot_silent = Some(Instant::now());
                replica::forget_the_silent(conn, store.believing_since_us).map_err(failed)?;
            }
            store.beat = Some(began);
            let was_heard = |silent_us| (0..REPLICA_SILENT_MAX.as_micros() as i64).contains(&silent_us);
            let was_in_time = last_beat.is_some_and(|last_beat| last_beat.elapsed() < REPLICA_SILENT_MAX);
            Ok(match beat {
                None => Standing::Forgotten,
                Some(Beat { silent_us, .. }) if was_in_time && was_heard(silent_us) => Standing::Known,
                Some(_) => Standing::Doubted,
            })
        })
    }

    fn leave(&mut self) -> Result<(), StoreError> {
        self.with_connection(|store, conn| replica::leave(conn, store.registration).map_err(failed))
    }

    fn listen(&mut self) -> Option<Box<dyn Listener>> {
        let replica = Arc::clone(&self.replica);
        Some(Box::new(PostgresListener::new(self.url.clone(), replica)))
    }
}

/// How many blocks of numbers are enough for the events of a batch. At a row
/// there are at most two at first, of the end of its lock; and then three for
/// each that asks or is handed a lock.
fn event_blocks(rows: usize) -> i64 {
    let events_max = 5 * rows as i64 + 6 * BATCH_OPERATIONS_MAX as i64;
    (events_max + EVENTS_STEP - 1) / EVENTS_STEP
}

fn failed(error: impl ToString) -> StoreError {
    StoreError::Failed(in_one_line(&error.to_string()))
}

/// PostgreSQL tells its reasons in several lines.
fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
