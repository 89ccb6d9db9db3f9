//! Rows as they are stored, and the way from them to the types of `lock`.

use std::ops::Range;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::db::schema::resources;
use crate::lock::{
    Break, ClientName, Event, EventId, FencingToken, FormerHolder, Info, Label, Lock, LockedBy, Owner, Reason,
    RequestId, Resource, ResourceName, Ttl,
};

/// A row of `resources` without its name, which the reader knows.
#[derive(Queryable, Selectable)]
#[diesel(table_name = resources)]
pub(super) struct ResourceRow {
    locked_by: Option<String>,
    ttl: Option<i64>,
    acquired_at_us: Option<i64>,
    expires_at_us: Option<i64>,
    released_at_us: Option<i64>,
    fencing_token: i64,
    label: Option<String>,
    acquire_request: Option<String>,
    release_request: Option<String>,
    told_again: Option<i64>,
    owner: Option<String>,
    broken: Option<String>,
    client: Option<String>,
    info: Option<String>,
    renewals: Option<i64>,
    last_event_id: Option<i64>,
}

impl ResourceRow {
    /// Whether there is nothing in the columns that few use, as [`is_bare`] says it of
    /// the resource. A row whose lock was freed by hand may have something left there.
    pub(super) fn is_bare(&self) -> bool {
        let texts = [
            &self.label,
            &self.acquire_request,
            &self.release_request,
            &self.owner,
            &self.broken,
            &self.client,
            &self.info,
        ];
        texts.iter().all(|text| text.is_none()) && self.told_again.is_none() && self.renewals.is_none()
    }

    /// The resource of this row. `Err` says which column no server can have
    /// written: somebody changed the table by hand.
    pub(super) fn into_resource(self, name: ResourceName) -> Result<Resource, &'static str> {
        let request = |text: Option<String>| text.map(|text| RequestId::from_text(&text).ok_or(())).transpose();
        let label = |text: Option<String>| text.map(|text| Label::new(&text).ok_or(())).transpose();
        let info = |text: Option<String>| text.map(|text| Info::new(&text).ok_or(())).transpose();
        let owner = |text: Option<String>| text.map(|text| Owner::new(&text).ok_or(())).transpose();
        let broken = self.broken.map(|text| broken_from_json(&text).ok_or("broken"));
        let lock = match self.locked_by {
            None => None,
            Some(locked_by) => Some(Lock {
                locked_by: LockedBy::new(locked_by)
                    .ok_or("locked_by")?
                    .owned_by(owner(self.owner).map_err(|()| "owner")?),
                ttl: self.ttl.map(|ttl| Ttl::from_seconds(ttl).ok_or("ttl")).transpose()?,
                acquired_at: Timestamp::from_us(self.acquired_at_us.ok_or("acquired_at_us")?),
                expires_at: self.expires_at_us.map(Timestamp::from_us),
                label: label(self.label).map_err(|()| "label")?,
                client: self.client.as_deref().map(ClientName::new),
                info: info(self.info).map_err(|()| "info")?,
                request: request(self.acquire_request).map_err(|()| "acquire_request")?,
                is_told_again: self.told_again.is_some(),
                renewals: u32::try_from(self.renewals.unwrap_or(0)).map_err(|_| "renewals")?,
            }),
        };
        Ok(Resource {
            name,
            lock,
            fencing_token: FencingToken::new(self.fencing_token),
            released_at: self.released_at_us.map(Timestamp::from_us),
            release_request: request(self.release_request).map_err(|()| "release_request")?,
            broken: broken.transpose()?,
            last_event: self.last_event_id.map(EventId::new),
        })
    }
}

/// Whether a resource has nothing in the columns that few use: no owner, client,
/// label, info, requests, renewals or break.
pub(super) fn is_bare(resource: &Resource) -> bool {
    let is_bare = |lock: &Lock| {
        lock.label.is_none()
            && lock.locked_by.owner().is_none()
            && lock.client.is_none()
            && lock.info.is_none()
            && lock.request.is_none()
            && !lock.is_told_again
            && lock.renewals == 0
    };
    resource.lock.as_ref().is_none_or(is_bare) && resource.release_request.is_none() && resource.broken.is_none()
}

/// What a decision changes, in the order in which it is written.
pub(super) const TEXTS: [&str; 5] = ["locked_by", "label", "owner", "client", "info"];
pub(super) const COMPOSED: [&str; 3] = ["acquire_request", "release_request", "broken"];
pub(super) const NUMBERS: [&str; 7] = [
    "ttl",
    "acquired_at_us",
    "expires_at_us",
    "released_at_us",
    "told_again",
    "renewals",
    "last_event_id",
];

/// Of TEXTS so many are of all locks; the others and COMPOSED few use.
pub(super) const TEXTS_OF_ALL: usize = 1;

/// Those of NUMBERS that few use: told_again, renewals.
pub(super) const NUMBERS_OF_SOME: Range<usize> = 4..6;

/// A resource, column by column, as the hot statements write it.
pub(super) struct Columns<'r> {
    /// Those of TEXTS.
    pub(super) texts: [Option<&'r str>; TEXTS.len()],
    /// Those of COMPOSED.
    pub(super) composed: [Option<String>; COMPOSED.len()],
    /// Those of NUMBERS.
    pub(super) numbers: [Option<i64>; NUMBERS.len()],
    /// fencing_token.
    pub(super) fencing_token: i64,
}

impl<'r> From<&'r Resource> for Columns<'r> {
    fn from(resource: &'r Resource) -> Self {
        let lock = resource.lock.as_ref();
        let request = |request: Option<&RequestId>| request.map(RequestId::to_text);
        Self {
            texts: [
                lock.map(|lock| lock.locked_by.reveal()),
                lock.and_then(|lock| lock.label.as_ref()).map(Label::as_str),
                lock.and_then(|lock| lock.locked_by.owner()).map(Owner::as_str),
                lock.and_then(|lock| lock.client.as_ref()).map(ClientName::as_str),
                lock.and_then(|lock| lock.info.as_ref()).map(Info::reveal),
            ],
            composed: [
                request(lock.and_then(|lock| lock.request.as_ref())),
                request(resource.release_request.as_ref()),
                resource.broken.as_ref().map(broken_to_json),
            ],
            numbers: [
                lock.and_then(|lock| lock.ttl).map(|ttl| ttl.as_seconds().into()),
                lock.map(|lock| lock.acquired_at.as_us()),
                lock.and_then(|lock| lock.expires_at).map(Timestamp::as_us),
                resource.released_at.map(Timestamp::as_us),
                lock.filter(|lock| lock.is_told_again).map(|_| 1),
                lock.and_then(stored_renewals),
                resource.last_event.map(EventId::as_i64),
            ],
            fencing_token: resource.fencing_token.as_i64(),
        }
    }
}

/// How many renewals there were in a row; NULL is none.
pub(super) fn stored_renewals(lock: &Lock) -> Option<i64> {
    Some(lock.renewals.into()).filter(|renewals| *renewals > 0)
}

/// The columns of an event, in the order in which they are written: numbers that
/// are always there, texts that are, numbers, and texts.
pub(super) const EVENT_COLUMNS: [&str; 13] = [
    "id",
    "at_us",
    "fencing_token",
    "event",
    "resource",
    "previous_id",
    "ttl",
    "expires_at_us",
    "owner",
    "label",
    "asked_by",
    "reason",
    "address",
];

/// Those that only some events have: owner, label, asked_by, reason.
pub(super) const EVENT_COLUMNS_OF_SOME: Range<usize> = 8..12;

/// Whether an event has none of those.
pub(super) fn is_bare_event(event: &Event) -> bool {
    event.owner.is_none() && event.label.is_none() && event.asked_by.is_none() && event.reason.is_none()
}

/// An event, column by column, as the hot statements write it.
pub(super) struct EventColumns<'e> {
    /// id, at_us, fencing_token.
    pub(super) numbers: [i64; 3],
    /// event, resource.
    pub(super) texts: [&'e str; 2],
    /// previous_id, ttl, expires_at_us.
    pub(super) optional_numbers: [Option<i64>; 3],
    /// owner, label, asked_by, reason.
    pub(super) optional_texts: [Option<&'e str>; 4],
    /// address.
    pub(super) address: Option<String>,
}

impl<'e> From<&'e Event> for EventColumns<'e> {
    fn from(event: &'e Event) -> Self {
        Self {
            numbers: [event.id.as_i64(), event.at.as_us(), event.fencing_token.as_i64()],
            texts: [event.kind.as_str(), event.resource.as_str()],
            optional_numbers: [
                event.previous.map(EventId::as_i64),
                event.ttl.map(|ttl| ttl.as_seconds().into()),
                event.expires_at.map(Timestamp::as_us),
            ],
            optional_texts: [
                event.owner.as_ref().map(Owner::as_str),
                event.label.as_ref().map(Label::as_str),
                event.asked_by.as_ref().map(Owner::as_str),
                event.reason.as_deref(),
            ],
            address: event.address.map(|address| address.to_string()),
        }
    }
}

/// A broken lock as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredBreak {
    at_us: i64,
    by: Option<String>,
    reason: String,
    holder: Option<String>,
}

fn broken_to_json(broken: &Break) -> String {
    let stored = StoredBreak {
        at_us: broken.at.as_us(),
        by: broken.by.as_ref().map(|by| by.as_str().to_owned()),
        reason: broken.reason.as_str().to_owned(),
        holder: broken.holder.map(FormerHolder::to_text),
    };
    serde_json::to_string(&stored).expect("text and numbers")
}

fn broken_from_json(text: &str) -> Option<Break> {
    let stored: StoredBreak = serde_json::from_str(text).ok()?;
    let by = stored.by.map(|by| Owner::new(&by).ok_or(())).transpose().ok()?;
    let holder = stored.holder.map(|holder| FormerHolder::from_text(&holder).ok_or(()));
    Some(Break {
        at: Timestamp::from_us(stored.at_us),
        by,
        reason: Reason::new(&stored.reason)?,
        holder: holder.transpose().ok()?,
    })
}
