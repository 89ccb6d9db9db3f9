//! COMMIT, and what its success means.
//!
//! PostgreSQL reports success also where somebody cancels the wait for a
//! synchronous standby (`pg_cancel_backend`): the transaction is on its own disk
//! alone, and a warning says so, which diesel does not pass on. So where a
//! standby is waited for and COMMIT took long, another commit has to be quick:
//! standbys confirm the log in its order, and so what is before it.

use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use crate::db::StoreError;
use crate::db::postgres::in_one_line;
use crate::limits::COMMIT_BELIEVED_MAX;

/// Commits. Whatever fails here leaves open whether that was done.
pub(super) fn commit(conn: &mut PgConnection) -> Result<(), StoreError> {
    let unknown = |e: diesel::result::Error| StoreError::Unknown(in_one_line(&e.to_string()));
    if is_quick(|| conn.batch_execute("COMMIT")).map_err(unknown)? {
        return Ok(());
    }
    let waits_for_standby = sql::<Bool>("SELECT current_setting('synchronous_standby_names') <> ''");
    if !waits_for_standby.get_result::<bool>(conn).map_err(unknown)? {
        return Ok(());
    }
    // The least that is a commit: it writes to the log, and to no table.
    let barrier = "SELECT pg_logical_emit_message(TRUE, 'cls', '')";
    if is_quick(|| conn.batch_execute(barrier)).map_err(unknown)? {
        Ok(())
    } else {
        Err(StoreError::Unknown(
            "no synchronous standby confirms the commit".to_owned(),
        ))
    }
}

fn is_quick(work: impl FnOnce() -> QueryResult<()>) -> QueryResult<bool> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed() < COMMIT_BELIEVED_MAX)
}
