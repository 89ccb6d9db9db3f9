//! Who changes tokens and sessions while the server serves: seldom, and never on
//! the batcher's connection.

use std::sync::Arc;

use diesel::connection::SimpleConnection;

use super::connection::AnyConnection;
use super::{Readers, failed};
use crate::db::postgres::session::connect;
use crate::db::{StoreError, TokenTable};
use crate::limits::STATEMENT_TIME_MAX;

/// A way to change who may in. Cloning copies a pointer.
///
/// Whoever calls it is blocked meanwhile.
#[derive(Clone)]
pub struct Registrar {
    /// Those who look at the same database know where it is, and when it must
    /// not be opened.
    readers: Arc<Readers>,
}

impl Registrar {
    pub(super) fn beside(readers: Arc<Readers>) -> Self {
        Self { readers }
    }

    /// Opens the table by a connection of its own, for as long as `work` lasts.
    ///
    /// Errors: those of `work`; the database cannot be opened.
    pub fn with_tokens<T>(&self, work: impl FnOnce(&mut TokenTable) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match &*self.readers {
            Readers::Sqlite(readers) => readers.write(|conn| work(&mut TokenTable::new(conn))),
            Readers::Postgres { resources, .. } => {
                let application = format!("cls registrar (pid {})", std::process::id());
                let mut conn = connect(resources.url(), &application).map_err(failed)?;
                let statement_ms = STATEMENT_TIME_MAX.as_millis();
                conn.batch_execute(&format!("SET statement_timeout = {statement_ms}"))
                    .map_err(failed)?;
                work(&mut TokenTable::new(AnyConnection::Postgres(conn)))
            }
        }
    }
}
