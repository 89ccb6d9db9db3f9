//! The key of a token, which only its holder has, and its hash, which is kept.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::access::hex::to_hex;

/// Bytes of chance in a key: 160 bits, as Django REST framework's tokens have.
const KEY_BYTES: usize = 20;

/// A new key, in hexadecimal. Cannot be printed by accident.
pub struct TokenKey(String);

/// The SHA-256 of a key.
///
/// Enough without salt and stretching: nobody goes through 160 bits of chance.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl TokenKey {
    /// From the operating system's source of chance.
    ///
    /// Errors: there is none.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(to_hex(&bytes)))
    }

    /// The key itself, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its hash.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

impl KeyHash {
    /// That of a text that somebody shows as a key.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// In hexadecimal, as it is stored.
    pub fn to_hex(&self) -> String {
        to_hex(&self.0)
    }

    /// The number by which it is looked up. Two keys that share it are told
    /// apart by comparison.
    pub fn number(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(first)
    }

    /// From what [`KeyHash::to_hex`] made; `None` if it cannot have made that.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'))?;
        }
        Some(Self(hash))
    }
}

/// In a time that does not depend on how much of it is alike.
impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_160_bits_of_which_no_two_are_alike() {
        let (one, other) = (TokenKey::generate(), TokenKey::generate());
        let (one, other) = (one.expect("chance"), other.expect("chance"));

        assert_eq!(one.reveal().len(), 40);
        assert!(one.reveal().bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one.reveal(), other.reveal());
        assert_ne!(one.hash(), other.hash());
        assert_eq!(one.hash(), KeyHash::of(one.reveal()));
        assert!(!format!("{one:?}").contains(one.reveal()));
    }

    #[test]
    fn a_hash_is_read_back_and_nothing_else_is() {
        // FIPS 180-4's example.
        let hash = KeyHash::of("abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

        assert_eq!(hash.to_hex(), text);
        assert_eq!(KeyHash::from_hex(text), Some(hash));
        for broken in [
            "",
            &text[1..],
            &format!("{text}0"),
            &text.replace('b', "g"),
            &text.replacen("ba", "+a", 1),
        ] {
            assert_eq!(KeyHash::from_hex(broken), None, "{broken}");
        }
    }
}
