//! What the batcher shows without deciding anything.

use super::{Batcher, Failing, answer};
use crate::db::{Seen, Store, StoreError};
use crate::engine::Unavailable;
use crate::engine::messages::{Reply, ReplySender, Told};
use crate::lock::{ResourceName, Snapshot};

impl<S: Store + 'static> Batcher<S> {
    /// Shows resources, after everything that was asked before is committed.
    pub(super) fn look(&mut self, looks: Vec<(ResourceName, ReplySender)>) {
        let (names, replies): (Vec<_>, Vec<_>) = looks.into_iter().unzip();
        match self.read(&names) {
            Ok(snapshots) => {
                for (reply, snapshot) in replies.into_iter().zip(snapshots) {
                    let told = Told::Seen(Box::new(snapshot));
                    answer(reply, Ok(Reply { told, lapses: None }));
                }
            }
            Err(error) => {
                self.note_failure(
                    Failing::Upkeep,
                    format_args!("a read of {} resources", names.len()),
                    &error,
                );
                for reply in replies {
                    answer(reply, Err(Unavailable::Store));
                }
            }
        }
    }

    pub(super) fn read(&mut self, names: &[ResourceName]) -> Result<Vec<Snapshot>, StoreError> {
        let Seen {
            now,
            resources,
            waiters,
        } = self.store.read(names)?;
        let snapshots = resources.iter().enumerate().map(|(index, resource)| {
            let waiting = waiters.get(index).copied().unwrap_or_default() + self.waiting_here(&resource.name);
            Snapshot::of(resource, now, Some(waiting))
        });
        Ok(snapshots.collect())
    }

    /// How many wait for a resource of whom the store does not know.
    pub(super) fn waiting_here(&self, name: &ResourceName) -> usize {
        let in_line = match self.hearing {
            None => self.lines.waiting_for(name),
            Some(_) => 0,
        };
        in_line + self.lines.onlookers(name)
    }
}
