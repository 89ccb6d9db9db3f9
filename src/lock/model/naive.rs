//! The model: a holder and a list per resource.
//!
//! It shares types of values with the rules proper and no step of their
//! thinking.

use crate::clock::Timestamp;
use crate::lock::{FencingToken, Grant, LockedBy, Operation, Outcome, ResourceName, Ttl};

/// Resources in play: few, so that everybody meets.
pub(super) const NAMES: usize = 3;

/// Keys in play.
pub(super) const KEYS: u8 = 3;

/// All resources.
#[derive(Clone, Debug, Default)]
pub(super) struct Naive {
    pub(super) resources: [NaiveResource; NAMES],
    pub(super) highest_token: i64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct NaiveResource {
    pub(super) holder: Option<Holder>,
    pub(super) line: Vec<Waiting>,
    pub(super) latest_token: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Holder {
    pub(super) key: u8,
    pub(super) until: Option<i64>,
    pub(super) token: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) id: u32,
    pub(super) key: u8,
    pub(super) ttl: Option<u8>,
}

impl Naive {
    fn is_held(&self, name: usize, now: i64) -> bool {
        let holder = self.resources[name].holder.as_ref();
        holder.is_some_and(|holder| holder.until.is_none_or(|until| until > now))
    }

    fn grant(&mut self, name: usize, now: i64, key: u8, ttl: Option<u8>) -> Outcome {
        self.highest_token += 1;
        let until = ttl.map(|seconds| now + i64::from(seconds) * 1_000_000);
        let token = self.highest_token;
        self.resources[name].latest_token = token;
        self.resources[name].holder = Some(Holder { key, until, token });
        Outcome::Acquired(Grant {
            fencing_token: FencingToken::new(token),
            acquired_at: Timestamp::from_us(now),
            expires_at: until.map(Timestamp::from_us),
        })
    }

    fn serve_the_line(&mut self, name: usize, now: i64, served: &mut Vec<(u32, Outcome)>) {
        if !self.is_held(name, now) && !self.resources[name].line.is_empty() {
            let first = self.resources[name].line.remove(0);
            served.push((first.id, self.grant(name, now, first.key, first.ttl)));
        }
    }

    /// What comes of `operation`, and who of the line is served by the way.
    pub(super) fn apply(
        &mut self,
        name: usize,
        now: i64,
        operation: &NaiveOperation,
    ) -> (Outcome, Vec<(u32, Outcome)>) {
        let mut served = Vec::new();
        self.serve_the_line(name, now, &mut served);
        let held = self.is_held(name, now);
        let holder = self.resources[name].holder.clone();
        let outcome = match (operation, holder) {
            (NaiveOperation::Acquire { .. }, _) if held => Outcome::Locked,
            (NaiveOperation::Acquire { key, ttl }, _) => self.grant(name, now, *key, *ttl),
            (NaiveOperation::Release { .. }, _) if !held => Outcome::NotAcquired,
            (NaiveOperation::Release { key: Some(key) }, Some(holder)) if *key == holder.key => Outcome::Released,
            (NaiveOperation::Release { .. }, _) => Outcome::InvalidUnlock,
            (NaiveOperation::GiveBack { token }, Some(holder)) if *token == holder.token => Outcome::Released,
            (NaiveOperation::GiveBack { .. }, _) => Outcome::NotAcquired,
            (NaiveOperation::Expire, _) if held => Outcome::Locked,
            (NaiveOperation::Expire, None) => Outcome::NotAcquired,
            (NaiveOperation::Expire, Some(_)) => Outcome::Released,
        };
        if outcome == Outcome::Released {
            self.resources[name].holder = None;
            self.serve_the_line(name, now, &mut served);
        }
        (outcome, served)
    }
}

#[derive(Clone, Debug)]
pub(super) enum NaiveOperation {
    Acquire { key: u8, ttl: Option<u8> },
    Release { key: Option<u8> },
    GiveBack { token: i64 },
    Expire,
}

impl NaiveOperation {
    pub(super) fn proper(&self) -> Operation {
        match self {
            Self::Acquire { key, ttl } => Operation::Acquire {
                locked_by: key_of(*key),
                ttl: ttl.map(|seconds| Ttl::from_seconds(seconds.into()).expect("in range")),
            },
            Self::Release { key } => Operation::Release {
                locked_by: key.map(key_of),
            },
            Self::GiveBack { token } => Operation::GiveBack {
                fencing_token: FencingToken::new(*token),
            },
            Self::Expire => Operation::Expire,
        }
    }
}

pub(super) fn key_of(key: u8) -> LockedBy {
    LockedBy::new(format!("key {key}")).expect("well formed")
}

pub(super) fn name_of(name: usize) -> ResourceName {
    ResourceName::new(&format!("name {name}")).expect("well formed")
}
