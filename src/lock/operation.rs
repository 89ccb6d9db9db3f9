//! What can be asked of a resource, and what comes of it.
//!
//! A refusal is an [`Outcome`] like any other: nothing went wrong when a lock
//! is held by somebody else.

use crate::clock::Timestamp;
use crate::lock::{FencingToken, LockedBy, Ttl};

/// Something to be done to one resource.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Take the lock if the resource is free. Not reentrant.
    Acquire {
        /// The key that will release it.
        locked_by: LockedBy,
        /// How long it lasts; `None` never expires.
        ttl: Option<Ttl>,
    },
    /// Free the resource, given its holder's key. `None` stands for a key that
    /// can be nobody's.
    Release {
        /// The key.
        locked_by: Option<LockedBy>,
    },
    /// Undo the grant with this token if it still stands: nobody learned of it.
    GiveBack {
        /// The token of that grant.
        fencing_token: FencingToken,
    },
    /// Clear the lock if it has expired.
    Expire,
}

/// What came of an [`Operation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The lock is the caller's.
    Acquired(Grant),
    /// Refused: somebody holds the resource.
    Locked,
    /// The resource is free now.
    Released,
    /// Refused: nobody holds the resource.
    NotAcquired,
    /// Refused: somebody else holds the resource.
    InvalidUnlock,
}

impl Outcome {
    /// Whether the resource is different now.
    pub fn is_change(&self) -> bool {
        matches!(self, Self::Acquired(_) | Self::Released)
    }
}

/// A lock as its holder learns of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The token of this grant.
    pub fencing_token: FencingToken,
    /// When the lock was granted.
    pub acquired_at: Timestamp,
    /// The first instant at which it no longer holds.
    pub expires_at: Option<Timestamp>,
}
