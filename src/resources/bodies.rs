//! What the answers say.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, SecondsFormat};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::access::{Token, Verb};
use crate::clock::Timestamp;
use crate::db::{ListRow, RecordedEvent};
use crate::engine::InLine;
use crate::lock::{Break, EventKind, FencingToken, Grant, Place, ResourceName, Snapshot, Ttl};
use crate::rest::ETag;

/// What the original answers when it did what was asked.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Success {
    pub(super) success: &'static str,
}

/// What the original answers when it refuses.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Error {
    pub(super) error: &'static str,
}

/// The same with the resource, for those who prefer that.
#[derive(Serialize, ToSchema)]
pub(super) struct WithResource<T> {
    #[serde(flatten)]
    pub(super) said: T,
    pub(super) resource: Representation,
}

/// That the process answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    pub(super) healthy: bool,
}

/// That the server can do its work.
#[derive(Serialize, ToSchema)]
pub(super) struct Ready {
    pub(super) ready: bool,
}

/// That it cannot, and why.
#[derive(Serialize, ToSchema)]
pub(super) struct NotReady {
    pub(super) ready: bool,
    /// What is not as it should be: `database`, `migrations` or `draining`.
    pub(super) failed: &'static str,
    /// Why, for people.
    pub(super) reason: String,
}

/// Why a wait is refused that would never end.
#[derive(Serialize, ToSchema)]
pub(super) struct Deadlock {
    #[serde(rename = "Error")]
    pub(super) error: &'static str,
    /// Resources of which each is held by somebody who waits for the next, and
    /// the last by whoever asked.
    pub(super) cycle: Vec<String>,
}

/// A resource as everybody may see it: never with its key.
#[derive(Serialize, ToSchema)]
pub(super) struct Representation {
    name: String,
    /// Whether somebody holds it.
    locked: bool,
    /// The name of the token that it was acquired with.
    #[schema(required)]
    owner: Option<String>,
    /// Who holds it and why, for people.
    #[schema(required)]
    label: Option<String>,
    /// Seconds for which the lock lasts from when it was granted or renewed.
    #[schema(required)]
    ttl: Option<u32>,
    /// When the lock was granted.
    #[serde(serialize_with = "rfc3339")]
    #[schema(required, value_type = Option<String>, format = DateTime)]
    acquired_at: Option<Timestamp>,
    /// The first instant at which it no longer holds.
    #[serde(serialize_with = "rfc3339")]
    #[schema(required, value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Seconds until then.
    #[schema(required, minimum = 0)]
    expires_in: Option<f64>,
    /// The token of the latest grant.
    #[schema(minimum = 0)]
    fencing_token: i64,
    /// How many requests wait for it.
    waiters: usize,
}

impl From<&Snapshot> for Representation {
    fn from(snapshot: &Snapshot) -> Self {
        let held = snapshot.held.as_ref();
        Self {
            name: snapshot.name.as_str().to_owned(),
            locked: held.is_some(),
            owner: held
                .and_then(|held| held.owner.as_ref())
                .map(|owner| owner.as_str().to_owned()),
            label: held
                .and_then(|held| held.label.as_ref())
                .map(|label| label.as_str().to_owned()),
            ttl: held.and_then(|held| held.ttl).map(|ttl| ttl.as_seconds()),
            acquired_at: held.map(|held| held.acquired_at),
            expires_at: held.and_then(|held| held.expires_at),
            expires_in: snapshot.expires_in().map(|left| left.as_secs_f64()),
            fencing_token: snapshot.fencing_token.as_i64(),
            waiters: snapshot.waiters.unwrap_or_default(),
        }
    }
}

impl Representation {
    /// The same of a row of the catalog, which was read at `now`; `waiting_here`
    /// are not known to it.
    pub(super) fn listed(row: &ListRow, now: Timestamp, waiting_here: usize) -> Self {
        Self {
            name: row.name.as_str().to_owned(),
            locked: row.locked,
            owner: row.owner.clone(),
            label: row.label.clone(),
            ttl: row.ttl.map(Ttl::as_seconds),
            acquired_at: row.acquired_at,
            expires_at: row.expires_at,
            expires_in: row.expires_at.map(|expires_at| expires_at.since(now).as_secs_f64()),
            fencing_token: row.fencing_token.as_i64(),
            waiters: usize::try_from(row.waiters)
                .unwrap_or(usize::MAX)
                .saturating_add(waiting_here),
        }
    }
}

/// Something that happened.
#[derive(Serialize, ToSchema)]
pub(super) struct Event<'e> {
    /// Its number, which rises.
    #[schema(minimum = 1)]
    id: i64,
    /// `acquired`, `renewed` (the first and the last of a run of renewals), `released`, `expired`, `broken`, or
    /// `deadlock`: somebody was refused who would have waited for itself.
    event: &'e str,
    /// The name of the resource.
    resource: &'e str,
    /// Of the grant that it is about; of a deadlock, of the lock in the way.
    #[schema(minimum = 0)]
    fencing_token: i64,
    /// The name of the token of the lock's holder; of a deadlock, of whoever was refused.
    #[schema(required)]
    owner: Option<&'e str>,
    /// What that said for people.
    #[schema(required)]
    label: Option<&'e str>,
    /// Seconds for which the lock was to last.
    #[schema(required)]
    ttl: Option<i64>,
    /// When it happened.
    #[serde(serialize_with = "rfc3339")]
    #[schema(required, value_type = String, format = DateTime)]
    at: Option<Timestamp>,
    /// When the lock ends, or was to end.
    #[serde(serialize_with = "rfc3339")]
    #[schema(required, value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// The name of the token of whoever asked for it.
    #[schema(required)]
    asked_by: Option<&'e str>,
    /// From where.
    #[schema(required)]
    address: Option<&'e str>,
    /// Why, for people.
    #[schema(required)]
    reason: Option<&'e str>,
}

impl<'e> Event<'e> {
    /// As somebody may see it who may see everything, or else only names that
    /// begin as theirs do: the reason of a deadlock names others.
    pub(super) fn of(event: &'e RecordedEvent, sees_all: bool) -> Self {
        let names_others = event.event == EventKind::Deadlock.as_str();
        Self {
            id: event.id,
            event: &event.event,
            resource: &event.resource,
            fencing_token: event.fencing_token,
            owner: event.owner.as_deref(),
            label: event.label.as_deref(),
            ttl: event.ttl,
            at: Some(event.at()),
            expires_at: event.expires_at(),
            asked_by: event.asked_by.as_deref(),
            address: event.address.as_deref(),
            reason: event.reason.as_deref().filter(|_| sees_all || !names_others),
        }
    }
}

/// The tag of a representation: the same for as long as nothing in it changes
/// but the seconds that are left.
pub(super) fn etag(snapshot: &Snapshot) -> ETag {
    // The same in every process of this build; of another, a client may be told once more what it has.
    let mut hasher = DefaultHasher::new();
    (&snapshot.held, snapshot.waiters).hash(&mut hasher);
    let token = snapshot.fencing_token.as_i64();
    ETag::weak(format_args!("{token}-{:016x}", hasher.finish()))
}

/// Whether a grant holds.
#[derive(Serialize, ToSchema)]
pub(super) struct Validity {
    pub(super) valid: bool,
    /// The token of the latest grant; null if there was none.
    #[schema(required, minimum = 1)]
    pub(super) fencing_token: Option<i64>,
    /// Seconds for which it holds yet, if nothing happens; left out of a grant that has no end, or does not hold.
    #[schema(nullable = false, minimum = 0)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires_in: Option<f64>,
}

/// What was acquired together.
#[derive(Serialize, ToSchema)]
pub(super) struct AcquiredTogether {
    #[serde(rename = "Success")]
    success: &'static str,
    resources: Vec<Acquired>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Acquired {
    name: String,
    /// The token of this grant.
    #[schema(minimum = 1)]
    fencing_token: i64,
}

impl AcquiredTogether {
    pub(super) fn new(names: &[ResourceName], grants: &[Grant]) -> Self {
        let resources = names.iter().zip(grants).map(|(name, grant)| Acquired {
            name: name.as_str().to_owned(),
            fencing_token: grant.fencing_token.as_i64(),
        });
        Self {
            success: "Resources are acquired.",
            resources: resources.collect(),
        }
    }
}

/// That a lock was broken.
#[derive(Serialize, ToSchema)]
pub(super) struct Broken {
    #[serde(rename = "Success")]
    pub(super) success: &'static str,
    /// The resource as it was before.
    pub(super) broken: Representation,
}

/// What whoever held a lock is told when it was broken.
#[derive(Serialize, ToSchema)]
pub(super) struct NotAcquiredSinceBroken {
    #[serde(rename = "Error")]
    pub(super) error: &'static str,
    pub(super) broken: HowBroken,
}

/// Why a state cannot be unlocked that nobody holds.
#[derive(Serialize, ToSchema)]
pub(super) struct NotHeld {
    pub(super) detail: &'static str,
    /// If its last lock was broken.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) broken: Option<HowBroken>,
}

/// How a lock was broken.
#[derive(Serialize, ToSchema)]
pub(super) struct HowBroken {
    /// When.
    #[serde(serialize_with = "rfc3339")]
    #[schema(required, value_type = String, format = DateTime)]
    at: Option<Timestamp>,
    /// The name of the token that was used.
    #[schema(required)]
    by: Option<String>,
    /// For people.
    reason: String,
}

impl From<&Break> for HowBroken {
    fn from(broken: &Break) -> Self {
        Self {
            at: Some(broken.at),
            by: broken.by.as_ref().map(|by| by.as_str().to_owned()),
            reason: broken.reason.as_str().to_owned(),
        }
    }
}

/// A token as it is listed: never with its key.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenShown {
    /// The number by which it is revoked.
    #[schema(minimum = 1)]
    id: i64,
    /// What owns the locks that are taken with it.
    name: String,
    /// The resources that it is for are those whose names begin with one of
    /// these; all of them if there are none.
    prefixes: Vec<String>,
    /// What it may do.
    #[schema(value_type = Vec<String>)]
    verbs: Vec<&'static str>,
    /// When it was made.
    #[serde(serialize_with = "rfc3339")]
    #[schema(required, value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
    /// The first instant at which it is good for nothing.
    #[serde(serialize_with = "rfc3339")]
    #[schema(required, value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(serialize_with = "rfc3339")]
    #[schema(required, value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// Whether it is good for anything now.
    good: bool,
}

impl TokenShown {
    pub(super) fn at(token: &Token, now: Timestamp) -> Self {
        Self {
            id: token.id,
            name: token.name.as_str().to_owned(),
            prefixes: token.prefixes.clone(),
            verbs: token.verbs.iter().map(Verb::as_str).collect(),
            created_at: Some(token.created_at),
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            good: token.is_good_at(now),
        }
    }
}

/// A token that was just made.
#[derive(Serialize, ToSchema)]
pub(super) struct NewTokenShown {
    #[serde(flatten)]
    pub(super) token: TokenShown,
    /// Its key, which is shown only now.
    pub(super) key: String,
}

/// Somebody who waits for a resource: never with its key.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct WaiterShown {
    /// 1 is served next.
    #[schema(minimum = 1)]
    position: usize,
    /// The name of the token that it waits with; null at another server.
    #[schema(required)]
    owner: Option<String>,
    /// Who it is and why, for people; null at another server.
    #[schema(required)]
    label: Option<String>,
    /// Since when it waits; null at another server.
    #[serde(serialize_with = "rfc3339")]
    #[schema(required, value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Until when it waits.
    #[serde(serialize_with = "rfc3339")]
    #[schema(required, value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// Everybody in line, in order, of those who wait here and those of whom the
/// database knows, which may be the same.
pub(super) fn in_line(here: Vec<InLine>, anywhere: Vec<(Place, Timestamp)>) -> Vec<WaiterShown> {
    let mut line: BTreeMap<Place, (Timestamp, Option<InLine>)> = anywhere
        .into_iter()
        .map(|(place, until)| (place, (until, None)))
        .collect();
    line.extend(here.into_iter().map(|it| (it.place, (it.until, Some(it)))));
    let positions = line.into_values().enumerate();
    let shown = positions.map(|(at, (until, known))| WaiterShown {
        position: at + 1,
        owner: known
            .as_ref()
            .and_then(|it| it.owner.as_ref())
            .map(|owner| owner.as_str().to_owned()),
        label: known
            .as_ref()
            .and_then(|it| it.label.as_ref())
            .map(|label| label.as_str().to_owned()),
        since: known.map(|it| it.since),
        until: Some(until),
    });
    shown.collect()
}

/// How many locks were renewed.
#[derive(Serialize, ToSchema)]
pub(super) struct Renewed {
    pub(super) renewed: usize,
}

/// How many locks were released.
#[derive(Serialize, ToSchema)]
pub(super) struct Released {
    pub(super) released: usize,
}

/// A token, where there is one.
pub(super) fn token_number(token: FencingToken) -> Option<i64> {
    (token != FencingToken::NONE).then_some(token.as_i64())
}

/// UTC with microseconds, as in `2026-01-31T23:59:59.000001Z`.
fn rfc3339<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at.and_then(rfc3339_text) {
        Some(text) => serializer.serialize_str(&text),
        None => serializer.serialize_none(),
    }
}

/// The same; `None` of what a calendar does not have.
pub(super) fn rfc3339_text(at: Timestamp) -> Option<String> {
    let at = DateTime::from_timestamp_micros(at.as_us())?;
    Some(at.to_rfc3339_opts(SecondsFormat::Micros, true))
}
