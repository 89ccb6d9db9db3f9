//! Those who want several resources at once.

use std::time::Duration;

use super::world::{Did, World, served, unfinished};
use super::{acquire, wish};
use crate::lock::{Acquire, Operation, Outcome, RequestId};

#[test]
fn all_are_granted_or_none() {
    let mut world = World::new();
    world.holds("x", "b");

    let (refused, _) = world.batch("abc", |batch| batch.apply_together(&[0, 1, 2], &wish("m")));
    assert_eq!(refused, Err(1));
    assert!(world.holder_of('a').is_none() && world.holder_of('c').is_none());

    world.releases("x", "b");
    let (granted, _) = world.batch("abc", |batch| batch.apply_together(&[0, 1, 2], &wish("m")));
    let Ok(Outcome::AcquiredTogether(grants)) = granted else {
        panic!("{granted:?}");
    };
    let tokens: Vec<_> = grants.iter().map(|grant| grant.fencing_token.as_i64()).collect();
    assert_eq!(tokens, [2, 3, 4]);
}

#[test]
fn who_waits_for_several_is_in_nobodys_way_while_something_is_held() {
    let mut world = World::new();
    world.holds("x", "b");
    world.wants("m", "abc");

    // Over and over, for as long as b is held.
    for _ in 0..3 {
        world.holds("y", "a");
        assert_eq!(world.releases("y", "a"), Did::default());
    }
    assert_eq!(world.releases("x", "b"), unfinished("abc"));
    assert_eq!(world.look("abc"), served("m", "abc"));
}

#[test]
fn what_is_missing_last_completes_it() {
    let mut world = World::new();
    world.holds("x", "b");
    world.wants("m", "ab");
    world.holds("y", "a");

    // b is kept for it from now on, and then a.
    assert_eq!(world.releases("x", "b"), unfinished("ab"));
    assert_eq!(world.look("ab"), Did::default());
    assert_eq!(world.asks("b", &acquire("z")).0, Outcome::Locked);
    assert_eq!(world.releases("y", "a"), unfinished("ab"));
    assert_eq!(world.look("ab"), served("m", "ab"));
}

#[test]
fn single_requests_do_not_starve_it_however_many_come() {
    let mut world = World::new();
    world.holds("x", "a");
    world.holds("x", "b");
    world.wants("m", "ab");
    for key in ["1", "2", "3"] {
        world.wants(key, "a");
        world.wants(key, "b");
    }
    let mut got_it_after = None;
    for round in 0..4 {
        for on in ["a", "b"] {
            let holder = world.holder_of(on.chars().next().expect("a letter")).cloned();
            if let Some(holder) = holder {
                let release = Operation::Release(crate::lock::Release::by(Some(holder)));
                world.asks(on, &release);
            }
            let did = world.look("ab");
            if did.served.iter().any(|(id, _)| *id == "m") {
                got_it_after = got_it_after.or(Some(round));
            }
        }
    }
    assert_eq!(got_it_after, Some(0), "it was first in both lines");
}

#[test]
fn two_who_want_the_same_in_another_order_are_served_one_after_the_other() {
    let mut world = World::new();
    world.holds("x", "a");
    world.holds("y", "b");
    world.wants("first", "ab");
    world.wants("second", "ba");

    world.releases("y", "b");
    assert_eq!(world.look("ab"), Did::default());
    world.releases("x", "a");
    assert_eq!(world.look("ab"), served("first", "ab"));
    world.releases("first", "b");
    assert_eq!(world.look("ab"), Did::default());
    world.releases("first", "a");
    assert_eq!(world.look("ab"), served("second", "ba"));
}

#[test]
fn who_has_left_frees_all_that_was_kept_for_it() {
    let mut world = World::new();
    world.holds("x", "a");
    world.holds("y", "b");
    let here = world.wants("m", "ab");
    world.releases("x", "a");
    world.look("ab");
    assert_eq!(world.asks("a", &acquire("z")).0, Outcome::Locked, "a is kept for it");

    here.set(false);

    let (outcome, _) = world.asks("a", &acquire("z"));
    assert!(matches!(outcome, Outcome::Acquired(_)), "{outcome:?}");
    assert!(world.lines.is_empty());
}

#[test]
fn the_holder_of_what_it_waits_for_passes_it() {
    let mut world = World::new();
    world.holds("x", "a");
    world.holds("y", "b");
    world.wants("m", "ab");
    world.wants("other", "b");
    world.wants("y", "a");
    // a is kept for m, who waits for b, whose holder wants a before it can end.
    assert_eq!(world.releases("x", "a"), unfinished("ab"));
    assert_eq!(world.look("ab"), served("y", "a"));
    world.releases("y", "a");

    // The same without waiting.
    let (outcome, _) = world.batch("ab", |batch| batch.apply(0, &acquire("y")));
    assert!(matches!(outcome, Outcome::Acquired(_)), "{outcome:?}");
    world.releases("y", "a");
    let (outcome, _) = world.batch("ab", |batch| batch.apply(0, &acquire("z")));
    assert_eq!(outcome, Outcome::Locked);

    world.releases("y", "b");
    assert_eq!(world.look("ab"), served("m", "ab"));
}

#[test]
fn a_request_for_several_that_is_sent_again_gets_the_same_grants() {
    let mut world = World::new();
    let ask = |key: &str, body: &str| Acquire {
        request: RequestId::new(key, None, [Some(body)]),
        ..wish("m")
    };
    let mut together = |names: &str, acquire: &Acquire| {
        let rows: Vec<_> = (0..names.len()).collect();
        world.batch(names, |batch| batch.apply_together(&rows, acquire)).0
    };

    let Ok(Outcome::AcquiredTogether(first)) = together("ab", &ask("k", "ab")) else {
        panic!("they are free");
    };
    assert_eq!(
        together("ab", &ask("k", "ab")),
        Ok(Outcome::AcquiredTogetherBefore(first))
    );
    assert_eq!(together("ab", &ask("k", "abc")), Ok(Outcome::KeyReused));
    assert_eq!(together("abc", &ask("another", "abc")), Err(0));
    assert_eq!(together("bc", &ask("k", "ab")), Err(0), "not all of it was granted");
}

#[test]
fn after_the_end_of_a_lock_its_key_is_served_first_and_the_others_when_the_delay_is_over() {
    let mut world = World::new();
    world.rules.lock_delay = Duration::from_secs(5);
    let leased = Operation::Acquire(Acquire {
        ttl: crate::lock::Ttl::from_seconds(1),
        ..wish("x")
    });
    world.asks("a", &leased);
    world.wants("y", "a");
    world.now = Duration::from_secs(1);
    assert_eq!(world.asks("a", &acquire("z")).0, Outcome::Locked);
    assert_eq!(world.look("a"), Did::default());

    world.wants("x2", "a");
    let (outcome, _) = world.asks("a", &leased);
    assert!(
        matches!(outcome, Outcome::Acquired(_)),
        "its own key need not wait: {outcome:?}"
    );

    world.now = Duration::from_secs(2) + Duration::from_millis(4999);
    assert_eq!(world.look("a"), Did::default());
    world.now = Duration::from_secs(7);
    assert_eq!(world.look("a"), served("y", "a"));
}

#[test]
fn what_is_kept_free_in_vain_is_let_go_and_kept_again_for_twice_the_time() {
    let mut world = World::new();
    world.rules.kept_free_max = Duration::from_secs(1);
    world.holds("x", "a");
    world.holds("y", "b");
    world.wants("m", "abc");
    world.releases("x", "a");
    world.look("abc");
    world.wants("z", "a");

    // a is kept for m, who waits for b.
    world.now = Duration::from_millis(999);
    assert_eq!(world.look("abc"), Did::default());
    world.now = Duration::from_secs(1);
    assert_eq!(world.look("abc"), served("z", "a"));
    world.releases("z", "a");
    assert!(world.holder_of('a').is_none());

    // Now b is, while a is held again, and for longer.
    world.holds("w", "a");
    assert_eq!(world.releases("y", "b"), unfinished("abc"));
    assert_eq!(world.look("abc"), Did::default());
    world.now = Duration::from_millis(2999);
    world.look("abc");
    assert_eq!(world.asks("b", &acquire("v")).0, Outcome::Locked);
    world.releases("w", "a");
    assert_eq!(world.look("abc"), served("m", "abc"));
}

#[test]
fn all_that_was_kept_free_in_vain_is_looked_at() {
    let mut world = World::new();
    world.rules.kept_free_max = Duration::from_secs(1);
    for name in ["a", "b", "c"] {
        world.holds("x", name);
    }
    world.wants("m", "abc");
    world.releases("x", "a");
    world.look("abc");
    world.releases("x", "b");
    world.look("abc");
    world.wants("z", "b");

    world.now = Duration::from_secs(1);

    assert_eq!(world.look("a"), unfinished("abc"));
    assert_eq!(
        world.look("abc"),
        Did {
            served: vec![("z", "b".to_owned())],
            unfinished: vec!["b".to_owned()]
        }
    );
    world.releases("z", "b");
    world.releases("x", "c");
    assert_eq!(world.look("abc"), served("m", "abc"));
}
