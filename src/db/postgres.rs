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
//! After any failure the connection is closed, which takes back whatever it had
//! not committed, and opened again before the next transaction.

mod commit;
mod lines;
mod listener;
mod message;
mod replica;
mod rows;
pub(super) mod session;
mod statements;
mod timeline;
mod waiter_statements;
mod watchdog;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use self::commit::commit;
use self::lines::{Elsewhere, Viewpoint, to_look_at};
use self::listener::PostgresListener;
use self::message::Message;
use self::session::{ServingSession, connect_to_serve, wait_for_locks};
use self::watchdog::Watchdog;
use crate::clock::Timestamp;
use crate::db::schema::resources;
use crate::db::{DatabaseError, Listener, PostgresUrl, Standing, Store, StoreError};
use crate::limits::{
    PLACES_PER_BATCH, PLACES_STEP, REOPEN_INTERVAL, REPLICA_FORGOTTEN_AFTER, ROW_LOCK_AGAIN_WAIT_MAX,
    ROW_LOCK_WAIT_MAX, TOKENS_PER_BATCH, TOKENS_STEP,
};
use crate::lock::{FencingCounter, FencingToken, Place, ResourceName, Rows};

/// The store on a PostgreSQL server.
pub struct PostgresStore {
    url: PostgresUrl,
    /// The first of TOKENS_STEP tokens that this session took from the sequence;
    /// 0 if it took none. Another session may take the same ones after a crash
    /// of the database, but not while this session lasts.
    block: i64,
    /// No token up to this one is granted again, whatever the sequence says:
    /// somebody may have set it back.
    tokens_floor: i64,
    /// The last place in line that was given here.
    last_place: i64,
    /// The number of this server, as `replicas` has it.
    replica: Arc<AtomicI64>,
    /// No server is taken for gone because it was silent before this instant, by
    /// the database's clock: while this one was cut off others may have been.
    believing_since_us: i64,
    /// When servers that are silent were last looked for.
    forgot_silent: Option<Instant>,
    /// Where the next look for idle rows begins.
    prune_after: String,
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
            mut conn, backend_pid, ..
        } = connect_to_serve(&url, ROW_LOCK_WAIT_MAX).map_err(failed)?;
        let replica = replica::register(&mut conn).map_err(failed)?;
        let watchdog = Watchdog::spawn(url.clone()).map_err(failed)?;
        Ok(Self {
            url,
            block: 0,
            tokens_floor: 0,
            last_place: 0,
            replica: Arc::new(AtomicI64::new(replica)),
            believing_since_us: 0,
            forgot_silent: None,
            prune_after: String::new(),
            conn: Some(conn),
            backend_pid,
            watchdog,
            failing: false,
            reopened: Instant::now(),
            unreachable: String::new(),
        })
    }

    /// Runs `work` on the connection, opened again if it has to be. After a
    /// failure there is none.
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
                self.block = 0;
                let session = connected.map_err(|error| self.note_unreachable(error))?;
                self.unreachable.clear();
                self.backend_pid = session.backend_pid;
                self.believing_since_us = session.connected_us;
                session.conn
            }
        };
        self.watchdog.begin(self.backend_pid);
        let result = work(self, &mut conn);
        self.watchdog.end();
        let failed_before = std::mem::replace(&mut self.failing, result.is_err());
        if result.is_err() {
            self.reopened = Instant::now();
            return result;
        }
        // Where this fails the connection is gone, and what was done is done all the same.
        if !failed_before || wait_for_locks(&mut conn, ROW_LOCK_WAIT_MAX).is_ok() {
            self.conn = Some(conn);
        }
        result
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

    fn replica(&self) -> i64 {
        self.replica.load(Ordering::Relaxed)
    }

    /// The block to ask for: the one that is there, if a batch finds room in it.
    fn wanted_block(&self) -> i64 {
        if has_room(self.block, self.tokens_floor + 1, self.first_place()) {
            self.block
        } else {
            0
        }
    }

    /// The first place that may be given from the block.
    fn first_place(&self) -> i64 {
        (self.last_place + 1).max(self.block + TOKENS_STEP - PLACES_STEP)
    }

    /// Takes `block` to grant on rows whose latest token is `highest`, and says
    /// which token is the first. It is beyond them and all that was granted
    /// here, even if somebody has set the sequence back; and so are the places.
    fn begin_block(&mut self, conn: &mut PgConnection, block: i64, highest: i64) -> Result<i64, StoreError> {
        let highest = highest.max(self.tokens_floor);
        self.block = block;
        if !has_room(block, highest + 1, self.first_place()) {
            log::warn!("sequence fencing_tokens was behind the tokens granted; it goes on after {highest}");
            self.block = sql::<BigInt>("SELECT setval('fencing_tokens', GREATEST(last_value, ")
                .bind::<BigInt, _>(highest.max(self.last_place))
                .sql(") + ")
                .bind::<BigInt, _>(TOKENS_STEP)
                .sql(") FROM fencing_tokens")
                .get_result(conn)
                .map_err(failed)?;
        }
        Ok(self.block.max(highest + 1))
    }

    /// Notes which tokens and places a batch took from the block.
    fn note_taken(&mut self, rows: &Rows) -> Result<(), StoreError> {
        self.last_place = rows.last_place().as_i64();
        if let Some(tokens) = rows.tokens_taken() {
            self.tokens_floor = tokens.highest().as_i64();
        }
        let tokens_end = self.block + TOKENS_STEP - PLACES_STEP;
        if self.tokens_floor >= tokens_end || self.last_place >= self.block + TOKENS_STEP {
            return Err(StoreError::Failed(
                "a batch took more tokens or places than it has".to_owned(),
            ));
        }
        Ok(())
    }
}

impl Store for PostgresStore {
    fn transaction(
        &mut self,
        names: &[ResourceName],
        decide: &mut dyn FnMut(Timestamp, &mut Rows),
    ) -> Result<(), StoreError> {
        self.with_connection(|store, conn| {
            let locked = rows::lock(conn, names, store.wanted_block())?;
            let viewpoint = Viewpoint {
                replica: store.replica(),
                believing_since_us: store.believing_since_us,
                now: locked.now,
            };
            let elsewhere = Elsewhere::load(conn, viewpoint, &to_look_at(names, &locked))?;
            let latest = locked.resources.iter().map(|resource| resource.fencing_token.as_i64());
            let first_token = store.begin_block(conn, locked.block, latest.max().unwrap_or_default())?;
            let tokens = FencingCounter::continuing_after(FencingToken::new(first_token - 1));
            let last_place = Place::new(store.first_place() - 1);
            let mut rows = Rows::loaded(locked.resources, tokens, last_place).with_ahead(elsewhere.ahead(names.len()));
            decide(locked.now, &mut rows);
            store.note_taken(&rows)?;
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

    fn expired(&mut self, rows_max: usize) -> Result<Vec<ResourceName>, StoreError> {
        self.with_connection(|_, conn| {
            let names: Vec<String> = resources::table
                .select(resources::name)
                // A subquery, so that the clock is read once and the index can be used.
                .filter(resources::expires_at_us.le(sql::<Nullable<BigInt>>("(SELECT clock_us())")))
                // Freed by hand, with the rest of the lock left standing.
                .filter(resources::locked_by.is_not_null())
                .order(resources::expires_at_us)
                .limit(rows_max as i64)
                .load(conn)
                .map_err(failed)?;
            names.iter().map(|name| known_name(name)).collect()
        })
    }

    fn prune(&mut self, rows_max: usize, idle_days: u32) -> Result<usize, StoreError> {
        self.with_connection(|store, conn| {
            let idle = Duration::from_secs(u64::from(idle_days) * 24 * 3600);
            let now_us: i64 = sql::<BigInt>("SELECT clock_us()").get_result(conn).map_err(failed)?;
            let deadline_us = now_us - idle.as_micros() as i64;
            let rows: Vec<(String, Option<i64>)> = resources::table
                .select((resources::name, resources::released_at_us))
                .filter(resources::name.gt(&store.prune_after))
                .order(resources::name)
                .limit(rows_max as i64)
                .load(conn)
                .map_err(failed)?;
            let idle = |released_at_us: &Option<i64>| released_at_us.is_some_and(|at_us| at_us < deadline_us);
            let any_idle = rows.iter().any(|(_, released_at_us)| idle(released_at_us));
            let from = match rows.last() {
                Some((last, _)) if rows.len() == rows_max => std::mem::replace(&mut store.prune_after, last.clone()),
                _ => std::mem::take(&mut store.prune_after),
            };
            let Some((to, _)) = rows.last().filter(|_| any_idle) else {
                return Ok(0);
            };
            // One statement is one transaction, and it looks again: nothing that was taken meanwhile goes. It waits
            // for no row that somebody else has locked: that one is in use.
            let doomed = diesel::alias!(resources as doomed);
            let doomed = doomed
                .select(doomed.field(resources::id))
                .filter(doomed.field(resources::name).gt(from))
                .filter(doomed.field(resources::name).le(to))
                .filter(doomed.field(resources::locked_by).is_null())
                .filter(doomed.field(resources::released_at_us).lt(deadline_us))
                .for_update()
                .skip_locked();
            diesel::delete(resources::table.filter(resources::id.eq_any(doomed)))
                .execute(conn)
                .map_err(failed)
        })
    }

    fn beat(&mut self, call: bool) -> Result<Standing, StoreError> {
        self.with_connection(|store, conn| {
            let known = replica::beat(conn, store.replica()).map_err(failed)?;
            if !known {
                let replica = replica::register(conn).map_err(failed)?;
                store.replica.store(replica, Ordering::Release);
            }
            if let Some(text) = Message::call().into_text().filter(|_| call) {
                lines::notify(conn, &text)?;
            }
            if store
                .forgot_silent
                .is_none_or(|at| at.elapsed() >= REPLICA_FORGOTTEN_AFTER)
            {
                store.forgot_silent = Some(Instant::now());
                replica::forget_the_silent(conn).map_err(failed)?;
            }
            Ok(if known { Standing::Known } else { Standing::Forgotten })
        })
    }

    fn leave(&mut self) -> Result<(), StoreError> {
        self.with_connection(|store, conn| replica::leave(conn, store.replica()).map_err(failed))
    }

    fn listen(&mut self) -> Option<Box<dyn Listener>> {
        let replica = Arc::clone(&self.replica);
        Some(Box::new(PostgresListener::new(self.url.clone(), replica)))
    }
}

/// Whether a batch that begins with such a token and such a place stays within
/// the block.
fn has_room(block: i64, first_token: i64, first_place: i64) -> bool {
    let end = block + TOKENS_STEP;
    block > 0 && first_token + TOKENS_PER_BATCH <= end - PLACES_STEP && first_place + PLACES_PER_BATCH <= end
}

fn failed(error: impl ToString) -> StoreError {
    StoreError::Failed(in_one_line(&error.to_string()))
}

/// PostgreSQL tells its reasons in several lines.
fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn known_name(name: &str) -> Result<ResourceName, StoreError> {
    ResourceName::new(name)
        .ok_or_else(|| StoreError::Failed(format!("table resources holds the impossible name {name:?}")))
}
