//! Whether this server hears what others announce, and what it does if not.
//!
//! LISTEN may seem to work and be heard by nobody: behind a proxy that gives
//! each transaction another session. So each server calls now and then, all
//! that hear anything hear it, and whoever does not looks by itself.

use std::time::{Duration, Instant};

use crate::limits::{CALL_INTERVAL, CALL_SILENT_MAX, DEAF_LOOK_INTERVAL};

/// How long a server that just began to listen may hear nothing before anybody
/// is told: some calls.
const DEAF_SAID_AFTER: Duration = Duration::from_secs(5);

/// What is known of the ears of one server.
#[derive(Debug)]
pub(super) struct Hearing {
    /// When the last call was heard; `None` since they began to listen.
    heard: Option<Instant>,
    /// When they began to listen.
    since: Instant,
    next_look: Instant,
    /// Whether it was said that nothing is heard.
    said: bool,
}

/// What changed, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HearingChange {
    Deaf,
    HearsAgain,
}

impl Hearing {
    pub(super) fn since(now: Instant) -> Self {
        Self {
            heard: None,
            since: now,
            next_look: now,
            said: false,
        }
    }

    /// A call was heard.
    pub(super) fn note_call(&mut self, now: Instant) -> Option<HearingChange> {
        self.heard = Some(now);
        std::mem::take(&mut self.said).then_some(HearingChange::HearsAgain)
    }

    /// The ears were lost.
    pub(super) fn note_lost(&mut self, now: Instant) {
        self.heard = None;
        self.since = now;
        self.next_look = now;
    }

    /// Whether it is time to call, to hear oneself.
    pub(super) fn wants_call(&self, now: Instant) -> bool {
        self.heard.is_none_or(|heard| now >= heard + CALL_INTERVAL)
    }

    /// When to look at all lines because nothing is heard; `None` if it is.
    pub(super) fn next_look(&self, now: Instant) -> Option<Instant> {
        self.is_deaf(now).then_some(self.next_look)
    }

    /// All lines are being looked at.
    pub(super) fn note_look(&mut self, now: Instant) -> Option<HearingChange> {
        self.next_look = now + DEAF_LOOK_INTERVAL;
        let is_new = !self.said && now >= self.since + DEAF_SAID_AFTER;
        self.said |= is_new;
        is_new.then_some(HearingChange::Deaf)
    }

    fn is_deaf(&self, now: Instant) -> bool {
        self.heard.is_none_or(|heard| now >= heard + CALL_SILENT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hears_a_call_now_and_then_looks_at_nothing() {
        let start = Instant::now();
        let after = |s| start + Duration::from_secs(s);
        let mut hearing = Hearing::since(start);

        assert!(hearing.wants_call(start), "at once, to know");
        assert_eq!(hearing.next_look(start), Some(start), "and looks until it knows");
        assert_eq!(hearing.note_call(after(1)), None);

        assert!(!hearing.wants_call(after(10)));
        assert!(hearing.wants_call(after(11)));
        assert_eq!(hearing.next_look(after(25)), None, "others may have called late");
    }

    #[test]
    fn who_hears_nothing_looks_every_second_and_says_so_once() {
        let start = Instant::now();
        let after = |s| start + Duration::from_secs(s);
        let mut hearing = Hearing::since(start);

        let said: Vec<_> = (0..20)
            .filter_map(|s| {
                assert_eq!(hearing.next_look(after(s)), Some(after(s)));
                hearing.note_look(after(s))
            })
            .collect();

        assert_eq!(said, [HearingChange::Deaf]);
        assert_eq!(hearing.note_call(after(20)), Some(HearingChange::HearsAgain));
        assert_eq!(hearing.note_call(after(21)), None);
    }

    #[test]
    fn who_lost_its_ears_looks_and_calls_again() {
        let start = Instant::now();
        let after = |s| start + Duration::from_secs(s);
        let mut hearing = Hearing::since(start);
        hearing.note_call(start);

        hearing.note_lost(after(5));

        assert!(hearing.wants_call(after(5)));
        assert_eq!(hearing.next_look(after(5)), Some(after(5)));
        assert_eq!(hearing.note_look(after(5)), None, "it may be back in a moment");
    }
}
