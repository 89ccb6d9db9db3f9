//! What the batcher does without being asked: signs of life, sweeps, and a log
//! of failures.

use std::fmt;
use std::time::Instant;

use super::{Batcher, Failing, Kind};
use crate::db::{Standing, Store, StoreError};
use crate::engine::hearing::HearingChange;
use crate::engine::tasks::Work;
use crate::engine::time;
use crate::limits::{
    BEAT_INTERVAL, DEAF_LOOK_INTERVAL, HISTORY_PRUNE_INTERVAL, HISTORY_PRUNE_ROWS_MAX, PRUNE_INTERVAL, PRUNE_ROWS_MAX,
    REOPEN_INTERVAL, SWEEP_DELAY_MAX, SWEEP_INTERVAL, SWEEP_ROWS_MAX, WATCHED_LOOK_INTERVAL,
};
use crate::lock::Operation;

impl<S: Store + 'static> Batcher<S> {
    /// When there is something to do even if nobody asks.
    pub(super) fn next_upkeep(&self) -> Instant {
        let due = self.next_sweep.min(self.next_beat);
        let due = if self.looks_for_others() {
            due.min(self.next_watched_look)
        } else {
            due
        };
        let look = self
            .hearing
            .as_ref()
            .filter(|_| self.lines.waiting() > 0)
            .and_then(|hearing| hearing.next_look(time::now()));
        look.map_or(due, |look| due.min(look))
    }

    /// Does what is due. A sweep can wait until nobody else does, though not for
    /// ever.
    pub(super) fn keep_up(&mut self, idle: bool) {
        let now = time::now();
        if now >= self.next_beat {
            self.next_beat = now + BEAT_INTERVAL;
            self.note_longest_line();
            match self.beat(now) {
                Ok(()) if self.failing == Some(Failing::Upkeep) => self.note_success(),
                Ok(()) => {}
                Err(error) => self.note_failure(Failing::Upkeep, format_args!("a sign of life"), &error),
            }
        }
        self.look_if_deaf(now);
        if now >= self.next_watched_look && self.looks_for_others() {
            self.next_watched_look = now + WATCHED_LOOK_INTERVAL;
            self.look_at_watched();
        }
        if now >= self.next_history_prune
            && let Err(error) = self.prune_history(now)
        {
            self.note_failure(Failing::Upkeep, format_args!("deleting old events"), &error);
        }
        let sweep_from = if idle {
            self.next_sweep
        } else {
            self.next_sweep + SWEEP_DELAY_MAX
        };
        if now >= sweep_from {
            self.next_sweep = now + SWEEP_INTERVAL;
            if let Err(error) = self.sweep(now) {
                self.note_failure(Failing::Upkeep, format_args!("a sweep"), &error);
            }
        }
    }

    /// Not with each batch, because all lines are looked at.
    fn note_longest_line(&self) {
        let lengths = self.lines.names().map(|name| self.lines.waiting_for(name));
        let longest = lengths.max().unwrap_or_default();
        self.shared
            .metrics
            .longest_line
            .set(longest.try_into().unwrap_or(i64::MAX));
    }

    fn beat(&mut self, now: Instant) -> Result<(), StoreError> {
        let call = self.hearing.as_ref().is_some_and(|hearing| hearing.wants_call(now));
        match self.store.beat(call)? {
            Standing::Known => return Ok(()),
            Standing::Overwritten => {
                self.look_at_all_lines(now);
                self.look_at_watched();
                return Ok(());
            }
            Standing::Doubted => log::warn!("others may have taken this server for gone; looking at all its lines"),
            Standing::Forgotten => {
                log::warn!("the database had forgotten this server; telling it again who waits here");
            }
        }
        if self.hearing.is_some() {
            self.unsettled.extend(self.lines.names().cloned());
        }
        Ok(())
    }

    /// Without announcements, lines are looked at all the same.
    fn look_if_deaf(&mut self, now: Instant) {
        let Some(hearing) = &mut self.hearing else {
            return;
        };
        if now < self.retry_at || hearing.next_look(now).is_none_or(|look| now < look) {
            return;
        }
        if let Some(HearingChange::Deaf) = hearing.note_look(now) {
            log::warn!(
                "announcements of other servers are not heard (a proxy that pools transactions?); \
                 looking at all lines every {} ms",
                DEAF_LOOK_INTERVAL.as_millis()
            );
        }
        self.look_at_all_lines(now);
    }

    /// Whether somebody watches what other servers may change.
    fn looks_for_others(&self) -> bool {
        self.hearing.is_some() && !self.shared.watches.is_empty()
    }

    /// Wakes those who watch something that another server changed.
    fn look_at_watched(&mut self) {
        let names = self.shared.watches.names();
        match self.read(&names) {
            Ok(snapshots) => {
                for snapshot in &snapshots {
                    self.shared.watches.compare(snapshot);
                }
            }
            Err(error) => self.note_failure(Failing::Upkeep, format_args!("a look at what is watched"), &error),
        }
    }

    fn sweep(&mut self, now: Instant) -> Result<(), StoreError> {
        let expired = self.store.expired(SWEEP_ROWS_MAX, self.policy.rules.lock_delay)?;
        if now >= self.next_prune && self.policy.prune_after_days > 0 {
            self.next_prune = now + PRUNE_INTERVAL;
            let pruned = self.store.prune(PRUNE_ROWS_MAX, self.policy.prune_after_days)?;
            log::debug!("pruned {pruned} rows");
        }
        if !expired.is_empty() {
            let is_full = expired.len() == SWEEP_ROWS_MAX;
            let mut work = Work::default();
            for name in expired {
                work.add_own(name, Operation::Expire);
            }
            if self.commit(work, Kind::Own) && is_full {
                self.next_sweep = now;
            }
        }
        Ok(())
    }

    /// However many there are: between two looks those are served who ask.
    fn prune_history(&mut self, now: Instant) -> Result<(), StoreError> {
        self.next_history_prune = now + HISTORY_PRUNE_INTERVAL;
        let kept = self.policy.events_kept;
        if kept.events_max.is_none() && kept.age_max.is_none() {
            return Ok(());
        }
        let pruned = self.store.prune_events(HISTORY_PRUNE_ROWS_MAX, kept)?;
        if pruned == HISTORY_PRUNE_ROWS_MAX {
            self.next_history_prune = now;
        }
        Ok(())
    }

    pub(super) fn note_success(&mut self) {
        if self.failing.take().is_some() {
            // What was put off until then is done now; else a turn would find it and not do it, over and over.
            self.retry_at = time::now();
            self.shared.metrics.database_failing.set(0);
            log::warn!("the database works again");
        }
    }

    /// Logs the first cause; what is said while the database is being opened
    /// again mostly follows from it. Whatever nobody asks for is not tried again
    /// at once.
    pub(super) fn note_failure(&mut self, failing: Failing, what: fmt::Arguments<'_>, error: &StoreError) {
        self.retry_at = time::now() + REOPEN_INTERVAL;
        if self.failing.is_some() {
            log::debug!("{what} failed again: {error}");
        } else {
            log::error!("{what} failed: {error}");
            self.failing = Some(failing);
            self.shared.metrics.database_failing.set(1);
        }
    }
}
