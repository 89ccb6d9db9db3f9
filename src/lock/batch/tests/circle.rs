//! Those who wait for each other.

use std::cell::Cell;
use std::rc::Rc;

use super::world::{Ticket, World, index_of, name};
use super::{NOW, wish};
use crate::lock::batch::Circle;
use crate::lock::{LockedBy, Place, ResourceName, Waiter};

#[test]
fn a_circle_of_waits_is_told_when_all_of_it_is_loaded() {
    let mut world = World::new();
    world.holds("x", "a");
    world.holds("y", "b");
    world.holds("z", "c");
    world.wants("x", "b");
    world.wants("y", "c");
    let names = |text: &str| text.chars().map(|c| name(index_of(c))).collect::<Vec<_>>();
    let key = |text: &str| LockedBy::new(text).expect("well formed");
    let mut circle = |loaded: &str, who: &str| world.batch(loaded, |batch| batch.circle(&[0], &key(who))).0;

    // z would wait for a, whose holder waits for b, whose holder waits for c, which z holds.
    assert_eq!(circle("abc", "z"), Circle::Closed(names("abc")));
    assert_eq!(circle("a", "z"), Circle::Perhaps(names("abc")));
    assert_eq!(circle("a", "w"), Circle::None);
    assert_eq!(circle("c", "w"), Circle::None);
    assert_eq!(circle("a", "x"), Circle::None, "that it waits for itself is no circle");
}

#[test]
fn somebody_who_wants_several_may_be_part_of_a_circle() {
    let mut world = World::new();
    world.holds("x", "a");
    world.holds("y", "b");
    world.holds("w", "d");
    world.wants("y", "dca");
    let key = LockedBy::new("x").expect("well formed");

    // Whether a is held is not known: y stands in the line for d and looks on at a.
    let (circle, _) = world.batch("b", |batch| batch.circle(&[0], &key));
    let names = |text: &str| text.chars().map(|c| name(index_of(c))).collect::<Vec<_>>();
    assert_eq!(circle, Circle::Perhaps(names("abc")));
    let (circle, _) = world.batch("bac", |batch| batch.circle(&[0], &key));
    assert_eq!(circle, Circle::Closed(names("ba")));
}

#[test]
fn who_has_left_and_was_not_missed_yet_is_part_of_no_circle() {
    let mut world = World::new();
    world.holds("x", "a");
    world.holds("y", "b");
    let here = world.wants("y", "a");
    let key = LockedBy::new("x").expect("well formed");

    here.set(false);

    let (circle, _) = world.batch("ab", |batch| batch.circle(&[1], &key));
    assert_eq!(circle, Circle::None);
}

#[test]
fn however_much_is_waited_for_only_so_much_is_loaded_to_find_a_circle() {
    let text = |number: i64| ResourceName::new(&format!("{number}")).expect("well formed");
    let mut world = World::new();
    world.holds("y", "a");
    for number in 0..1000_i64 {
        let ticket = Ticket {
            id: "y",
            here: Rc::new(Cell::new(true)),
        };
        let names = (0..64).map(|index| text(64 * number + index)).collect();
        let waiter = Waiter::new(names, wish("y"), NOW, ticket, Place::new(1 + number));
        world.lines.join(waiter, [0]);
    }
    let key = LockedBy::new("x").expect("well formed");

    let (circle, _) = world.batch("a", |batch| batch.circle(&[0], &key));

    let Circle::Perhaps(names) = circle else {
        panic!("who looks on does not know: {circle:?}");
    };
    assert_eq!(names.len(), 256);
}
