//! A resource as everybody may see it.
//!
//! Separate from [`Resource`], which holds the key: what is shown cannot show
//! it.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::lock::{FencingToken, Info, Label, Owner, Resource, ResourceName, Ttl};

/// A resource at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub name: ResourceName,
    /// That instant, by the store's clock.
    pub seen_at: Timestamp,
    /// The lock that holds it then.
    pub held: Option<Held>,
    /// The token of the latest grant; [`FencingToken::NONE`] if there never was
    /// one.
    pub fencing_token: FencingToken,
    /// How many wait for it; `None` where that was not found out.
    pub waiters: Option<usize>,
}

/// A lock without its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// Whose it is, if anybody's.
    pub owner: Option<Owner>,
    /// For people.
    pub label: Option<Label>,
    /// What the holder says of itself, which is not for all.
    pub info: Option<Info>,
    /// How long it lasts from when it was granted or renewed.
    pub ttl: Option<Ttl>,
    /// When it was granted.
    pub acquired_at: Timestamp,
    /// The first instant at which it no longer holds.
    pub expires_at: Option<Timestamp>,
}

impl Snapshot {
    /// `resource` as of `now`.
    pub fn of(resource: &Resource, now: Timestamp, waiters: Option<usize>) -> Self {
        let held = resource.holder_at(now).map(|lock| Held {
            owner: lock.locked_by.owner().cloned(),
            label: lock.label.clone(),
            info: lock.info.clone(),
            ttl: lock.ttl,
            acquired_at: lock.acquired_at,
            expires_at: lock.expires_at,
        });
        Self {
            name: resource.name.clone(),
            seen_at: now,
            held,
            fencing_token: resource.fencing_token,
            waiters,
        }
    }

    /// Whether anybody ever acquired it.
    pub fn was_ever_acquired(&self) -> bool {
        self.fencing_token != FencingToken::NONE
    }

    /// Whether the grant with this token holds.
    pub fn is_held_with(&self, fencing_token: FencingToken) -> bool {
        self.held.is_some() && self.fencing_token == fencing_token
    }

    /// For how long it is held yet, if nothing happens; `None` if it is free or
    /// held for ever.
    pub fn expires_in(&self) -> Option<Duration> {
        let expires_at = self.held.as_ref()?.expires_at?;
        Some(expires_at.since(self.seen_at))
    }
}
