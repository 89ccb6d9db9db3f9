//! Who stands where, and what stays behind.

use super::*;

#[derive(Debug, PartialEq)]
struct Ticket(u32, bool);

impl StillWaits for Ticket {
    fn still_waits(&self) -> bool {
        self.1
    }
}

fn name(text: &str) -> ResourceName {
    ResourceName::new(text).expect("well formed")
}

fn key(text: &str) -> LockedBy {
    LockedBy::new(text).expect("well formed")
}

/// Its place has the number of its ticket, and so has its key.
fn waiter(number: u32, waits: bool, names: &[&str]) -> Waiter<Ticket> {
    let acquire = Acquire {
        request: RequestId::new(&number.to_string(), None, []),
        ..Acquire::by(key(&number.to_string()))
    };
    let names = names.iter().map(|text| name(text)).collect();
    let place = Place::new(number.into());
    Waiter::new(names, acquire, Timestamp::from_us(0), Ticket(number, waits), place)
}

fn line_of(tickets: &[(u32, bool)]) -> WaitingLines<Ticket> {
    let mut lines = WaitingLines::default();
    for &(number, waits) in tickets {
        lines.join(waiter(number, waits, &["r"]), [0]);
    }
    lines
}

fn numbers(lines: &WaitingLines<Ticket>, text: &str) -> Vec<u32> {
    lines.line(&name(text)).map(|waiter| waiter.ticket.0).collect()
}

#[test]
fn first_come_first_served_and_put_back_keeps_the_place() {
    let mut lines = line_of(&[(1, true), (2, true), (3, true)]);

    let first = lines.first(&name("r")).expect("somebody waits").place;
    let first = lines.take(first).expect("it is there");
    assert_eq!(numbers(&lines, "r"), [2, 3]);
    lines.put_back(first);

    assert_eq!(lines.waiting(), 3);
    assert_eq!(numbers(&lines, "r"), [1, 2, 3]);
}

#[test]
fn the_departed_leave_and_the_others_close_up() {
    let mut lines = line_of(&[(1, false), (2, true), (3, false), (4, true)]);

    let departed = lines.take_departed(&name("r"));

    let places: Vec<_> = departed.iter().map(|waiter| waiter.place).collect();
    assert_eq!(places, [Place::new(1), Place::new(3)]);
    assert_eq!((lines.waiting(), lines.waiting_for(&name("r"))), (2, 2));
    assert_eq!(numbers(&lines, "r"), [2, 4]);
}

#[test]
fn those_behind_a_place_leave_together() {
    let mut lines = line_of(&[(1, true), (2, true), (3, true)]);

    let left = lines.take_behind(&name("r"), Place::new(2));

    assert_eq!(left.len(), 1);
    assert_eq!(left[0].ticket, Ticket(3, true));
    assert_eq!(numbers(&lines, "r"), [1, 2]);
}

#[test]
fn who_wants_several_comes_to_stand_in_more_lines_at_its_old_place() {
    let mut lines = line_of(&[]);
    lines.join(waiter(1, true, &["a", "b"]), [1]);
    lines.join(waiter(2, true, &["a"]), [0]);
    assert_eq!((numbers(&lines, "a"), numbers(&lines, "b")), (vec![2], vec![1]));
    assert_eq!((lines.onlookers(&name("a")), lines.onlookers(&name("b"))), (1, 0));

    assert!(lines.stand_in(Place::new(1), 0));
    assert!(!lines.stand_in(Place::new(1), 0));

    assert_eq!(numbers(&lines, "a"), [1, 2]);
    assert_eq!((lines.waiting(), lines.onlookers(&name("a"))), (2, 0));
    let both = lines.take(Place::new(1)).expect("it is there");
    assert!(both.lines().eq(&both.names));
    assert_eq!((numbers(&lines, "a"), numbers(&lines, "b")), (vec![2], vec![]));
    lines.put_back(both);
    assert_eq!(numbers(&lines, "a"), [1, 2]);
    assert_eq!(numbers(&lines, "b"), [1]);
}

#[test]
fn who_waits_is_found_by_its_key_and_by_its_request() {
    let mut lines = line_of(&[(1, true), (2, true)]);
    let request = RequestId::new("2", None, []).expect("well formed");
    let place = |waiter: &Waiter<Ticket>| waiter.place.as_i64();

    assert!(lines.of_key(&key("2")).map(place).eq([2]));
    assert_eq!(lines.of_request(&[name("r")], &request).map(place), Some(2));
    assert_eq!(lines.of_request(&[name("other")], &request).map(place), None);

    assert_eq!(
        lines.take_over(Place::new(2), Timestamp::from_us(9), Ticket(9, true)),
        Some(Ticket(2, true))
    );
    assert_eq!(numbers(&lines, "r"), [1, 9]);
    lines.take(Place::new(2));
    assert!(lines.of_key(&key("2")).next().is_none());
    assert!(lines.of_request(&[name("r")], &request).is_none());
}

#[test]
fn nothing_stays_behind_of_who_has_left() {
    let mut lines = line_of(&[(1, true)]);
    lines.join(waiter(2, false, &["r", "s", "t"]), [0, 2]);
    lines.take(Place::new(1));
    lines.take_departed(&name("t"));
    assert!(lines.is_without_trace());

    let mut lines = line_of(&[(1, true), (2, true)]);
    lines.take_behind(&name("r"), Place::NONE);
    assert!(lines.is_without_trace());

    let mut lines = line_of(&[(1, true)]);
    assert_eq!(lines.take_all().count(), 1);
    assert!(lines.is_without_trace());
}
