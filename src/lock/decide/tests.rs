//! Each rule, on each state that matters to it.

mod breaks;
mod retries;

use super::*;
use crate::lock::{Label, ResourceName, Ttl};

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
            label: None,
            client: None,
            info: None,
            request: None,
            is_told_again: false,
            renewals: 0,
        }),
        fencing_token: FencingToken::new(7),
        ..free()
    }
}

fn acquire(locked_by: &str, ttl_seconds: Option<i64>) -> Operation {
    Operation::Acquire(Acquire {
        ttl: ttl_seconds.map(|seconds| Ttl::from_seconds(seconds).expect("in range")),
        ..Acquire::by(key(locked_by))
    })
}

fn release(locked_by: &str) -> Operation {
    Operation::Release(Release::by(Some(key(locked_by))))
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
    let nobody = Operation::Release(Release::by(None));
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

        let outcome = decide(NOW, &Rules::default(), &mut after, &mut tokens, &operation);

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

/// Decides one operation after the other at `NOW`.
fn decide_all(resource: &mut Resource, operations: &[Operation]) -> Vec<Outcome> {
    let mut tokens = FencingCounter::continuing_after(FencingToken::new(100));
    let decide = |operation| decide(NOW, &Rules::default(), resource, &mut tokens, operation);
    operations.iter().map(decide).collect()
}

fn renew(locked_by: &str, ttl_seconds: Option<i64>, fencing_token: Option<i64>) -> Operation {
    Operation::Renew(Renew {
        locked_by: key(locked_by),
        ttl: ttl_seconds.map(|seconds| Ttl::from_seconds(seconds).expect("in range")),
        label: NewLabel::Kept,
        fencing_token: fencing_token.map(FencingToken::new),
        address: None,
    })
}

#[test]
fn a_lock_is_renewed_by_its_holder_only_and_only_while_it_holds() {
    let until = |us| Ok(Some(at(us)));
    let table = [
        ("free", free(), renew("a", Some(2), None), Err(Outcome::NotAcquired)),
        ("held", held(Some(at(1))), renew("a", Some(2), None), until(2_000_000)),
        (
            "the last ttl again",
            held(Some(at(1))),
            renew("a", None, None),
            until(5_000_000),
        ),
        (
            "shorter",
            held(Some(at(9_000_000))),
            renew("a", Some(1), None),
            until(1_000_000),
        ),
        ("for ever, as before", held(None), renew("a", None, None), Ok(None)),
        (
            "for ever until now",
            held(None),
            renew("a", Some(3), None),
            until(3_000_000),
        ),
        ("its token", held(None), renew("a", None, Some(7)), Ok(None)),
        (
            "an older token",
            held(None),
            renew("a", None, Some(6)),
            Err(Outcome::InvalidRenew),
        ),
        (
            "a token to come",
            held(None),
            renew("a", None, Some(8)),
            Err(Outcome::InvalidRenew),
        ),
        (
            "somebody else",
            held(None),
            renew("b", None, Some(7)),
            Err(Outcome::InvalidRenew),
        ),
        (
            "expired",
            held(Some(NOW)),
            renew("a", Some(2), None),
            Err(Outcome::NotAcquired),
        ),
    ];
    for (claim, before, operation, expected) in table {
        let mut after = before.clone();

        let outcome = decide_all(&mut after, &[operation]).remove(0);

        assert_eq!(after.fencing_token, before.fencing_token, "{claim}");
        match (expected, outcome) {
            (Ok(expires_at), Outcome::Renewed(snapshot)) => {
                let lock = after.lock.expect("it is held");
                assert_eq!(lock.expires_at, expires_at, "{claim}");
                assert_eq!(snapshot.held.expect("it is held").expires_at, expires_at, "{claim}");
                assert_eq!(
                    lock.acquired_at,
                    before.lock.expect("it was held").acquired_at,
                    "{claim}"
                );
            }
            (expected, outcome) => {
                assert_eq!(expected, Err(outcome), "{claim}");
                assert_eq!(after, before, "{claim}");
            }
        }
    }
}

#[test]
fn a_renewal_keeps_the_label_or_changes_it() {
    let label = |text| Label::new(text);
    for (new, expected) in [
        (NewLabel::Kept, label("old")),
        (NewLabel::Set(label("new")), label("new")),
        (NewLabel::Set(None), None),
    ] {
        let mut resource = held(None);
        resource.lock.as_mut().expect("it is held").label = label("old");
        let Operation::Renew(renew) = renew("a", None, None) else {
            unreachable!("it is a renewal");
        };

        decide_all(&mut resource, &[Operation::Renew(Renew { label: new, ..renew })]);

        assert_eq!(resource.lock.expect("it is held").label, expected);
    }
}

#[test]
fn a_release_with_a_token_frees_that_grant_and_no_other() {
    for (token, expected) in [
        (6, Outcome::InvalidUnlock),
        (7, Outcome::Released),
        (8, Outcome::InvalidUnlock),
    ] {
        let release = Operation::Release(Release {
            fencing_token: Some(FencingToken::new(token)),
            ..Release::by(LockedBy::new("a"))
        });

        assert_eq!(decide_all(&mut held(None), &[release]), [expected], "{token}");
    }
}

#[test]
fn for_a_while_after_its_end_a_lock_is_granted_to_nobody_else() {
    let rules = Rules {
        lock_delay: Duration::from_micros(10),
        ..Rules::default()
    };
    let ask = |now: i64, key: &str| {
        let mut resource = held(Some(NOW));
        let mut tokens = FencingCounter::continuing_after(FencingToken::new(100));
        decide(at(now), &rules, &mut resource, &mut tokens, &acquire(key, None))
    };
    let clear = |now| {
        let mut tokens = FencingCounter::continuing_after(FencingToken::new(100));
        decide(at(now), &rules, &mut held(Some(NOW)), &mut tokens, &Operation::Expire)
    };

    assert_eq!(ask(9, "b"), Outcome::Locked);
    assert!(matches!(ask(10, "b"), Outcome::Acquired(_)));
    assert!(
        matches!(ask(0, "a"), Outcome::Acquired(_)),
        "its holder gets it at once"
    );
    assert_eq!(ask(-1, "a"), Outcome::Locked, "though not before its end");
    assert_eq!((clear(9), clear(10)), (Outcome::Locked, Outcome::Released));
}

#[test]
fn the_longest_ttl_does_not_overflow() {
    let mut resource = free();
    let mut tokens = FencingCounter::continuing_after(FencingToken::NONE);

    let longest = acquire("a", Some(2_147_483_647));
    decide(NOW, &Rules::default(), &mut resource, &mut tokens, &longest);

    assert!(!resource.is_free_at(at(2_147_483_646 * 1_000_000)));
}
