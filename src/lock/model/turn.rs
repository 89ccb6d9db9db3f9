//! One batch: each thing that is asked, by the rules and by the model, and both
//! compared.

use std::cell::Cell;
use std::rc::Rc;

use super::Seen;
use super::asks::{Operation, Wish, key_of, name_of};
use super::naive::{NAMES, Waiting};
use super::world::{Ticket, World, index_of};
use crate::clock::Timestamp;
use crate::limits::PUT_OFF_MAX;
use crate::lock::{self, Batch, Circle, Grant, HandOver, Likeness, Outcome, Place, Waiter};

/// What a batch does.
pub(super) enum Task {
    Operation(usize, Operation),
    Acquire(Errand),
    /// For all resources, each if it is the holder's.
    Each(Operation),
}

/// A wish on its way to be decided.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) wish: Wish,
    waits: bool,
    /// How often it was put off.
    times: u32,
    /// What is loaded with it because of that.
    pub(super) loads: Vec<usize>,
}

/// What one batch did.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) changed: [bool; NAMES],
    /// Names and tokens of those who did not wait.
    pub(super) granted: Vec<(usize, i64)>,
    pub(super) joiners: Vec<u32>,
    /// Places that went to another request.
    pub(super) taken_over: Vec<Waiting>,
    /// Names at which nobody was served yet.
    pub(super) unserved: Vec<usize>,
    /// Until when names are kept free.
    pub(super) kept_free: Vec<(usize, i64)>,
    pub(super) put_off: Vec<Errand>,
    pub(super) handed_over: Vec<HandOver<Ticket>>,
    pub(super) passed_over: Vec<Waiter<Ticket>>,
    pub(super) unfinished: Vec<Vec<usize>>,
}

pub(super) struct Turn<'b> {
    pub(super) batch: Batch<'b, Ticket>,
    loaded: &'b [usize],
    pub(super) made: Made,
    /// How many of the hand-overs the model knows.
    pub(super) judged: usize,
}

impl Errand {
    pub(super) fn first(wish: Wish, waits: bool) -> Self {
        Self {
            wish,
            waits,
            times: 0,
            loads: Vec::new(),
        }
    }
}

impl<'b> Turn<'b> {
    pub(super) fn new(batch: Batch<'b, Ticket>, loaded: &'b [usize]) -> Self {
        Self {
            batch,
            loaded,
            made: Made::default(),
            judged: 0,
        }
    }

    fn rows(&self, names: &[usize]) -> Vec<usize> {
        let row = |name: &usize| self.loaded.iter().position(|loaded| loaded == name);
        names.iter().map(|name| row(name).expect("it was loaded")).collect()
    }

    /// Hand-overs of which the model does not know yet.
    fn untold(&self) -> usize {
        self.batch.handed_over.len() - self.judged
    }

    pub(super) fn end(mut self) -> Made {
        self.batch.note_holders();
        let unfinished = self.batch.unfinished.iter();
        self.made.unfinished = unfinished.map(|names| names.iter().map(index_of).collect()).collect();
        self.made.handed_over = self.batch.handed_over;
        self.made.passed_over = self.batch.passed_over;
        let kept_free = self.batch.kept_free.iter();
        self.made.kept_free = kept_free
            .map(|(row, until)| (self.loaded[*row], until.as_us()))
            .collect();
        self.made
    }
}

impl World {
    pub(super) fn operate(&mut self, turn: &mut Turn<'_>, name: usize, operation: &Operation, seen: &mut Seen) {
        let was_held = self.naive.lock_at(name, self.now).is_some();
        let row = turn.rows(&[name])[0];
        let outcome = turn.batch.apply(row, &operation.proper());
        self.judge_operation(turn, (name, operation), was_held, outcome, seen);
    }

    fn judge_operation(
        &mut self,
        turn: &mut Turn<'_>,
        (name, operation): (usize, &Operation),
        was_held: bool,
        mut outcome: Outcome,
        seen: &mut Seen,
    ) {
        let token = self.naive.resources[name].latest_token;
        // Somebody is served before the operation only if the resource is free, and what was there is then gone.
        let is_of_what_was = *operation == Operation::Expire || *operation == Operation::GiveBack { token };
        let is_before = !(was_held || outcome == Outcome::Released && is_of_what_was);
        let before = if is_before { turn.untold().min(1) } else { 0 };
        self.judge_hand_overs(turn, before, seen);
        if let Outcome::Renewed(snapshot) = &mut outcome {
            let living = self.naive.waiting.iter().filter(|waiting| waiting.wish.is_for(name));
            assert!(
                snapshot.waiters.take() >= Some(living.count()),
                "some who wait are not counted"
            );
        }
        let expected = self.naive.apply(name, self.now, operation);
        assert_eq!(outcome, expected, "{operation:?} on name {name}");
        self.note_operation(turn, name, &outcome);
        seen.note_outcome(operation, &outcome);
        let after = turn.untold();
        self.judge_hand_overs(turn, after, seen);
        self.judge_service(&turn.batch, turn.loaded, name);
    }

    pub(super) fn operate_each(&mut self, turn: &mut Turn<'_>, operation: &Operation, seen: &mut Seen) {
        let rows: Vec<_> = (0..turn.loaded.len()).collect();
        let count = turn.batch.apply_to_each(&rows, &operation.proper());

        assert_eq!(turn.untold(), 0, "nobody is served by the way");
        let mut expected = 0;
        for name in turn.loaded {
            let outcome = self.naive.apply(*name, self.now, operation);
            expected += usize::from(outcome.is_change());
            self.note_operation(turn, *name, &outcome);
        }
        assert_eq!(count, expected, "{operation:?} on all");
        seen.note("changed as one of many", count);
        if matches!(operation, Operation::Release { .. }) {
            turn.made.unserved.extend(turn.loaded);
        }
    }

    fn note_operation(&mut self, turn: &mut Turn<'_>, name: usize, outcome: &Outcome) {
        turn.made.changed[name] |= outcome.is_change();
        match outcome {
            Outcome::Released => self.ledger.free(name),
            Outcome::Renewed(snapshot) => self.ledger.renew(name, self.now, snapshot),
            _ => {}
        }
    }

    pub(super) fn acquire(&mut self, turn: &mut Turn<'_>, errand: Errand, seen: &mut Seen) {
        let wish = &errand.wish;
        let rows = turn.rows(&wish.names);
        let result = match wish.is_for_several() {
            true => turn.batch.apply_together(&rows, &wish.proper()),
            false => match turn.batch.apply(rows[0], &lock::Operation::Acquire(wish.proper())) {
                Outcome::Locked => Err(0),
                outcome => Ok(outcome),
            },
        };
        let before = turn.untold();
        self.judge_hand_overs(turn, before, seen);
        for name in &wish.names {
            self.judge_service(&turn.batch, turn.loaded, *name);
        }

        if let Some(told) = self.naive.tell_again(self.now, wish) {
            assert_eq!(result, Ok(told.clone()), "{wish:?} was asked before");
            if told == Outcome::KeyReused {
                seen.note("requests that lie", 1);
            } else {
                seen.note(
                    if wish.is_for_several() {
                        "several told again"
                    } else {
                        "told again"
                    },
                    1,
                );
                wish.names.iter().for_each(|name| turn.made.changed[*name] = true);
            }
            return;
        }
        match result {
            Ok(Outcome::Acquired(grant)) if !wish.is_for_several() => self.granted(turn, wish, &[grant], seen),
            Ok(Outcome::AcquiredTogether(grants)) if wish.is_for_several() => {
                seen.note("several granted at once", 1);
                self.granted(turn, wish, &grants, seen);
            }
            Ok(outcome) => panic!("{wish:?} was answered {outcome:?}"),
            Err(missing) => {
                self.judge_refusal(&turn.batch, turn.loaded, wish.names[missing], wish);
                self.refuse(turn, missing, errand, seen);
            }
        }
    }

    fn granted(&mut self, turn: &mut Turn<'_>, wish: &Wish, grants: &[Grant], seen: &mut Seen) {
        self.judge_grant(wish, None, grants, seen);
        for (name, grant) in wish.names.iter().zip(grants) {
            turn.made.changed[*name] = true;
            turn.made.granted.push((*name, grant.fencing_token.as_i64()));
        }
    }

    /// As the engine does it.
    fn refuse(&mut self, turn: &mut Turn<'_>, missing: usize, errand: Errand, seen: &mut Seen) {
        let Errand { wish, waits, times, .. } = errand;
        let acquire = wish.proper();
        let names: Vec<_> = wish.names.iter().copied().map(name_of).collect();
        let is_again = |waiting: &&Waiting| {
            wish.request.is_some() && waiting.wish.names == wish.names && waiting.wish.request == wish.request
        };
        let earlier = self.naive.waiting.iter().find(is_again);
        let request = acquire.request.as_ref();
        let found = request.and_then(|request| turn.batch.lines().of_request(&names, request));
        assert!(earlier.is_none() || found.is_some(), "a second place for {wish:?}");
        if let (Some(request), Some(waiter)) = (request, found) {
            let likeness = request.likeness(waiter.acquire.request.as_ref().expect("it was found by that"));
            if let Some(earlier) = earlier {
                assert_eq!(likeness == Likeness::Same, earlier.wish == wish);
            }
            let place = waiter.place;
            match likeness {
                Likeness::Same if waits => self.take_over(turn, place, wish, seen),
                Likeness::Same => {}
                _ => seen.note("requests that lie about one that waits", 1),
            }
            return;
        }
        if !waits {
            return;
        }
        let rows = turn.rows(&wish.names);
        let own = turn
            .batch
            .held_by(&rows, &acquire.locked_by)
            .filter(|_| wish.is_for_several());
        let circle = match own {
            Some(name) => Circle::Closed(vec![name.clone()]),
            None => turn.batch.circle(&rows, &acquire.locked_by),
        };
        match circle {
            Circle::Closed(circle) => {
                self.judge_circle(&wish, &circle.iter().map(index_of).collect::<Vec<_>>());
                seen.note(
                    if circle.len() > 1 {
                        "deadlocks of several"
                    } else {
                        "deadlocks with itself"
                    },
                    1,
                );
            }
            Circle::Perhaps(loads) if times < PUT_OFF_MAX => {
                seen.note("put off", 1);
                turn.made.put_off.push(Errand {
                    wish,
                    waits,
                    times: times + 1,
                    loads: loads.iter().map(index_of).collect(),
                });
            }
            circle => {
                let is_known = circle == Circle::None;
                assert!(
                    !is_known || !self.naive.closes_a_circle(self.now, &wish),
                    "a deadlock: {wish:?}"
                );
                let ticket = self.ticket();
                let place = self.last_place.as_i64() + 1 + i64::try_from(turn.made.joiners.len()).expect("a few");
                turn.made.joiners.push(ticket.id);
                let id = ticket.id;
                turn.batch
                    .join(&rows, missing, acquire, Timestamp::from_us(i64::MAX), ticket);
                let key = key_of(wish.key);
                let here = turn.batch.lines().of_key(&key);
                assert_eq!(
                    here.last().map(|waiter| waiter.place),
                    Some(Place::new(place)),
                    "behind all others"
                );
                self.naive.waiting.push(Waiting { id, place, wish });
            }
        }
    }

    fn ticket(&mut self) -> Ticket {
        let (id, here) = (self.next_id, Rc::new(Cell::new(true)));
        self.next_id += 1;
        self.here.insert(id, Rc::clone(&here));
        Ticket { id, here }
    }

    /// The first may have left meanwhile without having been missed.
    fn take_over(&mut self, turn: &mut Turn<'_>, place: Place, wish: Wish, seen: &mut Seen) {
        let ticket = self.ticket();
        let id = ticket.id;
        // Nobody of them is anywhere else.
        let before = turn.batch.take_over(&[], place, Timestamp::from_us(i64::MAX), ticket);
        let before = before.expect("it waits");
        self.here.remove(&before.id);
        if let Some(joiner) = turn.made.joiners.iter_mut().find(|joiner| **joiner == before.id) {
            *joiner = id;
        }
        let place = place.as_i64();
        let waiting = Waiting { id, place, wish };
        self.naive.give_place(waiting.clone());
        turn.made.taken_over.push(waiting);
        seen.note("places taken over", 1);
    }
}
