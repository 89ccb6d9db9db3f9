//! How locks came to their ends in a batch, for those who count.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::lock::{Operation, Outcome, Resource};

/// The end of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why it ended.
    pub how: End,
    /// For how long it was held.
    pub held: Duration,
}

/// Why a lock ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its holder released it.
    Released,
    /// Its ttl was over.
    Expired,
    /// Somebody broke it.
    Broken,
    /// Nobody learned that it was granted.
    GivenBack,
}

/// A lock that is in a row before an operation.
#[derive(Clone, Copy)]
pub(super) struct Before {
    acquired_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl Before {
    /// `None` if there is none, or one that was broken and ended then.
    pub(super) fn of(resource: &Resource) -> Option<Self> {
        let lock = resource.lock.as_ref().filter(|_| resource.broken.is_none())?;
        Some(Self {
            acquired_at: lock.acquired_at,
            expires_at: lock.expires_at,
        })
    }

    /// The end of the lock, if that is what came of the operation.
    pub(super) fn ended_by(self, now: Timestamp, operation: &Operation, outcome: &Outcome) -> Option<Ended> {
        let how = match (operation, outcome) {
            (Operation::Release(_), Outcome::Released) => End::Released,
            (Operation::Break(_), Outcome::Broken(_)) => End::Broken,
            (Operation::GiveBack { .. }, Outcome::Released) => End::GivenBack,
            // What is granted although there was a lock had expired.
            (Operation::Expire, Outcome::Released) | (Operation::Acquire(_), Outcome::Acquired(_)) => End::Expired,
            _ => return None,
        };
        let ended_at = match (how, self.expires_at) {
            (End::Expired, Some(expires_at)) => expires_at,
            _ => now,
        };
        Some(Ended {
            how,
            held: ended_at.since(self.acquired_at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{
        Acquire, BreakLock, FencingCounter, FencingToken, LockedBy, Place, Reason, Release, ResourceName, Rows, Rules,
        Ttl, WaitingLines,
    };
    use crate::lock::{Batch, StillWaits};

    struct Nobody;

    impl StillWaits for Nobody {
        fn still_waits(&self) -> bool {
            false
        }
    }

    fn key() -> LockedBy {
        LockedBy::new("k").expect("well formed")
    }

    /// What ends in a batch at second `at` with these operations, on a resource
    /// that was granted at second 0 for ten.
    fn ends(at: u64, lock_delay: u64, operations: &[Operation]) -> Vec<(End, u64)> {
        let after = |seconds| Timestamp::from_us(1_000_000_000) + Duration::from_secs(seconds);
        let rules = Rules {
            lock_delay: Duration::from_secs(lock_delay),
            ..Rules::default()
        };
        let name = ResourceName::new("r").expect("well formed");
        let tokens = FencingCounter::continuing_after(FencingToken::NONE);
        let mut rows = Rows::loaded(vec![Resource::unseen(name)], tokens, Place::NONE);
        let mut lines = WaitingLines::<Nobody>::default();
        let mut first = Batch::new(after(0), rules, &mut rows, &mut lines);
        first.apply(0, &acquire());
        assert!(first.ended.is_empty());
        let mut batch = Batch::new(after(at), rules, &mut rows, &mut lines);
        for operation in operations {
            batch.apply(0, operation);
        }
        let ended = batch.ended.iter();
        ended.map(|ended| (ended.how, ended.held.as_secs())).collect()
    }

    fn acquire() -> Operation {
        Operation::Acquire(Acquire {
            ttl: Ttl::from_seconds(10),
            ..Acquire::by(key())
        })
    }

    #[test]
    fn each_end_is_noted_once_and_with_the_time_for_which_the_lock_was_held() {
        let release = |key| Operation::Release(Release::by(LockedBy::new(key)));
        let break_lock = || {
            Operation::Break(BreakLock {
                by: None,
                reason: Reason::new("gone").expect("well formed"),
                fencing_token: None,
                address: None,
            })
        };
        let give_back = |token| Operation::GiveBack {
            fencing_token: FencingToken::new(token),
        };
        for (at, lock_delay, operations, expected) in [
            (3, 0, vec![release("k"), release("k")], vec![(End::Released, 3)]),
            (3, 0, vec![release("other"), acquire(), Operation::Expire], vec![]),
            (3, 0, vec![give_back(1), give_back(1)], vec![(End::GivenBack, 3)]),
            (3, 0, vec![give_back(7)], vec![]),
            // It ended when its ttl was over, whoever sees that and when.
            (
                15,
                0,
                vec![Operation::Expire, Operation::Expire],
                vec![(End::Expired, 10)],
            ),
            (
                15,
                0,
                vec![acquire(), release("k")],
                vec![(End::Expired, 10), (End::Released, 0)],
            ),
            (15, 9, vec![Operation::Expire], vec![]),
            (15, 9, vec![acquire()], vec![(End::Expired, 10)]),
            (
                3,
                0,
                vec![break_lock(), break_lock(), Operation::Expire],
                vec![(End::Broken, 3)],
            ),
        ] {
            assert_eq!(ends(at, lock_delay, &operations), expected, "{at} {operations:?}");
        }
    }

    #[test]
    fn what_is_left_of_a_broken_lock_does_not_end_again() {
        let mut resource = Resource::unseen(ResourceName::new("r").expect("well formed"));
        let (mut tokens, rules) = (
            FencingCounter::continuing_after(FencingToken::NONE),
            Rules {
                lock_delay: Duration::from_secs(5),
                ..Rules::default()
            },
        );
        let at = Timestamp::from_us(1_000_000_000);
        let break_lock = Operation::Break(BreakLock {
            by: None,
            reason: Reason::new("gone").expect("well formed"),
            fencing_token: None,
            address: None,
        });
        crate::lock::decide(at, &rules, &mut resource, &mut tokens, &acquire());
        assert!(Before::of(&resource).is_some());

        crate::lock::decide(at, &rules, &mut resource, &mut tokens, &break_lock);

        assert!(resource.lock.is_some(), "kept from others for a while");
        assert!(Before::of(&resource).is_none());
    }
}
