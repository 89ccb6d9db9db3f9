//! What the batcher does for those in line without being asked: looks at
//! resources, and what the store has to be told.

use std::time::Instant;

use super::{Batcher, Kind};
use crate::db::{Announcement, Store, StoreError};
use crate::engine::hearing::HearingChange;
use crate::engine::tasks::Work;
use crate::engine::time;
use crate::limits::{REOPEN_INTERVAL, REPLICA_SILENT_MAX, SUSPECTS_AT_ONCE_MAX};
use crate::lock::{Operation, ResourceName};

impl<S: Store + 'static> Batcher<S> {
    /// Looks where other servers say that there is something to see.
    pub(super) fn take_announcements(&mut self) {
        let now = time::now();
        for announcement in self.shared.take_announcements() {
            match announcement {
                // Somebody believes that it is for one who waits here. If nobody does, that has to be put right.
                Announcement::Free(name) if self.lines.waiting_for(&name) == 0 => {
                    self.unsettled.insert(name);
                }
                Announcement::Moved(name, place) => {
                    if self.lines.get(place).is_some() {
                        self.moved.push((name, place));
                    }
                }
                Announcement::Free(name) => self.timers.arm(now, name),
                Announcement::Promised(name) => self.promise(now + REPLICA_SILENT_MAX, name),
                Announcement::Ends(name, after) => {
                    if let (true, Some(ends)) = (self.lines.waiting_for(&name) > 0, now.checked_add(after)) {
                        self.timers.arm(ends, name);
                    }
                }
                Announcement::Anything => self.look_at_all_lines(now),
                Announcement::Call => {
                    if let Some(HearingChange::HearsAgain) = self.hearing.as_mut().and_then(|ears| ears.note_call(now))
                    {
                        log::warn!("announcements of other servers are heard again");
                    }
                }
                Announcement::Lost => {
                    if let Some(hearing) = &mut self.hearing {
                        hearing.note_lost(now);
                    }
                }
            }
        }
    }

    /// Looks at a resource when another server must have served it.
    pub(super) fn promise(&mut self, until: Instant, name: ResourceName) {
        if self.lines.waiting_for(&name) > 0 {
            self.timers.promise(until, name);
        }
    }

    pub(super) fn look_at_all_lines(&mut self, now: Instant) {
        for name in self.lines.names() {
            self.timers.arm(now, name.clone());
        }
    }

    /// Adds grants to be undone, lines of which the store has to be told, each
    /// with a look at the resource, and looks that are due.
    pub(super) fn add_own_work(&mut self, work: &mut Work) {
        let now = time::now();
        let suspects = &self.suspects;
        let mut kept = Vec::new();
        for (name, fencing_token) in self.returns.drain(..) {
            if work.room() > 0 && !suspects.contains(&name) {
                work.add_return(name, fencing_token);
            } else {
                kept.push((name, fencing_token));
            }
        }
        self.returns = kept;
        while work.room() > 0
            && now >= self.retry_at
            && let Some((name, place)) = self.left.pop()
        {
            if suspects.contains(&name) {
                self.unsettled.insert(name);
            } else {
                let row = work.add_own(name, Operation::Expire);
                work.left.push((row, place));
            }
        }
        while work.room() > 0
            && now >= self.retry_at
            && let Some((name, place)) = self.moved.pop()
        {
            if suspects.contains(&name) {
                self.unsettled.insert(name);
            } else {
                let row = work.add_own(name, Operation::Expire);
                work.moved.push((row, place));
            }
        }
        let room = if now >= self.retry_at { work.room() } else { 0 };
        let unsettled = self.unsettled.iter().filter(|name| !suspects.contains(name));
        for name in unsettled.take(room).cloned().collect::<Vec<_>>() {
            self.unsettled.remove(&name);
            let row = work.add_own(name, Operation::Expire);
            work.restated.push(row);
        }
        self.add_unfinished(work, now);
        while work.room() > 0
            && let Some(name) = self.timers.take_due(now)
        {
            if !self.suspects.contains(&name) {
                work.add_own(name, Operation::Expire);
            }
        }
    }

    /// Adds looks at resources that somebody wants together. Where one of them is
    /// suspect nothing would come of it yet, and the others are looked at a little
    /// later.
    fn add_unfinished(&mut self, work: &mut Work, now: Instant) {
        while let Some(names) = self.unfinished.pop_if(|names| names.len() <= work.room()) {
            let is_suspect = names.iter().any(|name| self.suspects.contains(name));
            for name in names {
                if is_suspect {
                    self.timers.arm(now + REOPEN_INTERVAL, name);
                } else {
                    work.add_own(name, Operation::Expire);
                }
            }
        }
    }

    /// Looks at resources one by one at which a look with others failed.
    pub(super) fn look_at_suspects(&mut self) {
        for _ in 0..SUSPECTS_AT_ONCE_MAX {
            let now = time::now();
            let Some(suspect) = self.suspects.take_due(now) else {
                return;
            };
            let mut work = Work::default();
            let returns = self.returns.extract_if(.., |(name, _)| *name == suspect.name);
            for (name, fencing_token) in returns {
                work.add_return(name, fencing_token);
            }
            let row = work.add_own(suspect.name.clone(), Operation::Expire);
            if self.unsettled.remove(&suspect.name) {
                work.restated.push(row);
            }
            if self.commit(work, Kind::Own) {
                self.suspects.clear(&suspect);
            } else {
                self.suspects.put_back(suspect, time::now());
            }
        }
    }

    /// Notes that these could not be looked at together while the store works.
    pub(super) fn suspect(&mut self, names: &[ResourceName], error: &StoreError) {
        if self.suspects.is_empty() {
            log::warn!("a look at {} resources failed: {error}", names.len());
        }
        let now = time::now();
        for name in names {
            self.suspects.add(name.clone(), now);
        }
    }
}
