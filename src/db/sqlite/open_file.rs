//! A connection to the file, and which file that is.

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diesel::connection::SimpleConnection;
use diesel::dsl::{max, sql};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;
use rustix::fs::{Mode, OFlags};

use super::row_cache::RowCache;
use super::statements::{Checkpoint, DataVersion};
use super::{begin_failed, failed};
use crate::db::StoreError;
use crate::db::database::{is_marked_as_own, uri};
use crate::db::schema::{lock_events, server_state};
use crate::limits::{BUSY_AGAIN_WAIT_MAX, BUSY_WAIT_MAX, ROWS_CACHED_MAX};
use crate::lock::{EventId, FencingToken};

/// Pages in the log after which SQLite writes them back to the database.
const LOG_FRAMES_MAX: u64 = 4000;

/// The size of a log of that many pages, each with its header, and of the
/// batch that goes beyond.
const LOG_BYTES: u64 = (LOG_FRAMES_MAX + 200) * (4096 + 24);

/// Device and number: which file it is, whatever its name.
type Inode = (u64, u64);

/// Which file it is, for as long as this value lives: the system gives its
/// number to no other, also after it is deleted. Not an open file to SQLite,
/// whose locks would go when such a one is closed.
pub(in crate::db) struct Identity {
    inode: Inode,
    _pin: OwnedFd,
}

impl Identity {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let pin = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let stat = rustix::fs::fstat(&pin)?;
        Ok(Self {
            inode: (stat.st_dev, stat.st_ino),
            _pin: pin,
        })
    }

    /// Whether `path` still names this file.
    pub(in crate::db) fn is_at(&self, path: &Path) -> bool {
        inode_of(path).is_ok_and(|inode| inode == self.inode)
    }

    /// Whether `path` names another file by now.
    pub(super) fn is_replaced_at(&self, path: &Path) -> bool {
        inode_of(path).is_ok_and(|inode| inode != self.inode)
    }
}

/// An open connection and the file behind it.
pub(super) struct OpenFile {
    pub(super) conn: SqliteConnection,
    /// The file itself.
    pub(super) identity: Arc<Identity>,
    /// SQLite's log, and the index of it by which its users see each other.
    log: Inode,
    log_index: Inode,
    /// Whether closing the connection now would lose commits.
    pub(super) must_stay_open: bool,
    /// What is written down in the table.
    pub(super) clock_offset_us: i64,
    pub(super) rows: RowCache,
    /// The latest event; `None` if that is to be read.
    pub(super) last_event: Option<EventId>,
    /// SQLite's count of what other connections committed, when `rows` was
    /// last known to be true.
    data_version: Option<i64>,
    /// Whether another connection has written since this was taken.
    pub(super) others_wrote: bool,
    /// Whether another process had the file locked for longer than is waited
    /// for, when it was last asked.
    is_busy: bool,
}

impl OpenFile {
    /// Opens the file at `path`, which is no symbolic link: SQLite lays the log
    /// beside the file that a link leads to.
    pub(super) fn open(path: &Path, log: LogRoom) -> Result<Self, StoreError> {
        let failed_to =
            |what: &str, e: &dyn std::fmt::Display| StoreError::Failed(format!("{what} {}: {e}", path.display()));
        let identity = Identity::of(path).map_err(|e| failed_to("cannot find", &e))?;
        // Dropped last: see settle_log.
        let mut reader = SqliteConnection::establish(&uri(path, "ro")).map_err(|e| failed_to("cannot open", &e))?;
        let mut conn = SqliteConnection::establish(&uri(path, "rw")).map_err(|e| failed_to("cannot open", &e))?;
        conn.batch_execute(&format!(
            "PRAGMA busy_timeout = {};
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA wal_autocheckpoint = {LOG_FRAMES_MAX};
             PRAGMA journal_size_limit = {LOG_BYTES};
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
        settle_log(&mut reader, &mut conn, path, log)?;
        // SQLite does it too, but does not look at what comes of it.
        sync_directory_of(path).map_err(|e| failed_to("cannot sync the directory of", &e))?;
        let beside = |suffix| inode_of(&beside(path, suffix)).map_err(|e| failed_to("cannot find the log of", &e));
        Ok(Self {
            log: beside(LOG)?,
            log_index: beside(LOG_INDEX)?,
            conn,
            identity: Arc::new(identity),
            must_stay_open: false,
            clock_offset_us,
            rows: RowCache::of_at_most(ROWS_CACHED_MAX),
            data_version: None,
            others_wrote: false,
            last_event: None,
            is_busy: false,
        })
    }

    /// Begins a transaction that writes.
    ///
    /// Who has the file locked is waited for once; those who come after are
    /// refused soon, so that a queue of them is not answered minutes later.
    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        let begun = self.conn.batch_execute("BEGIN IMMEDIATE").map_err(begin_failed);
        let is_busy = begun == Err(StoreError::Busy);
        if is_busy != self.is_busy {
            let wait = if is_busy { BUSY_AGAIN_WAIT_MAX } else { BUSY_WAIT_MAX };
            let set = format!("PRAGMA busy_timeout = {}", wait.as_millis());
            self.conn.batch_execute(&set).map_err(failed)?;
            self.is_busy = is_busy;
        }
        begun
    }

    /// Leaves a transaction that failed, on a connection that goes on: its rows
    /// were taken out of the cache and are read again.
    pub(super) fn roll_back(&mut self) {
        if let Err(e) = self.conn.batch_execute("ROLLBACK") {
            log::debug!("rolled back already: {e}");
        }
    }

    /// Inside a transaction: drops the cached rows if another connection has
    /// committed since the last call, with whatever it may have changed.
    pub(super) fn forget_rows_if_others_wrote(&mut self) -> Result<(), StoreError> {
        let data_version: i64 = DataVersion.get_result(&mut self.conn).map_err(failed)?;
        match self.data_version.replace(data_version) {
            Some(before) if before == data_version => return Ok(()),
            // The first look says nothing of others.
            before => self.others_wrote |= before.is_some(),
        }
        self.rows.clear();
        self.last_event = None;
        Ok(())
    }

    /// Inside a transaction: the number of the latest event, or the highest token
    /// if that is higher. Tokens go on beyond all that was granted when a copy is
    /// put back that is older than what clients were told, and so do events.
    pub(super) fn last_event(&mut self, highest_token: FencingToken) -> Result<EventId, StoreError> {
        if let Some(known) = self.last_event {
            return Ok(known);
        }
        let recorded: Option<i64> = lock_events::table
            .select(max(lock_events::id))
            .get_result(&mut self.conn)
            .map_err(failed)?;
        let last = EventId::new(recorded.unwrap_or(0).max(highest_token.as_i64()));
        self.last_event = Some(last);
        Ok(last)
    }

    /// Refuses to go on if the file, its log or the log's index is not the one
    /// that is open: what is written there nobody finds again.
    pub(super) fn require_files(&mut self, path: &Path) -> Result<(), StoreError> {
        require_same(path, self.identity.inode)?;
        let log = require_same(&beside(path, LOG), self.log);
        if log.is_err() {
            self.must_stay_open = !self.write_log_back();
        }
        log?;
        require_same(&beside(path, LOG_INDEX), self.log_index)
    }

    /// Writes what is in the log to the database. Closing the connection would
    /// do it too, but not while another process has the database open.
    fn write_log_back(&mut self) -> bool {
        match Checkpoint.get_result::<(i64, i64, i64)>(&mut self.conn) {
            Ok((busy, in_log, written_back)) => busy == 0 && in_log == written_back,
            Err(e) => {
                log::debug!("cannot write the log back: {e}");
                false
            }
        }
    }
}

/// What to do about the size of the log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::db) enum LogRoom {
    /// Make it as large as it is going to be, so that a commit writes within the
    /// file: a file that grows costs a second write, of its length, with each sync.
    /// SQLite starts the log again from its beginning and reads it no further than
    /// its last valid frame.
    Make,
    /// Leave it.
    Leave,
}

/// Makes sure that what is read from the log is on disk, and makes room in it.
/// Called before anything is written back from it.
///
/// A sync may have failed, here or in a process before. What it was to write the
/// system then takes for written, though it need not be; and SQLite, opening the
/// file, takes it for committed. Whatever came behind it in the log would go with
/// it when the power is lost, however often that was synced. Only writing it once
/// more helps.
///
/// Where that fails the caller closes `conn` and then `reader`: while the one
/// reads, the other does not write back on being closed what is not on disk.
pub(in crate::db) fn settle_log(
    reader: &mut SqliteConnection,
    conn: &mut SqliteConnection,
    path: &Path,
    room: LogRoom,
) -> Result<(), StoreError> {
    sql::<BigInt>("SELECT count(*) FROM sqlite_schema")
        .get_result::<i64>(reader)
        .map_err(begin_failed)?;
    // Else another connection could write frames meanwhile. One that does has had the log open since before.
    match conn.batch_execute("BEGIN IMMEDIATE").map_err(begin_failed) {
        Err(StoreError::Busy) => return Ok(()),
        begun => begun?,
    }
    let log = beside(path, LOG);
    write_again(&log).map_err(|e| StoreError::Failed(format!("cannot write {} again: {e}", log.display())))?;
    // Where the disk is too full for that, the log grows as it has to.
    if room == LogRoom::Make
        && let Err(e) = fill_with_zeros(&log, LOG_BYTES)
    {
        log::debug!("cannot make room in the log: {e}");
    }
    conn.batch_execute("ROLLBACK").map_err(failed)
}

fn require_same(path: &Path, expected: Inode) -> Result<(), StoreError> {
    let path_shown = path.display();
    match inode_of(path) {
        Ok(inode) if inode == expected => Ok(()),
        Ok(_) => Err(StoreError::Unknown(format!(
            "{path_shown} was replaced by another file"
        ))),
        Err(e) => Err(StoreError::Unknown(format!("{path_shown} is gone: {e}"))),
    }
}

/// Refuses a file that was put in place of the one served from, unless it can
/// be opened without harm: SQLite would write to another program's database,
/// and would take the log that the old file left behind for the new one's.
pub(super) fn require_own_and_whole(path: &Path) -> Result<(), StoreError> {
    let refuse = |reason: &str| {
        Err(StoreError::Failed(format!(
            "{} was replaced by {reason}",
            path.display()
        )))
    };
    if fs::metadata(beside(path, LOG)).is_ok_and(|metadata| metadata.len() > 0) {
        return refuse("another file and the -wal file of the old one is still there; stop the server and remove it");
    }
    match is_marked_as_own(path) {
        Ok(true) => Ok(()),
        Ok(false) => refuse("a file of another kind"),
        Err(e) => refuse(&format!("another file that cannot be read: {e}")),
    }
}

fn inode_of(path: &Path) -> std::io::Result<Inode> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// What SQLite appends to the name of the database for its write-ahead log.
pub(in crate::db) const LOG: &str = "-wal";

/// The same for the index of the log, which its users share.
pub(in crate::db) const LOG_INDEX: &str = "-shm";

/// The same for what it needs to undo a transaction, in a database that is not in
/// WAL mode: before a server has opened it.
pub(in crate::db) const JOURNAL: &str = "-journal";

/// The file that has `suffix` behind the name of the one at `path`.
pub(in crate::db) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Writes to a file what it holds, and returns when that is on disk. What is
/// zeros is left: they are no frames.
fn write_again(path: &Path) -> io::Result<()> {
    let file = match fs::OpenOptions::new().read(true).write(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut part = vec![0; 1 << 20];
    let (mut offset, mut is_written) = (0, false);
    loop {
        let length = file.read_at(&mut part, offset)?;
        let Some(read) = part.get(..length).filter(|read| !read.is_empty()) else {
            break;
        };
        if read.iter().any(|byte| *byte != 0) {
            file.write_all_at(read, offset)?;
            is_written = true;
        }
        offset += length as u64;
    }
    if is_written { file.sync_all() } else { Ok(()) }
}

/// Returns when the names in the directory of the file at `path`, which is
/// absolute, are on disk.
pub(in crate::db) fn sync_directory_of(path: &Path) -> io::Result<()> {
    fs::File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// Writes zeros from the end of a file up to `bytes`; all of them or none.
fn fill_with_zeros(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().append(true).open(path)?;
    let before = file.metadata()?.len();
    let zeros = vec![0; usize::try_from(bytes.saturating_sub(before)).unwrap_or(0)];
    let filled = file.write_all(&zeros).and_then(|()| file.sync_all());
    if filled.is_err() {
        file.set_len(before)?;
    }
    filled
}
