//! The database as an operator's command sees it: opened with care, its
//! migrations listed and run.
//!
//! Separate from the store, because it may refuse at length what the store
//! takes for granted: that the database is there, whole, ours and migrated.

mod postgres;
pub(super) mod sqlite;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use self::postgres::PostgresDatabase;
pub(super) use self::sqlite::{SqliteDatabase, begins_as_database, has_table, is_marked_as_own, open_to_read, uri};
use crate::db::migrations::{MigrationError, Migrations};
use crate::db::{Catalog, DatabaseUrl, PostgresUrl, Store, StoreError, TokenTable};

/// What to do where the server's certificate is not known to be good.
const AUTHORITY_CURE: &str =
    "set sslrootcert in DATABASE_URL to a file with the certificate of the authority that signed the server's";

/// What to do where it is good, but for another server.
const CERTIFIED_NAME_CURE: &str =
    "write the host in DATABASE_URL as the certificate has it, or give the server one for this name";

/// What to do where there is no connection left.
const TOO_MANY_CURE: &str = "end some of the others, or raise the limit of connections there";

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
    /// PostgreSQL cannot be reached, or lets us not in.
    #[error("cannot connect to {url}: {reason}; {cure}")]
    Unreachable {
        /// The database, without its password.
        url: String,
        /// What it, or the way to it, says.
        reason: String,
        /// What to do.
        cure: &'static str,
    },
    /// PostgreSQL is not fit to keep locks in, or refuses.
    #[error("{url}: {reason}")]
    Unfit {
        /// The database, without its password.
        url: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Another server runs on it.
    #[error("{url} is in use by {owner}; stop it first, or set DATABASE_URL to another database")]
    Served {
        /// The database, without its password.
        url: String,
        /// As PostgreSQL describes it.
        owner: String,
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

    /// What PostgreSQL's client library said, and what to do about it.
    pub(super) fn unreachable(url: &PostgresUrl, reason: &str) -> Self {
        // By its words, because there is nothing else; where it speaks another language the cure is a general one.
        let cures = [
            ("pg_hba.conf", "allow this machine and user there"),
            (
                "does not support SSL",
                "turn ssl on there, or correct sslmode in DATABASE_URL",
            ),
            ("does not match host name", CERTIFIED_NAME_CURE),
            ("certificate verify failed", AUTHORITY_CURE),
            ("root certificate", AUTHORITY_CURE),
            ("too many", TOO_MANY_CURE),
            ("connection slots are reserved", TOO_MANY_CURE),
            ("the database system is", "wait until it is ready, or read its log"),
            (
                "session is read-only",
                "name the primary or all hosts in DATABASE_URL, or make the database writable",
            ),
            ("password", "correct the user and the password in DATABASE_URL"),
            ("role \"", "create the user, or correct DATABASE_URL"),
            ("database \"", "create it with `createdb`, or correct DATABASE_URL"),
        ];
        let cure = cures
            .iter()
            .find(|(word, _)| reason.contains(word))
            .map(|(_, cure)| *cure);
        Self::Unreachable {
            url: url.to_string(),
            reason: reason.split_whitespace().collect::<Vec<_>>().join(" "),
            cure: cure.unwrap_or("start PostgreSQL there, or correct DATABASE_URL"),
        }
    }

    /// PostgreSQL answers, but not what it has to.
    pub(super) fn unfit(url: &PostgresUrl, reason: impl ToString) -> Self {
        Self::Unfit {
            url: url.to_string(),
            reason: reason.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }
}

/// What to do when there is no SQLite file. A PostgreSQL database is never made.
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
    opened: Opened,
}

enum Opened {
    Sqlite(SqliteDatabase),
    Postgres(PostgresDatabase),
}

impl Database {
    /// Opens the database and makes sure that it is whole and ours. Whatever
    /// is refused is left as it was.
    pub fn open(url: &DatabaseUrl, if_missing: IfMissing) -> Result<Self, DatabaseError> {
        let opened = match url {
            DatabaseUrl::Sqlite(path) => Opened::Sqlite(SqliteDatabase::open(path, if_missing)?),
            DatabaseUrl::Postgres(url) => Opened::Postgres(PostgresDatabase::open(url)?),
        };
        Ok(Self { opened })
    }

    /// Waits until nobody else migrates the database, and then keeps others
    /// from it for as long as this value lives. On SQLite that is for the
    /// owner of the file to see to.
    pub fn wait_to_migrate(&mut self) -> Result<(), DatabaseError> {
        match &mut self.opened {
            Opened::Sqlite(_) => Ok(()),
            Opened::Postgres(database) => database.wait_to_migrate(),
        }
    }

    /// Refuses a database that a server runs on, and keeps servers from it for
    /// as long as this value lives. On SQLite that is for the owner of the
    /// file to see to.
    pub fn keep_servers_off(&mut self) -> Result<(), DatabaseError> {
        match &mut self.opened {
            Opened::Sqlite(_) => Ok(()),
            Opened::Postgres(database) => database.keep_servers_off(),
        }
    }

    /// Its migrations.
    pub fn migrations(&mut self) -> Result<Migrations<'_>, DatabaseError> {
        match &mut self.opened {
            Opened::Sqlite(database) => database.migrations(),
            Opened::Postgres(database) => database.migrations(),
        }
    }

    /// Refuses a database that lacks migrations, or rights to serve from it.
    pub fn require_migrated(&mut self) -> Result<(), DatabaseError> {
        let names = self.migrations()?.unapplied();
        match (names.len(), &mut self.opened) {
            (0, Opened::Sqlite(_)) => Ok(()),
            (0, Opened::Postgres(database)) => database.require_rights_to_serve(),
            (count, _) => Err(DatabaseError::Unmigrated { count, names }),
        }
    }

    /// The table of tokens, for who makes and revokes them.
    pub fn into_tokens(self) -> TokenTable {
        match self.opened {
            Opened::Sqlite(database) => database.into_tokens(),
            Opened::Postgres(database) => database.into_tokens(),
        }
    }

    /// The store on the same database, for the engine.
    pub fn into_store(self) -> Result<Box<dyn Store>, StoreError> {
        match self.opened {
            Opened::Sqlite(database) => Ok(Box::new(database.into_store()?)),
            Opened::Postgres(database) => Ok(Box::new(database.into_store()?)),
        }
    }

    /// The store on the same database, for a command that acts beside the servers
    /// that run, and by their clock.
    pub fn into_store_of_guest(self) -> Result<Box<dyn Store>, StoreError> {
        match self.opened {
            Opened::Sqlite(database) => Ok(Box::new(database.into_store_of_guest()?)),
            Opened::Postgres(database) => Ok(Box::new(database.into_store()?)),
        }
    }

    /// The store, and the catalog beside it. On SQLite both go by one clock.
    pub fn into_store_and_catalog(self) -> Result<(Box<dyn Store>, Catalog), StoreError> {
        match self.opened {
            Opened::Sqlite(database) => {
                let store = database.into_store()?;
                let catalog = store.catalog();
                Ok((Box::new(store), catalog))
            }
            Opened::Postgres(database) => {
                let catalog = database.catalog();
                Ok((Box::new(database.into_store()?), catalog))
            }
        }
    }
}
