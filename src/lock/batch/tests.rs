//! Who is served, in which order, and who is not.

mod circle;
mod places;
mod together;
mod world;

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::lock::{
    Acquire, Ahead, Batch, ClientName, FencingCounter, FencingToken, LockedBy, Operation, Outcome, Place, Release,
    Resource, ResourceName, Rows, Rules, StillWaits, Waiter, WaitingLines, decide,
};

const NOW: Timestamp = Timestamp::from_us(1_000_000_000);

/// Whether it waits.
struct Ticket(bool);

impl StillWaits for Ticket {
    fn still_waits(&self) -> bool {
        self.0
    }
}

fn name() -> ResourceName {
    ResourceName::new("r").expect("well formed")
}

fn wish(key: &str) -> Acquire {
    Acquire::by(LockedBy::new(key).expect("well formed"))
}

fn acquire(key: &str) -> Operation {
    Operation::Acquire(wish(key))
}

fn release(key: &str) -> Operation {
    Operation::Release(Release::by(LockedBy::new(key)))
}

fn waiter(place: i64, waits: bool) -> Waiter<Ticket> {
    let (wish, place) = (wish(&place.to_string()), Place::new(place));
    Waiter::new(vec![name()], wish, NOW, Ticket(waits), place)
}

/// A free resource, with somebody at `ahead` in line at another server.
fn rows(ahead: Option<i64>) -> Rows {
    let tokens = FencingCounter::continuing_after(FencingToken::NONE);
    let ahead = ahead.map(|place| Ahead {
        place: Place::new(place),
        believed_for: Duration::from_secs(1),
    });
    Rows::loaded(vec![Resource::unseen(name())], tokens, Place::new(100)).with_ahead(vec![ahead])
}

fn line(waiters: &[(i64, bool)]) -> WaitingLines<Ticket> {
    let mut lines = WaitingLines::default();
    for (place, waits) in waiters {
        lines.join(waiter(*place, *waits), [0]);
    }
    lines
}

#[test]
fn whoever_began_to_wait_first_is_served_and_only_by_the_server_where_that_was() {
    /// Who waits here and whether they still do, who waits elsewhere; who
    /// is served, who leaves, and whether a plain PUT that comes gets it.
    type Case = (&'static str, Here, Option<i64>, Places, Places, bool);
    type Here = &'static [(i64, bool)];
    type Places = &'static [i64];
    let table: [Case; 9] = [
        ("nobody waits", &[], None, &[], &[], true),
        ("somebody here", &[(5, true)], None, &[5], &[5], false),
        ("somebody elsewhere", &[], Some(5), &[], &[], false),
        ("here first", &[(4, true)], Some(5), &[4], &[4], false),
        ("elsewhere first", &[(6, true)], Some(5), &[], &[], false),
        ("gone here", &[(4, false), (6, true)], Some(5), &[], &[4], false),
        (
            "gone, then here",
            &[(3, false), (4, true)],
            Some(5),
            &[4],
            &[3, 4],
            false,
        ),
        ("all gone here", &[(3, false), (4, false)], Some(5), &[], &[3, 4], false),
        ("all gone", &[(3, false), (4, false)], None, &[], &[3, 4], true),
    ];
    for (claim, here, elsewhere, served, left, is_free_for_all) in table {
        let (mut rows, mut lines) = (rows(elsewhere), line(here));
        let mut batch = Batch::new(NOW, Rules::default(), &mut rows, &mut lines);

        let outcome = batch.apply(0, &acquire("plain"));

        let places = batch
            .handed_over
            .iter()
            .map(|hand_over| hand_over.waiter.place.as_i64());
        assert!(places.eq(served.iter().copied()), "{claim}");
        assert_eq!(matches!(outcome, Outcome::Acquired(_)), is_free_for_all, "{claim}");
        assert!(
            rows.left()
                .iter()
                .map(|(_, place)| place.as_i64())
                .eq(left.iter().copied()),
            "{claim}"
        );
    }
}

#[test]
fn whoever_joins_stands_behind_all_others() {
    let (mut rows, mut lines) = (rows(Some(50)), line(&[(70, true)]));
    let mut batch = Batch::new(NOW, Rules::default(), &mut rows, &mut lines);
    let until = NOW + Duration::from_secs(1);

    for _ in 0..2 {
        assert_eq!(batch.apply(0, &acquire("k")), Outcome::Locked);
        batch.join(&[0], 0, wish("k"), until, Ticket(true));
    }

    let joined: Vec<_> = rows.joined().iter().map(|joined| joined.place.as_i64()).collect();
    assert_eq!(joined, [101, 102]);
    assert_eq!(rows.last_place(), Place::new(102));
    let places: Vec<_> = lines.line(&name()).map(|waiter| waiter.place.as_i64()).collect();
    assert_eq!(places, [70, 101, 102]);
}

#[test]
fn a_release_hands_over_here_only_if_nobody_elsewhere_is_ahead() {
    for (elsewhere, served) in [(None, 1), (Some(80), 1), (Some(60), 0)] {
        let (mut rows, mut lines) = (rows(elsewhere), line(&[]));
        let (resource, ..) = rows.resource_mut(0);
        let mut tokens = FencingCounter::continuing_after(FencingToken::NONE);
        decide(NOW, &Rules::default(), resource, &mut tokens, &acquire("holder"));
        lines.join(waiter(70, true), [0]);
        let mut batch = Batch::new(NOW, Rules::default(), &mut rows, &mut lines);

        assert_eq!(batch.apply(0, &release("holder")), Outcome::Released);

        assert_eq!(batch.handed_over.len(), served, "{elsewhere:?}");
        assert_eq!(rows.resource(0).is_free_at(NOW), served == 0, "{elsewhere:?}");
    }
}

#[test]
fn a_line_that_is_restated_is_told_whole() {
    let (mut rows, mut lines) = (rows(None), line(&[(4, true), (6, true)]));
    let mut batch = Batch::new(NOW, Rules::default(), &mut rows, &mut lines);

    batch.restate(0);

    let joined: Vec<_> = rows.joined().iter().map(|joined| joined.place.as_i64()).collect();
    assert_eq!((rows.restated(), &joined[..]), (&[0][..], &[4, 6][..]));
    assert!(rows.left().is_empty() && rows.unclaimed().is_empty());
}

#[test]
fn the_locks_of_a_client_are_counted_as_they_come_and_go() {
    let (one, other) = (ClientName::new("one"), ClientName::new("other"));
    let held = [(one.clone(), 5), (other.clone(), 0)];
    let mut rows = rows(None).with_held(HashMap::from(held));
    let mut lines = WaitingLines::default();
    let wish = |key, client: &ClientName| Acquire {
        client: Some(client.clone()),
        ..wish(key)
    };
    let mut batch = Batch::new(NOW, Rules::default(), &mut rows, &mut lines);
    let counts_after = |batch: &mut Batch<'_, Ticket>, operation: &Operation| {
        batch.apply(0, operation);
        (batch.locks_of(&one), batch.locks_of(&other))
    };

    let granted = Operation::Acquire(wish("k", &one));
    assert_eq!(counts_after(&mut batch, &granted), (6, 0));
    assert_eq!(counts_after(&mut batch, &granted), (6, 0), "it is refused");
    assert_eq!(counts_after(&mut batch, &release("another")), (6, 0));
    let until = NOW + Duration::from_secs(1);
    batch.join(&[0], 0, wish("next", &other), until, Ticket(true));
    assert_eq!(counts_after(&mut batch, &release("k")), (5, 1), "it is handed over");
    assert_eq!(counts_after(&mut batch, &release("next")), (5, 0));
    assert_eq!(counts_after(&mut batch, &acquire("k")), (5, 0));
}

#[test]
fn what_would_be_granted_is_what_is_granted_then() {
    /// Who waits here and whether they still do, who waits elsewhere, and whether a
    /// plain PUT gets it.
    type Case = (&'static [(i64, bool)], Option<i64>, bool);
    let plain = wish("plain");
    let table: [Case; 5] = [
        (&[], None, true),
        (&[(5, true)], None, false),
        (&[(5, false)], None, true),
        (&[], Some(5), false),
        (&[(6, true)], Some(5), false),
    ];
    for (here, elsewhere, is_granted) in table {
        let (mut rows, mut lines) = (rows(elsewhere), line(here));
        let mut batch = Batch::new(NOW, Rules::default(), &mut rows, &mut lines);

        assert_eq!(batch.would_grant(&[0], &plain), is_granted, "{here:?} {elsewhere:?}");

        let outcome = batch.apply(0, &acquire("plain"));
        assert_eq!(matches!(outcome, Outcome::Acquired(_)), is_granted);
    }
}
