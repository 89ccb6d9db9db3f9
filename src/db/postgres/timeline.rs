//! Keeps fencing tokens from being granted twice when PostgreSQL has lost the
//! end of its log.
//!
//! A standby that is promoted without having had all of its primary's log, and
//! a backup that is restored up to a moment, have an older
//! `fencing_tokens` than the one tokens were last granted from. Either begins a
//! new timeline. So each session that is to serve compares the timeline with
//! the one that is on record, and if it is another, sets the sequence ahead by
//! more than can have been lost.
//!
//! What may happen meanwhile: another server may find the same. The record is
//! locked and looked at again, so one of them sets the sequence, and the other
//! goes on when that is committed. A crash between the two leaves the record as
//! it was, and the sequence is set ahead once more. The timeline of a session
//! that may write never changes: who was before it, served on the same.

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};

use crate::limits::{EVENTS_STEP, TOKENS_LOST_MAX};

/// Makes sure that `fencing_tokens` is beyond every token that was granted
/// before this timeline began.
pub(super) fn pass_lost_tokens(conn: &mut PgConnection) -> QueryResult<()> {
    if is_on_record(conn)? {
        return Ok(());
    }
    let passed = conn.transaction(|conn| {
        // Where no synchronous standby answers this is not to be waited for: a grant that is answered has its standby,
        // and its commit has this one before it in the log.
        conn.batch_execute("SET LOCAL synchronous_commit = local; LOCK TABLE token_timeline IN EXCLUSIVE MODE")?;
        if is_on_record(conn)? {
            return Ok(None);
        }
        let last = sql::<BigInt>("SELECT setval('fencing_tokens', last_value + ")
            .bind::<BigInt, _>(TOKENS_LOST_MAX)
            .sql(") FROM fencing_tokens")
            .get_result::<i64>(conn)?;
        // Whoever was told of events that are lost is to be told of those that follow.
        sql::<BigInt>("SELECT setval('lock_event_ids', last_value + ")
            .bind::<BigInt, _>(TOKENS_LOST_MAX)
            .sql(") FROM lock_event_ids")
            .get_result::<i64>(conn)?;
        conn.batch_execute(
            "DELETE FROM token_timeline;
             INSERT INTO token_timeline (timeline) VALUES (wal_timeline());",
        )?;
        QueryResult::Ok(Some(last))
    })?;
    if let Some(last) = passed {
        log::warn!("a standby was promoted, or a backup restored: fencing tokens go on after {last}");
    }
    Ok(())
}

/// Makes sure that `lock_event_ids` is beyond every event that is recorded:
/// somebody may have set it back, and a logical replica has no sequences.
///
/// Two servers that do it at once set it to the same number. What one of them took
/// before the other set it is taken once more, and refused once more.
pub(super) fn pass_recorded_events(conn: &mut PgConnection) -> QueryResult<()> {
    let passed = sql::<BigInt>(
        "SELECT setval('lock_event_ids', latest)
           FROM (SELECT max(id) AS latest FROM lock_events) AS events
          WHERE latest >= COALESCE(pg_sequence_last_value('lock_event_ids'), 0) + ",
    )
    .bind::<BigInt, _>(EVENTS_STEP)
    .get_results::<i64>(conn)?;
    if let Some(last) = passed.first() {
        log::warn!("sequence lock_event_ids was behind the events recorded; it goes on after {last}");
    }
    Ok(())
}

fn is_on_record(conn: &mut PgConnection) -> QueryResult<bool> {
    sql::<Bool>("SELECT EXISTS (SELECT FROM token_timeline WHERE timeline = wal_timeline())").get_result(conn)
}
