//! A resource and the checked values it is made of.
//!
//! Separate from the rules, so that a value of one of these types is known to
//! be well formed wherever it appears.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::clock::Timestamp;
use crate::limits::{
    INFO_CHARS_MAX, LABEL_CHARS_MAX, LOCKED_BY_CHARS_MAX, NAME_CHARS_MAX, OWNER_CHARS_MAX, TTL_SECONDS_MAX,
};
use crate::lock::{Break, EventId, RequestId};

/// The name of a resource: 1 to 100 characters, none of them U+0000.
///
/// Compared byte by byte: no trimming, no case folding, no normalization.
/// Cloning copies a pointer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName(Arc<str>);

impl ResourceName {
    /// `None` if the text is not such a name.
    pub fn new(text: &str) -> Option<Self> {
        is_text_up_to(NAME_CHARS_MAX, text).then(|| Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ResourceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whom a lock belongs to beside its key: the name of the token that it was
/// asked for with. 1 to 100 characters, none of them U+0000. Shown to all.
/// Cloning copies a pointer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(Arc<str>);

impl Owner {
    /// `None` if the text is not such a name.
    pub fn new(text: &str) -> Option<Self> {
        is_text_up_to(OWNER_CHARS_MAX, text).then(|| Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The key of a lock, 1 to 100 characters and none of them U+0000, and its
/// owner. Whoever knows the key may release the lock, if there is no owner, or
/// as that owner. To another owner the same key is another one.
///
/// The key cannot be printed, and is compared in a time that does not depend
/// on how much of it was guessed.
#[derive(Clone)]
pub struct LockedBy {
    key: Box<str>,
    owner: Option<Owner>,
}

impl LockedBy {
    /// Of no owner. `None` if the text is not such a key.
    pub fn new(text: impl Into<Box<str>>) -> Option<Self> {
        let key = text.into();
        is_text_up_to(LOCKED_BY_CHARS_MAX, &key).then_some(Self { key, owner: None })
    }

    /// The same key of this owner.
    pub fn owned_by(self, owner: Option<Owner>) -> Self {
        Self { owner, ..self }
    }

    /// The key itself, for the store and for nothing else.
    pub fn reveal(&self) -> &str {
        &self.key
    }

    /// Whose it is, if anybody's.
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }
}

impl PartialEq for LockedBy {
    fn eq(&self, other: &Self) -> bool {
        let is_same_key: bool = self.key.as_bytes().ct_eq(other.key.as_bytes()).into();
        is_same_key && self.owner == other.owner
    }
}

impl Eq for LockedBy {}

impl Hash for LockedBy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
        self.owner.hash(state);
    }
}

impl fmt::Debug for LockedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockedBy(…)")
    }
}

/// Who holds a lock and why, for people: 1 to 200 characters, none of them
/// U+0000. Shown to all. Cloning copies a pointer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Label(Arc<str>);

impl Label {
    /// `None` if the text is not such a label.
    pub fn new(text: &str) -> Option<Self> {
        is_text_up_to(LABEL_CHARS_MAX, text).then(|| Self(text.into()))
    }

    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who asked for a lock, as far as the locks of each client are counted; as
/// operators read it, for example `token 7` or `192.0.2.1`. Cloning copies a
/// pointer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientName(Arc<str>);

impl ClientName {
    /// The client that is written so.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a holder says of itself, for programs of its own kind that are refused:
/// 1 to 8192 characters, none of them U+0000. It may have the key, as Terraform's
/// does, so it cannot be printed and is in no representation. Cloning copies a
/// pointer.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Info(Arc<str>);

impl Info {
    /// `None` if the text is not such an info.
    pub fn new(text: &str) -> Option<Self> {
        is_text_up_to(INFO_CHARS_MAX, text).then(|| Self(text.into()))
    }

    /// The text, for the store and for those to whom the holder speaks.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Info(…)")
    }
}

pub(super) fn is_text_up_to(chars_max: usize, text: &str) -> bool {
    let short_enough = text.len() <= chars_max || text.chars().count() <= chars_max;
    !text.is_empty() && short_enough && !text.contains('\0')
}

/// How long a lock lasts: 1 to 2147483647 whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ttl(u32);

impl Ttl {
    /// `None` if `seconds` is out of range.
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        u32::try_from(seconds)
            .ok()
            .filter(|seconds| (1..=TTL_SECONDS_MAX).contains(seconds))
            .map(Self)
    }

    /// Whole seconds.
    pub fn as_seconds(self) -> u32 {
        self.0
    }

    /// The same as a duration.
    pub fn as_duration(self) -> Duration {
        Duration::from_secs(self.0.into())
    }
}

/// A number that rises with each grant in the whole database, for ever. A
/// guarded system that refuses lower ones than it has seen is safe from
/// holders that sleep past their ttl.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FencingToken(i64);

impl FencingToken {
    /// What a resource has that was never granted.
    pub const NONE: Self = Self(0);

    /// The token with this number.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_i64(self) -> i64 {
        self.0
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The lock that was last taken on a resource and not given back; it may have
/// expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The holder's key.
    pub locked_by: LockedBy,
    /// What the holder asked for; `None` never expires.
    pub ttl: Option<Ttl>,
    /// When it was granted.
    pub acquired_at: Timestamp,
    /// The first instant at which it no longer holds.
    pub expires_at: Option<Timestamp>,
    /// For people.
    pub label: Option<Label>,
    /// Among whose locks it counts, if they are counted.
    pub client: Option<ClientName>,
    /// What the holder says of itself.
    pub info: Option<Info>,
    /// The request that was granted, if it may be sent again.
    pub request: Option<RequestId>,
    /// Whether the grant was told to that request more than once. Then it is not
    /// undone because one of the answers reached nobody.
    pub is_told_again: bool,
    /// How many renewals there were in a row that said the same.
    pub renewals: u32,
}

impl Lock {
    /// Whether the lock still holds at `now`.
    pub fn holds_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

/// A named thing that one holder at a time may lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its name.
    pub name: ResourceName,
    /// The lock on it, if any; see [`Resource::holder_at`].
    pub lock: Option<Lock>,
    /// The token of the latest grant, [`FencingToken::NONE`] before the first.
    pub fencing_token: FencingToken,
    /// When it last became free; `None` while it has a lock or never had one.
    pub released_at: Option<Timestamp>,
    /// The request that released it last, if that may be sent again.
    pub release_request: Option<RequestId>,
    /// If the latest grant was broken, how. Gone with the next grant.
    pub broken: Option<Break>,
    /// What was recorded last of it, if anything was.
    pub last_event: Option<EventId>,
}

impl Resource {
    /// A resource that nobody ever acquired.
    pub fn unseen(name: ResourceName) -> Self {
        Self {
            name,
            lock: None,
            fencing_token: FencingToken::NONE,
            released_at: None,
            release_request: None,
            broken: None,
            last_event: None,
        }
    }

    /// The lock that holds the resource at `now`.
    pub fn holder_at(&self, now: Timestamp) -> Option<&Lock> {
        self.lock.as_ref().filter(|lock| lock.holds_at(now))
    }

    /// Whether nobody holds it at `now`: released, expired or never held.
    pub fn is_free_at(&self, now: Timestamp) -> bool {
        self.holder_at(now).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_in_characters_and_have_no_nul() {
        assert!(ResourceName::new(&"é".repeat(100)).is_some());
        assert!(ResourceName::new(&"é".repeat(101)).is_none());
        assert!(ResourceName::new("").is_none());
        assert!(ResourceName::new("a\0b").is_none());
        assert!(ResourceName::new(" ").is_some());
    }

    #[test]
    fn a_key_cannot_be_printed() {
        let key = LockedBy::new("hunter2").expect("well formed");

        assert!(!format!("{key:?}").contains("hunter2"));
    }

    #[test]
    fn the_same_key_of_another_owner_is_another_one() {
        let key = || LockedBy::new("k").expect("well formed");
        let of = |owner| key().owned_by(Owner::new(owner));

        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        assert_ne!(of("a"), key());
        assert_eq!(key().owned_by(None), key());
    }

    #[test]
    fn a_ttl_is_between_one_second_and_the_largest_integer_of_the_table() {
        for (seconds, accepted) in [
            (0, false),
            (-1, false),
            (1, true),
            (2_147_483_647, true),
            (2_147_483_648, false),
        ] {
            assert_eq!(Ttl::from_seconds(seconds).is_some(), accepted, "{seconds}");
        }
    }
}
