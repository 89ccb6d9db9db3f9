//! How locks came to their ends in a batch, for those who count.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::lock::{Operation, Outcome, Resource};

/// The end of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why it ended.
    pub how: End,
    /// For how long it was held.
    pub held: Duration,
}

/// Why a lock ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its holder released it.
    Released,
    /// Its ttl was over.
    Expired,
    /// Somebody broke it.
    Broken,
    /// Nobody learned that it was granted.
    GivenBack,
}

/// A lock that is in a row before an operation.
#[derive(Clone, Copy)]
pub(super) struct Before {
    acquired_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl Before {
    /// `None` if there is none, or one that was broken and ended then.
    pub(super) fn of(resource: &Resource) -> Option<Self> {
        let lock = resource.lock.as_ref().filter(|_| resource.broken.is_none())?;
        Some(Self {
            acquired_at: lock.acquired_at,
            expires_at: lock.expires_at,
        })
    }

    /// The end of the lock, if that is what came of the operation.
    pub(super) fn ended_by(self, now: Timestamp, operation: &Operation, outcome: &Outcome) -> Option<Ended> {
        let how = match (operation, outcome) {
            (Operation::Release(_), Outcome::Released) => End::Released,
            (Operation::Break(_), Outcome::Broken(_)) => End::Broken,
            (Operation::GiveBack { .. }, Outcome::Released) => End::GivenBack,
            // What is granted although there was a lock had expired.
            (Operation::Expire, Outcome::Released) | (Operation::Acquire(_), Outcome::Acquired(_)) => End::Expired,
            _ => return None,
        };
        let ended_at = match (how, self.expires_at) {
            (End::Expired, Some(expires_at)) => expires_at,
            _ => now,
        };
        Some(Ended {
            how,
            held: ended_at.since(self.acquired_at),
        })
    }
}
