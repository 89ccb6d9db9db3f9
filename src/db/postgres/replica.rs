//! This server among the others on the database: its row in `replicas`.
//!
//! By it the others know whether to wait for those who wait here. Nothing else
//! is decided by it: a server that is taken for gone and is not may still
//! grant, by the same locked rows as everybody.

use diesel::dsl::sql;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::db::schema::{replicas, waiters};
use crate::limits::REPLICA_FORGOTTEN_AFTER;

/// Enters a new server, and says which number it has.
pub(super) fn register(conn: &mut PgConnection) -> QueryResult<i64> {
    let node = rustix::system::uname();
    let host = node.nodename().to_string_lossy();
    let description = format!("cls runserver on {host} (pid {})", std::process::id());
    let clock = || sql::<BigInt>("clock_us()");
    diesel::insert_into(replicas::table)
        .values((
            replicas::description.eq(description),
            replicas::started_at_us.eq(clock()),
            replicas::seen_us.eq(clock()),
        ))
        .returning(replicas::id)
        .get_result(conn)
}

/// Gives a sign of life. Says whether anybody still knows the server.
pub(super) fn beat(conn: &mut PgConnection, replica: i64) -> QueryResult<bool> {
    let row = replicas::table.find(replica);
    let seen = replicas::seen_us.eq(sql::<BigInt>("clock_us()"));
    let known = diesel::update(row).set(seen).execute(conn)?;
    Ok(known > 0)
}

/// Deletes the server and whoever waits there.
pub(super) fn leave(conn: &mut PgConnection, replica: i64) -> QueryResult<()> {
    diesel::delete(waiters::table.filter(waiters::replica.eq(replica))).execute(conn)?;
    diesel::delete(replicas::table.find(replica)).execute(conn)?;
    Ok(())
}

/// Deletes servers that have been silent for long, and then whoever waits at a
/// server that is not there.
///
/// Rows that somebody has locked are left for the next time: one of these
/// servers may be waking up at this moment.
pub(super) fn forget_the_silent(conn: &mut PgConnection) -> QueryResult<()> {
    let silent_us = REPLICA_FORGOTTEN_AFTER.as_micros() as i64;
    let long_ago = sql::<BigInt>("clock_us() - ").bind::<BigInt, _>(silent_us);
    diesel::delete(replicas::table.filter(replicas::seen_us.lt(long_ago))).execute(conn)?;
    diesel::sql_query(
        "DELETE FROM waiters
          USING (SELECT name, replica, place
                   FROM waiters
                  WHERE NOT EXISTS (SELECT FROM replicas WHERE replicas.id = waiters.replica)
                    FOR UPDATE SKIP LOCKED) AS orphan
          WHERE waiters.name = orphan.name
            AND waiters.replica = orphan.replica
            AND waiters.place = orphan.place",
    )
    .execute(conn)?;
    Ok(())
}
