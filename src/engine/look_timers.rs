//! When to look at a resource again although nobody asks: because its lock ends
//! and somebody waits, or because another server was expected to serve it.
//!
//! Only resources with a waiting line are here: a lock nobody waits for costs
//! no timer. An entry is a hint. A stale one costs one decision that changes
//! nothing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Instant;

use crate::lock::ResourceName;

/// Instants at which to look, soonest first.
#[derive(Debug, Default)]
pub(super) struct LookTimers {
    heap: BinaryHeap<Reverse<(Instant, Why, ResourceName)>>,
    /// Until when each resource is left to another server. Its entry in the
    /// heap may be for an earlier instant: each hand-over moves this one on.
    promised: HashMap<ResourceName, Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    Due,
    Promised,
}

impl LookTimers {
    /// Looks at `name` at `instant`.
    pub(super) fn arm(&mut self, instant: Instant, name: ResourceName) {
        self.heap.push(Reverse((instant, Why::Due, name)));
    }

    /// Looks at `name` at `instant`, and not when it was promised before.
    pub(super) fn promise(&mut self, instant: Instant, name: ResourceName) {
        if self.promised.insert(name.clone(), instant).is_none() {
            self.heap.push(Reverse((instant, Why::Promised, name)));
        }
    }

    /// The soonest instant.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((instant, ..))| *instant)
    }

    /// Takes out a name whose instant has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<ResourceName> {
        while self.next()? <= now {
            let Reverse((_, why, name)) = self.heap.pop()?;
            if why == Why::Due {
                return Some(name);
            }
            match self.promised.get(&name).copied() {
                Some(later) if later > now => self.heap.push(Reverse((later, why, name))),
                _ => {
                    self.promised.remove(&name);
                    return Some(name);
                }
            }
        }
        None
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Keeps one entry a name, the soonest, of those that `keep` accepts.
    pub(super) fn compact(&mut self, keep: impl Fn(&ResourceName) -> bool) {
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        entries.sort_by(|Reverse(a), Reverse(b)| (&a.2, a.1, a.0).cmp(&(&b.2, b.1, b.0)));
        entries.dedup_by(|Reverse(later), Reverse(earlier)| (&later.2, later.1) == (&earlier.2, earlier.1));
        entries.retain(|Reverse((.., name))| keep(name));
        self.heap = entries.into();
        self.promised.retain(|name, _| keep(name));
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
        let mut timers = LookTimers::default();
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
    fn a_promise_is_looked_after_once_when_the_last_of_them_is_over() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut timers = LookTimers::default();
        for ms in [10, 20, 30] {
            timers.promise(after(ms), name("a"));
        }
        timers.arm(after(15), name("a"));

        assert_eq!(timers.len(), 2, "a thousand hand-overs are one entry");
        assert_eq!(
            timers.take_due(after(20)),
            Some(name("a")),
            "what is due is not put off"
        );
        assert_eq!(timers.take_due(after(20)), None);
        assert_eq!(timers.next(), Some(after(30)));
        assert_eq!(timers.take_due(after(30)), Some(name("a")));
        assert_eq!(timers.take_due(after(90)), None);
    }

    #[test]
    fn compacting_keeps_the_soonest_of_each_name_that_is_wanted() {
        let start = Instant::now();
        let mut timers = LookTimers::default();
        for ms in [30, 10, 20] {
            timers.arm(start + Duration::from_millis(ms), name("a"));
            timers.arm(start + Duration::from_millis(ms), name("b"));
        }
        timers.promise(start, name("b"));

        timers.compact(|kept| kept == &name("a"));

        assert_eq!(
            (timers.len(), timers.next()),
            (1, Some(start + Duration::from_millis(10)))
        );
        assert!(timers.promised.is_empty());
    }
}
