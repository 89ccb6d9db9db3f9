//! Resources at which the server could not look, perhaps because somebody keeps
//! the row locked: each is looked at alone, and less and less often, so that it
//! delays no other.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::time::{Duration, Instant};

use crate::limits::{REOPEN_INTERVAL, SUSPECT_INTERVAL_MAX, SUSPECT_REST};
use crate::lock::ResourceName;

/// The names, and when to look at each.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    heap: BinaryHeap<Reverse<(Instant, ResourceName, Duration)>>,
    names: HashSet<ResourceName>,
    /// Until when none is looked at, because a look just failed: so many may
    /// fail that nothing else were done.
    resting_until: Option<Instant>,
}

/// One that is to be looked at now.
#[derive(Debug)]
pub(super) struct Suspect {
    pub(super) name: ResourceName,
    /// How long it was left alone.
    interval: Duration,
}

impl Suspects {
    pub(super) fn contains(&self, name: &ResourceName) -> bool {
        self.names.contains(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Looks at `name` at once, alone.
    pub(super) fn add(&mut self, name: ResourceName, now: Instant) {
        if self.names.insert(name.clone()) {
            self.heap.push(Reverse((now, name, Duration::ZERO)));
        }
    }

    /// When to look at the next.
    pub(super) fn next(&self) -> Option<Instant> {
        let due = self.heap.peek().map(|Reverse((instant, ..))| *instant)?;
        Some(self.resting_until.map_or(due, |resting_until| due.max(resting_until)))
    }

    /// Takes out one that is to be looked at now. It is still one of them.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Suspect> {
        if self.next()? > now {
            return None;
        }
        let Reverse((_, name, interval)) = self.heap.pop()?;
        Some(Suspect { name, interval })
    }

    /// The look succeeded.
    pub(super) fn clear(&mut self, suspect: &Suspect) {
        self.names.remove(&suspect.name);
    }

    /// The look failed again.
    pub(super) fn put_back(&mut self, suspect: Suspect, now: Instant) {
        let interval = (2 * suspect.interval).clamp(REOPEN_INTERVAL, SUSPECT_INTERVAL_MAX);
        self.heap.push(Reverse((now + interval, suspect.name, interval)));
        self.resting_until = Some(now + SUSPECT_REST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ResourceName {
        ResourceName::new(text).expect("well formed")
    }

    #[test]
    fn each_is_looked_at_at_once_and_then_less_and_less_often() {
        let start = Instant::now();
        let mut suspects = Suspects::default();
        suspects.add(name("a"), start);
        suspects.add(name("b"), start);
        suspects.add(name("a"), start);

        let a = suspects.take_due(start).expect("it is due");
        let b = suspects.take_due(start).expect("it is due");
        assert!(suspects.take_due(start).is_none(), "each once");
        suspects.clear(&b);
        assert!(suspects.contains(&a.name) && !suspects.contains(&b.name));

        let (mut suspect, mut now, mut waited) = (a, start, Vec::new());
        for _ in 0..5 {
            suspects.put_back(suspect, now);
            let next = suspects.next().expect("it is there");
            waited.push((next - now).as_millis());
            now = next;
            suspect = suspects.take_due(now).expect("it is due");
        }
        assert_eq!(waited, [250, 500, 1000, 2000, 2000]);
    }

    #[test]
    fn after_a_failure_the_others_wait_a_moment_too() {
        let start = Instant::now();
        let mut suspects = Suspects::default();
        suspects.add(name("a"), start);
        suspects.add(name("b"), start);

        let first = suspects.take_due(start).expect("it is due");
        suspects.put_back(first, start);

        assert!(suspects.take_due(start).is_none());
        assert_eq!(suspects.next(), Some(start + SUSPECT_REST));
        assert!(suspects.take_due(start + SUSPECT_REST).is_some());
    }
}
