//! The seam between the engine and a backend.

use thiserror::Error;

use crate::clock::Timestamp;
use crate::lock::{ResourceName, Rows};

/// One database, used by one thread: load, decide, save, commit.
pub trait Store: Send {
    /// Runs one batch in one transaction.
    ///
    /// Loads a row for each of `names` (distinct, in any order; a name without
    /// a row counts as never acquired), calls `decide` once with the store's
    /// time and the rows in the order of `names`, saves those that changed,
    /// commits, and returns only when the commit is on disk. If nothing
    /// changed nothing is written.
    ///
    /// `Err` means that the transaction took no effect, but for
    /// [`StoreError::Unknown`].
    fn transaction(
        &mut self,
        names: &[ResourceName],
        decide: &mut dyn FnMut(Timestamp, &mut Rows),
    ) -> Result<(), StoreError>;

    /// Up to `rows_max` resources whose lock has expired but was not cleared.
    fn expired(&mut self, rows_max: usize) -> Result<Vec<ResourceName>, StoreError>;

    /// Looks at the next `rows_max` rows, in the order of names and round
    /// again, and deletes those that have been free for `idle_days`. Returns
    /// how many. Tokens rise all the same: the counter is not in the row.
    fn prune(&mut self, rows_max: usize, idle_days: u32) -> Result<usize, StoreError>;

    /// Notes how far the store's clock is from the wall clock, for those who
    /// read the table with SQL.
    fn note_clock_offset(&mut self) -> Result<(), StoreError>;
}

impl<S: Store + ?Sized> Store for Box<S> {
    fn transaction(
        &mut self,
        names: &[ResourceName],
        decide: &mut dyn FnMut(Timestamp, &mut Rows),
    ) -> Result<(), StoreError> {
        (**self).transaction(names, decide)
    }

    fn expired(&mut self, rows_max: usize) -> Result<Vec<ResourceName>, StoreError> {
        (**self).expired(rows_max)
    }

    fn prune(&mut self, rows_max: usize, idle_days: u32) -> Result<usize, StoreError> {
        (**self).prune(rows_max, idle_days)
    }

    fn note_clock_offset(&mut self) -> Result<(), StoreError> {
        (**self).note_clock_offset()
    }
}

/// The database cannot be used at the moment. Its text is for the log; a
/// client learns no more than that.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    /// Another process has it locked.
    #[error("the database is locked by another process")]
    Busy,
    /// It failed, and is being opened again.
    #[error("{0}")]
    Failed(String),
    /// It failed at COMMIT: what was decided may be on disk or not.
    #[error("{0}")]
    Unknown(String),
}
