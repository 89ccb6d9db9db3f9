//! Copies of an SQLite database: made while it is served, and put in its place.
//!
//! A copy is what `VACUUM INTO` writes: the database as one transaction sees
//! it, which holds up nobody. SQLite's log cannot start again before that
//! transaction has ended, so it grows by whatever is written meanwhile.
//!
//! PostgreSQL has programs of its own for both.

mod new_file;
mod numbers;
mod restore;

use std::io;
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;
use thiserror::Error;

pub use self::restore::{Restored, restore};

use self::new_file::NewFile;
use self::numbers::Numbers;
use crate::db::database::{SqliteDatabase, open_to_read, uri};
use crate::db::migrations::MigrationError;
use crate::db::{DatabaseError, DatabaseUrl, IfMissing};
use crate::limits::{BUSY_WAIT_MAX, TOKENS_LOST_MAX};

/// Why a copy cannot be made, or put in place. One line, and what to do.
#[derive(Debug, Error)]
pub enum BackupError {
    /// PostgreSQL is not copied by us.
    #[error("`cls backup` is for SQLite; back up {0} with pg_dump or pg_basebackup")]
    BackUpPostgres(String),
    /// The same for the way back, on which the tokens have to be seen to.
    #[error(
        "`cls restore` is for SQLite; restore {0} with the tool that made the backup, while no server runs on it, and \
         before the first one does run there: \
         SELECT setval('fencing_tokens', last_value + {TOKENS_LOST_MAX}) FROM fencing_tokens"
    )]
    RestorePostgres(String),
    /// Nothing is overwritten.
    #[error("{} is there already, and was left as it is; choose another name", .0.display())]
    Exists(PathBuf),
    /// The operating system, or SQLite, cannot write the copy.
    #[error("cannot write {}: {reason}; choose a directory that can be written to and has room", path.display())]
    Write {
        /// The copy.
        path: PathBuf,
        /// What is in the way.
        reason: String,
    },
    /// No copy of a database of ours, or none that can be used.
    #[error("{} cannot be restored: {reason}; nothing was changed", path.display())]
    NoBackup {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another program has the database open.
    #[error("{} is open in another program; close it there, and restore again", .0.display())]
    InUse(PathBuf),
    /// The files of the database cannot be moved.
    #[error("cannot replace {}: {reason}; whoever restores needs to write it and its directory", path.display())]
    Replace {
        /// The database.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The database cannot be copied, or is not one to restore to.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// It is newer than this program.
    #[error(transparent)]
    Migration(#[from] MigrationError),
}

impl BackupError {
    fn write(path: &Path, reason: impl ToString) -> Self {
        Self::Write {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    fn no_backup(path: &Path, reason: impl ToString) -> Self {
        Self::NoBackup {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    fn in_use(path: &Path) -> Self {
        Self::InUse(path.to_owned())
    }

    fn replace(path: &Path, reason: impl ToString) -> Self {
        Self::Replace {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// A copy that was made.
#[derive(Debug)]
pub struct BackedUp {
    /// Rows of table `resources`.
    pub resources: i64,
    /// The highest fencing token that was granted.
    pub fencing_token: i64,
}

/// Copies the database to a new file at `to`, whether it is served or not. The
/// file is there complete, on disk and checked, or it is not there at all.
pub fn back_up(url: &DatabaseUrl, to: &Path) -> Result<BackedUp, BackupError> {
    let DatabaseUrl::Sqlite(path) = url else {
        return Err(BackupError::BackUpPostgres(url.to_string()));
    };
    let to = std::path::absolute(to).map_err(|e| BackupError::write(to, e))?;
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(to));
    }
    let mut database = SqliteDatabase::open(path, IfMissing::Refuse)?;
    let migrations = database.migrations()?;
    let names = migrations.unapplied();
    // One that lacks the latest can be copied, and should be before it gets them.
    if names.len() == migrations.states().len() {
        let count = names.len();
        return Err(DatabaseError::Unmigrated { count, names }.into());
    }
    let (_, mut conn) = database.into_parts();
    let write = |reason: String| BackupError::write(&to, reason);
    let copy = NewFile::beside(&to).map_err(|e| write(e.to_string()))?;
    copy_into(&mut conn, copy.path()).map_err(|e| write(e.to_string()))?;
    // As a server looks at it before it serves: what it would refuse is no backup.
    let mut copied = open_to_read(copy.path()).map_err(|e| write(e.to_string()))?;
    let backed_up = BackedUp {
        resources: count_resources(&mut copied).map_err(|e| write(e.to_string()))?,
        fencing_token: Numbers::read(&mut copied)
            .map_err(|e| write(e.to_string()))?
            .fencing_token,
    };
    drop(copied);
    copy.sync().map_err(|e| write(e.to_string()))?;
    match copy.place_as_new(&to) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(BackupError::Exists(to)),
        placed => placed.map_err(|e| write(e.to_string())).map(|()| backed_up),
    }
}

/// Writes all that `conn` sees into the empty file at `path`.
fn copy_into(conn: &mut SqliteConnection, path: &Path) -> QueryResult<()> {
    conn.batch_execute(&format!("PRAGMA busy_timeout = {}", BUSY_WAIT_MAX.as_millis()))?;
    sql_query("VACUUM INTO ?")
        .bind::<Text, _>(uri(path, "rw"))
        .execute(conn)
        .map(drop)
}

fn count_resources(conn: &mut SqliteConnection) -> QueryResult<i64> {
    sql::<BigInt>("SELECT count(*) FROM resources").get_result(conn)
}
