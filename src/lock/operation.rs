//! What can be asked of a resource, and what comes of it.
//!
//! A refusal is an [`Outcome`] like any other: nothing went wrong when a lock
//! is held by somebody else.

use std::net::IpAddr;

use crate::clock::Timestamp;
use crate::lock::{
    Break, Change, ClientName, FencingToken, Info, Label, LockedBy, Owner, Reason, RequestId, ResourceName, Snapshot,
    Ttl,
};

/// Something to be done to one resource.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Take the lock if the resource is free. Not reentrant.
    Acquire(Acquire),
    /// Free the resource.
    Release(Release),
    /// Let the lock last longer.
    Renew(Renew),
    /// Undo the grant with this token if it still stands: nobody learned of it.
    GiveBack {
        /// The token of that grant.
        fencing_token: FencingToken,
    },
    /// Clear the lock if it has expired.
    Expire,
    /// Free the resource without its key: the holder is gone.
    Break(BreakLock),
}

/// What somebody wants who acquires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquire {
    /// The key that will release it.
    pub locked_by: LockedBy,
    /// How long it lasts; `None` never expires.
    pub ttl: Option<Ttl>,
    /// For people.
    pub label: Option<Label>,
    /// Among whose locks it counts, if they are counted.
    pub client: Option<ClientName>,
    /// What the holder says of itself.
    pub info: Option<Info>,
    /// So that it may be sent again.
    pub request: Option<RequestId>,
    /// From where it was asked, for the history.
    pub address: Option<IpAddr>,
}

impl Acquire {
    /// By this key, for ever, and nothing else said.
    pub fn by(locked_by: LockedBy) -> Self {
        Self {
            locked_by,
            ttl: None,
            label: None,
            client: None,
            info: None,
            request: None,
            address: None,
        }
    }
}

/// By what somebody may release.
#[derive(Clone, Debug)]
pub struct Release {
    /// The holder's key; `None` stands for one that can be nobody's.
    pub locked_by: Option<LockedBy>,
    /// The grant that is meant, if not whichever stands.
    pub fencing_token: Option<FencingToken>,
    /// So that it may be sent again.
    pub request: Option<RequestId>,
    /// From where it was asked, for the history.
    pub address: Option<IpAddr>,
}

impl Release {
    /// By this key, whichever grant stands.
    pub fn by(locked_by: Option<LockedBy>) -> Self {
        Self {
            locked_by,
            fencing_token: None,
            request: None,
            address: None,
        }
    }
}

/// By what somebody may renew, and what shall be.
#[derive(Clone, Debug)]
pub struct Renew {
    /// The holder's key.
    pub locked_by: LockedBy,
    /// How long it lasts from now; `None` is as long as was asked for last.
    pub ttl: Option<Ttl>,
    /// What becomes of the label.
    pub label: NewLabel,
    /// The grant that is meant, if not whichever stands.
    pub fencing_token: Option<FencingToken>,
    /// From where it was asked, for the history.
    pub address: Option<IpAddr>,
}

/// Who breaks a lock, and why.
#[derive(Clone, Debug)]
pub struct BreakLock {
    /// By whose token; `None` where there are none.
    pub by: Option<Owner>,
    /// For people.
    pub reason: Reason,
    /// The grant that is meant, if not whichever stands.
    pub fencing_token: Option<FencingToken>,
    /// From where it was asked, for the history.
    pub address: Option<IpAddr>,
}

/// What becomes of the label of a lock that is renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewLabel {
    /// It stays.
    Kept,
    /// There is this one, or none.
    Set(Option<Label>),
}

/// What came of an [`Operation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The lock is the caller's.
    Acquired(Grant),
    /// The lock is the caller's since the same request was sent before.
    AcquiredBefore(Grant),
    /// The locks are the caller's, each of those that were asked for together and
    /// in that order.
    AcquiredTogether(Vec<Grant>),
    /// The same, since the same request was sent before.
    AcquiredTogetherBefore(Vec<Grant>),
    /// Refused: the resource cannot be had now.
    Locked,
    /// Refused: whoever holds the resource waits, by way of others perhaps, for
    /// the caller. The resources of which each is held by one who waits for the
    /// next; the first is the one that was asked for.
    Deadlock(Vec<ResourceName>),
    /// The resource is free now.
    Released,
    /// The resource was released when the same request was sent before.
    ReleasedBefore,
    /// The lock lasts longer.
    Renewed(Box<Snapshot>),
    /// The lock is broken; this is how the resource was before.
    Broken(Box<Snapshot>),
    /// Refused: nobody holds the resource.
    NotAcquired,
    /// Refused: nobody holds the resource, because the caller's lock was broken.
    WasBroken(Box<Break>),
    /// Refused: somebody else holds the resource.
    InvalidUnlock,
    /// Refused: somebody else holds the resource.
    InvalidRenew,
    /// Refused: another request had this `Idempotency-Key`.
    KeyReused,
}

impl Outcome {
    /// The grants that were made by it. One that was told again is not among
    /// them: nobody may undo it, because the first answer may have arrived.
    pub fn granted(&self) -> &[Grant] {
        match self {
            Self::Acquired(grant) => std::slice::from_ref(grant),
            Self::AcquiredTogether(grants) => grants,
            _ => &[],
        }
    }

    /// When the first of the locks of which it tells the caller ends.
    pub fn first_end(&self) -> Option<Timestamp> {
        let grants = match self {
            Self::Acquired(grant) | Self::AcquiredBefore(grant) => std::slice::from_ref(grant),
            Self::AcquiredTogether(grants) | Self::AcquiredTogetherBefore(grants) => grants,
            _ => &[],
        };
        grants.iter().filter_map(|grant| grant.expires_at).min()
    }

    /// Whether the resource is different now.
    pub fn is_change(&self) -> bool {
        matches!(
            self,
            Self::Acquired(_) | Self::AcquiredBefore(_) | Self::Released | Self::Renewed(_) | Self::Broken(_)
        )
    }

    /// How much of the resource is different now that this came of `operation`.
    pub(super) fn change(&self, operation: &Operation) -> Change {
        match (self, operation) {
            (
                Self::Renewed(_),
                Operation::Renew(Renew {
                    label: NewLabel::Kept, ..
                }),
            ) => Change::Lease,
            _ if self.is_change() => Change::Any,
            _ => Change::None,
        }
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
