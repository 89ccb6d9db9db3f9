//! The seam between the engine and a backend.

use std::time::Duration;

use thiserror::Error;

use crate::clock::Timestamp;
use crate::lock::{ClientName, Place, RequestId, Resource, ResourceName, Rows};

/// Who asks in a batch, as far as the store has to look for them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Askers<'a> {
    /// Whose locks are counted, in the whole table; distinct.
    pub clients: &'a [ClientName],
    /// Requests that may have a place in the line for a row at another server.
    pub requests: &'a [(usize, RequestId)],
}

/// Whether what happens is recorded in the table of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// Each event, in the transaction of the change.
    On,
    /// Nothing.
    Off,
}

/// Which events are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// No more than about so many; `None` is any number.
    pub events_max: Option<i64>,
    /// Those that are no older; `None` is of any age.
    pub age_max: Option<Duration>,
}

impl Kept {
    /// Which of the oldest events, each a number and an instant, are not to be kept
    /// at `now`, of so many in all: those at the front.
    pub(super) fn over(self, oldest: &[(i64, i64)], events: i64, now: Timestamp) -> &[(i64, i64)] {
        let too_many = self.events_max.map_or(0, |events_max| events - events_max);
        let too_many = usize::try_from(too_many).unwrap_or(0);
        let age_us = |age: Duration| i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let kept_from_us = self.age_max.map(|age| now.as_us().saturating_sub(age_us(age)));
        let is_too_old = |(_, at_us): &&(i64, i64)| kept_from_us.is_some_and(|from_us| *at_us < from_us);
        let too_old = oldest.iter().take_while(is_too_old).count();
        &oldest[..too_many.max(too_old).min(oldest.len())]
    }
}

/// One database, used by one thread: load, decide, save, commit.
pub trait Store: Send {
    /// Runs one batch in one transaction.
    ///
    /// Loads a row for each of `names` (distinct, in any order; a name without
    /// a row counts as never acquired), counts the locks of the askers and finds
    /// their places, calls `decide` once with the store's
    /// time and the rows in the order of `names`, saves those that changed and,
    /// where other servers may be on the database, who joined or left a line
    /// here; commits, and returns only when the commit is on disk. If nothing
    /// changed nothing is written.
    ///
    /// `Err` means that the transaction took no effect, but for
    /// [`StoreError::Unknown`].
    fn transaction(
        &mut self,
        names: &[ResourceName],
        askers: Askers<'_>,
        decide: &mut dyn FnMut(Timestamp, &mut Rows),
    ) -> Result<(), StoreError>;

    /// The same for what nobody asked for: it does not wait where somebody else
    /// keeps a row locked.
    fn look(
        &mut self,
        names: &[ResourceName],
        askers: Askers<'_>,
        decide: &mut dyn FnMut(Timestamp, &mut Rows),
    ) -> Result<(), StoreError> {
        self.transaction(names, askers, decide)
    }

    /// The resources of `names` as they are, with everything in them that was
    /// committed before the call. Waits for nobody and writes nothing.
    fn read(&mut self, names: &[ResourceName]) -> Result<Seen, StoreError>;

    /// Up to `rows_max` resources whose lock expired `lock_delay` ago or earlier
    /// but was not cleared.
    fn expired(&mut self, rows_max: usize, lock_delay: Duration) -> Result<Vec<ResourceName>, StoreError>;

    /// Looks at the next `rows_max` rows, in the order in which they were made
    /// and round again, and deletes those that have been free for `idle_days`.
    /// Returns how many. Rows that were made one after another lie side by side
    /// in the file; in the order of names each would be a page of its own.
    /// Tokens rise all the same: the counter is not in the row.
    fn prune(&mut self, rows_max: usize, idle_days: u32) -> Result<usize, StoreError>;

    /// From now on, what happens is recorded or not; at first it is not.
    fn record(&mut self, history: History);

    /// Looks at the `rows_max` oldest events and deletes those that are not to be
    /// kept, but not the latest of all. Returns how many.
    fn prune_events(&mut self, rows_max: usize, kept: Kept) -> Result<usize, StoreError>;

    /// Shows whoever looks at the database that this server lives; to be called
    /// every BEAT_INTERVAL. With `call`, all servers that listen are called.
    fn beat(&mut self, call: bool) -> Result<Standing, StoreError>;

    /// Removes what the database says of this server: it stops.
    fn leave(&mut self) -> Result<(), StoreError>;

    /// The ear for what other servers on the database announce; `None` if there
    /// cannot be any. To be asked for once.
    fn listen(&mut self) -> Option<Box<dyn Listener>>;
}

/// What was read at one instant.
#[derive(Debug)]
pub struct Seen {
    /// That instant.
    pub now: Timestamp,
    /// In the order in which they were asked for. A name without a row counts as
    /// never acquired.
    pub resources: Vec<Resource>,
    /// For each how many wait for it, at all servers on the database; empty if
    /// there cannot be others.
    pub waiters: Vec<usize>,
}

/// What others believe of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// That it lives, all the time since the last sign of life.
    Known,
    /// The same; but somebody who is no server has changed the tables.
    Overwritten,
    /// That it may have been gone meanwhile, so nobody told it anything; and the
    /// database may have lost what it was told last.
    Doubted,
    /// Nothing: whoever waits here has to be told to it again.
    Forgotten,
}

/// Hears what other servers on the same database announce. Used by a thread of
/// its own.
pub trait Listener: Send {
    /// Answers with what was heard, perhaps nothing, after at most about
    /// `patience`, sooner if the calling thread is unparked; or, where it has to
    /// connect anew, when that is done.
    fn hear(&mut self, patience: Duration) -> Vec<Announcement>;
}

/// What a server hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// The resource is free, and the first in line for it waits here.
    Free(ResourceName),
    /// The resource is free, and the first in line for it waits at another
    /// server.
    Promised(ResourceName),
    /// The lock on the resource, which was granted at another server, ends
    /// after so long.
    Ends(ResourceName, Duration),
    /// Somebody who waited here for the resource, at this place, has that at another
    /// server now.
    Moved(ResourceName, Place),
    /// Somebody called; see [`Store::beat`].
    Call,
    /// Nothing is heard any more, and something may have been missed.
    Lost,
    /// Something may have been missed.
    Anything,
}

impl<S: Store + ?Sized> Store for Box<S> {
    fn transaction(
        &mut self,
        names: &[ResourceName],
        askers: Askers<'_>,
        decide: &mut dyn FnMut(Timestamp, &mut Rows),
    ) -> Result<(), StoreError> {
        (**self).transaction(names, askers, decide)
    }

    fn look(
        &mut self,
        names: &[ResourceName],
        askers: Askers<'_>,
        decide: &mut dyn FnMut(Timestamp, &mut Rows),
    ) -> Result<(), StoreError> {
        (**self).look(names, askers, decide)
    }

    fn read(&mut self, names: &[ResourceName]) -> Result<Seen, StoreError> {
        (**self).read(names)
    }

    fn expired(&mut self, rows_max: usize, lock_delay: Duration) -> Result<Vec<ResourceName>, StoreError> {
        (**self).expired(rows_max, lock_delay)
    }

    fn prune(&mut self, rows_max: usize, idle_days: u32) -> Result<usize, StoreError> {
        (**self).prune(rows_max, idle_days)
    }

    fn record(&mut self, history: History) {
        (**self).record(history);
    }

    fn prune_events(&mut self, rows_max: usize, kept: Kept) -> Result<usize, StoreError> {
        (**self).prune_events(rows_max, kept)
    }

    fn beat(&mut self, call: bool) -> Result<Standing, StoreError> {
        (**self).beat(call)
    }

    fn leave(&mut self) -> Result<(), StoreError> {
        (**self).leave()
    }

    fn listen(&mut self) -> Option<Box<dyn Listener>> {
        (**self).listen()
    }
}

/// The database cannot be used at the moment. Its text is for the log; a
/// client learns no more than that.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    /// Another process has it locked.
    #[error("the database is locked by another process")]
    Busy,
    /// It refused this transaction, for example because somebody keeps a row
    /// locked, and works.
    #[error("{0}")]
    Refused(String),
    /// It failed, and is being opened again.
    #[error("{0}")]
    Failed(String),
    /// It failed at COMMIT: what was decided may be on disk or not.
    #[error("{0}")]
    Unknown(String),
}
