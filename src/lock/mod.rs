//! The rules of locking: what may be granted, to whom, and in which order.
//!
//! Pure: nothing here reads a clock, a database, a socket or the environment,
//! so each rule is tested by tables, and all of them together by random
//! histories against a naive model.

mod batch;
mod broken;
mod decide;
mod event;
mod operation;
mod request;
mod resource;
mod rows;
mod snapshot;
mod waiting_line;

#[cfg(test)]
mod model;

pub use batch::{Batch, Circle, End, Ended, HandOver};
pub use broken::{Break, FormerHolder, Reason};
pub use decide::{FencingCounter, Rules, decide};
pub use event::{Event, EventId, EventIds, EventKind};
pub use operation::{Acquire, BreakLock, Grant, NewLabel, Operation, Outcome, Release, Renew};
pub use request::{Likeness, RequestId};
pub use resource::{ClientName, FencingToken, Info, Label, Lock, LockedBy, Owner, Resource, ResourceName, Ttl};
pub use rows::{Ahead, Change, Joined, Returning, Rows};
pub use snapshot::{Held, Snapshot};
pub use waiting_line::{Place, StillWaits, Waiter, WaitingLines};
