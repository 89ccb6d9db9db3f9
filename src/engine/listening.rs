//! The thread that takes what other servers announce to the batcher.

use std::io;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Instant;

use crate::db::{Announcement, Listener};
use crate::engine::Engine;
use crate::engine::shared::Shared;
use crate::limits::{LISTEN_BUSY_INTERVAL, LISTEN_BUSY_TIME, LISTEN_IDLE_INTERVAL, LISTEN_INTERVAL};

/// Starts the thread. It ends soon after the batcher's.
pub(super) fn spawn(mut listener: Box<dyn Listener>, engine: Engine, shared: Arc<Shared>) -> io::Result<()> {
    let connected = shared.metrics.listener();
    let listen = move || {
        shared.note_listener();
        let mut heard_at = None::<Instant>;
        while !shared.has_ended() {
            let patience = if !shared.somebody_waits() {
                // Without anybody in line there is nothing to hear that could not wait.
                LISTEN_IDLE_INTERVAL
            } else if heard_at.is_some_and(|at| at.elapsed() < LISTEN_BUSY_TIME) {
                // A line goes on from one to the next.
                LISTEN_BUSY_INTERVAL
            } else {
                LISTEN_INTERVAL
            };
            let heard = listener.hear(patience);
            if !heard.is_empty() {
                heard_at = Some(Instant::now());
                connected.set(i64::from(!heard.contains(&Announcement::Lost)));
                engine.announce(heard);
            }
        }
    };
    Builder::new().name("listener".to_owned()).spawn(listen).map(drop)
}
