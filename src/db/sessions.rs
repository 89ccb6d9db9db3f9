//! The table of sessions at the operators' page: begun and ended by those who
//! sign in and out, looked up for each request that shows one.

use diesel::prelude::*;

use crate::access::KeyHash;
use crate::clock::Timestamp;
use crate::db::catalog::{AnyConnection, failed};
use crate::db::schema::sessions;
use crate::db::{StoreError, TokenTable};

/// A session that is to begin.
pub struct NewSession {
    /// That of its id.
    pub id_hash: KeyHash,
    /// The token that was shown.
    pub token_id: i64,
    /// The first instant at which it is over.
    pub expires_at: Timestamp,
}

impl TokenTable {
    /// Begins a session, and deletes those that are over.
    ///
    /// Errors: the database fails, or is locked for long.
    pub fn begin_session(&mut self, new: &NewSession) -> Result<(), StoreError> {
        self.clear_sessions()?;
        let values = (
            sessions::id_hash.eq(new.id_hash.to_hex()),
            sessions::token_id.eq(new.token_id),
            sessions::created_at_us.eq(Timestamp::wall_clock().as_us()),
            sessions::expires_at_us.eq(new.expires_at.as_us()),
        );
        let insert = diesel::insert_into(sessions::table).values(values);
        insert.execute(&mut self.conn).map(drop).map_err(failed)
    }

    /// Ends a session, if it is there.
    pub fn end_session(&mut self, id_hash: &KeyHash) -> Result<(), StoreError> {
        let delete = diesel::delete(sessions::table.filter(sessions::id_hash.eq(id_hash.to_hex())));
        delete.execute(&mut self.conn).map(drop).map_err(failed)
    }

    /// Deletes the sessions that are over.
    pub fn clear_sessions(&mut self) -> Result<(), StoreError> {
        let now_us = Timestamp::wall_clock().as_us();
        let delete = diesel::delete(sessions::table.filter(sessions::expires_at_us.le(now_us)));
        delete.execute(&mut self.conn).map(drop).map_err(failed)
    }
}

/// The number of the token of a session that is not over.
pub(super) fn token_of(conn: &mut AnyConnection, id_hash: &KeyHash) -> QueryResult<Option<i64>> {
    let now_us = Timestamp::wall_clock().as_us();
    sessions::table
        .filter(sessions::id_hash.eq(id_hash.to_hex()))
        .filter(sessions::expires_at_us.gt(now_us))
        .select(sessions::token_id)
        .first(conn)
        .optional()
}
