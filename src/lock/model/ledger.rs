//! The two promises that need no model: one holder at a time, and tokens that
//! rise.

use super::naive::NAMES;
use crate::clock::Timestamp;
use crate::lock::Outcome;

/// Every grant that was made, judged by itself and not by the model.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// Until when the latest grant of each name holds; `None` is not at all.
    pub(super) held_until: [Option<i64>; NAMES],
    highest_token: i64,
}

impl Ledger {
    pub(super) fn is_held(&self, name: usize, now: i64) -> bool {
        self.held_until[name].is_some_and(|until| until > now)
    }

    pub(super) fn grant(&mut self, name: usize, now: i64, outcome: &Outcome) {
        let Outcome::Acquired(grant) = outcome else {
            panic!("{outcome:?} is no grant");
        };
        assert!(!self.is_held(name, now), "name {name} has two holders");
        let token = grant.fencing_token.as_i64();
        assert!(token > self.highest_token, "token {token} did not rise");
        self.highest_token = token;
        self.held_until[name] = Some(grant.expires_at.map_or(i64::MAX, Timestamp::as_us));
    }
}
