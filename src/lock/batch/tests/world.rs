//! Batches over a few resources, and those who wait for them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::{NOW, acquire, release, wish};
use crate::lock::{
    Batch, FencingCounter, FencingToken, LockedBy, Operation, Outcome, Place, Resource, ResourceName, Rows, Rules,
    StillWaits, WaitingLines,
};

pub(super) const NAMES: [&str; 4] = ["a", "b", "c", "d"];

pub(super) struct Ticket {
    pub(super) id: &'static str,
    pub(super) here: Rc<Cell<bool>>,
}

impl StillWaits for Ticket {
    fn still_waits(&self) -> bool {
        self.here.get()
    }
}

/// Four resources, of which each batch loads some, and those who wait.
pub(super) struct World {
    pub(super) disk: Vec<Resource>,
    pub(super) tokens: FencingToken,
    pub(super) place: Place,
    pub(super) lines: WaitingLines<Ticket>,
    pub(super) rules: Rules,
    pub(super) now: Duration,
}

/// What a batch did for those who waited.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Did {
    /// Who was served, each with the resources.
    pub(super) served: Vec<(&'static str, String)>,
    pub(super) unfinished: Vec<String>,
}

pub(super) fn index_of(name: char) -> usize {
    NAMES
        .iter()
        .position(|text| text.starts_with(name))
        .expect("one of ours")
}

pub(super) fn name(index: usize) -> ResourceName {
    ResourceName::new(NAMES[index]).expect("well formed")
}

pub(super) fn shown(names: &[ResourceName]) -> String {
    names.iter().map(ResourceName::as_str).collect()
}

impl World {
    pub(super) fn new() -> Self {
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
    pub(super) fn batch<T>(&mut self, loaded: &str, work: impl FnOnce(&mut Batch<'_, Ticket>) -> T) -> (T, Did) {
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
    pub(super) fn asks(&mut self, on: &str, operation: &Operation) -> (Outcome, Did) {
        self.batch(on, |batch| batch.apply(0, operation))
    }

    pub(super) fn holds(&mut self, key: &'static str, on: &str) {
        let (outcome, _) = self.asks(on, &acquire(key));
        assert!(matches!(outcome, Outcome::Acquired(_)), "{key} gets {on}: {outcome:?}");
    }

    /// Somebody wants all of `names`, and waits if it cannot have them.
    pub(super) fn wants(&mut self, key: &'static str, names: &str) -> Rc<Cell<bool>> {
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

    pub(super) fn releases(&mut self, key: &str, loaded: &str) -> Did {
        let (outcome, did) = self.asks(loaded, &release(key));
        assert_eq!(outcome, Outcome::Released, "{key} releases {loaded}");
        did
    }

    /// A look at some resources together.
    pub(super) fn look(&mut self, loaded: &str) -> Did {
        let (_, did) = self.batch(loaded, |batch| {
            for row in 0..loaded.len() {
                batch.apply(row, &Operation::Expire);
            }
        });
        did
    }

    pub(super) fn holder_of(&self, on: char) -> Option<&LockedBy> {
        let lock = self.disk[index_of(on)].holder_at(NOW + self.now);
        lock.map(|lock| &lock.locked_by)
    }
}

pub(super) fn served(id: &'static str, names: &str) -> Did {
    Did {
        served: vec![(id, names.to_owned())],
        ..Did::default()
    }
}

pub(super) fn unfinished(names: &str) -> Did {
    Did {
        unfinished: vec![names.to_owned()],
        ..Did::default()
    }
}
