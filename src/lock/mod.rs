//! The rules of locking: what may be granted, to whom, and in which order.
//!
//! Pure: nothing here reads a clock, a database, a socket or the environment,
//! so each rule is tested by tables, and all of them together by random
//! histories against a naive model.

mod batch;
mod decide;
mod operation;
mod resource;
mod rows;
mod waiting_line;

#[cfg(test)]
mod model;

pub use batch::{Batch, HandOver};
pub use decide::{FencingCounter, decide};
pub use operation::{Grant, Operation, Outcome};
pub use resource::{FencingToken, Lock, LockedBy, Resource, ResourceName, Ttl};
pub use rows::{Ahead, Joined, Rows};
pub use waiting_line::{Place, StillWaits, Waiter, WaitingLines};
