//! The catalog: what is in the table, for those who look without locking.
//!
//! Separate from the store, because it never runs on the batcher's connection
//! and decides nothing: what it says may be over when it is read. It reads in
//! one transaction that sees one state of the table, takes no lock that anybody
//! waits for, and ends its transaction before it answers.
//!
//! Whoever calls it is blocked meanwhile: at most CATALOG_CONNECTIONS_MAX
//! queries run at a time, and one waits up to CATALOG_WAIT_MAX for its turn.

mod connection;
mod events;
mod postgres;
mod prefix;
mod query;
mod registrar;
mod search;
mod sqlite;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

pub(in crate::db) use self::connection::AnyConnection;
pub use self::events::{EventPage, EventQuery, RecordedEvent};
use self::postgres::PostgresReaders;
use self::query::RawRow;
pub use self::registrar::Registrar;
pub use self::search::Search;
use self::sqlite::{Door, SqliteReaders};
use crate::access::KeyHash;
use crate::clock::{ProcessClock, Timestamp};
use crate::db::sqlite::open_file::Identity;
use crate::db::{PostgresUrl, StoreError, TokenList, migrations, sessions, tokens};
use crate::limits::CATALOG_CONNECTIONS_MAX;
use crate::lock::{EventId, FencingToken, LockedBy, Place, ResourceName, Ttl};

/// A way to look at the table. Cloning copies a pointer.
#[derive(Clone)]
pub struct Catalog {
    readers: Arc<Readers>,
}

enum Readers {
    Sqlite(SqliteReaders),
    Postgres {
        resources: PostgresReaders,
        /// Apart, so that who may in, and whether the server is ready, is known
        /// however many look at lists.
        tokens: PostgresReaders,
    },
}

/// Which resources are asked for, and in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Only those that are held, or only those that are free.
    pub locked: Option<bool>,
    /// Only those whose names begin with this, byte by byte.
    pub prefix: Option<String>,
    /// Only those whose names begin with one of these; `None` is any.
    pub within: Option<Vec<String>>,
    /// Only those in which this is found.
    pub search: Option<Search>,
    /// By which the rows are ordered, the first before all; those that lack a
    /// value come last, in either direction. Rows that are equal in all of it
    /// are in the order of their names.
    pub ordering: Vec<(Column, Direction)>,
    /// Which page.
    pub page: Page,
    /// Rows of a page.
    pub page_size: NonZeroU32,
}

/// What rows can be ordered by: as it is shown, so a free resource has only a
/// name and a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// By bytes.
    Name,
    /// By bytes.
    Label,
    /// By seconds.
    Ttl,
    /// When the lock was granted.
    AcquiredAt,
    /// When it ends; one that never does has no value.
    ExpiresAt,
    /// The token of the latest grant, also of a free one.
    FencingToken,
}

/// The order of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The lowest first.
    Ascending,
    /// The highest first.
    Descending,
}

impl Direction {
    fn reversed(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }
}

/// Which page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The one of this number, from 1.
    Number(u64),
    /// The last one there is, which may have no rows only if it is the first.
    Last,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage {
    /// Of all rows that were asked for, on whatever page.
    pub count: u64,
    /// Pages that there are, at least one.
    pub pages: u64,
    /// The number of this one. If it is beyond `pages` it has no rows.
    pub page: u64,
    /// The rows of this page.
    pub rows: Vec<ListRow>,
    /// When all this was so, by the clock that decides.
    pub now: Timestamp,
}

/// A resource as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRow {
    /// Its name.
    pub name: ResourceName,
    /// Whether it is held. If not it has no label and no ttl, and was acquired
    /// and ends at no time, whatever is left of an expired lock in the table.
    pub locked: bool,
    /// Whose it is, if anybody's.
    pub owner: Option<String>,
    /// For people.
    pub label: Option<String>,
    /// `None` never expires.
    pub ttl: Option<Ttl>,
    /// When it was granted.
    pub acquired_at: Option<Timestamp>,
    /// The first instant at which it is free.
    pub expires_at: Option<Timestamp>,
    /// The token of the latest grant.
    pub fencing_token: FencingToken,
    /// Who waits for it as far as the database knows: on PostgreSQL at all
    /// servers that are alive, on SQLite nobody.
    pub waiters: u64,
}

impl Catalog {
    /// The catalog of the file that a store serves from, and its time; for the
    /// store to hand out.
    pub(super) fn of_file(path: PathBuf, clock: ProcessClock, served: Arc<Identity>) -> Self {
        let readers = Readers::Sqlite(SqliteReaders::new(path, clock, served));
        let readers = Arc::new(readers);
        Self { readers }
    }

    /// The catalog of a PostgreSQL database. Connects to nothing yet.
    pub fn on_postgres(url: PostgresUrl) -> Self {
        let readers = Readers::Postgres {
            resources: PostgresReaders::new(url.clone(), CATALOG_CONNECTIONS_MAX as u32),
            tokens: PostgresReaders::new(url, 1),
        };
        let readers = Arc::new(readers);
        Self { readers }
    }

    /// One page of the resources that were ever granted.
    ///
    /// Costs the reading of what `prefix` leaves, or of the whole table: the
    /// count is exact.
    pub fn list(&self, query: &ListQuery) -> Result<ListPage, StoreError> {
        let listed = self.read(|conn, clock| query::list(conn, clock, query))?;
        let rows = listed.rows.into_iter().map(|row| {
            let waiters = listed.waiters.get(&row.name).copied().unwrap_or(0);
            row.shown_at(listed.now, waiters.unsigned_abs())
        });
        Ok(ListPage {
            count: listed.count,
            pages: listed.pages,
            page: listed.page,
            rows: rows.collect::<Result<_, _>>()?,
            now: listed.now,
        })
    }

    /// Where somebody stands in the line for `name`, and until when, in order: on
    /// PostgreSQL at all servers that are alive, on SQLite nobody.
    pub fn line(&self, name: &ResourceName) -> Result<Vec<(Place, Timestamp)>, StoreError> {
        let Readers::Postgres { resources, .. } = &*self.readers else {
            return Ok(Vec::new());
        };
        let places = resources.read(|conn| query::line(conn, name))?.into_iter();
        let places = places.map(|(place, until_us)| (Place::new(place), Timestamp::from_us(until_us)));
        Ok(places.collect())
    }

    /// The names of all resources that this key holds, in their order; of more
    /// than HELD_BY_MAX some HELD_BY_MAX + 1.
    ///
    /// Reads the whole table: no index leads to keys, because each grant and
    /// each release would have to keep it.
    pub fn held_by(&self, locked_by: &LockedBy) -> Result<Vec<ResourceName>, StoreError> {
        let names = self.read(|conn, clock| query::held_by(conn, clock, locked_by))?;
        let names = names.iter().map(|name| known_name(name));
        let mut names: Vec<_> = names.collect::<Result<_, _>>()?;
        names.sort_unstable();
        Ok(names)
    }

    /// A page of what happened to a resource, the latest first; `None` if there is
    /// no row of that name. Of more than HISTORY_SHOWN_MAX events the latest.
    pub fn history(
        &self,
        name: &ResourceName,
        page: Page,
        page_size: NonZeroU32,
    ) -> Result<Option<EventPage>, StoreError> {
        self.read(|conn, _| events::history(conn, name, page, page_size.get().into()))
    }

    /// A page of what happened. No event of a lower number than one that is shown
    /// is added later.
    pub fn events(&self, query: &EventQuery, page: Page, page_size: NonZeroU32) -> Result<EventPage, StoreError> {
        let horizon = self.horizon()?;
        self.read(|conn, _| events::page(conn, query, horizon, page, page_size.get().into()))
    }

    /// The last event below which nothing is added later.
    pub fn horizon(&self) -> Result<EventId, StoreError> {
        let horizon = self.read(|conn, _| events::horizon(conn))?;
        horizon.ok_or_else(|| StoreError::Failed("a transaction that records does not end".to_owned()))
    }

    /// Up to `rows_max` events that follow `after`, up to `horizon`.
    pub fn events_after(
        &self,
        after: EventId,
        horizon: EventId,
        rows_max: u32,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        self.read(|conn, _| events::following(conn, after, horizon, rows_max.into()))
    }

    /// All tokens, if any changed since the table had seen `known` changes; a
    /// row that no command can have written is left out. Waits for no turn.
    pub fn tokens(&self, known: Option<i64>) -> Result<Option<TokenList>, StoreError> {
        let changed = self.read_at_once(|conn| tokens::changed_since(conn, known))?;
        Ok(changed.map(|(number, rows)| TokenList::of(number, rows)))
    }

    /// The names of the migrations that this version has and the database lacks.
    /// Waits for no turn.
    pub fn unapplied(&self) -> Result<Vec<String>, StoreError> {
        self.read_at_once(migrations::unapplied)
    }

    /// On how many connections lists are being read.
    pub fn in_use(&self) -> usize {
        match &*self.readers {
            Readers::Sqlite(readers) => readers.in_use(),
            Readers::Postgres { resources, .. } => resources.in_use(),
        }
    }

    fn read_at_once<T>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> diesel::QueryResult<T>,
    ) -> Result<T, StoreError> {
        match &*self.readers {
            Readers::Sqlite(readers) => readers.read_at_once(work),
            Readers::Postgres { tokens, .. } => tokens.read(work),
        }
    }

    /// The number of the token of the session whose id has this hash, if that is
    /// not over.
    pub fn session(&self, id_hash: &KeyHash) -> Result<Option<i64>, StoreError> {
        self.read(|conn, _| sessions::token_of(conn, id_hash))
    }

    /// Who changes tokens and sessions while the server serves.
    pub fn registrar(&self) -> Registrar {
        Registrar::beside(Arc::clone(&self.readers))
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&mut AnyConnection, Option<ProcessClock>) -> diesel::QueryResult<T>,
    ) -> Result<T, StoreError> {
        match &*self.readers {
            Readers::Sqlite(readers) => readers.read(|conn| work(conn, Some(readers.clock()))),
            Readers::Postgres { resources, .. } => resources.read(|conn| work(conn, None)),
        }
    }

    /// Waits until nobody reads the file any more, and keeps readers from it
    /// until it is opened through what is returned; else, until the next call.
    pub(super) fn shut(&self) -> Option<Door<'_>> {
        match &*self.readers {
            Readers::Sqlite(readers) => Some(readers.shut()),
            Readers::Postgres { .. } => None,
        }
    }
}

impl RawRow {
    fn shown_at(self, now: Timestamp, waiters: u64) -> Result<ListRow, StoreError> {
        let expires_at = self.expires_at_us.map(Timestamp::from_us);
        let locked = self.is_taken && expires_at.is_none_or(|expires_at| now < expires_at);
        let impossible = |column| {
            let name = &self.name;
            StoreError::Failed(format!("row {name:?} of table resources has an impossible {column}"))
        };
        let ttl = |seconds| Ttl::from_seconds(seconds).ok_or_else(|| impossible("ttl"));
        Ok(ListRow {
            name: known_name(&self.name)?,
            locked,
            ttl: self.ttl.filter(|_| locked).map(ttl).transpose()?,
            acquired_at: self.acquired_at_us.filter(|_| locked).map(Timestamp::from_us),
            expires_at: expires_at.filter(|_| locked),
            fencing_token: FencingToken::new(self.fencing_token),
            waiters,
            owner: self.owner.filter(|_| locked),
            label: self.label.filter(|_| locked),
        })
    }
}

fn known_name(name: &str) -> Result<ResourceName, StoreError> {
    ResourceName::new(name)
        .ok_or_else(|| StoreError::Failed(format!("table resources holds the impossible name {name:?}")))
}

pub(in crate::db) fn failed(error: impl ToString) -> StoreError {
    match error.to_string() {
        message if message == "database is locked" => StoreError::Busy,
        message => StoreError::Failed(message.split_whitespace().collect::<Vec<_>>().join(" ")),
    }
}
