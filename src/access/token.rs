//! A token: a name, what it may do, and to which resources.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::clock::Timestamp;
use crate::limits::NAME_CHARS_MAX;
use crate::lock::Owner;

/// Something that a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// To acquire, and to renew and release what was acquired.
    Acquire,
    /// To look, list, wait for news, and check fencing tokens.
    Read,
    /// To break the locks of others.
    Break,
    /// To see and change tokens.
    Admin,
}

impl Verb {
    /// All that there are, in the order in which they are written.
    pub const ALL: [Self; 4] = [Self::Acquire, Self::Read, Self::Break, Self::Admin];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Read => "read",
            Self::Break => "break",
            Self::Admin => "admin",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What is no verb.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{0}' is no verb; write one or more of acquire, read, break, admin, separated by commas")]
pub struct UnknownVerb(String);

/// Some verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verbs(u8);

impl Verbs {
    /// Whether this is among them.
    pub fn allow(self, verb: Verb) -> bool {
        self.0 & verb.bit() != 0
    }

    /// Those that are allowed, in their order.
    pub fn iter(self) -> impl Iterator<Item = Verb> {
        Verb::ALL.into_iter().filter(move |verb| self.allow(*verb))
    }
}

impl FromIterator<Verb> for Verbs {
    fn from_iter<I: IntoIterator<Item = Verb>>(verbs: I) -> Self {
        Self(verbs.into_iter().fold(0, |all, verb| all | verb.bit()))
    }
}

impl FromStr for Verbs {
    type Err = UnknownVerb;

    /// Reads a list separated by commas, which is not empty.
    fn from_str(text: &str) -> Result<Self, UnknownVerb> {
        let mut verbs = 0;
        for word in text.split(',').map(str::trim) {
            let verb = Verb::ALL.into_iter().find(|verb| verb.as_str() == word);
            verbs |= verb.ok_or_else(|| UnknownVerb(word.to_owned()))?.bit();
        }
        Ok(Self(verbs))
    }
}

impl fmt::Display for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.iter().map(Verb::as_str).collect();
        f.write_str(&words.join(","))
    }
}

/// A token without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The number by which people revoke it.
    pub id: i64,
    /// What owns the locks that are taken with it.
    pub name: Owner,
    /// The resources that it is for are those whose names begin with one of
    /// these; all of them if there are none.
    pub prefixes: Vec<String>,
    /// What it may do.
    pub verbs: Verbs,
    /// When it was made.
    pub created_at: Timestamp,
    /// The first instant at which it is good for nothing.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Token {
    /// Whether it is good for anything at `now`.
    pub fn is_good_at(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }

    /// Whether it is for the resource of this name, compared byte by byte.
    pub fn is_for(&self, name: &str) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }

    /// Whether whoever has it may do all that a token may with these verbs and
    /// prefixes.
    pub fn covers(&self, verbs: Verbs, prefixes: &[String]) -> bool {
        let is_within = match prefixes {
            [] => self.prefixes.is_empty() || self.prefixes.iter().any(String::is_empty),
            prefixes => prefixes.iter().all(|prefix| self.is_for(prefix)),
        };
        is_within && verbs.iter().all(|verb| self.verbs.allow(verb))
    }
}

/// Whether a token may have this name: an owner of locks that can be shown on a
/// line.
pub fn is_token_name(text: &str) -> bool {
    Owner::new(text).is_some() && !text.chars().any(char::is_control)
}

/// Whether a token may have this prefix: the name of a resource can begin so.
pub fn is_token_prefix(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= NAME_CHARS_MAX && !text.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(prefixes: &[&str], expires_at_us: Option<i64>, revoked_at_us: Option<i64>) -> Token {
        Token {
            id: 1,
            name: Owner::new("ci").expect("well formed"),
            prefixes: prefixes.iter().map(ToString::to_string).collect(),
            verbs: "acquire,read".parse().expect("verbs"),
            created_at: Timestamp::from_us(0),
            expires_at: expires_at_us.map(Timestamp::from_us),
            revoked_at: revoked_at_us.map(Timestamp::from_us),
        }
    }

    #[test]
    fn verbs_are_read_in_any_order_and_written_in_one() {
        for (text, written) in [
            ("read", "read"),
            ("read,acquire", "acquire,read"),
            (" admin , break,break", "break,admin"),
        ] {
            let verbs: Verbs = text.parse().expect(text);
            assert_eq!(verbs.to_string(), written);
        }
        for wrong in ["", "read,", "write", "Read"] {
            let verbs: Result<Verbs, _> = wrong.parse();
            assert!(verbs.is_err(), "{wrong}");
        }
        let verbs: Verbs = "acquire,break".parse().expect("verbs");
        assert!(verbs.allow(Verb::Acquire) && verbs.allow(Verb::Break));
        assert!(!verbs.allow(Verb::Read) && !verbs.allow(Verb::Admin));
    }

    #[test]
    fn a_token_is_for_the_names_that_begin_so() {
        for (prefixes, name, is_for) in [
            (&[][..], "anything", true),
            (&["ci-"], "ci-1", true),
            (&["ci-"], "ci-", true),
            (&["ci-"], "ci", false),
            (&["ci-"], "CI-1", false),
            (&["ci-", "deploy"], "deploy-prod", true),
            (&["é"], "e\u{301}", false),
            (&[""], "anything", true),
        ] {
            assert_eq!(token(prefixes, None, None).is_for(name), is_for, "{prefixes:?} {name}");
        }
    }

    #[test]
    fn a_token_covers_what_is_no_more_than_itself() {
        let is_covered = |own: &[&str], verbs: &str, prefixes: &[&str]| {
            let prefixes: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
            token(own, None, None).covers(verbs.parse().expect("verbs"), &prefixes)
        };
        for (own, verbs, prefixes, covered) in [
            (&[][..], "acquire,read", &[][..], true),
            (&[], "read", &["a"], true),
            (&[], "break", &["a"], false),
            (&[], "read,admin", &[], false),
            (&["a"], "read", &["a"], true),
            (&["a"], "read", &["ab", "a"], true),
            (&["a"], "read", &["ab", "b"], false),
            (&["ab"], "read", &["a"], false),
            (&["a"], "read", &[], false),
            (&["a", ""], "read", &[], true),
        ] {
            assert_eq!(
                is_covered(own, verbs, prefixes),
                covered,
                "{own:?} {verbs} {prefixes:?}"
            );
        }
    }

    #[test]
    fn a_token_ends_at_its_instant_or_when_it_is_revoked() {
        let now = Timestamp::from_us(100);
        for (expires_at, revoked_at, is_good) in [
            (None, None, true),
            (Some(101), None, true),
            (Some(100), None, false),
            (Some(99), None, false),
            (None, Some(1), false),
            // By a clock that is ahead.
            (None, Some(1_000), false),
        ] {
            let token = token(&[], expires_at, revoked_at);
            assert_eq!(token.is_good_at(now), is_good, "{expires_at:?} {revoked_at:?}");
        }
    }
}
