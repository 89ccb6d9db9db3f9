//! For how long a lock is believed in by whoever holds it.

use std::time::Duration;

use crate::client::SinceBoot;

const MARGIN_MIN: Duration = Duration::from_millis(300);
const MARGIN_MAX: Duration = Duration::from_secs(10);

const ATTEMPT_MIN: Duration = Duration::from_millis(100);
const ATTEMPT_MAX: Duration = Duration::from_secs(5);

/// The times that follow from a ttl. All count from when the request was *begun*
/// that was answered: the server cannot have counted from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    ttl: Duration,
}

impl Terms {
    /// Those of a lock of so many seconds.
    pub fn of_ttl(seconds: u32) -> Self {
        Self {
            ttl: Duration::from_secs(seconds.into()),
        }
    }

    /// How long before its end the lock is not believed in any more: what is
    /// needed to end whatever relies on it, and what two clocks may differ by.
    fn margin(self) -> Duration {
        (self.ttl / 5).clamp(MARGIN_MIN, MARGIN_MAX)
    }

    /// When it is to be renewed.
    pub fn renew_at(self, asked: SinceBoot) -> SinceBoot {
        asked + self.ttl / 3
    }

    /// When it is not believed in any more.
    pub fn trusted_until(self, asked: SinceBoot) -> SinceBoot {
        asked + self.ttl.saturating_sub(self.margin())
    }

    /// How long after that a command that was asked to end is left to it. The
    /// rest of the margin is for its end by force.
    pub fn grace(self) -> Duration {
        self.margin() / 2
    }

    /// How long one request may take that renews it, so that several can be made.
    pub fn attempt_time_max(self) -> Duration {
        (self.ttl / 6).clamp(ATTEMPT_MIN, ATTEMPT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_time_for_each_step_before_the_lock_ends() {
        let asked = SinceBoot::now();
        for seconds in [1, 2, 3, 10, 30, 60, 3600, 2_147_483_647] {
            let (terms, ttl) = (Terms::of_ttl(seconds), Duration::from_secs(seconds.into()));
            let (renew, trusted) = (terms.renew_at(asked), terms.trusted_until(asked));

            assert!(
                renew + terms.attempt_time_max() * 2 <= trusted,
                "{seconds}: two attempts"
            );
            assert!(trusted + terms.grace() < asked + ttl, "{seconds}: time to kill");
            assert!(trusted - asked >= ttl * 7 / 10, "{seconds}: most of it is of use");
        }
        let of_30 = Terms::of_ttl(30);
        assert_eq!(of_30.renew_at(asked) - asked, Duration::from_secs(10));
        assert_eq!(of_30.trusted_until(asked) - asked, Duration::from_secs(24));
        assert_eq!(of_30.grace(), Duration::from_secs(3));
    }
}
