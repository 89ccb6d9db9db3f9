//! The database: the only place that knows SQL and diesel.
//!
//! What runs hot goes through [`Store`], one transaction a batch; who only looks
//! goes through [`Catalog`]; what an operator calls (`migrate`, `check`, …) goes
//! through [`Database`].

mod backup;
mod catalog;
mod database;
mod migrations;
mod models;
mod ownership;
mod postgres;
mod row_statements;
mod schema;
mod sessions;
mod sqlite;
mod store;
mod tokens;
mod url;

pub use backup::{BackedUp, BackupError, Restored, back_up, restore};
pub use catalog::{
    Catalog, Column, Direction, EventPage, EventQuery, ListPage, ListQuery, ListRow, Page, RecordedEvent, Registrar,
    Search,
};
pub use database::{Database, DatabaseError, IfMissing};
pub use migrations::{MigrationError, MigrationState, Migrations, Step, Target};
pub use ownership::Ownership;
pub use postgres::PostgresStore;
pub use sessions::NewSession;
pub use sqlite::SqliteStore;
pub use store::{Announcement, Askers, History, Kept, Listener, Seen, Standing, Store, StoreError};
pub use tokens::{NewToken, TokenList, TokenTable, Which};
pub use url::{DatabaseUrl, PostgresUrl, UrlError};
