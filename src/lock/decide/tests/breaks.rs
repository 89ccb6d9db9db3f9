//! Locks that are broken.

use super::*;
use crate::lock::{Owner, Reason};

const DELAY: Duration = Duration::from_secs(10);

fn break_lock() -> Operation {
    Operation::Break(BreakLock {
        by: Owner::new("oncall"),
        reason: Reason::new("its host is gone").expect("well formed"),
        fencing_token: None,
        address: None,
    })
}

fn rules(lock_delay: Duration) -> Rules {
    Rules {
        lock_delay,
        ..Rules::default()
    }
}

fn renew(locked_by: &str) -> Operation {
    Operation::Renew(Renew {
        locked_by: key(locked_by),
        ttl: None,
        label: NewLabel::Kept,
        fencing_token: None,
        address: None,
    })
}

fn outcome(now: Timestamp, rules: &Rules, resource: &mut Resource, operation: &Operation) -> Outcome {
    let mut tokens = FencingCounter::continuing_after(resource.fencing_token.max(FencingToken::new(100)));
    decide(now, rules, resource, &mut tokens, operation)
}

#[test]
fn only_the_grant_that_is_meant_is_broken() {
    for (token, is_meant) in [(6, false), (7, true), (8, false)] {
        let mut resource = held(None);
        let operation = Operation::Break(BreakLock {
            by: None,
            reason: Reason::new("its host is gone").expect("well formed"),
            fencing_token: Some(FencingToken::new(token)),
            address: None,
        });

        let decided = outcome(NOW, &rules(Duration::ZERO), &mut resource, &operation);

        match is_meant {
            true => assert!(resource.lock.is_none()),
            false => assert_eq!((decided, resource), (Outcome::InvalidUnlock, held(None))),
        }
    }
}

#[test]
fn a_lock_that_holds_is_freed_and_its_token_is_outdated() {
    for expires_at in [None, Some(at(1))] {
        for lock_delay in [Duration::ZERO, DELAY] {
            let mut resource = held(expires_at);

            let broken = outcome(NOW, &rules(lock_delay), &mut resource, &break_lock());

            assert!(broken.is_change());
            let Outcome::Broken(before) = broken else {
                panic!("{broken:?}");
            };
            assert!(before.is_held_with(FencingToken::new(7)));
            assert!(resource.is_free_at(NOW));
            assert_eq!(resource.fencing_token, FencingToken::new(101));
            let how = resource.broken.expect("it says how");
            assert_eq!(
                (how.at, how.by, how.reason.as_str()),
                (NOW, Owner::new("oncall"), "its host is gone")
            );
        }
    }
}

#[test]
fn what_nobody_holds_cannot_be_broken() {
    for before in [free(), held(Some(NOW)), held(Some(at(-5)))] {
        for lock_delay in [Duration::ZERO, DELAY] {
            let mut resource = before.clone();

            let refused = outcome(NOW, &rules(lock_delay), &mut resource, &break_lock());

            assert_eq!(refused, Outcome::NotAcquired);
            assert_eq!(resource, before);
        }
    }
}

#[test]
fn for_the_delay_it_is_nobodys() {
    let mut resource = held(None);
    outcome(NOW, &rules(DELAY), &mut resource, &break_lock());
    let later = NOW + DELAY;

    for (now, locked_by, is_granted) in [
        (at(1), "b", false),
        (Timestamp::from_us(later.as_us() - 1), "b", false),
        (later, "b", true),
        // Whoever broke it wanted it out of these hands.
        (at(1), "a", false),
        (later, "a", true),
    ] {
        let granted = outcome(now, &rules(DELAY), &mut resource.clone(), &acquire(locked_by, None));
        assert_eq!(
            matches!(granted, Outcome::Acquired(_)),
            is_granted,
            "{locked_by} {now:?}"
        );
    }
    assert_eq!(
        outcome(at(1), &rules(DELAY), &mut resource.clone(), &Operation::Expire),
        Outcome::Locked
    );
    let mut swept = resource;
    assert_eq!(
        outcome(later, &rules(DELAY), &mut swept, &Operation::Expire),
        Outcome::Released
    );
    assert!(swept.broken.is_some(), "it is known as long as nobody has it");
}

#[test]
fn whoever_held_it_and_nobody_else_is_told_until_somebody_holds_it() {
    let no_delay = rules(Duration::ZERO);
    let mut resource = held(None);
    outcome(NOW, &no_delay, &mut resource, &break_lock());
    let how = resource.broken.clone().expect("it says how");
    for operation in [release("a"), renew("a")] {
        let told = outcome(at(1), &no_delay, &mut resource, &operation);
        assert_eq!(told, Outcome::WasBroken(Box::new(how.clone())), "{operation:?}");
    }
    for operation in [release("b"), renew("b"), Operation::Release(Release::by(None))] {
        let told = outcome(at(1), &no_delay, &mut resource, &operation);
        assert_eq!(told, Outcome::NotAcquired, "{operation:?}");
    }

    outcome(at(2), &no_delay, &mut resource, &acquire("b", None));

    assert_eq!(
        outcome(at(3), &no_delay, &mut resource, &release("a")),
        Outcome::InvalidUnlock
    );
    assert_eq!(
        outcome(at(3), &no_delay, &mut resource, &renew("a")),
        Outcome::InvalidRenew
    );
    outcome(at(4), &no_delay, &mut resource, &release("b"));
    assert_eq!(
        outcome(at(5), &no_delay, &mut resource, &renew("a")),
        Outcome::NotAcquired
    );
}

#[test]
fn a_grant_that_reached_nobody_is_not_given_back_after_it_was_broken() {
    let mut resource = held(None);
    outcome(NOW, &rules(DELAY), &mut resource, &break_lock());
    let before = resource.clone();

    assert_eq!(
        outcome(NOW, &rules(DELAY), &mut resource, &give_back(7)),
        Outcome::NotAcquired
    );
    assert_eq!(resource, before);
}
