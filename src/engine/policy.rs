//! What an operator may set of the way in which the engine decides.

use crate::db::{History, Kept};
use crate::lock::Rules;

/// What an operator may set. All but `operations_queued_max` and `waiters_max`
/// can be set anew while the engine runs.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Of the rules of locking.
    pub rules: Rules,
    /// Operations that may be queued.
    pub operations_queued_max: usize,
    /// Requests that may wait in all.
    pub waiters_max: usize,
    /// Requests that may wait for one resource.
    pub waiters_per_resource_max: usize,
    /// Locks that one client may hold to be granted more; `None` is any number, and
    /// nobody counts them.
    pub client_locks_max: Option<usize>,
    /// Days after which an unused row is deleted; 0 is never.
    pub prune_after_days: u32,
    /// Whether what happens is recorded.
    pub history: History,
    /// Which events are kept.
    pub events_kept: Kept,
}
