//! What must not last: that something is free and somebody waits for it, or that
//! some wait for each other. And what is left at the end.

use std::time::Duration;

use central_locking_system::clock::Timestamp;
use central_locking_system::lock::ResourceName;
use tokio::time::Instant;

use super::calls::{EpisodeId, Purpose};
use super::grants::holds;
use super::{Case, Judge};
use crate::plan::Kind;

/// Between two looks.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// After something was wrong, for how long less is promised.
const RECOVERY_MAX: Duration = Duration::from_secs(5);

/// How long it may take until whoever is next has what is free: some batches, and
/// an announcement.
const HANDED_OVER_MAX: Duration = Duration::from_millis(250);

/// Those who have so long to wait, when that is decided, are told if it is for
/// themselves.
const DEADLOCK_TOLD_FROM: Duration = Duration::from_millis(2500);

impl Judge {
    /// Looks whether something lasts that must not.
    pub fn look(&self, now: Timestamp) {
        self.judge(|case| {
            let names: Vec<_> = case.resources.keys().cloned().collect();
            for name in names {
                case.look_whether_served(&name, now);
            }
            case.look_for_circles(now);
        });
    }

    /// Nobody asks any more, nothing is wrong, and everybody has had time.
    pub fn end(&self, now: Timestamp) {
        self.judge(|case| {
            let waiting = case.calls.iter().enumerate().find(|(_, call)| call.is_pending());
            if let Some((call, it)) = waiting {
                let name = case.episodes[it.episode].names[0].clone();
                case.convict(Some(&name), format!("call {call} is never answered"));
            }
            let left = case.resources.values().find_map(|known| {
                let lock = known.resource.lock.as_ref().filter(|lock| holds(lock, now))?;
                let episode = &case.episodes[known.holder?];
                let token = known.resource.fencing_token.as_i64();
                let is_told = episode
                    .told
                    .iter()
                    .any(|(name, told)| *name == known.resource.name && *told == token);
                (lock.ttl.is_none() && !is_told && known.granted_by.is_some())
                    .then(|| (known.resource.name.clone(), token))
            });
            if let Some((name, token)) = left {
                case.convict(Some(&name), format!("token {token} stays granted, and nobody was told"));
            }
        });
    }
}

impl Case {
    fn look_whether_served(&mut self, name: &ResourceName, now: Timestamp) {
        let lock = self.resources[name].resource.lock.as_ref();
        let is_free = lock.is_none_or(|lock| !holds(lock, now));
        let at = Instant::now();
        // Who waits at one server may have to wait until another one does something.
        let is_well = self.latest_trouble().is_none_or(|trouble| trouble + RECOVERY_MAX < at);
        if !is_free || !is_well {
            self.resources.get_mut(name).expect("it is known").free_and_wanted = None;
            return;
        }
        // Several at once are kept waiting for good reasons.
        let mut wanted_by_one = false;
        let mut wanted_by_several = false;
        for call in self.pending().filter(|call| call.purpose == Purpose::Acquire) {
            let names = &self.episodes[call.episode].names;
            if !names.contains(name) {
                continue;
            }
            wanted_by_several |= names.len() > 1;
            wanted_by_one |= names.len() == 1 && call.in_line.is_some();
        }
        let is_due = wanted_by_one && !wanted_by_several;
        let known = self.resources.get_mut(name).expect("it is known");
        if !is_due {
            known.free_and_wanted = None;
            return;
        }
        let since = *known.free_and_wanted.get_or_insert(at);
        if at - since > HANDED_OVER_MAX {
            known.free_and_wanted = None;
            self.convict(Some(name), "it is free, and somebody waits for it".to_owned());
        }
    }

    /// Of those who wait for long, on one server.
    fn look_for_circles(&mut self, now: Timestamp) {
        if self.kind == Kind::Shared {
            return;
        }
        let holder_of = |name: &ResourceName| -> Option<&str> {
            let lock = self.resources.get(name)?.resource.lock.as_ref()?;
            holds(lock, now).then(|| lock.locked_by.reveal())
        };
        let waits_for = |key: &str| -> Vec<(EpisodeId, &str)> {
            let calls = self.pending().filter(|call| {
                // It was decided before that: on a slow disk long after it was asked.
                let joined = call.in_line.map(|(_, joined)| joined);
                let is_long = joined.is_some_and(|joined| call.wait_until >= Some(joined + DEADLOCK_TOLD_FROM));
                is_long && call.purpose == Purpose::Acquire
            });
            let calls = calls.filter(|call| self.episodes[call.episode].key == key);
            let names = calls.flat_map(|call| {
                self.episodes[call.episode]
                    .names
                    .iter()
                    .map(|name| (call.episode, name))
            });
            names
                .filter_map(|(episode, name)| Some((episode, holder_of(name)?)))
                .collect()
        };
        let holding: Vec<&str> = self.resources.keys().filter_map(holder_of).collect();
        let circle = holding.iter().find(|start| {
            let mut reached = vec![**start];
            let mut next = 0;
            while let Some(key) = reached.get(next).copied() {
                next += 1;
                for (_, holder) in waits_for(key).into_iter().filter(|(_, holder)| *holder != key) {
                    if holder == **start {
                        return true;
                    }
                    if !reached.contains(&holder) {
                        reached.push(holder);
                    }
                }
            }
            false
        });
        if let Some(key) = circle {
            let what = format!("who has the key {key} waits for itself");
            self.convict(None, what);
        }
    }
}
