//! Why a command failed: one line for stderr and an exit code.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;

use crate::db::{BackupError, DatabaseError, MigrationError, StoreError, UrlError};
use crate::settings::SettingsError;
use crate::tls::TlsError;

/// A command's failure.
#[derive(Debug, Error)]
pub enum CommandError {
    /// A setting is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// `DATABASE_URL` is wrong.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A file of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address to serve on is none.
    #[error("'{0}' is not an address; write PORT, ADDR:PORT or [IPV6]:PORT, for example 127.0.0.1:8000")]
    Address(String),
    /// Other machines can reach it, and nobody said whether they may.
    #[error(
        "{0} can be reached from other machines: set AUTH=required and make a token with `cls createtoken NAME`, \
         or set AUTH=off to let everybody who reaches it do everything"
    )]
    AuthUnset(SocketAddr),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Migrations cannot be listed or run.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// The database cannot be copied, or restored.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The database cannot be served from.
    #[error("cannot serve: {0}")]
    Store(#[from] StoreError),
    /// A lock cannot be broken.
    #[error("cannot break the lock: {0}")]
    Break(StoreError),
    /// There is no lock to be broken.
    #[error("{0:?} is not acquired; `cls dbshell` and `SELECT * FROM held_locks` show what is")]
    NotAcquired(String),
    /// The table of tokens cannot be used.
    #[error("cannot use the table of tokens: {0}")]
    Tokens(StoreError),
    /// `revoketoken` found nothing.
    #[error("there is no such token that is good; `cls listtokens` shows them all")]
    NoToken,
    /// `listtokens` found rows that are no tokens.
    #[error("{0} row(s) of table tokens are good for nothing; mend or delete them in `cls dbshell`")]
    UnreadableTokens(usize),
    /// The address is taken.
    #[error("{0} is already in use; stop what listens there or choose another port, for example `cls runserver 8001`")]
    PortInUse(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {0}: {1}; choose an address of this machine and a port that you may use")]
    Bind(SocketAddr, io::Error),
    /// The server was stopped while it waited for the database.
    #[error("stopped without the database's last answer; what was asked last may have been done or not")]
    Hangs,
    /// Too few descriptors.
    #[error("the limit of open files is {0}, too low to serve; raise it with `ulimit -n`, to 1024 or more")]
    FewFiles(usize),
    /// `migrate --check` found something to do.
    #[error("there are unapplied migrations; run `cls migrate`")]
    Unapplied,
    /// The database's own tool is not there.
    #[error("cannot run {0}: {1}; install it, or open the database with another tool")]
    Shell(&'static str, io::Error),
    /// What was asked of a server came to nothing.
    #[error("{message}")]
    Client {
        /// What happened, and the cure.
        message: String,
        /// What the process ends with.
        code: u8,
    },
    /// The operating system refuses something else.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl CommandError {
    /// What was asked of a server came to nothing.
    pub(super) fn client(code: u8, message: impl ToString) -> Self {
        Self::Client {
            message: message.to_string(),
            code,
        }
    }

    /// 2 for what was asked wrongly, 1 for what could not be done; of those who
    /// ask a server, their own.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) | Self::Url(_) | Self::Tls(_) | Self::Address(_) | Self::AuthUnset(_) => 2,
            Self::Client { code, .. } => *code,
            _ => 1,
        }
    }
}
