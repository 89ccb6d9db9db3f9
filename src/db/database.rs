//! The database as an operator's command sees it: opened with care, its
//! migrations listed and run.
//!
//! Separate from the store, because it may refuse at length what the store
//! takes for granted: that the file is there, whole, ours and migrated.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;
use thiserror::Error;

use crate::db::migrations::{HISTORY_TABLE, MigrationError, Migrations};
use crate::db::{DatabaseUrl, SqliteStore, StoreError};
use crate::limits::BUSY_WAIT_MAX;

/// The first bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// "CLSv", as the first migration sets it.
const APPLICATION_ID: i64 = 0x434C_5376;

/// Why a database cannot be used. One line, and what to do.
#[derive(Debug, Error)]
pub enum DatabaseError {
    /// Another server runs on it.
    #[error("{} is in use by {owner}; stop it first, or set DATABASE_URL to another file", path.display())]
    Owned {
        /// The database.
        path: PathBuf,
        /// As it described itself.
        owner: String,
    },
    /// No such file.
    #[error("{} does not exist; run `cls migrate` to create it, or correct DATABASE_URL", .0.display())]
    Missing(PathBuf),
    /// A directory.
    #[error("{} is a directory; DATABASE_URL must name a file", .0.display())]
    Directory(PathBuf),
    /// The operating system refuses.
    #[error("cannot open {}: {reason}; {cure}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
        /// What to do.
        cure: &'static str,
    },
    /// Some other kind of file.
    #[error("{} is not an SQLite database; it was left as it is, set DATABASE_URL to another file", .0.display())]
    NotADatabase(PathBuf),
    /// The SQLite database of another program.
    #[error("{} belongs to another program; it was left as it is, set DATABASE_URL to a file of its own", .0.display())]
    Foreign(PathBuf),
    /// Damaged.
    #[error("{} is damaged ({detail}); it was left as it is, restore it from a backup", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The first thing SQLite found.
        detail: String,
    },
    /// SQLite refuses.
    #[error("{}: {reason}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
    /// Migrations are missing.
    #[error(
        "you have {count} unapplied migration(s): {}; run `cls migrate` to apply them", names.join(", ")
    )]
    Unmigrated {
        /// How many.
        count: usize,
        /// Which.
        names: Vec<String>,
    },
    /// Migrations cannot be listed or run.
    #[error(transparent)]
    Migration(#[from] MigrationError),
}

impl DatabaseError {
    /// What the operating system said of `path`.
    pub(super) fn unusable(path: &Path, source: io::Error) -> Self {
        let cure = match source.kind() {
            io::ErrorKind::NotFound => "create that, or correct DATABASE_URL",
            io::ErrorKind::StorageFull => "make room on that disk",
            _ => "the server needs to read and write it and its directory",
        };
        Self::Unusable {
            path: path.to_owned(),
            reason: match source.kind() {
                io::ErrorKind::NotFound => "its directory does not exist".to_owned(),
                kind => kind.to_string(),
            },
            cure,
        }
    }
}

/// What to do when there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMissing {
    /// Make an empty database.
    Create,
    /// Say so.
    Refuse,
    /// Act as if it were empty and make nothing.
    Pretend,
}

/// An open database.
pub struct Database {
    path: PathBuf,
    conn: SqliteConnection,
}

impl Database {
    /// Opens the database and makes sure that it is whole and ours. Whatever
    /// is refused is left as it was.
    pub fn open(url: &DatabaseUrl, if_missing: IfMissing) -> Result<Self, DatabaseError> {
        let path = std::path::absolute(url.path()).map_err(|e| DatabaseError::unusable(url.path(), e))?;
        let refused = |e: ConnectionError| DatabaseError::Refused {
            path: path.clone(),
            reason: e.to_string(),
        };
        if !probe(&path, if_missing)? {
            let conn = SqliteConnection::establish(":memory:").map_err(refused)?;
            return Ok(Self { path, conn });
        }
        // SQLite follows links, and looks for the log beside the file that it finds.
        let path = path.canonicalize().map_err(|e| DatabaseError::unusable(&path, e))?;
        // Read-only: closing it again after a refusal must not write to a damaged file.
        let mut reader = SqliteConnection::establish(&uri(&path, "ro")).map_err(refused)?;
        examine(&path, &mut reader).map_err(|e| e.in_file(&path))?;
        drop(reader);
        let conn = SqliteConnection::establish(&uri(&path, "rw")).map_err(refused)?;
        let mut database = Self { path, conn };
        database.batch_execute(&format!("PRAGMA busy_timeout = {};", BUSY_WAIT_MAX.as_millis()))?;
        Ok(database)
    }

    /// Its migrations.
    pub fn migrations(&mut self) -> Result<Migrations<'_>, DatabaseError> {
        let has_history = has_table(&mut self.conn, HISTORY_TABLE).map_err(|e| DatabaseError::Refused {
            path: self.path.clone(),
            reason: e.to_string(),
        })?;
        Ok(Migrations::of(&mut self.conn, has_history)?)
    }

    /// Refuses a database that lacks migrations.
    pub fn require_migrated(&mut self) -> Result<(), DatabaseError> {
        let names = self.migrations()?.unapplied();
        match names.len() {
            0 => Ok(()),
            count => Err(DatabaseError::Unmigrated { count, names }),
        }
    }

    /// The store on the same file, for the engine.
    pub fn into_store(self) -> Result<SqliteStore, StoreError> {
        let Self { path, conn } = self;
        drop(conn);
        SqliteStore::open(path)
    }

    fn batch_execute(&mut self, statements: &str) -> Result<(), DatabaseError> {
        let path = &self.path;
        self.conn.batch_execute(statements).map_err(|e| DatabaseError::Refused {
            path: path.clone(),
            reason: e.to_string(),
        })
    }
}

/// The name by which SQLite opens `path` and never creates it.
pub(super) fn uri(path: &Path, mode: &str) -> String {
    format!("file://{}?mode={mode}", path.display())
}

/// Whether the header of the file at `path` bears the mark of the first
/// migration. Reads without SQLite, which might write.
pub(super) fn is_marked_as_own(path: &Path) -> io::Result<bool> {
    const APPLICATION_ID_AT: usize = 68;
    let mut header = Vec::new();
    File::open(path)?.take(100).read_to_end(&mut header)?;
    let mark = (APPLICATION_ID as u32).to_be_bytes();
    Ok(header.starts_with(MAGIC) && header.get(APPLICATION_ID_AT..APPLICATION_ID_AT + mark.len()) == Some(&mark))
}

/// Whether there is a table of that name.
pub(super) fn has_table(conn: &mut SqliteConnection, name: &str) -> QueryResult<bool> {
    let count = sql::<BigInt>("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ");
    Ok(count.bind::<Text, _>(name).get_result::<i64>(conn)? > 0)
}

/// Whether there is a file to open, after making one if that is wanted.
fn probe(path: &Path, if_missing: IfMissing) -> Result<bool, DatabaseError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let opened = match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => match if_missing {
            IfMissing::Create => options.create_new(true).open(path),
            IfMissing::Refuse if !path.parent().is_some_and(Path::exists) => Err(e),
            IfMissing::Refuse => return Err(DatabaseError::Missing(path.to_owned())),
            IfMissing::Pretend => return Ok(false),
        },
        opened => opened,
    };
    let mut file: File = opened.map_err(|e| match e.kind() {
        io::ErrorKind::IsADirectory => DatabaseError::Directory(path.to_owned()),
        _ => DatabaseError::unusable(path, e),
    })?;
    let mut head = Vec::new();
    file.by_ref()
        .take(MAGIC.len() as u64)
        .read_to_end(&mut head)
        .map_err(|e| DatabaseError::unusable(path, e))?;
    if head.is_empty() || head == MAGIC {
        Ok(true)
    } else {
        Err(DatabaseError::NotADatabase(path.to_owned()))
    }
}

enum Finding {
    Foreign,
    Corrupt(String),
}

impl Finding {
    fn in_file(self, path: &Path) -> DatabaseError {
        let path = path.to_owned();
        match self {
            Self::Foreign => DatabaseError::Foreign(path),
            Self::Corrupt(detail) => DatabaseError::Corrupt { path, detail },
        }
    }
}

impl From<diesel::result::Error> for Finding {
    fn from(error: diesel::result::Error) -> Self {
        Self::Corrupt(error.to_string())
    }
}

fn examine(path: &Path, conn: &mut SqliteConnection) -> Result<(), Finding> {
    conn.batch_execute(&format!("PRAGMA busy_timeout = {};", BUSY_WAIT_MAX.as_millis()))?;
    // Diesel's own table is there before the first migration and after the last was taken back, the mark is not.
    let others = sql::<BigInt>("SELECT count(*) FROM sqlite_schema WHERE tbl_name <> ").bind::<Text, _>(HISTORY_TABLE);
    let others = others.get_result::<i64>(conn)?;
    let application_id = sql::<BigInt>("SELECT application_id FROM pragma_application_id").get_result::<i64>(conn)?;
    if application_id != APPLICATION_ID && others > 0 {
        return Err(Finding::Foreign);
    }
    log::debug!("checking {}", path.display());
    require_whole_pages(path, conn)?;
    // Not as the table-valued function: that takes its argument for the name of a table.
    let verdict = sql::<Text>("PRAGMA integrity_check(1)").get_result::<String>(conn)?;
    match verdict.as_str() {
        "ok" => Ok(()),
        _ => Err(Finding::Corrupt(verdict.replace('\n', ", "))),
    }
}

/// Refuses a file that ends within a page: SQLite fills that up with zeros. A
/// write that was cut off may leave one behind, but then the log has the page.
fn require_whole_pages(path: &Path, conn: &mut SqliteConnection) -> Result<(), Finding> {
    let page_bytes = sql::<BigInt>("SELECT page_size FROM pragma_page_size").get_result::<i64>(conn)?;
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    match bytes(path) % page_bytes.unsigned_abs().max(1) {
        beyond if beyond > 0 && bytes(Path::new(&log)) == 0 => Err(Finding::Corrupt(format!(
            "its last page has only {beyond} of {page_bytes} bytes"
        ))),
        _ => Ok(()),
    }
}
