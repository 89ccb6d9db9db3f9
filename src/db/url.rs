//! What `DATABASE_URL` may say.
//!
//! The scheme decides, and nothing is guessed: a mistyped URL must not open a
//! new, empty database.

#[cfg(test)]
mod fuzz;
mod postgres;

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use self::postgres::PostgresUrl;

/// Where the state lives. Can be printed: no password is in what comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// An SQLite file, relative to the working directory or absolute.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(PostgresUrl),
}

/// Why a `DATABASE_URL` is refused. The URL itself is not repeated: it may
/// hold a password.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UrlError {
    /// None of the schemes.
    #[error(
        "DATABASE_URL must begin with sqlite:// or postgres://, for example sqlite://db.sqlite3, \
         sqlite:///var/lib/cls/db.sqlite3 or postgres://user:password@host/database"
    )]
    UnknownScheme,
    /// No file is named.
    #[error("DATABASE_URL names no file; write sqlite://db.sqlite3 or sqlite:///var/lib/cls/db.sqlite3")]
    NoFile,
    /// A database that is gone with the process.
    #[error("DATABASE_URL: a database in memory would lose every lock at a restart; name a file")]
    InMemory,
    /// Options that would be taken for a part of the name.
    #[error("DATABASE_URL: the file's name may not contain '?', '#' or '%'; there are no options to set there")]
    Options,
    /// PostgreSQL would choose the database by the user's name.
    #[error("DATABASE_URL names no database; write postgres://user:password@host/database")]
    NoDatabase,
    /// No URL, or one that would be cut in the wrong place.
    #[error(
        "DATABASE_URL is not a postgres:// URL: {0}; write postgres://user:password@host:5432/database?name=value, \
         and in user and password %40 for '@', %2F for '/', %3A for ':' and %25 for '%'"
    )]
    Malformed(&'static str),
}

impl DatabaseUrl {
    /// Reads `sqlite://relative.sqlite3`, `sqlite:///absolute.sqlite3`, or what
    /// [`PostgresUrl`] says.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::UnknownScheme)?;
        match scheme {
            "sqlite" if rest.is_empty() || rest.ends_with('/') => Err(UrlError::NoFile),
            "sqlite" if rest.contains(":memory:") => Err(UrlError::InMemory),
            "sqlite" if rest.contains(['?', '#', '%', '\0']) => Err(UrlError::Options),
            "sqlite" => Ok(Self::Sqlite(PathBuf::from(rest))),
            "postgres" | "postgresql" => PostgresUrl::parse(rest).map(Self::Postgres),
            _ => Err(UrlError::UnknownScheme),
        }
    }

    /// The file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_url() {
        let file = |path: &str| Ok(DatabaseUrl::Sqlite(PathBuf::from(path)));
        for (url, expected) in [
            ("sqlite://db.sqlite3", file("db.sqlite3")),
            ("sqlite://var/db.sqlite3", file("var/db.sqlite3")),
            ("sqlite:///var/lib/db", file("/var/lib/db")),
            ("sqlite://", Err(UrlError::NoFile)),
            ("sqlite:///var/lib/", Err(UrlError::NoFile)),
            ("sqlite://:memory:", Err(UrlError::InMemory)),
            ("sqlite://db?mode=ro", Err(UrlError::Options)),
            ("sqlite:db.sqlite3", Err(UrlError::UnknownScheme)),
            ("SQLITE://db", Err(UrlError::UnknownScheme)),
            ("db.sqlite3", Err(UrlError::UnknownScheme)),
            ("", Err(UrlError::UnknownScheme)),
            ("mysql://h/db", Err(UrlError::UnknownScheme)),
            ("postgres://h/", Err(UrlError::NoDatabase)),
        ] {
            assert_eq!(DatabaseUrl::parse(url), expected, "{url}");
        }
        for scheme in ["postgres", "postgresql"] {
            let url = DatabaseUrl::parse(&format!("{scheme}://h/db")).expect("well formed");
            assert!(matches!(url, DatabaseUrl::Postgres(_)), "{scheme}");
        }
    }
}
