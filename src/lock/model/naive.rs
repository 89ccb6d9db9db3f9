//! The model: who holds what, and one list of all who wait.
//!
//! It answers what is asked of a holder exactly, and knows no line: who of those
//! who wait is served is seen, and judged by what was promised. It shares types
//! of values with the rules proper and no step of their thinking.

use super::asks::{Operation, Wish, label_of, name_of, ttl_of};
use crate::clock::Timestamp;
use crate::lock::{FencingToken, Grant, Held, Outcome, Snapshot};

/// Resources in play: few, so that everybody meets.
pub(super) const NAMES: usize = 4;

/// Keys in play.
pub(super) const KEYS: u8 = 4;

/// All resources, and all who wait and are alive, by place.
#[derive(Clone, Debug, Default)]
pub(super) struct Naive {
    pub(super) resources: [NaiveResource; NAMES],
    pub(super) waiting: Vec<Waiting>,
    pub(super) highest_token: i64,
    /// Microseconds for which an expired lock is not granted to another key.
    pub(super) delay_us: i64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct NaiveResource {
    pub(super) lock: Option<NaiveLock>,
    pub(super) latest_token: i64,
    /// What freed it last, if that was a release.
    pub(super) release: Option<Operation>,
}

#[derive(Clone, Debug)]
pub(super) struct NaiveLock {
    /// What was granted; never changed.
    pub(super) wish: Wish,
    pub(super) since: i64,
    pub(super) ttl: Option<u8>,
    pub(super) until: Option<i64>,
    pub(super) label: Option<u8>,
    pub(super) is_told_again: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) id: u32,
    pub(super) place: i64,
    pub(super) wish: Wish,
}

impl Naive {
    /// Who holds the resource now.
    pub(super) fn lock_at(&self, name: usize, now: i64) -> Option<&NaiveLock> {
        let lock = self.resources[name].lock.as_ref()?;
        lock.until.is_none_or(|until| until > now).then_some(lock)
    }

    pub(super) fn is_held_by(&self, name: usize, now: i64, key: u8) -> bool {
        self.lock_at(name, now).is_some_and(|lock| lock.wish.key == key)
    }

    /// The key that held it until a moment ago and is the only one to get it.
    pub(super) fn kept_for(&self, name: usize, now: i64) -> Option<u8> {
        let lock = self.resources[name].lock.as_ref()?;
        let until = lock.until?;
        (until <= now && now < until + self.delay_us).then_some(lock.wish.key)
    }

    /// Whether nobody and nothing but a line stands between a key and a resource.
    pub(super) fn is_open_to(&self, name: usize, now: i64, key: u8) -> bool {
        let is_kept = self.kept_for(name, now).is_some_and(|kept_for| kept_for != key);
        self.lock_at(name, now).is_none() && !is_kept
    }

    pub(super) fn grant(&mut self, name: usize, now: i64, wish: &Wish) -> Grant {
        self.highest_token += 1;
        let resource = &mut self.resources[name];
        resource.latest_token = self.highest_token;
        let lock = resource.lock.insert(NaiveLock {
            wish: wish.clone(),
            since: now,
            ttl: wish.ttl,
            until: end_of(wish.ttl, now),
            label: wish.label,
            is_told_again: false,
        });
        lock.told(resource.latest_token)
    }

    /// The answer to a wish that was sent before, if there is any.
    pub(super) fn tell_again(&mut self, now: i64, wish: &Wish) -> Option<Outcome> {
        let request = Some(wish.request?);
        let standing = |name: &usize| self.lock_at(*name, now).map(|lock| &lock.wish);
        let standing: Vec<_> = wish.names.iter().map(standing).collect();
        let had_it = |other: &&Wish| other.request == request && *other != wish;
        if standing.iter().flatten().any(had_it) {
            return Some(Outcome::KeyReused);
        }
        if !standing.iter().all(|standing| *standing == Some(wish)) {
            return None;
        }
        let told = wish.names.iter().map(|name| {
            let resource = &mut self.resources[*name];
            let lock = resource.lock.as_mut().expect("it stands");
            lock.is_told_again = true;
            lock.told(resource.latest_token)
        });
        let mut told: Vec<_> = told.collect();
        Some(match told.len() {
            1 => Outcome::AcquiredBefore(told.remove(0)),
            _ => Outcome::AcquiredTogetherBefore(told),
        })
    }

    /// What comes of something that is asked of a holder, or of nobody.
    pub(super) fn apply(&mut self, name: usize, now: i64, operation: &Operation) -> Outcome {
        let is_held = self.lock_at(name, now).is_some();
        let is_kept = self.kept_for(name, now).is_some();
        let is_by = |key: &Option<u8>| key.is_some_and(|key| self.is_held_by(name, now, key));
        let resource = &self.resources[name];
        let is_meant = |token: &Option<i64>| token.is_none_or(|token| token == resource.latest_token);
        let outcome = match operation {
            Operation::Release { key, token, request } => {
                let earlier = resource.release.as_ref();
                let has_its_key = |earlier: &&Operation| request.is_some() && earlier.request() == *request;
                match earlier.filter(has_its_key) {
                    Some(earlier) if earlier == operation && !is_by(key) => Outcome::ReleasedBefore,
                    Some(_) => Outcome::KeyReused,
                    None if !is_held => Outcome::NotAcquired,
                    None if is_by(key) && is_meant(token) => Outcome::Released,
                    None => Outcome::InvalidUnlock,
                }
            }
            Operation::Renew { .. } if !is_held => Outcome::NotAcquired,
            Operation::Renew { key, token, .. } if !is_by(&Some(*key)) || !is_meant(token) => Outcome::InvalidRenew,
            Operation::Renew { ttl, label, .. } => return self.renew(name, now, *ttl, *label),
            Operation::GiveBack { token } => match &resource.lock {
                Some(lock) if *token == resource.latest_token && !lock.is_told_again => Outcome::Released,
                _ => Outcome::NotAcquired,
            },
            Operation::Expire if is_held || is_kept => Outcome::Locked,
            Operation::Expire if resource.lock.is_none() => Outcome::NotAcquired,
            Operation::Expire => Outcome::Released,
        };
        if outcome == Outcome::Released {
            let resource = &mut self.resources[name];
            resource.lock = None;
            // What is given back was never there, as far as anybody knows.
            if !matches!(operation, Operation::GiveBack { .. }) {
                resource.release = operation.request().map(|_| operation.clone());
            }
        }
        outcome
    }

    fn renew(&mut self, name: usize, now: i64, ttl: Option<u8>, label: Option<Option<u8>>) -> Outcome {
        let lock = self.resources[name].lock.as_mut().expect("it is held");
        lock.ttl = ttl.or(lock.ttl);
        lock.until = end_of(lock.ttl, now);
        lock.label = label.unwrap_or(lock.label);
        Outcome::Renewed(Box::new(self.snapshot(name, now)))
    }

    fn snapshot(&self, name: usize, now: i64) -> Snapshot {
        let held = self.lock_at(name, now).map(|lock| Held {
            owner: None,
            label: lock.label.map(label_of),
            info: None,
            ttl: lock.ttl.map(ttl_of),
            acquired_at: Timestamp::from_us(lock.since),
            expires_at: lock.until.map(Timestamp::from_us),
        });
        Snapshot {
            name: name_of(name),
            seen_at: Timestamp::from_us(now),
            held,
            fencing_token: FencingToken::new(self.resources[name].latest_token),
            waiters: None,
        }
    }
}

impl NaiveLock {
    fn told(&self, token: i64) -> Grant {
        Grant {
            fencing_token: FencingToken::new(token),
            acquired_at: Timestamp::from_us(self.since),
            expires_at: self.until.map(Timestamp::from_us),
        }
    }
}

fn end_of(ttl: Option<u8>, now: i64) -> Option<i64> {
    ttl.map(|seconds| now + i64::from(seconds) * 1_000_000)
}
