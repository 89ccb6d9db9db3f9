//! A session: what a browser has of a token after it was shown once.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::access::hex::to_hex;
use crate::access::{KeyHash, TokenKey};

/// The id of a session, as its cookie has it. Cannot be printed by accident.
pub struct SessionId(String);

impl SessionId {
    /// 160 bits from the operating system's source of chance.
    ///
    /// Errors: there is none.
    pub fn generate() -> Result<Self, getrandom::Error> {
        Ok(Self(TokenKey::generate()?.reveal().to_owned()))
    }

    /// What somebody shows as one.
    pub fn shown(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The id itself, for the cookie.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its hash, which is kept.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }

    /// What the pages of this session send along when they change something. A
    /// page of another site cannot read it, and nobody learns the id from it.
    pub fn csrf_token(&self) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).map(|mac| mac.chain_update("csrf"));
        let mac = mac.expect("HMAC takes a key of any length");
        to_hex(&mac.finalize().into_bytes())
    }

    /// Whether this is that token, in a time that does not depend on it.
    pub fn has_csrf_token(&self, shown: &str) -> bool {
        self.csrf_token().as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_has_a_csrf_token_of_its_own_that_does_not_tell_its_id() {
        let (one, other) = (SessionId::generate(), SessionId::generate());
        let (one, other) = (one.expect("chance"), other.expect("chance"));

        let token = one.csrf_token();

        assert_eq!(one.reveal().len(), 40);
        assert!(one.has_csrf_token(&token));
        assert!(SessionId::shown(one.reveal()).has_csrf_token(&token));
        assert!(!other.has_csrf_token(&token));
        assert!(!one.has_csrf_token(""));
        assert!(!one.has_csrf_token(&token[1..]));
        assert!(!token.contains(one.reveal()));
        assert_ne!(one.hash().to_hex(), token);
        assert!(!format!("{one:?}").contains(one.reveal()));
    }
}
