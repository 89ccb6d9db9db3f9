//! The settings: read from the environment and `.env`, by nobody else.

mod changes;
mod environment;
#[cfg(test)]
mod fuzz;
mod secret;

use std::env::VarError;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

pub use changes::Changes;
pub use environment::{Environment, user_name};
pub use secret::Secret;

use crate::limits::{self, SECRET_KEY_CHARS_MIN, TTL_SECONDS_MAX};

/// Every setting's name, in the order of `.env.example`.
pub const NAMES: [&str; 28] = [
    "DATABASE_URL",
    "RUST_LOG",
    "LOG_FORMAT",
    "AUTH",
    "TLS_CERT",
    "TLS_KEY",
    "TLS_CLIENT_CA",
    "LOCKED_BY_AT_REST",
    "SECRET_KEY",
    "WORKERS",
    "ALLOWED_HOSTS",
    "KEEP_ALIVE_SECONDS",
    "DRAIN_SECONDS",
    "CONNECTIONS_MAX",
    "OPERATIONS_QUEUED_MAX",
    "WAITERS_MAX",
    "WAITERS_PER_RESOURCE_MAX",
    "CLIENT_REQUESTS_PER_SECOND",
    "CLIENT_WAITERS_MAX",
    "CLIENT_LOCKS_MAX",
    "DEFAULT_TTL",
    "MAX_TTL",
    "MAX_TIMEOUT",
    "LOCK_DELAY",
    "PRUNE_AFTER_DAYS",
    "HISTORY",
    "HISTORY_DAYS",
    "HISTORY_EVENTS_MAX",
];

/// What an operator may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the state lives, not yet parsed. It may hold a password.
    pub database_url: Secret,
    /// What is logged, in env_logger's notation.
    pub log_filter: String,
    /// What a line of the log looks like.
    pub log_format: LogFormat,
    /// Whether a token is asked for; `None` is for who knows the address to say.
    pub auth: Option<Auth>,
    /// Whether the keys of locks are kept hashed; then there is a `secret_key`.
    pub locked_by_at_rest: KeysAtRest,
    /// What they are hashed under.
    pub secret_key: Option<Secret>,
    /// What connections are encrypted with; `None` if they are not.
    pub tls: Option<TlsFiles>,
    /// Threads that serve connections.
    pub workers: usize,
    /// Hosts that are served; `None` is what the address that is listened on
    /// suggests.
    pub allowed_hosts: Option<Vec<String>>,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long the server goes on serving when it is told to stop.
    pub drain: Duration,
    /// Connections that may be open.
    pub connections_max: usize,
    /// Operations that may be queued.
    pub operations_queued_max: usize,
    /// Requests that may wait for locks in all.
    pub waiters_max: usize,
    /// Requests that may wait for one resource.
    pub waiters_per_resource_max: usize,
    /// Requests that one client may send in a second.
    pub client_requests_per_second: Option<u32>,
    /// Requests of one client that may wait.
    pub client_waiters_max: Option<usize>,
    /// Locks that one client may hold to be granted more.
    pub client_locks_max: Option<usize>,
    /// Seconds for which a lock lasts that is asked for without a ttl.
    pub default_ttl: Option<u32>,
    /// The most seconds for which a lock may last.
    pub max_ttl: Option<u32>,
    /// The most seconds for which a request may wait.
    pub max_timeout: Option<u32>,
    /// For how long a lock that has expired is not granted to another key.
    pub lock_delay: Duration,
    /// Days after which an unused row is deleted; 0 is never.
    pub prune_after_days: u32,
    /// Whether what happens is recorded.
    pub history: bool,
    /// Days after which an event is deleted; 0 is never.
    pub history_days: u32,
    /// Events beyond which the oldest are deleted; 0 is any number.
    pub history_events_max: u32,
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object.
    Json,
}

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Whoever has a token.
    Required,
    /// Everybody.
    Off,
}

/// How the keys of locks are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysAtRest {
    /// As they were sent.
    Plain,
    /// As a keyed hash.
    Hashed,
}

/// The files that TLS needs, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then those that signed it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Certificates of those whose clients are let in; all are if there are none.
    pub client_authorities: Option<PathBuf>,
}

/// A setting that cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SettingsError {
    /// Not a number, or out of range.
    #[error("{name} must be a whole number from {min} to {max}, not '{value}'")]
    Number {
        /// Its name.
        name: &'static str,
        /// The smallest it may be.
        min: u64,
        /// The largest it may be.
        max: u64,
        /// What it is.
        value: String,
    },
    /// Neither of two words.
    #[error("LOG_FORMAT must be text or json, not '{0}'")]
    LogFormat(String),
    /// Neither of two words.
    #[error("AUTH must be required or off, not '{0}'")]
    Auth(String),
    /// Neither of two words.
    #[error("LOCKED_BY_AT_REST must be plain or hashed, not '{0}'")]
    LockedByAtRest(String),
    /// Neither of two words.
    #[error("HISTORY must be on or off, not '{0}'")]
    History(String),
    /// Nothing to hash under.
    #[error("LOCKED_BY_AT_REST=hashed needs a SECRET_KEY; make one with `openssl rand -hex 32`")]
    NoSecretKey,
    /// Easy to guess.
    #[error("SECRET_KEY must have at least {SECRET_KEY_CHARS_MIN} characters; make one with `openssl rand -hex 32`")]
    ShortSecretKey,
    /// The default is above the maximum.
    #[error("DEFAULT_TTL must not be above MAX_TTL, and {default_ttl} is above {max_ttl}; correct one of them")]
    DefaultTtl {
        /// Seconds.
        default_ttl: u32,
        /// Seconds.
        max_ttl: u32,
    },
    /// Not a host.
    #[error(
        "ALLOWED_HOSTS: '{0}' is no host; separate them by commas and write each without scheme and port: \
         a name, an address, [ADDRESS] of version 6, .NAME for it and all of its subdomains, or * for any"
    )]
    Host(String),
    /// Not a filter of log lines.
    #[error("RUST_LOG: '{0}' is neither a level (off, error, warn, info, debug, trace) nor MODULE=level")]
    LogFilter(String),
    /// One file of TLS without the other.
    #[error("{set} is set and {missing} is not; TLS needs TLS_CERT and TLS_KEY")]
    Tls {
        /// Which there is.
        set: &'static str,
        /// Which is missing.
        missing: &'static str,
    },
    /// Bytes that are no text.
    #[error("{0} is not UTF-8 text")]
    NotText(&'static str),
    /// `.env` cannot be read.
    #[error("cannot read .env: {0}")]
    DotEnv(String),
}

impl Settings {
    /// An empty value counts as none.
    fn from_variables(read: impl Fn(&'static str) -> Result<String, VarError>) -> Result<Self, SettingsError> {
        let text = |name| match read(name) {
            Ok(value) if value.is_empty() => Ok(None),
            Ok(value) => Ok(Some(value)),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err(SettingsError::NotText(name)),
        };
        let count = |name, min, max, default: usize| number(name, text(name)?, min, max, default);
        let seconds = |name, min| match text(name)? {
            None => Ok(None),
            value => number(name, value, min, TTL_SECONDS_MAX.into(), 0).map(Some),
        };
        const COUNT_MAX: u64 = 10_000_000;
        let (default_ttl, max_ttl) = (seconds("DEFAULT_TTL", 1)?, seconds("MAX_TTL", 1)?);
        if let (Some(default_ttl), Some(max_ttl)) = (default_ttl, max_ttl)
            && default_ttl > max_ttl
        {
            return Err(SettingsError::DefaultTtl { default_ttl, max_ttl });
        }
        let locked_by_at_rest = match text("LOCKED_BY_AT_REST")?.as_deref() {
            None | Some("plain") => KeysAtRest::Plain,
            Some("hashed") => KeysAtRest::Hashed,
            Some(other) => return Err(SettingsError::LockedByAtRest(other.to_owned())),
        };
        let secret_key = text("SECRET_KEY")?;
        match &secret_key {
            Some(key) if key.chars().count() < SECRET_KEY_CHARS_MIN => return Err(SettingsError::ShortSecretKey),
            None if locked_by_at_rest == KeysAtRest::Hashed => return Err(SettingsError::NoSecretKey),
            _ => {}
        }
        Ok(Self {
            locked_by_at_rest,
            secret_key: secret_key.map(Secret::from),
            // Else whoever asks for no ttl would get more than anybody may.
            default_ttl: default_ttl.or(max_ttl),
            max_ttl,
            max_timeout: seconds("MAX_TIMEOUT", 0)?,
            lock_delay: Duration::from_secs(seconds("LOCK_DELAY", 0)?.unwrap_or_default().into()),
            database_url: text("DATABASE_URL")?
                .unwrap_or_else(|| "sqlite://db.sqlite3".to_owned())
                .into(),
            log_filter: log_filter(text("RUST_LOG")?)?,
            log_format: match text("LOG_FORMAT")?.as_deref() {
                None | Some("text") => LogFormat::Text,
                Some("json") => LogFormat::Json,
                Some(other) => return Err(SettingsError::LogFormat(other.to_owned())),
            },
            auth: match text("AUTH")?.as_deref() {
                None => None,
                Some("required") => Some(Auth::Required),
                Some("off") => Some(Auth::Off),
                Some(other) => return Err(SettingsError::Auth(other.to_owned())),
            },
            allowed_hosts: text("ALLOWED_HOSTS")?.map(hosts).transpose()?,
            tls: tls_files(text("TLS_CERT")?, text("TLS_KEY")?, text("TLS_CLIENT_CA")?)?,
            workers: count("WORKERS", 1, 1024, default_workers())?,
            keep_alive: {
                let default = limits::KEEP_ALIVE.as_secs();
                Duration::from_secs(number(
                    "KEEP_ALIVE_SECONDS",
                    text("KEEP_ALIVE_SECONDS")?,
                    1,
                    86_400,
                    default,
                )?)
            },
            drain: {
                let max = limits::DRAIN_SECONDS_MAX.into();
                Duration::from_secs(number("DRAIN_SECONDS", text("DRAIN_SECONDS")?, 0, max, 0)?)
            },
            connections_max: count("CONNECTIONS_MAX", 1, COUNT_MAX, limits::CONNECTIONS_MAX)?,
            operations_queued_max: count("OPERATIONS_QUEUED_MAX", 1, COUNT_MAX, limits::OPERATIONS_QUEUED_MAX)?,
            waiters_max: count("WAITERS_MAX", 0, COUNT_MAX, limits::WAITERS_MAX)?,
            waiters_per_resource_max: count(
                "WAITERS_PER_RESOURCE_MAX",
                0,
                COUNT_MAX,
                limits::WAITERS_PER_RESOURCE_MAX,
            )?,
            client_requests_per_second: match text("CLIENT_REQUESTS_PER_SECOND")? {
                None => None,
                value => Some(number("CLIENT_REQUESTS_PER_SECOND", value, 1, 1_000_000, 0)?),
            },
            client_waiters_max: match text("CLIENT_WAITERS_MAX")? {
                None => None,
                value => Some(number("CLIENT_WAITERS_MAX", value, 0, COUNT_MAX, 0)?),
            },
            client_locks_max: match text("CLIENT_LOCKS_MAX")? {
                None => None,
                value => Some(number("CLIENT_LOCKS_MAX", value, 1, COUNT_MAX, 0)?),
            },
            prune_after_days: {
                let default = limits::PRUNE_AFTER_DAYS;
                number("PRUNE_AFTER_DAYS", text("PRUNE_AFTER_DAYS")?, 0, 36_500, default)?
            },
            history: match text("HISTORY")?.as_deref() {
                None | Some("on") => true,
                Some("off") => false,
                Some(other) => return Err(SettingsError::History(other.to_owned())),
            },
            history_days: {
                let default = limits::HISTORY_DAYS;
                number("HISTORY_DAYS", text("HISTORY_DAYS")?, 0, 36_500, default)?
            },
            history_events_max: {
                let (name, default) = ("HISTORY_EVENTS_MAX", limits::HISTORY_EVENTS_MAX);
                number(name, text(name)?, 0, 1_000_000_000, default)?
            },
        })
    }
}

fn tls_files(
    certificate: Option<String>,
    key: Option<String>,
    client_authorities: Option<String>,
) -> Result<Option<TlsFiles>, SettingsError> {
    let half = |set, missing| Err(SettingsError::Tls { set, missing });
    match (certificate, key, client_authorities) {
        (Some(certificate), Some(key), client_authorities) => Ok(Some(TlsFiles {
            certificate: certificate.into(),
            key: key.into(),
            client_authorities: client_authorities.map(PathBuf::from),
        })),
        (Some(_), None, _) => half("TLS_CERT", "TLS_KEY"),
        (None, Some(_), _) => half("TLS_KEY", "TLS_CERT"),
        (None, None, Some(_)) => half("TLS_CLIENT_CA", "TLS_CERT"),
        (None, None, None) => Ok(None),
    }
}

/// env_logger would take a mistyped level for the name of a module and log
/// nothing else.
fn log_filter(value: Option<String>) -> Result<String, SettingsError> {
    let Some(value) = value else {
        return Ok("info".to_owned());
    };
    let (directives, _) = value.split_once('/').unwrap_or((&value, ""));
    let is_level = |directive: &str| {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        level.trim().parse::<log::LevelFilter>().is_ok()
    };
    match directives.split(',').find(|directive| !is_level(directive)) {
        Some(wrong) => Err(SettingsError::LogFilter(wrong.to_owned())),
        None => Ok(value),
    }
}

/// A mistyped host would never match, and each request would be refused.
fn hosts(value: String) -> Result<Vec<String>, SettingsError> {
    let is_host = |pattern: &str| {
        let bracketed = pattern.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let name = pattern.strip_prefix('.').unwrap_or(pattern);
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        match bracketed {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => pattern == "*" || (!name.is_empty() && !name.starts_with('.') && name.bytes().all(is_name)),
        }
    };
    let patterns: Vec<_> = value.split(',').map(|pattern| pattern.trim().to_owned()).collect();
    match patterns.iter().find(|pattern| !is_host(pattern)) {
        Some(wrong) => Err(SettingsError::Host(wrong.clone())),
        None => Ok(patterns),
    }
}

fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn number<T: FromStr + Copy + TryInto<u64>>(
    name: &'static str,
    value: Option<String>,
    min: u64,
    max: u64,
    default: T,
) -> Result<T, SettingsError> {
    let Some(value) = value else {
        return Ok(default);
    };
    let parsed = value.trim().parse::<T>().ok();
    let in_range = |number: &T| (*number).try_into().is_ok_and(|number| (min..=max).contains(&number));
    parsed
        .filter(in_range)
        .ok_or(SettingsError::Number { name, min, max, value })
}

#[cfg(test)]
mod tests;
