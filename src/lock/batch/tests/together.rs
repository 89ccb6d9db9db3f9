//! Those who want several resources at once, and those who wait for each other.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::{NOW, acquire, release, wish};
use crate::lock::batch::Circle;
use crate::lock::{
    Acquire, Batch, FencingCounter, FencingToken, LockedBy, Operation, Outcome, Place, RequestId, Resource,
    ResourceName, Rows, Rules, StillWaits, Waiter, WaitingLines,
};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

struct Ticket {
    id: &'static str,
    here: Rc<Cell<bool>>,
}

impl StillWaits for Ticket {
    fn still_waits(&self) -> bool {
        self.here.get()
    }
}

/// Four resources, of which each batch loads some, and those who wait.
struct World {
    disk: Vec<Resource>,
    tokens: FencingToken,
    place: Place,
    lines: WaitingLines<Ticket>,
    rules: Rules,
    now: Duration,
}

/// What a batch did for those who waited.
#[derive(Debug, Default, PartialEq)]
struct Did {
    /// Who was served, each with the resources.
    served: Vec<(&'static str, String)>,
    unfinished: Vec<String>,
}

fn index_of(name: char) -> usize {
    NAMES
        .iter()
        .position(|text| text.starts_with(name))
        .expect("one of ours")
}

fn name(index: usize) -> ResourceName {
    ResourceName::new(NAMES[index]).expect("well formed")
}

fn shown(names: &[ResourceName]) -> String {
    names.iter().map(ResourceName::as_str).collect()
}

impl World {
    fn new() -> Self {
        Self {
            disk: (0..NAMES.len()).map(|index| Resource::unseen(name(index))).collect(),
            tokens: FencingToken::NONE,
            place: Place::NONE,
            lines: WaitingLines::default(),
            rules: Rules::default(),
            now: Duration::ZERO,
        }
    }

    /// Runs a batch over the resources of `loaded`; indices in it are positions
    /// there.
    fn batch<T>(&mut self, loaded: &str, work: impl FnOnce(&mut Batch<'_, Ticket>) -> T) -> (T, Did) {
        let indices: Vec<_> = loaded.chars().map(index_of).collect();
        let resources = indices.iter().map(|index| self.disk[*index].clone()).collect();
        let tokens = FencingCounter::continuing_after(self.tokens);
        let mut rows = Rows::loaded(resources, tokens, self.place);
        let mut batch = Batch::new(NOW + self.now, self.rules, &mut rows, &mut self.lines);
        let done = work(&mut batch);
        batch.note_holders();
        let served = batch.handed_over.iter();
        let served = served.map(|hand_over| {
            assert_eq!(hand_over.grants.len(), hand_over.waiter.names.len());
            (hand_over.waiter.ticket.id, shown(&hand_over.waiter.names))
        });
        let did = Did {
            served: served.collect(),
            unfinished: batch.unfinished.iter().map(|names| shown(names)).collect(),
        };
        self.place = rows.last_place();
        self.tokens = rows.tokens_taken().map_or(self.tokens, |tokens| tokens.highest());
        for (index, resource) in indices.into_iter().zip(rows.into_resources()) {
            self.disk[index] = resource;
        }
        (done, did)
    }

    /// One operation on one resource, with nothing else loaded.
    fn asks(&mut self, on: &str, operation: &Operation) -> (Outcome, Did) {
        self.batch(on, |batch| batch.apply(0, operation))
    }

    fn holds(&mut self, key: &'static str, on: &str) {
        let (outcome, _) = self.asks(on, &acquire(key));
        assert!(matches!(outcome, Outcome::Acquired(_)), "{key} gets {on}: {outcome:?}");
    }

    /// Somebody wants all of `names`, and waits if it cannot have them.
    fn wants(&mut self, key: &'static str, names: &str) -> Rc<Cell<bool>> {
        let here = Rc::new(Cell::new(true));
        let ticket = Ticket {
            id: key,
            here: Rc::clone(&here),
        };
        let rows: Vec<_> = (0..names.len()).collect();
        self.batch(names, |batch| {
            let missing = batch.apply_together(&rows, &wish(key)).expect_err("it has to wait");
            batch.join(&rows, missing, wish(key), NOW, ticket);
        });
        here
    }

    fn releases(&mut self, key: &str, loaded: &str) -> Did {
        let (outcome, did) = self.asks(loaded, &release(key));
        assert_eq!(outcome, Outcome::Released, "{key} releases {loaded}");
        did
    }

    /// A look at some resources together.
    fn look(&mut self, loaded: &str) -> Did {
        let (_, did) = self.batch(loaded, |batch| {
            for row in 0..loaded.len() {
                batch.apply(row, &Operation::Expire);
            }
        });
        did
    }

    fn holder_of(&self, on: char) -> Option<&LockedBy> {
        let lock = self.disk[index_of(on)].holder_at(NOW + self.now);
        lock.map(|lock| &lock.locked_by)
    }
}

fn served(id: &'static str, names: &str) -> Did {
    Did {
        served: vec![(id, names.to_owned())],
        ..Did::default()
    }
}

fn unfinished(names: &str) -> Did {
    Did {
        unfinished: vec![names.to_owned()],
        ..Did::default()
    }
}

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
        request: RequestId::new(key, [Some(body)]),
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
