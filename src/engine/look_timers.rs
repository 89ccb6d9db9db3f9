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
    heap: BinaryHeap<Reverse<(Instant, ResourceName)>>,
    /// When to look after each resource that is left to another server. So that
    /// a thousand hand-overs there are one entry in the heap.
    promised: HashMap<ResourceName, Instant>,
}

impl LookTimers {
    /// Looks at `name` at `instant`.
    pub(super) fn arm(&mut self, instant: Instant, name: ResourceName) {
        self.heap.push(Reverse((instant, name)));
    }

    /// Looks at `name` at `instant`, or when that was promised before, if that
    /// is sooner: who is reminded of a promise gets no more time for it.
    pub(super) fn promise(&mut self, instant: Instant, name: ResourceName) {
        if self.promised.get(&name).is_none_or(|sooner| instant < *sooner) {
            self.promised.insert(name.clone(), instant);
            self.arm(instant, name);
        }
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
        let Reverse((_, name)) = self.heap.pop()?;
        if self.promised.get(&name).is_some_and(|promised| *promised <= now) {
            self.promised.remove(&name);
        }
        Some(name)
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
        // What was promised later than an entry that is left is looked after anew from there.
        self.promised.clear();
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
    fn a_promise_is_looked_after_once_and_is_not_put_off() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut timers = LookTimers::default();
        for ms in [20, 30, 40] {
            timers.promise(after(ms), name("a"));
        }

        assert_eq!(timers.len(), 1, "a thousand hand-overs are one entry");
        assert_eq!(timers.take_due(after(20)), Some(name("a")));
        assert_eq!(timers.take_due(after(90)), None);
        timers.promise(after(60), name("a"));
        timers.promise(after(50), name("a"));
        assert_eq!(timers.take_due(after(50)), Some(name("a")), "sooner is believed");
    }

    #[test]
    fn compacting_keeps_the_soonest_of_each_name_that_is_wanted() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut timers = LookTimers::default();
        for ms in [30, 10, 20] {
            timers.arm(after(ms), name("a"));
            timers.arm(after(ms), name("b"));
        }
        timers.promise(after(40), name("a"));

        timers.compact(|kept| kept == &name("a"));

        assert_eq!((timers.len(), timers.next()), (1, Some(after(10))));
        timers.promise(after(50), name("a"));
        assert_eq!(timers.len(), 2, "it is promised anew");
    }
}
