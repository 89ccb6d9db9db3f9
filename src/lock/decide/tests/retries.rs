//! Requests that are sent again.

use super::{NOW, acquire, decide_all, free, give_back, held, key, release};
use crate::lock::{Acquire, LockedBy, Operation, Outcome, Release, RequestId};

fn request(key: &str, body: &str) -> Option<RequestId> {
    RequestId::new(key, None, [Some(body)])
}

/// As `acquire`, by a request that may be sent again.
fn ask(locked_by: &str, idempotency_key: &str, body: &str) -> Operation {
    Operation::Acquire(Acquire {
        request: request(idempotency_key, body),
        ..Acquire::by(key(locked_by))
    })
}

fn give_up(locked_by: &str, key: &str, body: &str) -> Operation {
    Operation::Release(Release {
        request: request(key, body),
        ..Release::by(LockedBy::new(locked_by))
    })
}

#[test]
fn a_request_that_is_sent_again_gets_the_first_answer_while_its_grant_stands() {
    let mut resource = free();
    let outcomes = decide_all(
        &mut resource,
        &[
            ask("a", "k", "body"),
            ask("a", "k", "body"),
            // The first answer reached nobody, but perhaps the second does.
            give_back(101),
            ask("a", "k", "another body"),
            ask("a", "another", "body"),
            release("a"),
            ask("a", "k", "body"),
        ],
    );

    let token = |outcome: &Outcome| match outcome {
        Outcome::Acquired(grant) | Outcome::AcquiredBefore(grant) => grant.fencing_token.as_i64(),
        outcome => panic!("{outcome:?}"),
    };
    assert!(matches!(outcomes[0], Outcome::Acquired(_)) && matches!(outcomes[1], Outcome::AcquiredBefore(_)));
    assert_eq!((token(&outcomes[0]), token(&outcomes[1])), (101, 101));
    assert_eq!(
        outcomes[2..5],
        [Outcome::NotAcquired, Outcome::KeyReused, Outcome::Locked]
    );
    assert_eq!(outcomes[5], Outcome::Released);
    assert_eq!(token(&outcomes[6]), 102, "it was released since, so it is a new one");
}

#[test]
fn an_expired_grant_is_not_told_again() {
    let mut resource = free();
    decide_all(&mut resource, &[ask("a", "k", "body")]);
    resource.lock.as_mut().expect("it is held").expires_at = Some(NOW);

    let again = decide_all(&mut resource, &[ask("a", "k", "body")]);

    assert!(matches!(again[..], [Outcome::Acquired(_)]), "{again:?}");
}

#[test]
fn a_release_that_is_sent_again_is_told_again_and_frees_nothing_else() {
    let again = |since: &[Operation]| {
        let mut resource = held(None);
        assert_eq!(
            decide_all(&mut resource, &[give_up("a", "k", "body")]),
            [Outcome::Released]
        );
        decide_all(&mut resource, since);
        let before = resource.clone();
        let outcome = decide_all(&mut resource, &[give_up("a", "k", "body")]).remove(0);
        (outcome, resource == before)
    };

    assert_eq!(again(&[]), (Outcome::ReleasedBefore, true));
    assert_eq!(again(&[acquire("b", None)]), (Outcome::ReleasedBefore, true));
    // Nobody can tell whether it means the lock that was or the one that is.
    assert_eq!(again(&[acquire("a", None)]), (Outcome::KeyReused, true));
    assert_eq!(again(&[acquire("b", None), release("b")]), (Outcome::NotAcquired, true));
    // Nobody learned of a grant that was given back.
    for key in ["a", "b"] {
        let since = [acquire(key, None), give_back(101)];
        assert_eq!(again(&since), (Outcome::ReleasedBefore, true), "{key}");
    }

    let mut resource = held(None);
    let others = [
        give_up("a", "k", "body"),
        give_up("a", "k", "another body"),
        give_up("a", "another", "body"),
    ];
    let expected = [Outcome::Released, Outcome::KeyReused, Outcome::NotAcquired];
    assert_eq!(decide_all(&mut resource, &others), expected);
}
