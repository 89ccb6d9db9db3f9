//! What tidies the table: expired locks, and rows that nobody uses.

use std::time::{Duration, Instant};

use diesel::dsl::sql;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable};

use crate::clock::Timestamp;
use crate::db::postgres::failed;
use crate::db::schema::{lock_events, resources};
use crate::db::{Kept, StoreError};
use crate::limits::STATISTICS_LATE_MAX;
use crate::lock::ResourceName;

/// See `Store::expired`. Rows that somebody has locked are left out: their lock
/// is being looked at, or they would have to be waited for.
pub(super) fn expired(
    conn: &mut PgConnection,
    rows_max: usize,
    lock_delay: Duration,
) -> Result<Vec<ResourceName>, StoreError> {
    let delay_us = i64::try_from(lock_delay.as_micros()).unwrap_or(i64::MAX);
    let names: Vec<String> = resources::table
        .select(resources::name)
        // A subquery, so that the clock is read once and the index can be used.
        .filter(
            resources::expires_at_us.le(sql::<Nullable<BigInt>>("(SELECT clock_us() - ")
                .bind::<BigInt, _>(delay_us)
                .sql(")")),
        )
        // Freed by hand, with the rest of the lock left standing.
        .filter(resources::locked_by.is_not_null())
        .order(resources::expires_at_us)
        .limit(rows_max as i64)
        .for_share()
        .skip_locked()
        .load(conn)
        .map_err(failed)?;
    names.iter().map(|name| known_name(name)).collect()
}

/// See `Store::prune`. The next look begins at `after`, and leaves there where
/// the one after it begins.
pub(super) fn prune(
    conn: &mut PgConnection,
    after: &mut i64,
    rows_max: usize,
    idle_days: u32,
) -> Result<usize, StoreError> {
    let idle = Duration::from_secs(u64::from(idle_days) * 24 * 3600);
    // In one statement, because it is sent so often; the clock is read once.
    let rows: Vec<(i64, Option<i64>, i64)> = resources::table
        .select((
            resources::id,
            resources::released_at_us,
            sql::<BigInt>("(SELECT clock_us())"),
        ))
        .filter(resources::id.gt(*after))
        .order(resources::id)
        .limit(rows_max as i64)
        .load(conn)
        .map_err(failed)?;
    let now_us = rows.first().map_or(0, |(.., now_us)| *now_us);
    let deadline_us = now_us - idle.as_micros() as i64;
    let idle = |released_at_us: &Option<i64>| released_at_us.is_some_and(|at_us| at_us < deadline_us);
    let any_idle = rows.iter().any(|(_, released_at_us, _)| idle(released_at_us));
    let next = rows.last().filter(|_| rows.len() == rows_max).map_or(0, |(id, ..)| *id);
    let from = std::mem::replace(after, next);
    let Some((to, ..)) = rows.last().filter(|_| any_idle) else {
        return Ok(0);
    };
    // One statement is one transaction, and it looks again: nothing that was taken meanwhile goes. It waits for no row
    // that somebody else has locked: that one is in use.
    let doomed = diesel::alias!(resources as doomed);
    let doomed = doomed
        .select(doomed.field(resources::id))
        .filter(doomed.field(resources::id).gt(from))
        .filter(doomed.field(resources::id).le(to))
        .filter(doomed.field(resources::locked_by).is_null())
        .filter(doomed.field(resources::released_at_us).lt(deadline_us))
        .filter(sql::<Bool>("NOT doomed.has_waiters"))
        .for_update()
        .skip_locked();
    diesel::delete(resources::table.filter(resources::id.eq_any(doomed)))
        .execute(conn)
        .map_err(failed)
}

/// Events that this session deleted, of which the statistics may not know yet.
#[derive(Debug, Default)]
pub(super) struct EventsDeleted {
    count: i64,
    last: Option<Instant>,
}

impl EventsDeleted {
    /// How many there are at `now`, if the statistics say `counted`. They may know of
    /// some of those by now, so the answer is rather too small: events that are kept
    /// a while longer do no harm, and those that are gone do not come back.
    fn left_of(&mut self, counted: i64, now: Instant) -> i64 {
        if self.last.is_none_or(|last| now - last >= STATISTICS_LATE_MAX) {
            *self = Self::default();
        }
        counted - self.count
    }

    fn note(&mut self, deleted: usize, now: Instant) {
        self.count += deleted as i64;
        self.last = Some(now);
    }
}

/// See `Store::prune_events`. How many there are is what PostgreSQL's statistics
/// say, which is about right: nobody counts them all.
pub(super) fn prune_events(
    conn: &mut PgConnection,
    deleted: &mut EventsDeleted,
    rows_max: usize,
    kept: Kept,
) -> Result<usize, StoreError> {
    type Answer = (i64, i64, Option<i64>, Option<i64>);
    let (now_us, counted, last, oldest_us): Answer = sql::<(BigInt, BigInt, Nullable<BigInt>, Nullable<BigInt>)>(
        "SELECT clock_us(), COALESCE(pg_stat_get_live_tuples('lock_events'::regclass), 0),
                (SELECT max(id) FROM lock_events), (SELECT at_us FROM lock_events ORDER BY id LIMIT 1)",
    )
    .get_result(conn)
    .map_err(failed)?;
    let events = deleted.left_of(counted, Instant::now());
    let (Some(last), Some(oldest_us)) = (last, oldest_us) else {
        return Ok(0);
    };
    if kept
        .over(&[(0, oldest_us)], events, Timestamp::from_us(now_us))
        .is_empty()
    {
        return Ok(0);
    }
    let oldest: Vec<(i64, i64)> = lock_events::table
        .select((lock_events::id, lock_events::at_us))
        .filter(lock_events::id.lt(last))
        .order(lock_events::id)
        .limit(rows_max as i64)
        .load(conn)
        .map_err(failed)?;
    let over = kept.over(&oldest, events, Timestamp::from_us(now_us));
    let (Some((from, _)), Some((to, _))) = (over.first(), over.last()) else {
        return Ok(0);
    };
    let pruned = diesel::delete(lock_events::table.filter(lock_events::id.between(from, to)))
        .execute(conn)
        .map_err(failed)?;
    deleted.note(pruned, Instant::now());
    Ok(pruned)
}

fn known_name(name: &str) -> Result<ResourceName, StoreError> {
    ResourceName::new(name)
        .ok_or_else(|| StoreError::Failed(format!("table resources holds the impossible name {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_deleted_is_not_counted_until_the_statistics_know() {
        let mut deleted = EventsDeleted::default();
        let began = Instant::now();

        assert_eq!(deleted.left_of(5000, began), 5000);
        deleted.note(2000, began);
        assert_eq!(deleted.left_of(5000, began), 3000);
        deleted.note(1000, began + STATISTICS_LATE_MAX / 2);
        assert_eq!(deleted.left_of(5000, began + STATISTICS_LATE_MAX), 2000);
        assert_eq!(deleted.left_of(2500, began + STATISTICS_LATE_MAX * 2), 2500);
    }
}
