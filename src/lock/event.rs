//! What happened to a resource, for the history.
//!
//! Separate from the rules: they say what may happen, this says what did. The
//! events of a resource, in their order, lead from one state of it to the next,
//! so that the whole table can be made again from them; but for keys, which are
//! in no event, and for when a lock ends in the midst of a run of renewals, of
//! which the first and the last are told.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::lock::{
    Acquire, FencingToken, Label, Lock, NewLabel, Operation, Outcome, Owner, Resource, ResourceName, Ttl,
};

/// The number of an event. It rises with each event of a resource, and in the
/// order in which events are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(i64);

impl EventId {
    /// Before all events.
    pub const NONE: Self = Self(0);

    /// The id with this number.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_i64(self) -> i64 {
        self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The numbers that the events of one transaction get, in their order.
#[derive(Clone, Debug)]
pub struct EventIds {
    next: i64,
    /// How many follow without a gap.
    left: i64,
    /// Where to go on after that, the last first.
    blocks: Vec<i64>,
    block_size: i64,
}

impl EventIds {
    /// All that follow `last`.
    pub fn after(last: EventId) -> Self {
        Self {
            next: last.as_i64() + 1,
            left: i64::MAX,
            blocks: Vec::new(),
            block_size: 0,
        }
    }

    /// Those of these blocks, which are in the order of their first numbers.
    pub fn of_blocks(mut blocks: Vec<i64>, block_size: i64) -> Self {
        blocks.reverse();
        Self {
            next: 0,
            left: 0,
            blocks,
            block_size,
        }
    }

    /// The next. Beyond the last block they go on without a gap: a store that
    /// gives too few finds out by a number that is there already.
    pub(super) fn take(&mut self) -> EventId {
        if self.left == 0
            && let Some(block) = self.blocks.pop()
        {
            (self.next, self.left) = (block, self.block_size);
        }
        let id = EventId(self.next);
        self.next += 1;
        self.left = (self.left - 1).max(0);
        id
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The lock was granted.
    Acquired,
    /// It lasts longer: the first or the last of a run of renewals that said the
    /// same.
    Renewed,
    /// Its holder gave it back, or nobody learned of the grant.
    Released,
    /// It ended by itself.
    Expired,
    /// Somebody freed it without its key.
    Broken,
    /// Somebody was refused who would have waited for itself.
    Deadlock,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Acquired,
        Self::Renewed,
        Self::Released,
        Self::Expired,
        Self::Broken,
        Self::Deadlock,
    ];

    /// As it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acquired => "acquired",
            Self::Renewed => "renewed",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Broken => "broken",
            Self::Deadlock => "deadlock",
        }
    }

    /// The one that is stored so.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number.
    pub id: EventId,
    /// The one before it of the same resource, if that was recorded.
    pub previous: Option<EventId>,
    /// When it happened. Of a lock that expired that is when it ended, which may
    /// be before events that were told earlier.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// To which resource.
    pub resource: ResourceName,
    /// Of the grant that it is about; of a deadlock, of the lock that stood in
    /// the way.
    pub fencing_token: FencingToken,
    /// Whose lock it is about; of a deadlock, who was refused.
    pub owner: Option<Owner>,
    /// What that said for people.
    pub label: Option<Label>,
    /// How long the lock was to last; `None` is for ever.
    pub ttl: Option<Ttl>,
    /// When the lock ends, or was to end.
    pub expires_at: Option<Timestamp>,
    /// Who asked for it, if somebody with a name did.
    pub asked_by: Option<Owner>,
    /// From where.
    pub address: Option<IpAddr>,
    /// Why, for people.
    pub reason: Option<Arc<str>>,
}

/// What is said of a grant whose answer could not be sent.
const REACHED_NOBODY: &str = "its answer reached nobody";

/// What an event tells of a lock.
#[derive(Clone, Debug)]
struct LockTold {
    fencing_token: FencingToken,
    owner: Option<Owner>,
    label: Option<Label>,
    ttl: Option<Ttl>,
    expires_at: Option<Timestamp>,
    renewals: u32,
}

impl LockTold {
    fn of(resource: &Resource, lock: &Lock) -> Self {
        Self {
            fencing_token: resource.fencing_token,
            owner: lock.locked_by.owner().cloned(),
            label: lock.label.clone(),
            ttl: lock.ttl,
            expires_at: lock.expires_at,
            renewals: lock.renewals,
        }
    }

    /// When it was renewed last, if events are yet to tell of that. A lock
    /// without a ttl is renewed for ever: nothing is to be told of it.
    fn untold_renewal(&self) -> Option<Timestamp> {
        let (ttl, expires_at) = (self.ttl?, self.expires_at?);
        (self.renewals > 1).then(|| expires_at - ttl.as_duration())
    }
}

/// A resource before something is done to it, as far as events need it.
#[derive(Debug)]
pub(super) struct Former {
    lock: Option<LockTold>,
    was_held: bool,
    was_broken: bool,
}

/// Events as they are made, before they have numbers.
#[derive(Debug)]
pub(super) struct Happened {
    pub(super) at: Timestamp,
    pub(super) kind: EventKind,
    lock: LockTold,
    asked_by: Option<Owner>,
    address: Option<IpAddr>,
    reason: Option<Arc<str>>,
}

impl Former {
    pub(super) fn of(resource: &Resource, now: Timestamp, operation: &Operation) -> Self {
        let lock = resource.lock.as_ref();
        let is_told = match operation {
            // What holds is refused, or told again.
            Operation::Acquire(_) => lock.is_some_and(|lock| !lock.holds_at(now)),
            _ => true,
        };
        Self {
            lock: lock.filter(|_| is_told).map(|lock| LockTold::of(resource, lock)),
            was_held: lock.is_some_and(|lock| lock.holds_at(now)),
            was_broken: resource.broken.is_some(),
        }
    }

    /// What happened to the resource, which is `after`, when this came of it.
    pub(super) fn happened(
        self,
        now: Timestamp,
        operation: &Operation,
        outcome: &Outcome,
        after: &Resource,
    ) -> impl Iterator<Item = Happened> + use<> {
        // At most a last renewal, the end of a lock, and a grant. No list, for this is made for each operation.
        let mut told = [None, None, None];
        let mut places = told.iter_mut();
        self.tell(now, operation, outcome, after, &mut |event| {
            if let Some(place) = places.next() {
                *place = Some(event);
            }
        });
        told.into_iter().flatten()
    }

    fn tell(
        self,
        now: Timestamp,
        operation: &Operation,
        outcome: &Outcome,
        after: &Resource,
        tell: &mut impl FnMut(Happened),
    ) {
        let lock_after = || after.lock.as_ref().map(|lock| LockTold::of(after, lock));
        match (operation, outcome) {
            (Operation::Acquire(acquire), Outcome::Acquired(_)) => {
                if let Some(lock) = self.lock.filter(|_| !self.was_broken) {
                    tell_end(lock, EventKind::Expired, now, (None, None, None), tell);
                }
                if let Some(lock) = lock_after() {
                    let asked_by = lock.owner.clone();
                    tell(Happened {
                        at: now,
                        kind: EventKind::Acquired,
                        lock,
                        asked_by,
                        address: acquire.address,
                        reason: None,
                    });
                }
            }
            (Operation::Renew(renew), Outcome::Renewed(_)) => {
                let (Some(before), Some(lock)) = (self.lock, lock_after()) else {
                    return;
                };
                // A run that goes on, or a lock that lasts for ever as before: of the latter nothing has changed.
                if lock.renewals != 1 {
                    return;
                }
                if let Some(at) = before.untold_renewal() {
                    tell(renewal(before, at, None));
                }
                tell(renewal(lock, now, renew.address));
            }
            (Operation::Release(release), Outcome::Released) => {
                if let Some(lock) = self.lock {
                    let asked_by = lock.owner.clone();
                    let who = (asked_by, release.address, None);
                    tell_end(lock, EventKind::Released, now, who, tell);
                }
            }
            (Operation::GiveBack { .. }, Outcome::Released) => {
                let Some(lock) = self.lock else { return };
                if self.was_held {
                    let why = Some(REACHED_NOBODY.into());
                    tell_end(lock, EventKind::Released, now, (None, None, why), tell);
                } else if !self.was_broken {
                    tell_end(lock, EventKind::Expired, now, (None, None, None), tell);
                }
            }
            (Operation::Expire, Outcome::Released) => {
                if let Some(lock) = self.lock.filter(|_| !self.was_broken) {
                    tell_end(lock, EventKind::Expired, now, (None, None, None), tell);
                }
            }
            (Operation::Break(broken), Outcome::Broken(_)) => {
                if let Some(lock) = self.lock {
                    let why = Some(broken.reason.as_str().into());
                    let who = (broken.by.clone(), broken.address, why);
                    tell_end(lock, EventKind::Broken, now, who, tell);
                }
            }
            _ => {}
        }
    }
}

type Who = (Option<Owner>, Option<IpAddr>, Option<Arc<str>>);

/// Tells of the end of a lock, and before that of its last renewal.
fn tell_end(lock: LockTold, kind: EventKind, now: Timestamp, who: Who, tell: &mut impl FnMut(Happened)) {
    if let Some(at) = lock.untold_renewal() {
        tell(renewal(lock.clone(), at, None));
    }
    let at = match kind {
        EventKind::Expired => lock.expires_at.unwrap_or(now),
        _ => now,
    };
    let (asked_by, address, reason) = who;
    tell(Happened {
        at,
        kind,
        lock,
        asked_by,
        address,
        reason,
    });
}

fn renewal(lock: LockTold, at: Timestamp, address: Option<IpAddr>) -> Happened {
    Happened {
        at,
        kind: EventKind::Renewed,
        asked_by: lock.owner.clone(),
        lock,
        address,
        reason: None,
    }
}

impl Happened {
    /// Somebody was refused at `resource`, because it would have waited for itself.
    pub(super) fn deadlock(now: Timestamp, resource: &Resource, acquire: &Acquire, circle: &[ResourceName]) -> Self {
        let names: Vec<_> = circle.iter().map(ResourceName::as_str).collect();
        let owner = acquire.locked_by.owner().cloned();
        Self {
            at: now,
            kind: EventKind::Deadlock,
            asked_by: owner.clone(),
            lock: LockTold {
                fencing_token: resource.fencing_token,
                owner,
                label: acquire.label.clone(),
                ttl: acquire.ttl,
                expires_at: None,
                renewals: 0,
            },
            address: acquire.address,
            reason: Some(names.join(" → ").into()),
        }
    }

    pub(super) fn numbered(self, id: EventId, resource: &Resource) -> Event {
        let Self {
            at,
            kind,
            lock,
            asked_by,
            address,
            reason,
        } = self;
        Event {
            id,
            previous: resource.last_event,
            at,
            kind,
            resource: resource.name.clone(),
            fencing_token: lock.fencing_token,
            owner: lock.owner,
            label: lock.label,
            ttl: lock.ttl,
            expires_at: lock.expires_at,
            asked_by,
            address,
            reason,
        }
    }
}

/// How many renewals there were in a row that said the same, when one more
/// changes `lock` to last for `ttl`. 1 begins a new run; 0 says that nothing is
/// different.
pub(super) fn renewals_after(lock: &Lock, ttl: Option<Ttl>, label: &NewLabel) -> u32 {
    let says_the_same = lock.ttl == ttl
        && match label {
            NewLabel::Kept => true,
            NewLabel::Set(label) => lock.label == *label,
        };
    match (says_the_same, ttl) {
        (true, None) => 0,
        (true, Some(_)) => lock.renewals.saturating_add(1),
        (false, _) => 1,
    }
}

#[cfg(test)]
mod tests;
