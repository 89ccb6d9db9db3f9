//! The store on an SQLite file.
//!
//! One thread, one connection, one process (see `ownership`). Durable: WAL
//! with `synchronous=FULL`, so COMMIT returns after the WAL is synced. After
//! any failure but "locked" the connection is closed and opened again before
//! the next transaction: SQLite may have rolled back already, and after a
//! failed sync its cache claims to be clean when the disk is not.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};

use crate::clock::{ProcessClock, Timestamp};
use crate::db::database::{is_marked_as_own, uri};
use crate::db::models::ResourceRow;
use crate::db::schema::{resources, server_state};
use crate::db::{Store, StoreError};
use crate::limits::{BUSY_WAIT_MAX, REOPEN_INTERVAL};
use crate::lock::{FencingCounter, FencingToken, Resource, ResourceName, Rows};

/// What SQLite says for SQLITE_BUSY; diesel hands on no code.
const BUSY_MESSAGE: &str = "database is locked";

/// A drift of the wall clock that is worth writing down.
const CLOCK_OFFSET_STEP_US: u64 = 100_000;

/// The store of the embedded default.
pub struct SqliteStore {
    path: PathBuf,
    clock: ProcessClock,
    /// No token up to this one is granted again, whatever the file says: a
    /// commit that seemed to fail, or a file put back from a backup.
    tokens_floor: FencingToken,
    /// Where the next look for idle rows begins.
    prune_after: String,
    conn: Option<OpenFile>,
    /// The file that was last served from.
    inode: Inode,
    reopened: Instant,
}

/// Device and number: which file it is, whatever its name.
type Inode = (u64, u64);

/// An open connection and the file behind it.
struct OpenFile {
    conn: SqliteConnection,
    inode: Inode,
    clock_offset_us: i64,
}

impl SqliteStore {
    /// Opens a migrated database.
    pub fn open(path: PathBuf) -> Result<Self, StoreError> {
        let mut conn = OpenFile::open(&path)?;
        let clock_us = server_state::table
            .select(server_state::clock_us)
            .get_result(&mut conn.conn)
            .map_err(failed)?;
        Ok(Self {
            path,
            clock: ProcessClock::starting_no_earlier_than(Timestamp::from_us(clock_us)),
            tokens_floor: FencingToken::NONE,
            prune_after: String::new(),
            inode: conn.inode,
            conn: Some(conn),
            reopened: Instant::now(),
        })
    }

    /// Runs `work` on the connection, opened again if it has to be. After a
    /// failure there is none.
    fn with_connection<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &mut OpenFile) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None if self.reopened.elapsed() < REOPEN_INTERVAL => {
                return Err(StoreError::Failed("the database is being opened again".to_owned()));
            }
            None => {
                self.reopened = Instant::now();
                if inode(&self.path).is_ok_and(|inode| inode != self.inode) {
                    require_own_and_whole(&self.path)?;
                }
                let conn = OpenFile::open(&self.path)?;
                self.inode = conn.inode;
                conn
            }
        };
        let result = work(self, &mut conn).and_then(|done| {
            // A file that was deleted or replaced goes on taking commits that nobody will find again.
            conn.require_file(&self.path)?;
            Ok(done)
        });
        match result {
            Ok(_) | Err(StoreError::Busy) => self.conn = Some(conn),
            Err(StoreError::Failed(_)) => self.reopened = Instant::now(),
        }
        result
    }
}

impl Store for SqliteStore {
    fn transaction(
        &mut self,
        names: &[ResourceName],
        decide: &mut dyn FnMut(Timestamp, &mut Rows),
    ) -> Result<(), StoreError> {
        self.with_connection(|store, conn| {
            let conn = &mut conn.conn;
            conn.batch_execute("BEGIN IMMEDIATE").map_err(begin_failed)?;
            let mut rows = load(conn, names, store.tokens_floor)?;
            let now = store.clock.now();
            decide(now, &mut rows);
            if let Some(tokens) = rows.tokens_taken() {
                store.tokens_floor = tokens.highest();
            }
            save(conn, now, &rows)?;
            conn.batch_execute("COMMIT").map_err(failed)
        })
    }

    fn expired(&mut self, rows_max: usize) -> Result<Vec<ResourceName>, StoreError> {
        self.with_connection(|store, conn| {
            let names: Vec<String> = resources::table
                .select(resources::name)
                .filter(resources::expires_at_us.le(store.clock.now().as_us()))
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
            let rows: Vec<(String, Option<i64>)> = resources::table
                .select((resources::name, resources::released_at_us))
                .filter(resources::name.gt(&store.prune_after))
                .order(resources::name)
                .limit(rows_max as i64)
                .load(&mut conn.conn)
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
            // One statement is one transaction, and it looks again: nothing that was taken meanwhile goes.
            let doomed = resources::table
                .filter(resources::name.gt(from).and(resources::name.le(to)))
                .filter(resources::locked_by.is_null())
                .filter(resources::released_at_us.lt(deadline_us));
            diesel::delete(doomed).execute(&mut conn.conn).map_err(begin_failed)
        })
    }

    fn note_clock_offset(&mut self) -> Result<(), StoreError> {
        self.with_connection(|store, conn| {
            let offset_us = store.clock.offset_from_wall_clock_us();
            if offset_us.abs_diff(conn.clock_offset_us) >= CLOCK_OFFSET_STEP_US {
                diesel::update(server_state::table)
                    .set(server_state::clock_offset_us.eq(offset_us))
                    .execute(&mut conn.conn)
                    .map_err(begin_failed)?;
                conn.clock_offset_us = offset_us;
            }
            Ok(())
        })
    }
}

impl OpenFile {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let failed_to =
            |what: &str, e: &dyn std::fmt::Display| StoreError::Failed(format!("{what} {}: {e}", path.display()));
        let inode = inode(path).map_err(|e| failed_to("cannot find", &e))?;
        let mut conn = SqliteConnection::establish(&uri(path, "rw")).map_err(|e| failed_to("cannot open", &e))?;
        conn.batch_execute(&format!(
            "PRAGMA busy_timeout = {};
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA wal_autocheckpoint = 4000;
             PRAGMA cache_size = -16384;",
            BUSY_WAIT_MAX.as_millis()
        ))
        .map_err(begin_failed)?;
        let journal_mode: String = sql::<Text>("SELECT journal_mode FROM pragma_journal_mode")
            .get_result(&mut conn)
            .map_err(failed)?;
        let synchronous: i64 = sql::<BigInt>("SELECT synchronous FROM pragma_synchronous")
            .get_result(&mut conn)
            .map_err(failed)?;
        if journal_mode != "wal" || synchronous != 2 {
            let durability = format!("journal_mode={journal_mode} synchronous={synchronous}, not wal and 2");
            return Err(failed_to("not durable enough to serve:", &durability));
        }
        let clock_offset_us = server_state::table
            .select(server_state::clock_offset_us)
            .get_result(&mut conn)
            .map_err(failed)?;
        Ok(Self {
            conn,
            inode,
            clock_offset_us,
        })
    }

    fn require_file(&self, path: &Path) -> Result<(), StoreError> {
        match inode(path) {
            Ok(inode) if inode == self.inode => Ok(()),
            Ok(_) => Err(StoreError::Failed(format!(
                "{} was replaced by another file",
                path.display()
            ))),
            Err(e) => Err(StoreError::Failed(format!("{} is gone: {e}", path.display()))),
        }
    }
}

/// Refuses a file that was put in place of the one served from, unless it can
/// be opened without harm: SQLite would write to another program's database,
/// and would take the log that the old file left behind for the new one's.
fn require_own_and_whole(path: &Path) -> Result<(), StoreError> {
    let refuse = |reason: &str| {
        Err(StoreError::Failed(format!(
            "{} was replaced by {reason}",
            path.display()
        )))
    };
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if fs::metadata(log).is_ok_and(|metadata| metadata.len() > 0) {
        return refuse("another file and the -wal file of the old one is still there; stop the server and remove it");
    }
    match is_marked_as_own(path) {
        Ok(true) => Ok(()),
        Ok(false) => refuse("a file of another kind"),
        Err(e) => refuse(&format!("another file that cannot be read: {e}")),
    }
}

fn inode(path: &Path) -> std::io::Result<Inode> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
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

fn load(conn: &mut SqliteConnection, names: &[ResourceName], tokens_floor: FencingToken) -> Result<Rows, StoreError> {
    let highest: i64 = server_state::table
        .select(server_state::fencing_token)
        .get_result(conn)
        .map_err(failed)?;
    let tokens = FencingCounter::continuing_after(FencingToken::new(highest).max(tokens_floor));
    let mut loaded = Vec::with_capacity(names.len());
    for name in names {
        loaded.push(load_resource(conn, name)?);
    }
    Ok(Rows::loaded(loaded, tokens))
}

fn load_resource(conn: &mut SqliteConnection, name: &ResourceName) -> Result<Resource, StoreError> {
    let row = resources::table
        .find(name.as_str())
        .select(ResourceRow::as_select())
        .get_result(conn)
        .optional()
        .map_err(failed)?;
    match row {
        None => Ok(Resource::unseen(name.clone())),
        Some(row) => row.into_resource(name.clone()).map_err(|column| {
            StoreError::Failed(format!("row {name:?} of table resources has an impossible {column}"))
        }),
    }
}

fn save(conn: &mut SqliteConnection, now: Timestamp, rows: &Rows) -> Result<(), StoreError> {
    for resource in rows.changed() {
        SaveResource::from(resource).execute(conn).map_err(failed)?;
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

/// Writes one row, new or not. By hand, because diesel prepares its own
/// upserts anew each time.
struct SaveResource<'a> {
    name: &'a str,
    locked_by: Option<&'a str>,
    ttl: Option<i64>,
    acquired_at_us: Option<i64>,
    expires_at_us: Option<i64>,
    released_at_us: Option<i64>,
    fencing_token: i64,
}

impl<'a> From<&'a Resource> for SaveResource<'a> {
    fn from(resource: &'a Resource) -> Self {
        let lock = resource.lock.as_ref();
        Self {
            name: resource.name.as_str(),
            locked_by: lock.map(|lock| lock.locked_by.reveal()),
            ttl: lock.and_then(|lock| lock.ttl).map(|ttl| ttl.as_seconds().into()),
            acquired_at_us: lock.map(|lock| lock.acquired_at.as_us()),
            expires_at_us: lock.and_then(|lock| lock.expires_at).map(Timestamp::as_us),
            released_at_us: resource.released_at.map(Timestamp::as_us),
            fencing_token: resource.fencing_token.as_i64(),
        }
    }
}

impl QueryId for SaveResource<'_> {
    type QueryId = SaveResource<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Sqlite> for SaveResource<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO resources (name, locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token)\n\
             VALUES (",
        );
        out.push_bind_param::<Text, _>(self.name)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.locked_by)?;
        for number in [
            &self.ttl,
            &self.acquired_at_us,
            &self.expires_at_us,
            &self.released_at_us,
        ] {
            out.push_sql(", ");
            out.push_bind_param::<Nullable<BigInt>, _>(number)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.fencing_token)?;
        out.push_sql(
            ")\n\
             ON CONFLICT (name) DO UPDATE\n\
             SET locked_by = excluded.locked_by,\n    \
                 ttl = excluded.ttl,\n    \
                 acquired_at_us = excluded.acquired_at_us,\n    \
                 expires_at_us = excluded.expires_at_us,\n    \
                 released_at_us = excluded.released_at_us,\n    \
                 fencing_token = excluded.fencing_token",
        );
        Ok(())
    }
}

impl RunQueryDsl<SqliteConnection> for SaveResource<'_> {}

/// Writes the counter and the clock. By hand for the same reason.
struct SaveServerState {
    fencing_token: i64,
    clock_us: i64,
}

impl QueryId for SaveServerState {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Sqlite> for SaveServerState {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("UPDATE server_state\n   SET fencing_token = ");
        out.push_bind_param::<BigInt, _>(&self.fencing_token)?;
        out.push_sql(", clock_us = ");
        out.push_bind_param::<BigInt, _>(&self.clock_us)
    }
}

impl RunQueryDsl<SqliteConnection> for SaveServerState {}
