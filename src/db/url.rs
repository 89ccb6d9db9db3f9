//! What `DATABASE_URL` may say.
//!
//! The scheme decides, and nothing is guessed: a mistyped URL must not open a
//! new, empty database.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Where the state lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// An SQLite file, relative to the working directory or absolute.
    Sqlite(PathBuf),
}

/// Why a `DATABASE_URL` is refused. The URL itself is not repeated: it may
/// hold a password.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UrlError {
    /// PostgreSQL is not built in yet.
    #[error("DATABASE_URL: this version does not support PostgreSQL yet; use sqlite://FILE")]
    PostgresUnsupported,
    /// Neither of the schemes.
    #[error(
        "DATABASE_URL must begin with sqlite://, for example sqlite://db.sqlite3 or sqlite:///var/lib/cls/db.sqlite3"
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
}

impl DatabaseUrl {
    /// Reads `sqlite://relative.sqlite3` or `sqlite:///absolute.sqlite3`.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::UnknownScheme)?;
        match scheme {
            "sqlite" if rest.is_empty() || rest.ends_with('/') => Err(UrlError::NoFile),
            "sqlite" if rest.contains(":memory:") => Err(UrlError::InMemory),
            "sqlite" if rest.contains(['?', '#', '%', '\0']) => Err(UrlError::Options),
            "sqlite" => Ok(Self::Sqlite(PathBuf::from(rest))),
            "postgres" | "postgresql" => Err(UrlError::PostgresUnsupported),
            _ => Err(UrlError::UnknownScheme),
        }
    }

    /// The file, for those who have to name it to a person.
    pub fn path(&self) -> &Path {
        match self {
            Self::Sqlite(path) => path,
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
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
            ("postgres://u:p@h/db", Err(UrlError::PostgresUnsupported)),
            ("postgresql://h/db", Err(UrlError::PostgresUnsupported)),
        ] {
            assert_eq!(DatabaseUrl::parse(url), expected, "{url}");
        }
    }

    #[test]
    fn an_error_does_not_repeat_a_password() {
        let error = DatabaseUrl::parse("postgres://u:secret@h/db").expect_err("not supported");

        assert!(!error.to_string().contains("secret") && !format!("{error:?}").contains("secret"));
    }
}
