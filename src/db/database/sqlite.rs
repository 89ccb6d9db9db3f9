//! An SQLite file, opened with care: whole, ours, and never made by mistake.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use crate::db::catalog::AnyConnection;
use crate::db::database::{DatabaseError, IfMissing};
use crate::db::migrations::{HISTORY_TABLE, Migrations};
use crate::db::sqlite::open_file::{JOURNAL, LOG, LogRoom, beside, settle_log};
use crate::db::{Ownership, SqliteStore, StoreError, TokenTable};
use crate::limits::BUSY_WAIT_MAX;

/// The first bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// "CLSv", as the first migration sets it.
const APPLICATION_ID: i64 = 0x434C_5376;

/// An open file.
pub(in crate::db) struct SqliteDatabase {
    path: PathBuf,
    conn: SqliteConnection,
}

impl SqliteDatabase {
    /// Opens the file and makes sure that it is whole and ours. Whatever is
    /// refused is left as it was.
    pub(in crate::db) fn open(path: &Path, if_missing: IfMissing) -> Result<Self, DatabaseError> {
        let path = std::path::absolute(path).map_err(|e| DatabaseError::unusable(path, e))?;
        let refused = |e: ConnectionError| DatabaseError::Refused {
            path: path.clone(),
            reason: e.to_string(),
        };
        undo_unfinished(&path);
        if !probe(&path, if_missing)? {
            let conn = SqliteConnection::establish(":memory:").map_err(refused)?;
            return Ok(Self { path, conn });
        }
        // SQLite follows links, and looks for the log beside the file that it finds.
        let path = path.canonicalize().map_err(|e| DatabaseError::unusable(&path, e))?;
        // Read-only: closing it again after a refusal must not write to a damaged file. Dropped last: see settle_log.
        let mut reader = open_to_read(&path)?;
        let conn = SqliteConnection::establish(&uri(&path, "rw")).map_err(refused)?;
        let mut database = Self { path, conn };
        // Before a server has opened it, a commit is the removal of a file, which FULL does not wait for.
        database.batch_execute(&format!(
            "PRAGMA busy_timeout = {}; PRAGMA synchronous = EXTRA;",
            BUSY_WAIT_MAX.as_millis()
        ))?;
        // A server that runs has done it.
        if is_filled(&beside(&database.path, LOG)) && Ownership::take(&database.path).is_ok() {
            let settled = settle_log(&mut reader, &mut database.conn, &database.path, LogRoom::Leave);
            settled.map_err(|error| DatabaseError::Refused {
                path: database.path.clone(),
                reason: error.to_string(),
            })?;
        }
        Ok(database)
    }

    /// Its migrations.
    pub(in crate::db) fn migrations(&mut self) -> Result<Migrations<'_>, DatabaseError> {
        let has_history = has_table(&mut self.conn, HISTORY_TABLE).map_err(|e| DatabaseError::Refused {
            path: self.path.clone(),
            reason: e.to_string(),
        })?;
        Ok(Migrations::on_sqlite(&mut self.conn, has_history)?)
    }

    /// The connection and the file behind it.
    pub(in crate::db) fn into_parts(self) -> (PathBuf, SqliteConnection) {
        (self.path, self.conn)
    }

    /// The table of tokens in it.
    pub(super) fn into_tokens(self) -> TokenTable {
        TokenTable::new(AnyConnection::Sqlite(self.conn))
    }

    /// The store on the same file, for the engine.
    pub(super) fn into_store(self) -> Result<SqliteStore, StoreError> {
        let Self { path, conn } = self;
        drop(conn);
        SqliteStore::open(path)
    }

    /// The store on the same file, for a command that acts beside a server, if
    /// one runs.
    ///
    /// Errors: the file cannot be opened, or the one beside it that says who serves it.
    pub(super) fn into_store_of_guest(self) -> Result<SqliteStore, StoreError> {
        let Self { path, conn } = self;
        drop(conn);
        match Ownership::take(&path) {
            // Given back at once: a server that starts after this goes by the wall clock too.
            Ok(_) => SqliteStore::open(path),
            Err(DatabaseError::Owned { .. }) => SqliteStore::open_beside_server(path),
            Err(error) => Err(StoreError::Failed(error.to_string())),
        }
    }

    fn batch_execute(&mut self, statements: &str) -> Result<(), DatabaseError> {
        let path = &self.path;
        self.conn.batch_execute(statements).map_err(|e| DatabaseError::Refused {
            path: path.clone(),
            reason: e.to_string(),
        })
    }
}

/// Opens the file at `path`, which is absolute, to read from it, and makes sure
/// that it is whole and ours.
pub(in crate::db) fn open_to_read(path: &Path) -> Result<SqliteConnection, DatabaseError> {
    let opened = SqliteConnection::establish(&uri(path, "ro"));
    let mut reader = opened.map_err(|e| DatabaseError::Refused {
        path: path.to_owned(),
        reason: e.to_string(),
    })?;
    examine(path, &mut reader).map_err(|e| e.in_file(path))?;
    Ok(reader)
}

/// The name by which SQLite opens `path` and never creates it.
pub(in crate::db) fn uri(path: &Path, mode: &str) -> String {
    /// What ends a path in a URI, or begins a code.
    const CODED: &AsciiSet = &CONTROLS.add(b'?').add(b'#').add(b'%');
    let path = percent_encode(path.as_os_str().as_bytes(), CODED);
    format!("file://{path}?mode={mode}")
}

/// Whether the header of the file at `path` bears the mark of the first
/// migration. Reads without SQLite, which might write.
pub(in crate::db) fn is_marked_as_own(path: &Path) -> io::Result<bool> {
    const APPLICATION_ID_AT: usize = 68;
    let mut header = Vec::new();
    File::open(path)?.take(100).read_to_end(&mut header)?;
    let mark = (APPLICATION_ID as u32).to_be_bytes();
    Ok(header.starts_with(MAGIC) && header.get(APPLICATION_ID_AT..APPLICATION_ID_AT + mark.len()) == Some(&mark))
}

/// Whether there is a table of that name.
pub(in crate::db) fn has_table(conn: &mut SqliteConnection, name: &str) -> QueryResult<bool> {
    let count = sql::<BigInt>("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ");
    Ok(count.bind::<Text, _>(name).get_result::<i64>(conn)? > 0)
}

/// Undoes what a transaction has written that was cut off before the database was
/// in WAL mode: a migration. Until then the file may look damaged or not be known
/// for a database at all, and nobody can read it who may not write.
fn undo_unfinished(path: &Path) {
    // A link leads to where the journal is.
    let Ok(path) = path.canonicalize() else { return };
    if !is_filled(&beside(&path, JOURNAL)) {
        return;
    }
    // SQLite does it before it reads, if it finds that nobody is at it. What is wrong then is found right after this.
    let undone = SqliteConnection::establish(&uri(&path, "rw")).map(|mut conn| {
        let tables = sql::<BigInt>("SELECT count(*) FROM sqlite_schema").get_result::<i64>(&mut conn);
        tables.map_err(|e| e.to_string())
    });
    log::debug!("{} was cut off in a transaction: {undone:?}", path.display());
}

/// Whether there is a file, and something in it.
fn is_filled(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0)
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
    match begins_as_database(&mut file) {
        Ok(true) => Ok(true),
        Ok(false) => Err(DatabaseError::NotADatabase(path.to_owned())),
        Err(error) => Err(DatabaseError::unusable(path, error)),
    }
}

/// Whether SQLite would open the file: it is one of its own, or empty.
pub(in crate::db) fn begins_as_database(file: &mut File) -> io::Result<bool> {
    let mut head = Vec::new();
    file.take(MAGIC.len() as u64).read_to_end(&mut head)?;
    Ok(head.is_empty() || head == MAGIC)
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
