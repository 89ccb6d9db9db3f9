//! How the keys of locks are kept.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::access::hex::to_hex;
use crate::lock::LockedBy;

/// What stands in place of a key tells how it was made.
const SCHEME: &str = "hmac-sha256:";

/// How `locked_by` is kept, in memory and in the table.
#[derive(Clone)]
pub enum AtRest {
    /// As it was sent, so that people who look at the table see it. But for what
    /// looks like a hash: else one that is in the table from when keys were
    /// hashed could be sent as a key.
    Plain,
    /// As its HMAC-SHA256 (RFC 2104) under a secret that is not in the database:
    /// whoever reads that can release nothing, and can try no guesses.
    Hashed(Hmac<Sha256>),
}

impl AtRest {
    /// Hashed under this secret.
    pub fn hashed(secret: &str) -> Self {
        Self::Hashed(hmac_under(secret))
    }

    /// What is kept of a key that somebody sent, of the same owner.
    pub fn keep(&self, locked_by: LockedBy) -> LockedBy {
        let mac = match self {
            Self::Hashed(mac) => mac.clone(),
            // Under no secret, but nobody finds a text whose hash is one that is given.
            Self::Plain if locked_by.reveal().starts_with(SCHEME) => hmac_under(""),
            Self::Plain => return locked_by,
        };
        let hash = mac.chain_update(locked_by.reveal()).finalize().into_bytes();
        let text = format!("{SCHEME}{}", to_hex(&hash));
        let kept = LockedBy::new(text).expect("it is short enough for a key");
        kept.owned_by(locked_by.owner().cloned())
    }
}

fn hmac_under(secret: &str) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length")
}

impl fmt::Debug for AtRest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Hashed(_) => "Hashed(…)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Owner;

    fn key(text: &str) -> LockedBy {
        LockedBy::new(text).expect("well formed")
    }

    #[test]
    fn a_key_is_kept_as_it_is_or_as_its_hmac() {
        // RFC 4231, test case 2.
        let (secret, sent) = ("Jefe", "what do ya want for nothing?");
        let hmac = "hmac-sha256:5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";

        assert_eq!(AtRest::Plain.keep(key(sent)).reveal(), sent);
        assert_eq!(AtRest::hashed(secret).keep(key(sent)).reveal(), hmac);
    }

    #[test]
    fn what_is_kept_is_no_key() {
        let at_rest = AtRest::hashed("secret");
        let kept = at_rest.keep(key("k"));

        assert_ne!(at_rest.keep(key(kept.reveal())), kept);
        assert_ne!(AtRest::hashed("other").keep(key("k")), kept);
        assert_eq!(at_rest.keep(key("k")), kept);
    }

    #[test]
    fn what_was_kept_hashed_is_no_key_where_keys_are_plain() {
        let kept = AtRest::hashed("secret").keep(key("k"));
        let sent = AtRest::Plain.keep(key(kept.reveal()));

        assert_ne!(sent, kept);
        assert_eq!(
            sent,
            AtRest::Plain.keep(key(kept.reveal())),
            "though it is a key of its own"
        );
        assert_ne!(AtRest::Plain.keep(key(sent.reveal())), sent);
        let longest = format!("{SCHEME}{}", "é".repeat(88));
        assert!(AtRest::Plain.keep(key(&longest)).reveal().starts_with(SCHEME));
    }

    #[test]
    fn the_owner_stays() {
        let owner = Owner::new("ci");
        let kept = AtRest::hashed("secret").keep(key("k").owned_by(owner.clone()));

        assert_eq!(kept.owner(), owner.as_ref());
    }
}
