use std::time::Duration;

use super::*;
use crate::lock::{
    Batch, BreakLock, FencingCounter, LockedBy, Place, Reason, Release, Renew, Rows, Rules, StillWaits, WaitingLines,
};

enum Nobody {}

impl StillWaits for Nobody {
    fn still_waits(&self) -> bool {
        match *self {}
    }
}

fn key(text: &str) -> LockedBy {
    LockedBy::new(text).expect("well formed")
}

fn acquire(by: &str, ttl: Option<i64>) -> Operation {
    Operation::Acquire(Acquire {
        ttl: ttl.and_then(Ttl::from_seconds),
        ..Acquire::by(key(by))
    })
}

fn release(by: &str) -> Operation {
    Operation::Release(Release::by(Some(key(by))))
}

fn renew(by: &str, ttl: Option<i64>, label: NewLabel) -> Operation {
    Operation::Renew(Renew {
        locked_by: key(by),
        ttl: ttl.and_then(Ttl::from_seconds),
        label,
        fencing_token: None,
        address: None,
    })
}

fn break_it() -> Operation {
    Operation::Break(BreakLock {
        by: Owner::new("oncall"),
        reason: Reason::new("gone").expect("well formed"),
        fencing_token: None,
        address: None,
    })
}

/// What is recorded when this is done to a resource, each at its second, in
/// batches of their own: what happened, and at which second.
fn recorded(lock_delay: u64, story: &[(u64, Operation)]) -> Vec<(&'static str, i64)> {
    let rules = Rules {
        lock_delay: Duration::from_secs(lock_delay),
        ..Rules::default()
    };
    let mut resource = Resource::unseen(ResourceName::new("r").expect("well formed"));
    let mut told: Vec<Event> = Vec::new();
    for (second, operation) in story {
        let now = Timestamp::from_us(0) + Duration::from_secs(*second);
        let tokens = FencingCounter::continuing_after(resource.fencing_token);
        let last = told.last().map_or(EventId::NONE, |event| event.id);
        let rows = Rows::loaded(vec![resource], tokens, Place::NONE);
        let mut rows = rows.recorded_under(Some(EventIds::after(last)));
        let mut lines = WaitingLines::<Nobody>::default();
        Batch::new(now, rules, &mut rows, &mut lines).apply(0, operation);
        told.extend_from_slice(rows.events());
        resource = rows.into_resources().next().expect("there is one");
    }
    let ids = told
        .iter()
        .map(|event| (event.id.as_i64(), event.previous.map(EventId::as_i64)));
    let expected = (1..).map(|id| (id, Some(id - 1).filter(|previous| *previous > 0)));
    assert!(
        ids.clone().eq(expected.take(told.len())),
        "{:?}",
        ids.collect::<Vec<_>>()
    );
    told.iter()
        .map(|event| (event.kind.as_str(), event.at.as_us() / 1_000_000))
        .collect()
}

#[test]
fn what_is_told_of_each_way_in_which_a_lock_ends() {
    let grant = || (1, acquire("a", Some(10)));
    for (what, lock_delay, story, expected) in [
        (
            "released",
            0,
            vec![grant(), (5, release("a"))],
            vec![("acquired", 1), ("released", 5)],
        ),
        (
            "swept",
            0,
            vec![grant(), (20, Operation::Expire)],
            vec![("acquired", 1), ("expired", 11)],
        ),
        (
            "not over yet",
            0,
            vec![grant(), (10, Operation::Expire)],
            vec![("acquired", 1)],
        ),
        (
            "taken over",
            0,
            vec![grant(), (20, acquire("b", None))],
            vec![("acquired", 1), ("expired", 11), ("acquired", 20)],
        ),
        (
            "refused",
            0,
            vec![grant(), (5, acquire("b", None)), (6, release("b"))],
            vec![("acquired", 1)],
        ),
        (
            "broken",
            0,
            vec![grant(), (5, break_it()), (30, acquire("b", None))],
            vec![("acquired", 1), ("broken", 5), ("acquired", 30)],
        ),
        (
            "broken, and kept from all for a while",
            7,
            vec![grant(), (5, break_it()), (30, acquire("b", None))],
            vec![("acquired", 1), ("broken", 5), ("acquired", 30)],
        ),
        (
            "broken and swept",
            7,
            vec![grant(), (5, break_it()), (30, Operation::Expire)],
            vec![("acquired", 1), ("broken", 5)],
        ),
    ] {
        assert_eq!(recorded(lock_delay, &story), expected, "{what}");
    }
}

#[test]
fn of_renewals_in_a_row_the_first_and_the_last_are_told() {
    let kept = || NewLabel::Kept;
    let same = || renew("a", None, kept());
    for (what, story, expected) in [
        (
            "one",
            vec![(1, acquire("a", Some(10))), (2, same()), (3, release("a"))],
            vec![("acquired", 1), ("renewed", 2), ("released", 3)],
        ),
        (
            "three",
            vec![
                (1, acquire("a", Some(10))),
                (2, same()),
                (3, same()),
                (4, same()),
                (5, release("a")),
            ],
            vec![("acquired", 1), ("renewed", 2), ("renewed", 4), ("released", 5)],
        ),
        (
            "another ttl",
            vec![
                (1, acquire("a", Some(10))),
                (2, same()),
                (3, same()),
                (4, renew("a", Some(90), kept())),
                (5, same()),
            ],
            vec![("acquired", 1), ("renewed", 2), ("renewed", 3), ("renewed", 4)],
        ),
        (
            "a label",
            vec![
                (1, acquire("a", None)),
                (2, renew("a", None, NewLabel::Set(Label::new("l")))),
                (3, same()),
            ],
            vec![("acquired", 1), ("renewed", 2)],
        ),
        (
            "what lasts for ever as before",
            vec![(1, acquire("a", None)), (2, same()), (3, release("a"))],
            vec![("acquired", 1), ("released", 3)],
        ),
    ] {
        assert_eq!(recorded(0, &story), expected, "{what}");
    }
}

#[test]
fn numbers_come_from_one_block_after_the_other() {
    let mut ids = EventIds::of_blocks(vec![10, 30], 2);

    let taken: Vec<_> = (0..5).map(|_| ids.take().as_i64()).collect();

    assert_eq!(taken, [10, 11, 30, 31, 32]);
}

#[test]
fn a_kind_is_read_as_it_is_written() {
    for kind in EventKind::ALL {
        assert_eq!(EventKind::from_text(kind.as_str()), Some(kind));
    }
    assert_eq!(EventKind::from_text("taken"), None);
}
