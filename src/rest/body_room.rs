//! The room for bodies: what all requests together may hold in memory of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::BODIES_BYTES_MAX;

/// How many bytes are taken. Cloning copies a pointer.
#[derive(Clone, Debug, Default)]
pub struct BodyRoom(Arc<AtomicUsize>);

/// A part of it, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    room: BodyRoom,
    bytes: usize,
}

impl BodyRoom {
    /// Nothing of it yet.
    pub(super) fn enter(&self) -> Taken {
        let room = self.clone();
        Taken { room, bytes: 0 }
    }
}

impl Taken {
    /// Takes so many more. Says whether there was room.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        self.room.0.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        // Two at once may both be refused where one would fit.
        self.room.0.load(Ordering::Relaxed) <= BODIES_BYTES_MAX
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_makes_room() {
        let room = BodyRoom::default();
        let (mut first, mut second) = (room.enter(), room.enter());

        assert!(first.take(BODIES_BYTES_MAX - 1));
        assert!(second.take(1));
        assert!(!second.take(1));
        drop(second);
        assert!(first.take(1));
        drop(first);

        assert!(room.enter().take(BODIES_BYTES_MAX));
    }
}
