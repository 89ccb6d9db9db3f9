//! The way back: a copy takes the name of the database.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;

use super::new_file::NewFile;
use super::numbers::Numbers;
use super::{BackupError, copy_into, count_resources};
use crate::clock::Timestamp;
use crate::db::database::{SqliteDatabase, begins_as_database, has_table, open_to_read, uri};
use crate::db::migrations::{HISTORY_TABLE, Migrations};
use crate::db::sqlite::BUSY_MESSAGE;
use crate::db::sqlite::open_file::{JOURNAL, LOG, LOG_INDEX, beside, sync_directory_of};
use crate::db::{DatabaseError, DatabaseUrl, IfMissing, Ownership};

/// The table that is not there before the first migration.
const STATE_TABLE: &str = "server_state";

/// A copy that was put in place.
#[derive(Debug)]
pub struct Restored {
    /// Rows of table `resources`.
    pub resources: i64,
    /// The fencing token after which the server goes on.
    pub fencing_token: i64,
    /// Where the database is that was there before.
    pub kept: Option<PathBuf>,
    /// The migrations that the copy lacks.
    pub unapplied: Vec<String>,
}

/// Puts a copy of the database at `from` in place of the one at `url`, which no
/// server may run on, and keeps that beside it. It does not migrate.
///
/// The numbers that a server gives are set beyond all that can have been given
/// since the copy was made: `numbers` says how. What was held when it was
/// made is held again, until it expires by the clock or is released: whoever
/// held it may do so to this day, and a lock that is held for too long is seen
/// and can be broken, where one that is free too early is neither.
///
/// A crash on the way leaves the one database or the other under the name, and
/// never one with the other's log: that is gone before the name changes hands.
/// Where the old database cannot be read, so that its log cannot be written
/// back, the log is moved away first. A crash right after that leaves what was
/// damaged, without its log.
pub fn restore(url: &DatabaseUrl, from: &Path) -> Result<Restored, BackupError> {
    let DatabaseUrl::Sqlite(path) = url else {
        return Err(BackupError::RestorePostgres(url.to_string()));
    };
    let from = &from.canonicalize().map_err(|e| BackupError::no_backup(from, e))?;
    let path = &std::path::absolute(path).map_err(|e| BackupError::replace(path, e))?;
    // Where a link leads to a database, that is replaced and not the link.
    let path = &path.canonicalize().unwrap_or_else(|_| path.clone());
    if path == from || is_same_file(path, from) {
        return Err(BackupError::no_backup(from, "it is the database itself"));
    }
    let mut source = open_backup(from)?;
    let unapplied = unapplied(&mut source)?;
    let _ownership = Ownership::take(path)?;
    let old = Old::at(path)?;
    let copy = NewFile::beside(path).map_err(|e| BackupError::replace(path, e))?;
    let replace = |e: diesel::result::Error| BackupError::replace(path, e);
    copy_into(&mut source, copy.path()).map_err(replace)?;
    let unusable = |e: diesel::result::Error| BackupError::no_backup(from, e);
    let mut copied = open_to_write(copy.path()).map_err(|e| BackupError::replace(path, e))?;
    let numbers = Numbers::read(&mut copied).map_err(unusable)?;
    let numbers = numbers.beyond(old.numbers(), Timestamp::wall_clock());
    numbers.write(&mut copied).map_err(replace)?;
    let resources = count_resources(&mut copied).map_err(unusable)?;
    drop(copied);
    drop(source);
    if let Some(metadata) = old.metadata() {
        copy.belong_as(metadata).map_err(|e| BackupError::replace(path, e))?;
    }
    copy.sync().map_err(|e| BackupError::replace(path, e))?;
    let kept = old.keep(path)?;
    // Not after the new name: a power cut could leave that beside the old log.
    sync_directory_of(path).map_err(|e| BackupError::replace(path, e))?;
    copy.place(path).map_err(|e| BackupError::replace(path, e))?;
    Ok(Restored {
        resources,
        fencing_token: numbers.fencing_token,
        kept,
        unapplied,
    })
}

/// What is there before.
enum Old {
    /// Nothing, or something without locks.
    None,
    Readable(Box<SqliteConnection>, Option<Numbers>, fs::Metadata),
    /// Ours, as it seems, and damaged.
    Damaged(fs::Metadata),
}

impl Old {
    /// Errors: it is another program's, or cannot be looked at.
    fn at(path: &Path) -> Result<Self, BackupError> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::None),
            Err(e) => return Err(DatabaseError::unusable(path, e).into()),
        };
        match SqliteDatabase::open(path, IfMissing::Refuse) {
            Ok(database) => {
                let (_, mut conn) = database.into_parts();
                let has_numbers = has_table(&mut conn, STATE_TABLE);
                let numbers = has_numbers.and_then(|has| has.then(|| Numbers::read(&mut conn)).transpose());
                Ok(match numbers {
                    Ok(numbers) => Self::Readable(Box::new(conn), numbers, metadata),
                    Err(_) => Self::Damaged(metadata),
                })
            }
            Err(error) if error.to_string().contains(BUSY_MESSAGE) => Err(BackupError::in_use(path)),
            Err(DatabaseError::Corrupt { .. } | DatabaseError::NotADatabase(_) | DatabaseError::Refused { .. }) => {
                Ok(Self::Damaged(metadata))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn numbers(&self) -> Option<Numbers> {
        match self {
            Self::Readable(_, numbers, _) => *numbers,
            Self::None | Self::Damaged(_) => None,
        }
    }

    fn metadata(&self) -> Option<&fs::Metadata> {
        match self {
            Self::Readable(_, _, metadata) | Self::Damaged(metadata) => Some(metadata),
            Self::None => None,
        }
    }

    /// Gives it another name beside its own, without a log under its own. It
    /// keeps its own name too, until another file takes that.
    fn keep(self, path: &Path) -> Result<Option<PathBuf>, BackupError> {
        let replace = |e: io::Error| BackupError::replace(path, e);
        let kept = free_name(path);
        let is_there = !matches!(self, Self::None);
        match self {
            Self::Readable(mut conn, _, _) => {
                // Writes the log back and removes it; refused if anybody else has the file open.
                let mode = sql::<Text>("PRAGMA journal_mode = DELETE").get_result::<String>(&mut *conn);
                if mode.as_deref() != Ok("delete") {
                    return Err(BackupError::in_use(path));
                }
            }
            Self::None | Self::Damaged(_) => {
                for suffix in [LOG, LOG_INDEX, JOURNAL] {
                    match fs::rename(beside(path, suffix), beside(&kept, suffix)) {
                        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(replace(e)),
                        _ => {}
                    }
                }
            }
        }
        if !is_there {
            return Ok(None);
        }
        // Where the file system has no second names it has none for a moment.
        let linked = fs::hard_link(path, &kept).or_else(|_| fs::rename(path, &kept));
        linked.map_err(replace)?;
        Ok(Some(kept))
    }
}

/// The name under which what was there before is kept: the first that is free.
fn free_name(path: &Path) -> PathBuf {
    let is_free = |name: &PathBuf| {
        let mut names = ["", LOG, LOG_INDEX, JOURNAL]
            .map(|suffix| beside(name, suffix))
            .into_iter();
        names.all(|name| name.symlink_metadata().is_err())
    };
    let first = beside(path, ".before-restore");
    let mut more = (2..).map(|number| beside(path, &format!(".before-restore-{number}")));
    match is_free(&first) {
        true => first,
        false => more.find(is_free).expect("there are fewer files than numbers"),
    }
}

fn is_same_file(path: &Path, other: &Path) -> bool {
    let inode = |path| fs::metadata(path).map(|metadata: fs::Metadata| (metadata.dev(), metadata.ino()));
    matches!((inode(path), inode(other)), (Ok(one), Ok(two)) if one == two)
}

/// Opens a copy to read from it: whole, ours, and with locks.
fn open_backup(from: &Path) -> Result<SqliteConnection, BackupError> {
    let refused = |reason: &str| Err(BackupError::no_backup(from, reason));
    if from.is_dir() {
        return refused("it is a directory");
    }
    match File::open(from).and_then(|mut file| begins_as_database(&mut file)) {
        Ok(true) => {}
        Ok(false) => return refused("it is no SQLite database"),
        Err(error) => return refused(&error.to_string()),
    }
    let mut conn = match open_to_read(from) {
        Err(DatabaseError::Foreign(_)) => return refused("it belongs to another program"),
        Err(DatabaseError::Corrupt { detail, .. }) => return refused(&format!("it is damaged ({detail})")),
        Err(error) => return refused(&error.to_string()),
        Ok(conn) => conn,
    };
    match has_table(&mut conn, STATE_TABLE) {
        Ok(true) => Ok(conn),
        Ok(false) => refused("it has no locks"),
        Err(error) => refused(&error.to_string()),
    }
}

/// The migrations that it lacks.
fn unapplied(conn: &mut SqliteConnection) -> Result<Vec<String>, BackupError> {
    let has_history = has_table(conn, HISTORY_TABLE).unwrap_or(false);
    Ok(Migrations::on_sqlite(conn, has_history)?.unapplied())
}

fn open_to_write(path: &Path) -> ConnectionResult<SqliteConnection> {
    let mut conn = SqliteConnection::establish(&uri(path, "rw"))?;
    conn.batch_execute("PRAGMA synchronous = FULL")
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}
