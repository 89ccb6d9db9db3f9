//! Locks that were broken, and who is told of it.

use std::fmt;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::limits::REASON_CHARS_MAX;
use crate::lock::request::{DIGEST_BYTES, digest, digest_from_text, digest_to_text};
use crate::lock::resource::is_text_up_to;
use crate::lock::{LockedBy, Owner, ResourceName};

/// That a lock was broken: freed by somebody who does not know its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// When.
    pub at: Timestamp,
    /// By whose token; `None` where there are none.
    pub by: Option<Owner>,
    /// Why, for people.
    pub reason: Reason,
    /// Whose lock it was; `None` if that is not known.
    pub holder: Option<FormerHolder>,
}

impl Break {
    /// Whether this ended the lock on `name` of whoever has this key.
    pub fn ended_that_of(&self, name: &ResourceName, locked_by: &LockedBy) -> bool {
        self.holder
            .is_some_and(|holder| holder == FormerHolder::of(name, locked_by))
    }
}

/// By what the holder of a lock is known again that was broken: a hash of its
/// key and owner, because nobody but they shall be told, and the key is kept no
/// longer than the lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FormerHolder([u8; DIGEST_BYTES]);

impl FormerHolder {
    /// Whoever has this key, at the resource of this name.
    pub fn of(name: &ResourceName, locked_by: &LockedBy) -> Self {
        let owner = locked_by.owner().map(Owner::as_str);
        Self(digest([Some(name.as_str()), owner, Some(locked_by.reveal())]))
    }

    /// As it is stored, in hexadecimal.
    pub fn to_text(self) -> String {
        digest_to_text(&self.0)
    }

    /// From what [`FormerHolder::to_text`] made; `None` if it cannot have made
    /// that.
    pub fn from_text(text: &str) -> Option<Self> {
        digest_from_text(text).map(Self)
    }
}

impl fmt::Debug for FormerHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FormerHolder(…)")
    }
}

/// Why a lock was broken, for people: 1 to 200 characters, none of them U+0000.
/// Cloning copies a pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(Arc<str>);

impl Reason {
    /// `None` if the text is not such a reason.
    pub fn new(text: &str) -> Option<Self> {
        is_text_up_to(REASON_CHARS_MAX, text).then(|| Self(text.into()))
    }

    /// The reason as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_holder_is_known_by_all_that_made_it_one() {
        let name = |text| ResourceName::new(text).expect("well formed");
        let key = |text: &str, owner| LockedBy::new(text).expect("well formed").owned_by(Owner::new(owner));
        let holder = FormerHolder::of(&name("r"), &key("k", "ci"));

        assert_eq!(holder, FormerHolder::of(&name("r"), &key("k", "ci")));
        for (other, locked_by) in [
            ("s", key("k", "ci")),
            ("r", key("l", "ci")),
            ("r", key("k", "")),
            ("r", key("k", "c")),
        ] {
            assert_ne!(holder, FormerHolder::of(&name(other), &locked_by));
        }
        assert_eq!(FormerHolder::from_text(&holder.to_text()), Some(holder));
        assert_eq!(FormerHolder::from_text(&holder.to_text()[1..]), None);
    }
}
