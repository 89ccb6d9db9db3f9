//! This server among the others on the database: its row in `replicas`.
//!
//! By it the others know whether to wait for those who wait here. Nothing else
//! is decided by it: a server that is taken for gone and is not may still
//! grant, by the same locked rows as everybody. So nothing of it has to be on a
//! standby, and where that does not answer nobody waits for it.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::db::postgres::lines::CLOCK_SLACK_US;
use crate::db::postgres::places::VACANT;
use crate::db::schema::{replicas, waiters};
use crate::limits::{REPLICA_FORGOTTEN_AFTER, VACANT_PLACE_MAX};

/// By what a server knows its row again: its number, and when that was given.
/// Numbers begin anew where somebody makes the table anew, and may be lost with
/// the end of PostgreSQL's log.
#[derive(Clone, Copy)]
pub(super) struct Registration {
    pub(super) id: i64,
    pub(super) started_at_us: i64,
}

/// Enters a new server.
pub(super) fn register(conn: &mut PgConnection) -> QueryResult<Registration> {
    let node = rustix::system::uname();
    let host = node.nodename().to_string_lossy();
    let description = format!("cls runserver on {host} (pid {})", std::process::id());
    let clock = || sql::<BigInt>("clock_us()");
    locally(conn, |conn| {
        diesel::insert_into(replicas::table)
            .values((
                replicas::description.eq(description),
                replicas::started_at_us.eq(clock()),
                replicas::seen_us.eq(clock()),
            ))
            .returning((replicas::id, replicas::started_at_us))
            .get_result(conn)
            .map(|(id, started_at_us)| Registration { id, started_at_us })
    })
}

/// A sign of life, by the database's clock.
#[derive(Clone, Copy)]
pub(super) struct Beat {
    /// For how long there was none; less than nothing if the clock was set back.
    pub(super) silent_us: i64,
    pub(super) now_us: i64,
}

/// Gives a sign of life. `None` if nobody knows the server any more.
pub(super) fn beat(conn: &mut PgConnection, registration: Registration) -> QueryResult<Option<Beat>> {
    // One statement, because it is sent so often: what it sets holds until its end.
    sql::<(BigInt, BigInt)>(
        "UPDATE replicas
            SET seen_us = clock_us()
           FROM (SELECT id, clock_us() - seen_us AS silent_us,
                        set_config('synchronous_commit', 'local', TRUE)
                   FROM replicas
                  WHERE id = ",
    )
    .bind::<BigInt, _>(registration.id)
    .sql(" AND started_at_us = ")
    .bind::<BigInt, _>(registration.started_at_us)
    .sql(
        "
                    FOR UPDATE) AS before
          WHERE replicas.id = before.id
         RETURNING before.silent_us, replicas.seen_us",
    )
    .get_result(conn)
    .optional()
    .map(|beat| beat.map(|(silent_us, now_us)| Beat { silent_us, now_us }))
}

/// To be called where the clock was set back: what was written by it before counts
/// no longer than if it had been written now. Else servers that are gone, and places
/// that nobody came back to, would be waited for when it passes there once more.
///
/// A server that lives is silent then for so long that it finds it out by its next
/// sign of life, also if the clock is set back once more before that; and is believed
/// all the while if it was set back by no more than is overlooked anyway. What somebody
/// has locked stays ahead, and may be waited for once more.
pub(super) fn bring_back(conn: &mut PgConnection) -> QueryResult<()> {
    let us = |time: Duration| time.as_micros() as i64;
    locally(conn, |conn| {
        // By the clock of each row's update: others give signs of life meanwhile.
        diesel::sql_query(
            "UPDATE replicas
                SET seen_us = clock_us() - $1
               FROM (SELECT id
                       FROM replicas
                      WHERE seen_us > clock_us() + $2
                        FOR UPDATE SKIP LOCKED) AS ahead
              WHERE replicas.id = ahead.id",
        )
        .bind::<BigInt, _>(us(REPLICA_FORGOTTEN_AFTER / 2))
        .bind::<BigInt, _>(CLOCK_SLACK_US)
        .execute(conn)?;
        diesel::sql_query(
            "UPDATE waiters
                SET vacant_until_us = clock_us() + $1
               FROM (SELECT name, replica, place
                       FROM waiters
                      WHERE vacant_until_us > clock_us() + $1
                        FOR UPDATE SKIP LOCKED) AS ahead
              WHERE waiters.name = ahead.name
                AND waiters.replica = ahead.replica
                AND waiters.place = ahead.place",
        )
        .bind::<BigInt, _>(us(VACANT_PLACE_MAX))
        .execute(conn)?;
        Ok(())
    })
}

/// Deletes the server and whoever waits there; vacant places that could not be
/// made such before stay behind.
pub(super) fn leave(conn: &mut PgConnection, registration: Registration) -> QueryResult<()> {
    let row = replicas::table.find(registration.id);
    let own = row.filter(replicas::started_at_us.eq(registration.started_at_us));
    locally(conn, |conn| {
        if diesel::delete(own).execute(conn)? > 0 {
            let kept_us = VACANT_PLACE_MAX.as_micros() as i64;
            let vacant_until_us = sql::<BigInt>("clock_us() + ").bind::<BigInt, _>(kept_us);
            let returning = waiters::table.filter(waiters::replica.eq(registration.id));
            diesel::update(returning.filter(waiters::request.is_not_null()))
                .set((
                    waiters::replica.eq(VACANT),
                    waiters::vacant_until_us.eq(vacant_until_us.nullable()),
                ))
                .execute(conn)?;
            diesel::delete(waiters::table.filter(waiters::replica.eq(registration.id))).execute(conn)?;
        }
        Ok(())
    })
}

/// Deletes servers that have been silent for long, and not only because nobody
/// could be heard before `believing_since_us`; and then whoever waits at a
/// server that is not there, and places that are kept for nobody any more.
///
/// Rows that somebody has locked are left for the next time: one of these
/// servers may be waking up at this moment.
pub(super) fn forget_the_silent(conn: &mut PgConnection, believing_since_us: i64) -> QueryResult<()> {
    let silent_us = REPLICA_FORGOTTEN_AFTER.as_micros() as i64;
    let long_ago = || sql::<BigInt>("clock_us() - ").bind::<BigInt, _>(silent_us);
    let silent = replicas::table
        .filter(replicas::seen_us.lt(long_ago()))
        .filter(believing_since_us.into_sql::<BigInt>().lt(long_ago()));
    locally(conn, |conn| {
        diesel::delete(silent).execute(conn)?;
        diesel::sql_query(
            "DELETE FROM waiters
              USING (SELECT name, replica, place
                       FROM waiters
                      WHERE NOT EXISTS (SELECT FROM replicas WHERE replicas.id = waiters.replica)
                        AND coalesce(vacant_until_us, 0) < clock_us()
                        FOR UPDATE SKIP LOCKED) AS orphan
              WHERE waiters.name = orphan.name
                AND waiters.replica = orphan.replica
                AND waiters.place = orphan.place",
        )
        .execute(conn)?;
        Ok(())
    })
}

/// Runs a transaction that need not be on a standby.
fn locally<T>(conn: &mut PgConnection, work: impl FnOnce(&mut PgConnection) -> QueryResult<T>) -> QueryResult<T> {
    conn.transaction(|conn| {
        conn.batch_execute("SET LOCAL synchronous_commit = local")?;
        work(conn)
    })
}
