//! Requests that may be sent twice, because their first answer was lost.
//!
//! Separate from the operations, because the store keeps these beside the lock
//! that came of them.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::limits::{IDEMPOTENCY_KEY_CHARS_MAX, OWNER_CHARS_MAX};
use crate::lock::Owner;
use crate::lock::resource::is_text_up_to;

/// Bytes of a digest that are kept: two bodies that a client sends under one
/// key do not meet by chance, and one who wants them to can do no harm.
pub(super) const DIGEST_BYTES: usize = 16;

/// What stands between an owner and a key: no header can have it.
const BETWEEN: char = '\n';

/// Characters of an owner, of what is between, and of a key.
const OWNED_KEY_CHARS_MAX: usize = OWNER_CHARS_MAX + 1 + IDEMPOTENCY_KEY_CHARS_MAX;

/// An `Idempotency-Key`, and what was asked under it.
///
/// After draft-ietf-httpapi-idempotency-key-header: the key says that two
/// requests are the same one, the digest finds out a client that uses a key
/// again for something else. The key is kept as it was sent, the rest as a hash
/// only. Neither can be printed: `locked_by` is part of what is hashed.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId {
    key: Box<str>,
    digest: [u8; DIGEST_BYTES],
}

/// How two requests compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// They are one, sent twice.
    Same,
    /// They are two, but have the same key.
    KeyReused,
    /// They have nothing to do with each other.
    Different,
}

impl RequestId {
    /// The identity of a request with the header `key` that asks for `parts`, in
    /// their order. `None` if the key is not 1 to 100 characters without U+0000.
    /// The keys of one `owner` have nothing to do with those of another.
    pub fn new<'p>(key: &str, owner: Option<&Owner>, parts: impl IntoIterator<Item = Option<&'p str>>) -> Option<Self> {
        if !is_text_up_to(IDEMPOTENCY_KEY_CHARS_MAX, key) {
            return None;
        }
        let digest = digest(parts);
        let key = match owner {
            None => key.into(),
            Some(owner) => format!("{}{BETWEEN}{key}", owner.as_str()).into(),
        };
        Some(Self { key, digest })
    }

    /// The key, after its owner.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How this request compares to an earlier one.
    pub fn likeness(&self, earlier: &Self) -> Likeness {
        if self.key != earlier.key {
            Likeness::Different
        } else if self.digest == earlier.digest {
            Likeness::Same
        } else {
            Likeness::KeyReused
        }
    }

    /// As it is stored: the digest in hexadecimal, a blank, the key.
    pub fn to_text(&self) -> String {
        format!("{} {}", digest_to_text(&self.digest), self.key)
    }

    /// From what [`RequestId::to_text`] made; `None` if it cannot have made that.
    pub fn from_text(text: &str) -> Option<Self> {
        let (digest, key) = text.split_once(' ')?;
        let digest = digest_from_text(digest)?;
        is_text_up_to(OWNED_KEY_CHARS_MAX, key).then(|| Self {
            key: key.into(),
            digest,
        })
    }
}

/// The beginning of the SHA-256 of `parts`.
pub(super) fn digest<'p>(parts: impl IntoIterator<Item = Option<&'p str>>) -> [u8; DIGEST_BYTES] {
    let mut hasher = Sha256::new();
    for part in parts {
        // With its length, so that no two lists of parts are hashed alike.
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        hasher.update(length.to_le_bytes());
        hasher.update(part.unwrap_or_default());
    }
    let mut digest = [0; DIGEST_BYTES];
    digest.copy_from_slice(&hasher.finalize()[..DIGEST_BYTES]);
    digest
}

/// As it is stored, in hexadecimal.
pub(super) fn digest_to_text(digest: &[u8; DIGEST_BYTES]) -> String {
    format!("{:032x}", u128::from_be_bytes(*digest))
}

/// From what [`digest_to_text`] made; `None` if it cannot have made that.
pub(super) fn digest_from_text(text: &str) -> Option<[u8; DIGEST_BYTES]> {
    let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32)?;
    Some(number.to_be_bytes())
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestId(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &str, parts: &[Option<&str>]) -> RequestId {
        RequestId::new(key, None, parts.iter().copied()).expect("well formed")
    }

    #[test]
    fn the_key_says_that_it_is_the_same_and_the_parts_tell_on_who_lies() {
        let first = request("k", &[Some("ab"), None]);
        for (again, likeness) in [
            (request("k", &[Some("ab"), None]), Likeness::Same),
            (request("k", &[Some("a"), Some("b")]), Likeness::KeyReused),
            (request("k", &[Some("ab"), Some("")]), Likeness::KeyReused),
            (request("k", &[Some("ab")]), Likeness::KeyReused),
            (request("K", &[Some("ab"), None]), Likeness::Different),
        ] {
            assert_eq!(again.likeness(&first), likeness, "{}", again.to_text());
        }
    }

    #[test]
    fn what_is_stored_is_read_back_and_nothing_else_is() {
        let request = request("a key: with blanks, é", &[Some("secret")]);
        let text = request.to_text();

        assert_eq!(RequestId::from_text(&text), Some(request));
        assert!(!text.contains("secret"));
        for broken in ["", "k", &text[1..], &text[..33], &format!("x{}", &text[1..])] {
            assert_eq!(RequestId::from_text(broken), None, "{broken}");
        }
    }

    #[test]
    fn another_owner_may_use_the_same_key() {
        let of = |owner: Option<&str>| {
            let owner = owner.and_then(Owner::new);
            RequestId::new("k", owner.as_ref(), [Some("x")]).expect("well formed")
        };

        assert_eq!(of(Some("a")).likeness(&of(Some("a"))), Likeness::Same);
        assert_eq!(of(Some("a")).likeness(&of(Some("b"))), Likeness::Different);
        assert_eq!(of(Some("a")).likeness(&of(None)), Likeness::Different);
        let stored = of(Some("a"));
        assert_eq!(RequestId::from_text(&stored.to_text()), Some(stored));
    }

    #[test]
    fn a_request_cannot_be_printed() {
        let request = request("hunter2", &[Some("hunter3")]);

        assert_eq!(format!("{request:?}"), "RequestId(…)");
    }

    #[test]
    fn a_key_has_1_to_100_characters() {
        assert!(RequestId::new("", None, []).is_none());
        assert!(RequestId::new(&"é".repeat(100), None, []).is_some());
        assert!(RequestId::new(&"é".repeat(101), None, []).is_none());
    }
}
