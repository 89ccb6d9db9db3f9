//! What is recorded, played again: it has to lead to what is on disk.

use super::asks::name_of;
use super::naive::NAMES;
use super::world::World;
use crate::lock::{Event, EventId, EventKind, Resource};

/// What was recorded by what was committed.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    events: Vec<Event>,
}

impl Recorded {
    pub(super) fn last(&self) -> EventId {
        self.events.last().map_or(EventId::NONE, |event| event.id)
    }

    pub(super) fn extend(&mut self, events: &[Event]) {
        self.events.extend_from_slice(events);
    }
}

/// The event by which a resource is held, after all that are recorded.
fn held_by<'e>(events: impl Iterator<Item = &'e Event>) -> Option<Event> {
    events.fold(None, |held: Option<Event>, event| match (event.kind, held) {
        (EventKind::Acquired, held) => {
            assert!(held.is_none(), "{held:?} and then {event:?}");
            Some(event.clone())
        }
        (EventKind::Renewed, Some(held)) => Some(Event {
            label: event.label.clone(),
            ttl: event.ttl,
            expires_at: event.expires_at,
            ..held
        }),
        (EventKind::Released | EventKind::Expired | EventKind::Broken, Some(held)) => {
            assert_eq!((held.fencing_token, &held.label), (event.fencing_token, &event.label));
            assert_eq!(held.ttl, event.ttl, "{event:?}");
            assert_eq!(held.expires_at, event.expires_at, "{event:?}");
            None
        }
        (EventKind::Deadlock, held) => held,
        (_, None) => panic!("nobody held it: {event:?}"),
    })
}

impl World {
    /// Whether the table can be made again from what was recorded.
    pub(super) fn check_recorded(&self) {
        for name in 0..NAMES {
            let of_name = || {
                let resource = name_of(name);
                self.recorded
                    .events
                    .iter()
                    .filter(move |event| event.resource == resource)
            };
            let disk = &self.disk[name];
            check_chain(disk, of_name());
            // One that was broken ends at once, also where its row stays for a while.
            let lock = disk.lock.as_ref().filter(|_| disk.broken.is_none());
            match (lock, held_by(of_name())) {
                (None, None) => {}
                (Some(lock), Some(held)) => {
                    assert_eq!(disk.fencing_token, held.fencing_token);
                    assert_eq!((&lock.label, lock.ttl), (&held.label, held.ttl));
                    assert_eq!(lock.acquired_at, held.at);
                    // Of a run of renewals the first is told, and the last when it is over.
                    if lock.renewals <= 1 {
                        assert_eq!(lock.expires_at, held.expires_at);
                    }
                }
                (lock, held) => panic!("{lock:?} is on disk, and recorded is {held:?}"),
            }
        }
    }
}

/// Each event of a resource leads to the one before it.
fn check_chain<'e>(resource: &Resource, events: impl Iterator<Item = &'e Event>) {
    let mut last = None;
    for event in events {
        assert!(last < Some(event.id));
        assert_eq!(event.previous, last, "{event:?}");
        last = Some(event.id);
    }
    assert_eq!(resource.last_event, last);
}
