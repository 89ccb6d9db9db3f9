//! Who comes back to a place that it had at another server.

use super::*;
use crate::lock::{RequestId, Returning};

const UNTIL: Timestamp = Timestamp::from_us(2_000_000_000);

fn request(key: &str) -> RequestId {
    RequestId::new(key, None, []).expect("well formed")
}

fn wish_again(key: &str) -> Acquire {
    Acquire {
        request: Some(request(key)),
        ..wish(key)
    }
}

fn acquire_again(key: &str) -> Operation {
    Operation::Acquire(wish_again(key))
}

/// A free resource, with somebody at `ahead` elsewhere and these places, each
/// known by its number, of requests of the batch.
fn rows_with(ahead: Option<i64>, returning: &[i64]) -> Rows {
    let returning = returning.iter().map(|place| Returning {
        row: 0,
        request: request(&place.to_string()),
        place: Place::new(*place),
    });
    rows(ahead).with_returning(returning.collect())
}

#[test]
fn whoever_comes_back_gets_what_is_free_if_nobody_is_before_it() {
    /// Who is first elsewhere beside it, who waits here, and whether the one with
    /// place 5 gets the resource.
    type Case = (&'static str, Option<i64>, &'static [(i64, bool)], bool);
    let table: [Case; 6] = [
        ("alone", None, &[], true),
        ("before one elsewhere", Some(6), &[], true),
        ("behind one elsewhere", Some(4), &[], false),
        ("before one here", None, &[(6, true)], true),
        ("behind one here", None, &[(4, true)], false),
        ("behind one here who has left", None, &[(4, false)], true),
    ];
    for (claim, ahead, here, is_granted) in table {
        let (mut rows, mut lines) = (rows_with(ahead, &[5]), line(here));
        let mut batch = Batch::new(NOW, Rules::default(), &mut rows, &mut lines);

        let outcome = batch.apply(0, &acquire_again("5"));

        assert_eq!(
            matches!(outcome, Outcome::Acquired(_)),
            is_granted,
            "{claim}: {outcome:?}"
        );
        let returned: &[_] = if is_granted { &[(0, Place::new(5))] } else { &[] };
        assert_eq!(rows.returned(), returned, "{claim}");
    }
}

#[test]
fn whoever_comes_back_and_has_to_wait_stands_where_it_stood() {
    let (mut rows, mut lines) = (rows_with(Some(4), &[5]), line(&[(6, true)]));
    let mut batch = Batch::new(NOW, Rules::default(), &mut rows, &mut lines);

    assert_eq!(batch.apply(0, &acquire_again("5")), Outcome::Locked);
    batch.join(&[0], 0, wish_again("5"), UNTIL, Ticket(true));

    let places: Vec<_> = lines.line(&name()).map(|waiter| waiter.place.as_i64()).collect();
    assert_eq!(places, [5, 6]);
    assert_eq!(rows.returned(), [(0, Place::new(5))]);
    assert_eq!(rows.joined()[0].place, Place::new(5));
    assert_eq!(rows.joined()[0].request, Some(request("5")), "and may come back again");
    assert_eq!(rows.last_place(), Place::new(100), "no place was given");
}

#[test]
fn those_who_come_back_together_are_served_in_their_order_and_not_in_that_of_the_batch() {
    let (mut rows, mut lines) = (rows_with(None, &[5, 6]), line(&[]));
    let mut batch = Batch::new(NOW, Rules::default(), &mut rows, &mut lines);

    assert_eq!(batch.apply(0, &acquire("overtaker")), Outcome::Locked);
    assert_eq!(batch.apply(0, &acquire_again("6")), Outcome::Locked);
    batch.join(&[0], 0, wish_again("6"), UNTIL, Ticket(true));
    assert!(matches!(batch.apply(0, &acquire_again("5")), Outcome::Acquired(_)));

    assert!(batch.handed_over.is_empty());
    assert_eq!(rows.ahead(0), None, "nobody is elsewhere any more");
}

#[test]
fn a_place_that_nobody_took_is_still_elsewhere() {
    let (mut rows, mut lines) = (rows_with(Some(7), &[5]), line(&[(6, true)]));
    let mut batch = Batch::new(NOW, Rules::default(), &mut rows, &mut lines);

    batch.apply(0, &Operation::Expire);

    assert!(batch.handed_over.is_empty());
    let ahead = rows.ahead(0).expect("it may be");
    assert_eq!((ahead.place, ahead.believed_for), (Place::new(5), Duration::ZERO));
    assert!(rows.returned().is_empty());
}

#[test]
fn a_line_that_is_restated_loses_those_whose_place_is_elsewhere() {
    let (mut rows, mut lines) = (rows_with(None, &[4]), line(&[(4, true), (6, true)]));
    let mut batch = Batch::new(NOW, Rules::default(), &mut rows, &mut lines);

    batch.vacate(0);

    let superseded: Vec<_> = batch
        .superseded
        .iter()
        .map(|(_, waiter)| waiter.place.as_i64())
        .collect();
    let joined: Vec<_> = rows.joined().iter().map(|joined| joined.place.as_i64()).collect();
    assert_eq!((superseded, joined), (vec![4], vec![6]));
    assert_eq!((rows.vacated(), rows.restated()), (&[0][..], &[0][..]));
    assert_eq!(lines.waiting(), 1);
}

#[test]
fn whoever_comes_back_to_the_server_where_its_first_request_still_waits_has_its_place_here() {
    let (mut rows, mut lines) = (rows_with(None, &[4]), line(&[(4, false), (6, true)]));
    let mut batch = Batch::new(NOW, Rules::default(), &mut rows, &mut lines);

    let before = batch.take_over(&[0], Place::new(4), UNTIL, Ticket(true));

    assert!(before.is_some_and(|ticket| !ticket.0));
    assert_eq!(rows.returned(), [(0, Place::new(4))]);
    let joined: Vec<_> = rows.joined().iter().map(|joined| joined.place.as_i64()).collect();
    assert_eq!(joined, [4]);
}

#[test]
fn whoever_wants_several_comes_back_to_all_lines_in_which_it_stood() {
    let names = ["a", "b"].map(|text| ResourceName::new(text).expect("well formed"));
    let resources = names.iter().cloned().map(Resource::unseen).collect();
    let tokens = FencingCounter::continuing_after(FencingToken::NONE);
    let returning = Returning {
        row: 1,
        request: request("5"),
        place: Place::new(5),
    };
    let mut rows = Rows::loaded(resources, tokens, Place::new(100)).with_returning(vec![returning]);
    let mut lines = WaitingLines::default();
    let mut batch = Batch::new(NOW, Rules::default(), &mut rows, &mut lines);
    batch.apply(0, &acquire("holder"));

    assert_eq!(batch.apply_together(&[0, 1], &wish_again("5")), Err(0));
    batch.join(&[0, 1], 0, wish_again("5"), UNTIL, Ticket(true));

    let joined: Vec<_> = rows
        .joined()
        .iter()
        .map(|joined| (joined.row, joined.place.as_i64()))
        .collect();
    assert_eq!(joined, [(1, 5), (0, 5)]);
    assert!(names.iter().all(|name| lines.waiting_for(name) == 1));
}
