//! The rules of the system, in one function.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::lock::event::renewals_after;
use crate::lock::{
    Acquire, Break, BreakLock, FencingToken, FormerHolder, Grant, Likeness, Lock, LockedBy, NewLabel, Operation,
    Outcome, Release, Renew, RequestId, Resource, Snapshot,
};

/// The source of fencing tokens: the highest one ever granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FencingCounter(FencingToken);

impl FencingCounter {
    /// Continues after `highest`.
    pub fn continuing_after(highest: FencingToken) -> Self {
        Self(highest)
    }

    /// The highest token granted so far.
    pub fn highest(&self) -> FencingToken {
        self.0
    }

    fn take(&mut self) -> FencingToken {
        self.0 = FencingToken::new(self.0.as_i64() + 1);
        self.0
    }
}

/// What can be set of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// For how long a lock that has expired is not granted to another key, and one
    /// that was broken to none.
    pub lock_delay: Duration,
    /// For how long resources are kept free, at first, for somebody who wants
    /// them together with others.
    pub kept_free_max: Duration,
}

impl Default for Rules {
    /// No delay, and nothing is kept in vain.
    fn default() -> Self {
        Self {
            lock_delay: Duration::ZERO,
            kept_free_max: Duration::MAX,
        }
    }
}

impl Rules {
    /// Whether `locked_by` may not have the resource at `now`: somebody holds it,
    /// or somebody else did until a moment ago and may not know of the end.
    pub fn forbid(&self, now: Timestamp, resource: &Resource, locked_by: &LockedBy) -> bool {
        !resource.is_free_at(now) || self.is_kept_from(now, resource, locked_by)
    }

    /// Whether a free resource is not for `locked_by` yet. A lock that expired is
    /// its holder's to take again; one that was broken is not, because whoever
    /// broke it wanted it out of those hands.
    pub fn is_kept_from(&self, now: Timestamp, resource: &Resource, locked_by: &LockedBy) -> bool {
        let kept = self.keep_for_its_holder(now, resource);
        kept.is_some_and(|lock| resource.broken.is_some() || lock.locked_by != *locked_by)
    }

    /// The lock that has expired, but so lately that nobody else gets it yet.
    pub fn keep_for_its_holder<'r>(&self, now: Timestamp, resource: &'r Resource) -> Option<&'r Lock> {
        let lock = resource.lock.as_ref().filter(|lock| !lock.holds_at(now))?;
        lock.expires_at
            .filter(|expires_at| now < *expires_at + self.lock_delay)?;
        Some(lock)
    }
}

/// Applies `operation` to `resource` as of `now` and says what came of it.
///
/// The resource changes only if the outcome [is a change](Outcome::is_change).
/// Guarantees: a lock that holds at `now` is freed, or made to end earlier, by
/// nobody but its holder's key, for a grant that reached nobody, its token, or
/// whoever breaks it;
/// one that has expired is never held again; a token taken from `tokens` is
/// higher than every one before it.
pub fn decide(
    now: Timestamp,
    rules: &Rules,
    resource: &mut Resource,
    tokens: &mut FencingCounter,
    operation: &Operation,
) -> Outcome {
    match operation {
        Operation::Acquire(acquire) => decide_acquire(now, rules, resource, tokens, acquire),
        Operation::Release(release) => decide_release(now, resource, release),
        Operation::Renew(renew) => decide_renew(now, resource, renew),
        Operation::GiveBack { fencing_token } => match &resource.lock {
            Some(lock) if resource.fencing_token == *fencing_token && !lock.is_told_again => {
                // As if it had never been granted, the release before it is the last thing that happened.
                let release_request = resource.release_request.clone();
                free(now, resource, release_request)
            }
            _ => Outcome::NotAcquired,
        },
        Operation::Expire => match &resource.lock {
            None => Outcome::NotAcquired,
            Some(lock) if lock.holds_at(now) => Outcome::Locked,
            Some(_) if rules.keep_for_its_holder(now, resource).is_some() => Outcome::Locked,
            Some(_) => free(now, resource, None),
        },
        Operation::Break(break_lock) => decide_break(now, rules, resource, tokens, break_lock),
    }
}

fn decide_acquire(
    now: Timestamp,
    rules: &Rules,
    resource: &mut Resource,
    tokens: &mut FencingCounter,
    acquire: &Acquire,
) -> Outcome {
    if let Some(told) = tell_again(now, resource, acquire) {
        return told;
    }
    if rules.forbid(now, resource, &acquire.locked_by) {
        return Outcome::Locked;
    }
    let expires_at = acquire.ttl.map(|ttl| now + ttl.as_duration());
    resource.fencing_token = tokens.take();
    resource.released_at = None;
    resource.broken = None;
    resource.lock = Some(Lock {
        locked_by: acquire.locked_by.clone(),
        ttl: acquire.ttl,
        acquired_at: now,
        expires_at,
        label: acquire.label.clone(),
        client: acquire.client.clone(),
        info: acquire.info.clone(),
        request: acquire.request.clone(),
        is_told_again: false,
        renewals: 0,
    });
    Outcome::Acquired(Grant {
        fencing_token: resource.fencing_token,
        acquired_at: now,
        expires_at,
    })
}

/// The answer to a request that is sent again while its grant stands.
fn tell_again(now: Timestamp, resource: &mut Resource, acquire: &Acquire) -> Option<Outcome> {
    let fencing_token = resource.fencing_token;
    let lock = resource.lock.as_mut().filter(|lock| lock.holds_at(now))?;
    match acquire.request.as_ref()?.likeness(lock.request.as_ref()?) {
        Likeness::Different => None,
        Likeness::KeyReused => Some(Outcome::KeyReused),
        Likeness::Same => {
            lock.is_told_again = true;
            Some(Outcome::AcquiredBefore(Grant {
                fencing_token,
                acquired_at: lock.acquired_at,
                expires_at: lock.expires_at,
            }))
        }
    }
}

fn decide_release(now: Timestamp, resource: &mut Resource, release: &Release) -> Outcome {
    let holder = resource.holder_at(now);
    let is_holder = holder.is_some_and(|lock| release.locked_by.as_ref() == Some(&lock.locked_by));
    if let (Some(request), Some(earlier)) = (&release.request, &resource.release_request) {
        match request.likeness(earlier) {
            Likeness::Different => {}
            // Whether it comes late, or the key is used for another release of the same holder, nobody can tell.
            Likeness::Same if is_holder => return Outcome::KeyReused,
            Likeness::Same => return Outcome::ReleasedBefore,
            Likeness::KeyReused => return Outcome::KeyReused,
        }
    }
    if holder.is_none() {
        return not_acquired(resource, release.locked_by.as_ref());
    }
    if !is_holder
        || release
            .fencing_token
            .is_some_and(|token| token != resource.fencing_token)
    {
        return Outcome::InvalidUnlock;
    }
    free(now, resource, release.request.clone())
}

fn decide_renew(now: Timestamp, resource: &mut Resource, renew: &Renew) -> Outcome {
    let fencing_token = resource.fencing_token;
    let Some(lock) = resource.lock.as_mut().filter(|lock| lock.holds_at(now)) else {
        return not_acquired(resource, Some(&renew.locked_by));
    };
    if renew.locked_by != lock.locked_by || renew.fencing_token.is_some_and(|token| token != fencing_token) {
        return Outcome::InvalidRenew;
    }
    let ttl = renew.ttl.or(lock.ttl);
    lock.renewals = renewals_after(lock, ttl, &renew.label);
    lock.ttl = ttl;
    lock.expires_at = lock.ttl.map(|ttl| now + ttl.as_duration());
    if let NewLabel::Set(label) = &renew.label {
        lock.label.clone_from(label);
    }
    Outcome::Renewed(Box::new(Snapshot::of(resource, now, None)))
}

/// The lock ends at once. It has expired, so it may be kept back for a while: its
/// holder may not know of it yet.
fn decide_break(
    now: Timestamp,
    rules: &Rules,
    resource: &mut Resource,
    tokens: &mut FencingCounter,
    break_lock: &BreakLock,
) -> Outcome {
    let Some(lock) = resource.holder_at(now) else {
        return Outcome::NotAcquired;
    };
    let meant = break_lock.fencing_token;
    if meant.is_some_and(|token| token != resource.fencing_token) {
        return Outcome::InvalidUnlock;
    }
    let holder = FormerHolder::of(&resource.name, &lock.locked_by);
    let before = Snapshot::of(resource, now, None);
    // Higher than that of whoever still believes to hold it, and nobody's.
    resource.fencing_token = tokens.take();
    resource.broken = Some(Break {
        at: now,
        by: break_lock.by.clone(),
        reason: break_lock.reason.clone(),
        holder: Some(holder),
    });
    match &mut resource.lock {
        Some(lock) if !rules.lock_delay.is_zero() => {
            lock.expires_at = Some(now);
            resource.release_request = None;
        }
        _ => {
            free(now, resource, None);
        }
    }
    Outcome::Broken(Box::new(before))
}

/// What somebody is told who believes to hold a free resource: that it is free,
/// and how that came if it was theirs and was broken.
fn not_acquired(resource: &Resource, locked_by: Option<&LockedBy>) -> Outcome {
    let is_theirs = |broken: &&Break| locked_by.is_some_and(|by| broken.ended_that_of(&resource.name, by));
    match resource.broken.as_ref().filter(is_theirs) {
        None => Outcome::NotAcquired,
        Some(broken) => Outcome::WasBroken(Box::new(broken.clone())),
    }
}

fn free(now: Timestamp, resource: &mut Resource, request: Option<RequestId>) -> Outcome {
    resource.lock = None;
    resource.released_at = Some(now);
    resource.release_request = request;
    Outcome::Released
}

#[cfg(test)]
mod tests;
