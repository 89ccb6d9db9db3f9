//! The store on an SQLite file.
//!
//! One thread, one connection, one process (see `ownership`). Durable: WAL
//! with `synchronous=FULL`, so COMMIT returns after the WAL is synced. After
//! any failure but "locked" and "full" the connection is closed and opened
//! again before the next transaction: SQLite may have rolled back already, and
//! after a failed sync its cache claims to be clean when the disk is not.

pub(super) mod open_file;
mod row_cache;
mod statements;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::dsl::max;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use self::open_file::{Identity, LogRoom, OpenFile, require_own_and_whole};
use self::row_cache::{CachedRow, StoredRow};
use self::statements::{InsertResource, SaveServerState, UpdateLease, select_held, select_resource};
use crate::clock::{ProcessClock, Timestamp};
use crate::db::models::{is_bare, is_bare_event};
use crate::db::row_statements::{InsertEvents, UpdateResource};
use crate::db::schema::{lock_events, resources, server_state};
use crate::db::{Askers, Catalog, History, Kept, Listener, Seen, Standing, Store, StoreError};
use crate::limits::REOPEN_INTERVAL;
use crate::lock::{
    Change, ClientName, Event, EventIds, FencingCounter, FencingToken, Place, Resource, ResourceName, Rows,
};

/// What SQLite says for SQLITE_BUSY; diesel hands on no code.
pub(super) const BUSY_MESSAGE: &str = "database is locked";

/// What SQLite says for SQLITE_FULL.
const FULL_MESSAGE: &str = "database or disk is full";

/// Events that are written by one statement, where there are so many: of each
/// statement the least part is what it writes.
const EVENTS_TOGETHER: usize = 8;

/// A drift of the wall clock that is worth writing down.
const CLOCK_OFFSET_STEP_US: u64 = 100_000;

/// The store of the embedded default.
pub struct SqliteStore {
    path: PathBuf,
    clock: ProcessClock,
    /// No token up to this one is granted again, whatever the file says: a
    /// commit that seemed to fail, or a file put back from a backup.
    tokens_floor: FencingToken,
    /// The last place in line that was given; they are of this process only.
    last_place: Place,
    /// Whether events are recorded.
    history: History,
    /// How many there are, about; `None` if nobody has counted them.
    events: Option<i64>,
    /// Where the next look for idle rows begins.
    prune_after: i64,
    conn: Option<OpenFile>,
    /// The file that was last served from.
    served: Arc<Identity>,
    reopened: Instant,
    /// Why there is no connection.
    failure: String,
    /// Whoever looks at the same file, and must not while it is opened again.
    catalog: Catalog,
}

impl SqliteStore {
    /// Opens a migrated database, to serve from it.
    pub fn open(path: PathBuf) -> Result<Self, StoreError> {
        Self::open_by(path, |_, stored| ProcessClock::starting_no_earlier_than(stored))
    }

    /// Opens one that a server serves from, to decide by that server's clock: the
    /// wall clock may have been set since it was started, and by that one a lock
    /// would be over that holds, or hold that is over. The server writes down how
    /// far apart they are, BEAT_INTERVAL late at most.
    pub fn open_beside_server(path: PathBuf) -> Result<Self, StoreError> {
        Self::open_by(path, ProcessClock::beside)
    }

    fn open_by(path: PathBuf, clock: impl FnOnce(i64, Timestamp) -> ProcessClock) -> Result<Self, StoreError> {
        let mut conn = OpenFile::open(&path, LogRoom::Make)?;
        let clock_us = server_state::table
            .select(server_state::clock_us)
            .get_result(&mut conn.conn)
            .map_err(failed)?;
        let clock = clock(conn.clock_offset_us, Timestamp::from_us(clock_us));
        Ok(Self {
            catalog: Catalog::of_file(path.clone(), clock, Arc::clone(&conn.identity)),
            served: Arc::clone(&conn.identity),
            path,
            clock,
            tokens_floor: FencingToken::NONE,
            last_place: Place::NONE,
            history: History::Off,
            events: None,
            prune_after: 0,
            conn: Some(conn),
            reopened: Instant::now(),
            failure: String::new(),
        })
    }

    /// The catalog of the same file, by the same clock.
    pub fn catalog(&self) -> Catalog {
        self.catalog.clone()
    }

    /// Runs `work` on the connection, opened again if it has to be. After a
    /// failure there is none.
    fn with_connection<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &mut OpenFile) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.conn.is_none() && self.reopened.elapsed() < REOPEN_INTERVAL {
            return Err(StoreError::Failed(self.failure.clone()));
        }
        self.with_any_connection(work)
    }

    /// The same, opened again at once: for reads, which are not what failed. A
    /// disk may be full for hours.
    fn with_any_connection<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &mut OpenFile) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => {
                self.reopened = Instant::now();
                let door = self.catalog.shut();
                if self.served.is_replaced_at(&self.path) {
                    require_own_and_whole(&self.path)?;
                }
                let conn = OpenFile::open(&self.path, LogRoom::Leave)?;
                self.served = Arc::clone(&conn.identity);
                if let Some(door) = door {
                    door.open(Arc::clone(&self.served));
                }
                conn
            }
        };
        let result = work(self, &mut conn).and_then(|done| {
            // A file that was deleted or replaced goes on taking commits that nobody will find again.
            conn.require_files(&self.path)?;
            Ok(done)
        });
        match result {
            Ok(_) | Err(StoreError::Busy) => self.conn = Some(conn),
            Err(StoreError::Refused(ref cause) | StoreError::Failed(ref cause) | StoreError::Unknown(ref cause)) => {
                self.reopened = Instant::now();
                self.failure.clone_from(cause);
                // Nothing was synced in vain where there was no room to write, and as long as that lasts the file could not
                // be opened again, not even to read.
                if conn.must_stay_open || cause == FULL_MESSAGE {
                    conn.roll_back();
                    self.conn = Some(conn);
                }
            }
        }
        result
    }
}

impl Store for SqliteStore {
    fn transaction(
        &mut self,
        names: &[ResourceName],
        askers: Askers<'_>,
        decide: &mut dyn FnMut(Timestamp, &mut Rows),
    ) -> Result<(), StoreError> {
        self.with_connection(|store, file| {
            file.begin()?;
            file.forget_rows_if_others_wrote()?;
            let tokens = load_tokens(file, store.tokens_floor)?;
            let (resources, mut stored) = load(file, names)?;
            let now = store.clock.now();
            let held = count_held(&mut file.conn, now, askers.clients)?;
            let event_ids = match store.history {
                History::On => Some(EventIds::after(file.last_event(tokens.highest())?)),
                History::Off => None,
            };
            let mut rows = Rows::loaded(resources, tokens, store.last_place)
                .with_held(held)
                .recorded_under(event_ids);
            decide(now, &mut rows);
            store.last_place = rows.last_place();
            if let Some(tokens) = rows.tokens_taken() {
                store.tokens_floor = tokens.highest();
            }
            save(&mut file.conn, now, &rows, &mut stored)?;
            let commit = file.conn.batch_execute("COMMIT");
            commit.map_err(|e| StoreError::Unknown(e.to_string()))?;
            if let Some(event) = rows.events().last() {
                file.last_event = Some(event.id);
            }
            if let Some(events) = &mut store.events {
                *events += rows.events().len() as i64;
            }
            for (resource, row) in rows.into_resources().zip(stored) {
                // A new row's number is learned when it is read for the first time.
                if let Some(row) = row {
                    file.rows.put(CachedRow { row, resource });
                }
            }
            Ok(())
        })
    }

    fn read(&mut self, names: &[ResourceName]) -> Result<Seen, StoreError> {
        self.with_any_connection(|store, file| {
            file.forget_rows_if_others_wrote()?;
            let (resources, stored) = load(file, names)?;
            for (resource, row) in resources.iter().zip(stored) {
                if let Some(row) = row {
                    let resource = resource.clone();
                    file.rows.put(CachedRow { row, resource });
                }
            }
            Ok(Seen {
                now: store.clock.now(),
                resources,
                waiters: Vec::new(),
            })
        })
    }

    fn expired(&mut self, rows_max: usize, lock_delay: Duration) -> Result<Vec<ResourceName>, StoreError> {
        self.with_connection(|store, conn| {
            let delay_us = i64::try_from(lock_delay.as_micros()).unwrap_or(i64::MAX);
            let expired_by_us = store.clock.now().as_us().saturating_sub(delay_us);
            let names: Vec<String> = resources::table
                .select(resources::name)
                .filter(resources::expires_at_us.le(expired_by_us))
                // Freed by hand, with the rest of the lock left standing.
                .filter(resources::locked_by.is_not_null())
                .order(resources::expires_at_us)
                .limit(rows_max as i64)
                .load(&mut conn.conn)
                .map_err(failed)?;
            names.iter().map(|name| known_name(name)).collect()
        })
    }

    fn prune(&mut self, rows_max: usize, idle_days: u32) -> Result<usize, StoreError> {
        self.with_connection(|store, conn| {
            let idle = Duration::from_secs(u64::from(idle_days) * 24 * 3600);
            let deadline_us = store.clock.now().as_us() - idle.as_micros() as i64;
            let rows: Vec<(i64, Option<i64>)> = resources::table
                .select((resources::id, resources::released_at_us))
                .filter(resources::id.gt(store.prune_after))
                .order(resources::id)
                .limit(rows_max as i64)
                .load(&mut conn.conn)
                .map_err(failed)?;
            let idle = |released_at_us: &Option<i64>| released_at_us.is_some_and(|at_us| at_us < deadline_us);
            let any_idle = rows.iter().any(|(_, released_at_us)| idle(released_at_us));
            let next = rows.last().filter(|_| rows.len() == rows_max).map_or(0, |(id, _)| *id);
            let from = std::mem::replace(&mut store.prune_after, next);
            let Some((to, _)) = rows.last().filter(|_| any_idle) else {
                return Ok(0);
            };
            // One statement is one transaction, and it looks again: nothing that was taken meanwhile goes.
            let doomed = resources::table
                .filter(resources::id.gt(from).and(resources::id.le(to)))
                .filter(resources::locked_by.is_null())
                .filter(resources::released_at_us.lt(deadline_us));
            let pruned = diesel::delete(doomed).execute(&mut conn.conn).map_err(begin_failed)?;
            // Not the others: this is done every second.
            conn.rows.forget(from, *to);
            Ok(pruned)
        })
    }

    /// Nobody else serves the file, though people and commands write to it. What
    /// is shown is how far the server's clock is from the wall clock, for those
    /// who read the table with SQL.
    fn beat(&mut self, _call: bool) -> Result<Standing, StoreError> {
        self.with_connection(|store, conn| {
            let offset_us = store.clock.offset_from_wall_clock_us();
            if offset_us.abs_diff(conn.clock_offset_us) >= CLOCK_OFFSET_STEP_US {
                diesel::update(server_state::table)
                    .set(server_state::clock_offset_us.eq(offset_us))
                    .execute(&mut conn.conn)
                    .map_err(begin_failed)?;
                conn.clock_offset_us = offset_us;
            }
            conn.forget_rows_if_others_wrote()?;
            Ok(match std::mem::take(&mut conn.others_wrote) {
                true => Standing::Overwritten,
                false => Standing::Known,
            })
        })
    }

    fn record(&mut self, history: History) {
        self.history = history;
    }

    fn prune_events(&mut self, rows_max: usize, kept: Kept) -> Result<usize, StoreError> {
        self.with_connection(|store, file| {
            let events = match store.events {
                Some(events) => events,
                None => lock_events::table.count().get_result(&mut file.conn).map_err(failed)?,
            };
            store.events = Some(events);
            let last: Option<i64> = lock_events::table
                .select(max(lock_events::id))
                .get_result(&mut file.conn)
                .map_err(failed)?;
            // The latest stays: the next goes on from its number.
            let oldest: Vec<(i64, i64)> = lock_events::table
                .filter(lock_events::id.lt(last.unwrap_or(0)))
                .order(lock_events::id)
                .limit(rows_max as i64)
                .select((lock_events::id, lock_events::at_us))
                .load(&mut file.conn)
                .map_err(failed)?;
            let over = kept.over(&oldest, events, store.clock.now());
            let (Some((from, _)), Some((to, _))) = (over.first(), over.last()) else {
                return Ok(0);
            };
            let pruned = diesel::delete(lock_events::table.filter(lock_events::id.between(from, to)))
                .execute(&mut file.conn)
                .map_err(begin_failed)?;
            store.events = Some(events - pruned as i64);
            Ok(pruned)
        })
    }

    fn leave(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn listen(&mut self) -> Option<Box<dyn Listener>> {
        None
    }
}

fn failed(error: diesel::result::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}

/// As [`failed`], for what takes SQLite's write lock and may find it taken.
fn begin_failed(error: diesel::result::Error) -> StoreError {
    match error.to_string() {
        message if message == BUSY_MESSAGE => StoreError::Busy,
        message => StoreError::Failed(message),
    }
}

fn known_name(name: &str) -> Result<ResourceName, StoreError> {
    ResourceName::new(name)
        .ok_or_else(|| StoreError::Failed(format!("table resources holds the impossible name {name:?}")))
}

/// The counter of tokens, which goes on after `tokens_floor` at least.
fn load_tokens(file: &mut OpenFile, tokens_floor: FencingToken) -> Result<FencingCounter, StoreError> {
    let highest: i64 = server_state::table
        .select(server_state::fencing_token)
        .get_result(&mut file.conn)
        .map_err(failed)?;
    let highest = FencingToken::new(highest).max(tokens_floor);
    Ok(FencingCounter::continuing_after(highest))
}

/// The resources of `names` in their order, and the rows of those that have one.
fn load(file: &mut OpenFile, names: &[ResourceName]) -> Result<(Vec<Resource>, Vec<Option<StoredRow>>), StoreError> {
    let mut resources = Vec::with_capacity(names.len());
    let mut stored = Vec::with_capacity(names.len());
    for name in names {
        let cached = file.rows.take(name);
        let (row, resource) = match cached {
            Some(CachedRow { row, resource }) => (Some(row), resource),
            None => read(&mut file.conn, name)?,
        };
        resources.push(resource);
        stored.push(row);
    }
    Ok((resources, stored))
}

/// How many locks each of `clients` holds.
fn count_held(
    conn: &mut SqliteConnection,
    now: Timestamp,
    clients: &[ClientName],
) -> Result<HashMap<ClientName, usize>, StoreError> {
    let count = |client: &ClientName| {
        let held = select_held(conn, client, now).map_err(failed)?;
        Ok((client.clone(), usize::try_from(held).unwrap_or_default()))
    };
    clients.iter().map(count).collect()
}

fn read(conn: &mut SqliteConnection, name: &ResourceName) -> Result<(Option<StoredRow>, Resource), StoreError> {
    let Some((id, row)) = select_resource(conn, name).map_err(failed)? else {
        return Ok((None, Resource::unseen(name.clone())));
    };
    let is_bare = row.is_bare();
    match row.into_resource(name.clone()) {
        Ok(resource) => Ok((Some(StoredRow { id, is_bare }), resource)),
        Err(column) => Err(StoreError::Failed(format!(
            "row {name:?} of table resources has an impossible {column}"
        ))),
    }
}

fn save(
    conn: &mut SqliteConnection,
    now: Timestamp,
    rows: &Rows,
    stored: &mut [Option<StoredRow>],
) -> Result<(), StoreError> {
    for (row, resource, change) in rows.changed() {
        let is_bare = is_bare(resource);
        let saved = match (&mut stored[row], change) {
            (None, _) => InsertResource::of(resource).execute(conn),
            (Some(row), change) => {
                let was_bare = std::mem::replace(&mut row.is_bare, is_bare);
                match change {
                    Change::Lease => UpdateLease::of(row.id, resource).execute(conn),
                    _ if was_bare && is_bare => UpdateResource::<true>::of(row.id, resource).execute(conn),
                    _ => UpdateResource::<false>::of(row.id, resource).execute(conn),
                }
            }
        };
        if saved.map_err(failed)? != 1 {
            let name = &resource.name;
            return Err(StoreError::Failed(format!("row {name:?} of table resources is gone")));
        }
    }
    let (together, rest) = rows.events().as_chunks::<EVENTS_TOGETHER>();
    for events in together {
        append(conn, events)?;
    }
    for event in rest {
        append(conn, std::array::from_ref(event))?;
    }
    if let Some(tokens) = rows.tokens_taken() {
        let save = SaveServerState {
            fencing_token: tokens.highest().as_i64(),
            clock_us: now.as_us(),
        };
        save.execute(conn).map_err(failed)?;
    }
    Ok(())
}

fn append<const EVENTS: usize>(conn: &mut SqliteConnection, events: &[Event; EVENTS]) -> Result<(), StoreError> {
    let appended = if events.iter().all(is_bare_event) {
        InsertEvents::<EVENTS, true>::of(events).execute(conn)
    } else {
        InsertEvents::<EVENTS, false>::of(events).execute(conn)
    };
    appended.map(drop).map_err(failed)
}
