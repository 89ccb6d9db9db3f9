//! The numbers that only ever rise, and how they go on after a restore.
//!
//! Whatever else a database numbers upwards has its place in [`Numbers`] too:
//! read from both, set beyond both, written to the copy.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::db::schema::server_state;
use crate::limits::{TOKENS_LOST_MAX, TOKENS_PER_SECOND_MAX};

/// An instant before which no server granted anything: 2026-01-01. A copy in
/// which there never was a grant says no other.
const FIRST_GRANT: Timestamp = Timestamp::from_us(1_767_225_600_000_000);

/// What a database says of the numbers that its server gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    /// The highest fencing token.
    pub(super) fencing_token: i64,
    /// The server's clock when the latest was granted.
    clock: Timestamp,
}

impl Numbers {
    /// Reads them from a database of any version.
    pub(super) fn read(conn: &mut SqliteConnection) -> QueryResult<Self> {
        // The counter is beyond all rows, unless somebody has written to the tables.
        let highest = sql::<(BigInt, BigInt)>(
            "SELECT max(fencing_token, coalesce((SELECT max(fencing_token) FROM resources), 0)), clock_us
               FROM server_state",
        );
        let (fencing_token, clock_us) = highest.get_result(conn)?;
        Ok(Self {
            fencing_token,
            clock: Timestamp::from_us(clock_us),
        })
    }

    /// Those from which a server has to go on that is given the copy which says
    /// `self`, at `now` by the wall clock; `old` is what the database says that it
    /// replaces, as far as that can be read.
    ///
    /// A token that was granted after the copy was made must not be granted again.
    /// Which those were the old database says, if it is the one that they were
    /// granted from. It need not be: it may be gone or damaged, or a new one that a
    /// server has made where it found none, or was restored itself. So the old one
    /// is believed where it says more, and never alone. Without it, this bounds
    /// what can have been granted: the copy was made after the latest grant in it,
    /// and since then no more than TOKENS_PER_SECOND_MAX a second.
    /// TOKENS_LOST_MAX on top is for a wall clock that is wrong: it covers all that
    /// a server at that pace grants in 19 hours.
    ///
    /// The clock is the later of both: what expired before the old server's latest
    /// grant does not come to life again, whatever the wall clock says now. It is
    /// not set on further: a lock that is held in the copy would end too early.
    pub(super) fn beyond(self, old: Option<Self>, now: Timestamp) -> Self {
        let since = now.since(self.clock.max(FIRST_GRANT));
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX).saturating_add(1);
        let granted_since = seconds.saturating_mul(TOKENS_PER_SECOND_MAX);
        let highest = self.fencing_token.saturating_add(granted_since);
        let old_highest = old.map_or(0, |old| old.fencing_token);
        Self {
            fencing_token: highest.max(old_highest).saturating_add(TOKENS_LOST_MAX),
            clock: old.map_or(self.clock, |old| old.clock.max(self.clock)),
        }
    }

    /// Writes them down, for the next server to go on from.
    pub(super) fn write(self, conn: &mut SqliteConnection) -> QueryResult<()> {
        diesel::update(server_state::table)
            .set((
                server_state::fencing_token.eq(self.fencing_token),
                server_state::clock_us.eq(self.clock.as_us()),
            ))
            .execute(conn)
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn numbers(fencing_token: i64, clock: Timestamp) -> Numbers {
        Numbers { fencing_token, clock }
    }

    #[test]
    fn tokens_go_on_beyond_all_that_can_have_been_granted_since_the_copy() {
        let copied_at = FIRST_GRANT + HOUR;
        let copy = numbers(1000, copied_at);
        let hours = |count: u32| i64::from(count) * 3600 * TOKENS_PER_SECOND_MAX;

        for (old, now, at_least) in [
            (None, copied_at, 1000 + TOKENS_LOST_MAX),
            (None, copied_at + HOUR * 24, 1000 + hours(24) + TOKENS_LOST_MAX),
            // The wall clock was set back.
            (None, FIRST_GRANT, 1000 + TOKENS_LOST_MAX),
            // A new database that a server has made where it found none.
            (Some(5), copied_at + HOUR, 1000 + hours(1) + TOKENS_LOST_MAX),
            // One that was restored before.
            (Some(1 << 50), copied_at + HOUR, (1 << 50) + TOKENS_LOST_MAX),
        ] {
            let old = old.map(|token| numbers(token, copied_at));
            let next = copy.beyond(old, now);
            let seconds_max = TOKENS_PER_SECOND_MAX * 2;
            let expected = at_least..=at_least + seconds_max;
            assert!(expected.contains(&next.fencing_token), "{old:?}: {next:?}");
        }
    }

    #[test]
    fn a_copy_without_a_grant_does_not_count_from_1970_and_none_is_too_high() {
        let never = numbers(0, Timestamp::from_us(0));
        let year = HOUR * 24 * 365;

        let next = never.beyond(None, FIRST_GRANT + year * 100);
        let last = numbers(i64::MAX - 1, FIRST_GRANT).beyond(Some(never), FIRST_GRANT + year);

        assert!(next.fencing_token < 1 << 53, "{next:?}");
        assert_eq!(last.fencing_token, i64::MAX);
    }

    #[test]
    fn the_clock_is_the_later_one_and_not_the_wall_clock() {
        let (early, late) = (FIRST_GRANT + HOUR, FIRST_GRANT + HOUR * 2);
        let now = FIRST_GRANT + HOUR * 9;

        assert_eq!(numbers(1, early).beyond(None, now).clock, early);
        assert_eq!(numbers(1, early).beyond(Some(numbers(2, late)), now).clock, late);
        assert_eq!(numbers(1, late).beyond(Some(numbers(2, early)), now).clock, late);
    }
}
