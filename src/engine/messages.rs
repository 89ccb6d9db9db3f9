//! What goes between the requests and the batcher thread.

use std::time::Instant;

use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::engine::{Unavailable, time};
use crate::limits::{BULK_WEIGHT, NAMES_TOGETHER_MAX};
use crate::lock::{
    Acquire, FencingToken, Label, Operation, Outcome, Owner, Place, ResourceName, Snapshot, StillWaits, Waiter,
};

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Wish {
    /// An operation on one resource.
    One(ResourceName, Operation),
    /// To acquire several, or none.
    Together(Vec<ResourceName>, Acquire),
    /// An operation of a holder on all of several that it holds.
    Each(Vec<ResourceName>, Operation),
    /// To see one.
    Look(ResourceName),
    /// To know how many wait for some of whom the database does not know.
    CountWaiting(Vec<ResourceName>),
    /// To see who waits here for one.
    ShowLine(ResourceName),
}

impl Wish {
    /// How many operations of a batch it counts as.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::One(..) | Self::Look(_) | Self::CountWaiting(_) | Self::ShowLine(_) => 1,
            Self::Together(names, _) => names.len().min(NAMES_TOGETHER_MAX),
            Self::Each(..) => BULK_WEIGHT,
        }
    }
}

/// A request on its way to the batcher.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) wish: Wish,
    /// Until when it waits in line if it cannot have what it wants.
    pub(super) wait_until: Option<Instant>,
    pub(super) reply: ReplySender,
    /// Set if it was put off once, to be decided with more rows.
    pub(super) put_off: Option<Box<PutOff>>,
}

/// Why a request was put off.
#[derive(Debug)]
pub(super) struct PutOff {
    /// What has to be loaded with it.
    pub(super) names: Vec<ResourceName>,
    /// How often.
    pub(super) times: u32,
}

/// What the batcher sends back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) told: Told,
    /// From this instant on a lock of which it tells no longer holds.
    pub(super) lapses: Option<Instant>,
}

/// What a request is told.
#[derive(Debug)]
pub(super) enum Told {
    /// What came of its operation.
    Outcome(Outcome),
    /// To how many resources its operation was applied.
    Count(usize),
    /// What is to be seen.
    Seen(Box<Snapshot>),
    /// How many wait for each.
    Waiting(Vec<usize>),
    /// Who waits.
    Line(Vec<InLine>),
    /// That the same request was sent again and waits in its place.
    Superseded,
}

pub(super) type ReplySender = oneshot::Sender<Result<Reply, Unavailable>>;

/// Somebody in a line, as others may see it: never with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InLine {
    /// Where it stands.
    pub place: Place,
    /// Whose the lock would be.
    pub owner: Option<Owner>,
    /// What it would say of the lock.
    pub label: Option<Label>,
    /// Since when it waits.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

impl From<&Waiter<Parked>> for InLine {
    fn from(waiter: &Waiter<Parked>) -> Self {
        let Parked { since, wait_until, .. } = waiter.ticket;
        Self {
            place: waiter.place,
            owner: waiter.acquire.locked_by.owner().cloned(),
            label: waiter.acquire.label.clone(),
            since: waiter.wait_until - wait_until.saturating_duration_since(since),
            until: waiter.wait_until,
        }
    }
}

/// A request in a waiting line.
#[derive(Debug)]
pub(super) struct Parked {
    /// When it came into line, or took over the place of one that did.
    pub(super) since: Instant,
    pub(super) wait_until: Instant,
    pub(super) reply: ReplySender,
}

impl StillWaits for Parked {
    fn still_waits(&self) -> bool {
        !self.reply.is_closed() && time::now() < self.wait_until
    }
}

/// What goes through the queue.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every message is a submission, and a box would be an allocation for each"
)]
pub(super) enum Message {
    Submit(Submission),
    /// There is something in `Shared`.
    Look,
    /// Finish what is queued and end.
    Stop,
}

/// Somebody who will not take an answer any more.
#[derive(Debug)]
pub(super) struct Departure {
    /// What it wanted.
    pub(super) names: Vec<ResourceName>,
    /// The grants that reached nobody, one for each; none if it may be in line.
    pub(super) grants: Vec<FencingToken>,
}
