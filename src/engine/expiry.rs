//! When to look at a resource again because its lock ends and somebody waits.
//!
//! Only resources with a waiting line are here: a lock nobody waits for costs
//! no timer. An entry is a hint. A stale one costs one decision that changes
//! nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::lock::ResourceName;

/// Instants at which to look, soonest first.
#[derive(Debug, Default)]
pub(super) struct ExpiryTimers {
    heap: BinaryHeap<Reverse<(Instant, ResourceName)>>,
}

impl ExpiryTimers {
    /// Looks at `name` at `instant`.
    pub(super) fn arm(&mut self, instant: Instant, name: ResourceName) {
        self.heap.push(Reverse((instant, name)));
    }

    /// The soonest instant.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((instant, _))| *instant)
    }

    /// Takes out a name whose instant has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<ResourceName> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, name))| name)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Keeps one entry a name, the soonest, of those that `keep` accepts.
    pub(super) fn compact(&mut self, keep: impl Fn(&ResourceName) -> bool) {
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        entries.sort_by(|Reverse(a), Reverse(b)| (&a.1, a.0).cmp(&(&b.1, b.0)));
        entries.dedup_by(|Reverse(later), Reverse(earlier)| later.1 == earlier.1);
        entries.retain(|Reverse((_, name))| keep(name));
        self.heap = entries.into();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn name(text: &str) -> ResourceName {
        ResourceName::new(text).expect("well formed")
    }

    #[test]
    fn only_what_is_due_comes_out_soonest_first() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut timers = ExpiryTimers::default();
        timers.arm(after(30), name("c"));
        timers.arm(after(10), name("a"));
        timers.arm(after(20), name("b"));

        assert_eq!(timers.take_due(after(5)), None);
        assert_eq!(timers.take_due(after(20)), Some(name("a")));
        assert_eq!(timers.take_due(after(20)), Some(name("b")));
        assert_eq!(timers.take_due(after(20)), None);
        assert_eq!(timers.next(), Some(after(30)));
    }

    #[test]
    fn compacting_keeps_the_soonest_of_each_name_that_is_wanted() {
        let start = Instant::now();
        let mut timers = ExpiryTimers::default();
        for ms in [30, 10, 20] {
            timers.arm(start + Duration::from_millis(ms), name("a"));
            timers.arm(start + Duration::from_millis(ms), name("b"));
        }

        timers.compact(|kept| kept == &name("a"));

        assert_eq!(
            (timers.len(), timers.next()),
            (1, Some(start + Duration::from_millis(10)))
        );
    }
}
