//! The store on PostgreSQL.
//!
//! One thread, one session, one server a database: the session has an advisory
//! lock (see [`session`]). A batch is one transaction of four round trips, and
//! some more if it has names without a row:
//!
//! 1. BEGIN.
//! 2. Lock the rows, in the order of names; the answer has the database's clock
//!    and the tokens that may be granted, both from after the locks.
//! 3. Write what was decided, all rows in one statement.
//! 4. COMMIT, with `synchronous_commit` on. If nothing changed, ROLLBACK, which
//!    waits for no disk.
//!
//! What others may do meanwhile: anything, with SQL. Rows that are locked here
//! they cannot change; rows that they have locked are waited for, up to
//! ROW_LOCK_WAIT_MAX. Whoever locks rows in the order of names cannot come into
//! a deadlock with the server, which inserts, also in that order, only while it
//! has no other row locked.
//!
//! A transaction that does not end has its session ended (see [`watchdog`]).
//! After any failure the connection is closed, which takes back whatever it had
//! not committed, and opened again before the next transaction.

pub(super) mod session;
mod statements;
mod watchdog;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use self::session::{connect_to_serve, wait_for_locks};
use self::statements::{InsertResources, LockResources, Place, UpdateResources};
use self::watchdog::Watchdog;
use crate::clock::Timestamp;
use crate::db::models::ResourceRow;
use crate::db::schema::resources;
use crate::db::{PostgresUrl, Store, StoreError};
use crate::limits::{
    INSERT_ATTEMPTS_MAX, REOPEN_INTERVAL, ROW_LOCK_AGAIN_WAIT_MAX, ROW_LOCK_WAIT_MAX, TOKENS_PER_BATCH, TOKENS_STEP,
};
use crate::lock::{FencingCounter, FencingToken, Resource, ResourceName, Rows};

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
}

/// The rows of a batch, locked.
struct Locked {
    now: Timestamp,
    /// The first token of the block that may be granted from.
    block: i64,
    /// By name: where the row is, and the row.
    rows: HashMap<String, (Place, ResourceRow)>,
    /// Whether the transaction itself made some of them.
    inserted: bool,
}

impl PostgresStore {
    /// Connects to a migrated database and owns it from then on.
    ///
    /// Errors: it cannot be reached, is not fit, or another server owns it.
    pub fn open(url: PostgresUrl) -> Result<Self, StoreError> {
        let (conn, backend_pid) = connect_to_serve(&url, ROW_LOCK_WAIT_MAX).map_err(failed)?;
        let watchdog = Watchdog::spawn(url.clone()).map_err(failed)?;
        Ok(Self {
            url,
            block: 0,
            tokens_floor: 0,
            prune_after: String::new(),
            conn: Some(conn),
            backend_pid,
            watchdog,
            failing: false,
            reopened: Instant::now(),
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
                let (conn, backend_pid) = connected.map_err(failed)?;
                self.backend_pid = backend_pid;
                conn
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

    /// The block to ask for: the one that is there, if a batch finds room in it.
    fn wanted_block(&self) -> i64 {
        if has_room(self.block, self.tokens_floor + 1) {
            self.block
        } else {
            0
        }
    }

    /// The first token that may be granted on rows whose latest is `highest`.
    /// It is beyond them and all that was granted here, even if somebody has
    /// set the sequence back.
    fn first_token(&mut self, conn: &mut PgConnection, block: i64, highest: i64) -> Result<i64, StoreError> {
        let highest = highest.max(self.tokens_floor);
        self.block = block;
        if !has_room(block, highest + 1) {
            log::warn!("sequence fencing_tokens was behind the tokens granted; it goes on after {highest}");
            self.block = sql::<BigInt>("SELECT setval('fencing_tokens', GREATEST(last_value, ")
                .bind::<BigInt, _>(highest)
                .sql(") + ")
                .bind::<BigInt, _>(TOKENS_STEP)
                .sql(") FROM fencing_tokens")
                .get_result(conn)
                .map_err(failed)?;
        }
        Ok(self.block.max(highest + 1))
    }
}

impl Store for PostgresStore {
    fn transaction(
        &mut self,
        names: &[ResourceName],
        decide: &mut dyn FnMut(Timestamp, &mut Rows),
    ) -> Result<(), StoreError> {
        self.with_connection(|store, conn| {
            let mut locked = lock(conn, names, store.wanted_block())?;
            let (loaded, places) = take_in_order(&mut locked.rows, names)?;
            let highest = loaded.iter().map(|resource| resource.fencing_token.as_i64()).max();
            let first_token = store.first_token(conn, locked.block, highest.unwrap_or_default())?;
            let tokens = FencingCounter::continuing_after(FencingToken::new(first_token - 1));
            let mut rows = Rows::loaded(loaded, tokens);
            decide(locked.now, &mut rows);
            if let Some(tokens) = rows.tokens_taken() {
                store.tokens_floor = tokens.highest().as_i64();
                if store.tokens_floor >= store.block + TOKENS_STEP {
                    return Err(StoreError::Failed("a batch granted more than it has tokens".to_owned()));
                }
            }
            if !save(conn, &rows, &places)? {
                return conn.batch_execute("ROLLBACK").map_err(failed);
            }
            if locked.inserted {
                delete_never_granted(conn, &rows, &places)?;
            }
            conn.batch_execute("COMMIT")
                .map_err(|e| StoreError::Unknown(in_one_line(&e.to_string())))
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

    /// The clock is the database's own, which whoever reads the table can ask.
    fn note_clock_offset(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Whether a batch may begin to grant with the token `first` and stay within
/// the block.
fn has_room(block: i64, first: i64) -> bool {
    block > 0 && first + TOKENS_PER_BATCH <= block + TOKENS_STEP
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

/// Begins a transaction in which a row for each name is there and locked.
///
/// FOR UPDATE locks nothing where there is no row, so missing ones are made
/// first: in the order of names, with no other row locked, for else two
/// sessions could wait for each other. They are not there for others before
/// COMMIT.
fn lock(conn: &mut PgConnection, names: &[ResourceName], block: i64) -> Result<Locked, StoreError> {
    let mut names: Vec<_> = names.iter().map(ResourceName::as_str).collect();
    names.sort_unstable();
    conn.batch_execute("BEGIN").map_err(failed)?;
    let mut locked = lock_rows(conn, &names, block)?;
    for _ in 0..INSERT_ATTEMPTS_MAX {
        let is_missing = |name: &&str| !locked.rows.contains_key(*name);
        let missing: Vec<_> = names.iter().copied().filter(is_missing).collect();
        if missing.is_empty() {
            return Ok(locked);
        }
        if !locked.rows.is_empty() {
            conn.batch_execute("ROLLBACK; BEGIN").map_err(failed)?;
        }
        InsertResources { names: &missing }.execute(conn).map_err(failed)?;
        locked = lock_rows(conn, &names, locked.block)?;
        locked.inserted = true;
    }
    Err(StoreError::Failed("somebody else deletes rows all the time".to_owned()))
}

fn lock_rows(conn: &mut PgConnection, names: &[&str], block: i64) -> Result<Locked, StoreError> {
    type Answer = (i64, i64, Option<(Place, String, ResourceRow)>);
    let answer: Vec<Answer> = LockResources { names, block }.load(conn).map_err(failed)?;
    let (now_us, block) = match answer.first() {
        Some((now_us, block, _)) => (*now_us, *block),
        None => {
            return Err(StoreError::Failed(
                "the database did not say what time it is".to_owned(),
            ));
        }
    };
    let rows = answer.into_iter().filter_map(|(_, _, row)| row);
    Ok(Locked {
        now: Timestamp::from_us(now_us),
        block,
        rows: rows.map(|(place, name, row)| (name, (place, row))).collect(),
        inserted: false,
    })
}

/// The resources of `names` in their order, and where their rows are.
fn take_in_order(
    rows: &mut HashMap<String, (Place, ResourceRow)>,
    names: &[ResourceName],
) -> Result<(Vec<Resource>, Vec<Place>), StoreError> {
    let mut resources = Vec::with_capacity(names.len());
    let mut places = Vec::with_capacity(names.len());
    for name in names {
        let (place, row) = rows
            .remove(name.as_str())
            .ok_or_else(|| StoreError::Failed(format!("table resources lost the row of {name:?}")))?;
        resources.push(row.into_resource(name.clone()).map_err(|column| {
            StoreError::Failed(format!("row {name:?} of table resources has an impossible {column}"))
        })?);
        places.push(place);
    }
    Ok((resources, places))
}

/// Writes what changed. Says whether that was anything.
fn save(conn: &mut PgConnection, rows: &Rows, places: &[Place]) -> Result<bool, StoreError> {
    let mut update = UpdateResources::default();
    for (row, resource) in rows.changed() {
        update.push(&places[row], resource);
    }
    let changed = update.rows();
    if changed == 0 {
        return Ok(false);
    }
    match update.execute(conn).map_err(failed)? {
        written if written == changed => Ok(true),
        written => Err(StoreError::Failed(format!("wrote {written} of {changed} rows"))),
    }
}

/// Takes back the rows that were made for names that nobody acquired.
fn delete_never_granted(conn: &mut PgConnection, rows: &Rows, places: &[Place]) -> Result<(), StoreError> {
    let never_granted = |row: &usize| {
        let resource = rows.resource(*row);
        resource.lock.is_none() && resource.fencing_token == FencingToken::NONE
    };
    let doomed: Vec<_> = (0..places.len())
        .filter(never_granted)
        .map(|row| places[row].0)
        .collect();
    if doomed.is_empty() {
        return Ok(());
    }
    diesel::delete(resources::table.filter(resources::id.eq_any(doomed)))
        .execute(conn)
        .map(drop)
        .map_err(failed)
}
