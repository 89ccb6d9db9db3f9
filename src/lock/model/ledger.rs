//! Promises that need no model: one holder at a time, tokens that rise, and no
//! lock that lives again.

use super::naive::NAMES;
use crate::clock::Timestamp;
use crate::lock::{Grant, Snapshot};

/// Every grant that was made, judged by itself and not by the model.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// Until when the latest grant of each name holds; `None` is not at all.
    held_until: [Option<i64>; NAMES],
    highest_token: i64,
}

impl Ledger {
    pub(super) fn grant(&mut self, name: usize, now: i64, grant: &Grant) {
        assert!(!self.is_held(name, now), "name {name} has two holders");
        let token = grant.fencing_token.as_i64();
        assert!(token > self.highest_token, "token {token} did not rise");
        self.highest_token = token;
        self.note(name, grant.expires_at);
    }

    pub(super) fn renew(&mut self, name: usize, now: i64, snapshot: &Snapshot) {
        assert!(self.is_held(name, now), "name {name} was free and is held again");
        self.note(name, snapshot.held.as_ref().expect("it was renewed").expires_at);
    }

    pub(super) fn free(&mut self, name: usize) {
        self.held_until[name] = None;
    }

    /// The locks are what they were, but a token that was taken is never taken
    /// again.
    pub(super) fn roll_back(&mut self, before: &Self) {
        self.held_until = before.held_until;
    }

    fn is_held(&self, name: usize, now: i64) -> bool {
        self.held_until[name].is_some_and(|until| until > now)
    }

    fn note(&mut self, name: usize, expires_at: Option<Timestamp>) {
        self.held_until[name] = Some(expires_at.map_or(i64::MAX, Timestamp::as_us));
    }
}
