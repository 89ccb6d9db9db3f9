//! Time as a lock goes by it on the side of whoever holds it.
//!
//! `std::time::Instant` and the timers of tokio stand still while the machine is
//! suspended, and the ttl of a lock does not. This clock (CLOCK_BOOTTIME) goes on.

use std::io;
use std::ops::{Add, Sub};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// How long after the machine was started, suspensions included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SinceBoot(Duration);

impl SinceBoot {
    /// This moment.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = Duration::from_secs(now.tv_sec.unsigned_abs());
        Self(seconds + Duration::from_nanos(now.tv_nsec.unsigned_abs()))
    }

    /// The same moment as a number, for another process of this machine.
    pub fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The moment of such a number.
    pub fn from_nanos(nanos: u64) -> Self {
        Self(Duration::from_nanos(nanos))
    }

    /// How long it is until this moment; zero if it is past.
    pub fn left(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }

    /// Whether this moment has come.
    pub fn has_come(self) -> bool {
        Self::now() >= self
    }
}

impl Add<Duration> for SinceBoot {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Sub for SinceBoot {
    type Output = Duration;

    /// Zero if the other one is later.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Waits for moments of this clock, as soon as the machine is awake.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
}

impl Alarm {
    /// Errors: the process has no descriptor left. Panics outside of a runtime.
    #[expect(
        deprecated,
        reason = "unsound for what changes its descriptor only; the new one is an unsafe fn"
    )]
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        Ok(Self {
            timer: AsyncFd::new(timer)?,
        })
    }

    /// Returns when `moment` has come.
    pub async fn until(&mut self, moment: SinceBoot) {
        while !moment.has_come() {
            let spec = Itimerspec {
                it_interval: Timespec::default(),
                it_value: Timespec {
                    tv_sec: i64::try_from(moment.0.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: moment.0.subsec_nanos().into(),
                },
            };
            let set = timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &spec);
            let rang = match set {
                Ok(_) => self.timer.readable().await.map(|mut ready| ready.clear_ready()),
                Err(e) => Err(e.into()),
            };
            if rang.is_err() {
                // Cannot happen with a descriptor that is a timer; late after a suspension is better than never.
                tokio::time::sleep(moment.left()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_rings_when_it_has_to_and_can_be_set_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut alarm = Alarm::new().expect("a timer");
            let begin = SinceBoot::now();
            for ms in [20, 5, 0] {
                let moment = SinceBoot::now() + Duration::from_millis(ms);
                alarm.until(moment).await;
                assert!(moment.has_come());
                assert_eq!(moment.left(), Duration::ZERO);
            }
            alarm.until(begin).await;
            assert!(SinceBoot::now() - begin >= Duration::from_millis(25));
            assert_eq!(begin - SinceBoot::now(), Duration::ZERO);
        });
    }
}
