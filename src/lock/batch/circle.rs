//! Whether somebody would wait for itself, by way of others: a deadlock.

use std::collections::HashSet;

use crate::lock::{Batch, LockedBy, Resource, ResourceName, StillWaits};

/// Keys that are looked at for a deadlock.
const KEYS_LOOKED_AT_MAX: usize = 1000;

/// Waits of theirs that are looked at. One key may have any number of them, and
/// everybody who comes to wait for a lock of that key goes through them.
const WAITS_LOOKED_AT_MAX: usize = 1000;

/// Resources that are loaded to find out about a deadlock.
const LOADED_FOR_CIRCLE_MAX: usize = 256;

/// Whether a wait would be one of a circle of waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Circle {
    /// No.
    None,
    /// Yes: of these resources each is held by one who waits for the next, and
    /// the last by whoever would wait for the first.
    Closed(Vec<ResourceName>),
    /// That is known when these are loaded.
    Perhaps(Vec<ResourceName>),
}

impl<W: StillWaits> Batch<'_, W> {
    /// The name of one of the resources at these indices that `locked_by` holds.
    pub fn held_by(&self, rows: &[usize], locked_by: &LockedBy) -> Option<&ResourceName> {
        let resources = rows.iter().map(|row| self.rows.resource(*row));
        let holds = |resource: &&Resource| {
            let holder = resource.holder_at(self.now);
            holder.is_some_and(|lock| lock.locked_by == *locked_by)
        };
        resources.filter(holds).map(|resource| &resource.name).next()
    }

    /// Whether somebody with the key `locked_by` who waits for the resources at
    /// these indices would wait for itself by way of others: each waits for
    /// what another holds.
    ///
    /// Only those who wait at this server are known, and only so many of them are
    /// looked at. That somebody waits for a
    /// lock of its own key is no circle here.
    pub fn circle(&self, rows: &[usize], locked_by: &LockedBy) -> Circle {
        let (mut suspected, mut unseen) = (Vec::new(), Vec::new());
        let mut waits_left = WAITS_LOOKED_AT_MAX;
        let mut seen = HashSet::from([locked_by]);
        // Keys to be looked at, each with the resources by which it is waited for.
        let mut paths = Vec::new();
        for row in rows {
            let resource = self.rows.resource(*row);
            if let Some(lock) = resource.holder_at(self.now)
                && seen.insert(&lock.locked_by)
            {
                paths.push((&lock.locked_by, vec![&resource.name]));
            }
        }
        while let Some((key, path)) = paths.pop() {
            let waiting = self.lines.of_key(key).take(waits_left);
            let waiting = waiting
                .inspect(|_| waits_left -= 1)
                .filter(|waiter| waiter.ticket.still_waits());
            for name in waiting.flat_map(|waiter| &waiter.names) {
                let path = || path.iter().copied().chain([name]);
                let holder = match self.rows.find(name) {
                    Some(row) => self.rows.resource(row).holder_at(self.now).map(|lock| &lock.locked_by),
                    // Who looks on at a resource without standing in its line does not know.
                    None if self.lines.waiting_for(name) == 0 => {
                        unseen.extend(path());
                        continue;
                    }
                    None => self.lines.holder(name),
                };
                match holder {
                    Some(holder) if holder == locked_by => {
                        if path().all(|name| self.rows.find(name).is_some()) {
                            return Circle::Closed(path().cloned().collect());
                        }
                        suspected.extend(path());
                    }
                    Some(holder) if seen.len() < KEYS_LOOKED_AT_MAX && seen.insert(holder) => {
                        paths.push((holder, path().collect()));
                    }
                    _ => {}
                }
            }
        }
        let mut known = HashSet::new();
        let unsure = suspected.into_iter().chain(unseen).filter(|name| known.insert(*name));
        let mut unsure: Vec<_> = unsure.take(LOADED_FOR_CIRCLE_MAX).cloned().collect();
        if unsure.is_empty() {
            return Circle::None;
        }
        unsure.sort_unstable();
        Circle::Perhaps(unsure)
    }
}
