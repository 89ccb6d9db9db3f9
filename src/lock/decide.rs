//! The rules of the system, in one function.

use crate::clock::Timestamp;
use crate::lock::{FencingToken, Grant, Lock, Operation, Outcome, Resource};

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

/// Applies `operation` to `resource` as of `now` and says what came of it.
///
/// The resource changes exactly if the outcome [is a change](Outcome::is_change).
/// Guarantees: a lock that holds at `now` is freed by nobody but its holder's
/// key or, for a grant that reached nobody, its token; a token taken from
/// `tokens` is higher than every one before it.
pub fn decide(now: Timestamp, resource: &mut Resource, tokens: &mut FencingCounter, operation: &Operation) -> Outcome {
    match operation {
        Operation::Acquire { locked_by, ttl } => {
            if !resource.is_free_at(now) {
                return Outcome::Locked;
            }
            let expires_at = ttl.map(|ttl| now + ttl.as_duration());
            resource.fencing_token = tokens.take();
            resource.released_at = None;
            resource.lock = Some(Lock {
                locked_by: locked_by.clone(),
                ttl: *ttl,
                acquired_at: now,
                expires_at,
            });
            Outcome::Acquired(Grant {
                fencing_token: resource.fencing_token,
                acquired_at: now,
                expires_at,
            })
        }
        Operation::Release { locked_by } => match resource.holder_at(now) {
            None => Outcome::NotAcquired,
            Some(lock) if locked_by.as_ref() == Some(&lock.locked_by) => release(now, resource),
            Some(_) => Outcome::InvalidUnlock,
        },
        Operation::GiveBack { fencing_token } => {
            if resource.lock.is_some() && resource.fencing_token == *fencing_token {
                release(now, resource)
            } else {
                Outcome::NotAcquired
            }
        }
        Operation::Expire => match &resource.lock {
            None => Outcome::NotAcquired,
            Some(lock) if lock.holds_at(now) => Outcome::Locked,
            Some(_) => release(now, resource),
        },
    }
}

fn release(now: Timestamp, resource: &mut Resource) -> Outcome {
    resource.lock = None;
    resource.released_at = Some(now);
    Outcome::Released
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{LockedBy, ResourceName, Ttl};

    const NOW: Timestamp = Timestamp::from_us(1_000_000_000);

    fn at(us_after_now: i64) -> Timestamp {
        Timestamp::from_us(NOW.as_us() + us_after_now)
    }

    fn key(text: &str) -> LockedBy {
        LockedBy::new(text).expect("well formed")
    }

    fn free() -> Resource {
        Resource::unseen(ResourceName::new("r").expect("well formed"))
    }

    /// Held by `a` since long ago, with token 7.
    fn held(expires_at: Option<Timestamp>) -> Resource {
        Resource {
            lock: Some(Lock {
                locked_by: key("a"),
                ttl: expires_at.map(|_| Ttl::from_seconds(5).expect("in range")),
                acquired_at: Timestamp::from_us(5),
                expires_at,
            }),
            fencing_token: FencingToken::new(7),
            ..free()
        }
    }

    fn acquire(locked_by: &str, ttl_seconds: Option<i64>) -> Operation {
        Operation::Acquire {
            locked_by: key(locked_by),
            ttl: ttl_seconds.map(|seconds| Ttl::from_seconds(seconds).expect("in range")),
        }
    }

    fn release(locked_by: &str) -> Operation {
        Operation::Release {
            locked_by: Some(key(locked_by)),
        }
    }

    fn give_back(token: i64) -> Operation {
        Operation::GiveBack {
            fencing_token: FencingToken::new(token),
        }
    }

    fn granted(expires_at: Option<Timestamp>) -> Outcome {
        Outcome::Acquired(Grant {
            fencing_token: FencingToken::new(101),
            acquired_at: NOW,
            expires_at,
        })
    }

    #[test]
    fn every_operation_on_every_state() {
        let nobody = Operation::Release { locked_by: None };
        let table = [
            ("free, acquire", free(), acquire("b", None), granted(None)),
            (
                "free, acquire with ttl",
                free(),
                acquire("b", Some(2)),
                granted(Some(at(2_000_000))),
            ),
            ("free, release", free(), release("a"), Outcome::NotAcquired),
            ("free, release by nobody", free(), nobody.clone(), Outcome::NotAcquired),
            ("free, give back", free(), give_back(0), Outcome::NotAcquired),
            ("free, expire", free(), Operation::Expire, Outcome::NotAcquired),
            (
                "held, acquire by another",
                held(None),
                acquire("b", None),
                Outcome::Locked,
            ),
            (
                "held, acquire by its holder",
                held(None),
                acquire("a", None),
                Outcome::Locked,
            ),
            (
                "held, release by its holder",
                held(None),
                release("a"),
                Outcome::Released,
            ),
            (
                "held, release by another",
                held(None),
                release("b"),
                Outcome::InvalidUnlock,
            ),
            (
                "held, release by a longer key",
                held(None),
                release("ab"),
                Outcome::InvalidUnlock,
            ),
            (
                "held, release by nobody",
                held(None),
                nobody.clone(),
                Outcome::InvalidUnlock,
            ),
            ("held, give back its grant", held(None), give_back(7), Outcome::Released),
            (
                "held, give back an older grant",
                held(None),
                give_back(6),
                Outcome::NotAcquired,
            ),
            (
                "held, expire without ttl",
                held(None),
                Operation::Expire,
                Outcome::Locked,
            ),
            (
                "1 us left, acquire",
                held(Some(at(1))),
                acquire("b", None),
                Outcome::Locked,
            ),
            ("1 us left, release", held(Some(at(1))), release("a"), Outcome::Released),
            (
                "1 us left, expire",
                held(Some(at(1))),
                Operation::Expire,
                Outcome::Locked,
            ),
            (
                "expires now, acquire",
                held(Some(NOW)),
                acquire("b", None),
                granted(None),
            ),
            (
                "expires now, acquire by its holder",
                held(Some(NOW)),
                acquire("a", None),
                granted(None),
            ),
            (
                "expires now, release by its holder",
                held(Some(NOW)),
                release("a"),
                Outcome::NotAcquired,
            ),
            (
                "expires now, release by another",
                held(Some(NOW)),
                release("b"),
                Outcome::NotAcquired,
            ),
            (
                "expires now, expire",
                held(Some(NOW)),
                Operation::Expire,
                Outcome::Released,
            ),
            (
                "long expired, give back",
                held(Some(at(-9))),
                give_back(7),
                Outcome::Released,
            ),
        ];
        for (claim, before, operation, expected) in table {
            let mut after = before.clone();
            let mut tokens = FencingCounter::continuing_after(FencingToken::new(100));

            let outcome = decide(NOW, &mut after, &mut tokens, &operation);

            assert_eq!(outcome, expected, "{claim}");
            assert_eq!(
                outcome.is_change(),
                after != before,
                "{claim}: changes exactly if it says so"
            );
            if let Outcome::Acquired(grant) = &outcome {
                assert_eq!(after.fencing_token, grant.fencing_token, "{claim}");
                assert_eq!(tokens.highest(), grant.fencing_token, "{claim}");
                assert!(after.released_at.is_none(), "{claim}");
            } else {
                assert_eq!(
                    after.fencing_token, before.fencing_token,
                    "{claim}: only a grant takes a token"
                );
                assert_eq!(tokens.highest().as_i64(), 100, "{claim}: only a grant takes a token");
            }
            if outcome == Outcome::Released {
                assert!(after.lock.is_none() && after.released_at == Some(NOW), "{claim}");
            }
        }
    }

    #[test]
    fn the_longest_ttl_does_not_overflow() {
        let mut resource = free();
        let mut tokens = FencingCounter::continuing_after(FencingToken::NONE);

        decide(NOW, &mut resource, &mut tokens, &acquire("a", Some(2_147_483_647)));

        assert!(!resource.is_free_at(at(2_147_483_646 * 1_000_000)));
    }
}
