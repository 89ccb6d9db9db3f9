//! Instants, and the clock that an embedded server decides by.
//!
//! Separate, because everything above compares instants and only the store
//! may say what time it is: the rules in `lock` are handed a [`Timestamp`].

use std::ops::{Add, Sub};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// An instant: whole microseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant `us` microseconds after 1970-01-01 UTC.
    pub const fn from_us(us: i64) -> Self {
        Self(us)
    }

    /// Microseconds since 1970-01-01 UTC.
    pub const fn as_us(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }

    /// What the machine's wall clock says.
    pub fn wall_clock() -> Self {
        let us = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
        };
        Self(us)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Stops at the end of the calendar instead of overflowing.
    fn add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Stops at the beginning of the calendar instead of overflowing.
    fn sub(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

/// A clock that is set once and then runs by the monotonic clock.
///
/// A jump of the wall clock while the process runs changes nothing: no lock
/// ends early, none lasts longer.
#[derive(Clone, Copy, Debug)]
pub struct ProcessClock {
    started: Instant,
    anchor: Timestamp,
}

impl ProcessClock {
    /// Starts at the wall clock, but not before `floor`, the latest instant
    /// that is already stored: else a lock could be granted before the one
    /// that preceded it.
    pub fn starting_no_earlier_than(floor: Timestamp) -> Self {
        Self {
            started: Instant::now(),
            anchor: Timestamp::wall_clock().max(floor),
        }
    }

    /// Starts where the clock of another process is that has gone `offset_us`
    /// from the wall clock, but not before `floor`.
    pub fn beside(offset_us: i64, floor: Timestamp) -> Self {
        let there = Timestamp(Timestamp::wall_clock().0.saturating_add(offset_us));
        Self {
            started: Instant::now(),
            anchor: there.max(floor),
        }
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        self.anchor + self.started.elapsed()
    }

    /// This clock minus the machine's wall clock, in microseconds.
    pub fn offset_from_wall_clock_us(&self) -> i64 {
        self.now().as_us().saturating_sub(Timestamp::wall_clock().as_us())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_starts_no_earlier_than_what_is_stored() {
        let far_ahead = Timestamp::wall_clock() + Duration::from_secs(3600);

        let clock = ProcessClock::starting_no_earlier_than(far_ahead);

        assert!(clock.now() >= far_ahead);
        assert!(clock.offset_from_wall_clock_us() > 3_500_000_000);
    }

    #[test]
    fn a_clock_beside_another_goes_by_that() {
        let hour_us = 3_600_000_000;
        for offset_us in [hour_us, -hour_us] {
            let clock = ProcessClock::beside(offset_us, Timestamp::from_us(0));

            assert!((clock.offset_from_wall_clock_us() - offset_us).abs() < 60_000_000);
        }
        let floor = Timestamp::wall_clock();
        assert!(ProcessClock::beside(-hour_us, floor).now() >= floor);
    }

    #[test]
    fn adding_the_longest_duration_does_not_overflow() {
        assert_eq!((Timestamp::from_us(5) + Duration::MAX).as_us(), i64::MAX);
    }
}
