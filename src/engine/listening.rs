//! The thread that takes what other servers announce to the batcher.

use std::io;
use std::sync::Arc;
use std::thread::Builder;

use crate::db::{Announcement, Listener};
use crate::engine::Engine;
use crate::engine::shared::Shared;
use crate::limits::{LISTEN_IDLE_INTERVAL, LISTEN_INTERVAL};

/// Starts the thread. It ends soon after the batcher's.
pub(super) fn spawn(mut listener: Box<dyn Listener>, engine: Engine, shared: Arc<Shared>) -> io::Result<()> {
    let connected = shared.metrics.listener();
    let listen = move || {
        while !shared.has_ended() {
            // Without anybody in line there is nothing to hear that could not wait.
            let patience = if shared.somebody_waits() {
                LISTEN_INTERVAL
            } else {
                LISTEN_IDLE_INTERVAL
            };
            let heard = listener.hear(patience);
            if !heard.is_empty() {
                connected.set(i64::from(!heard.contains(&Announcement::Lost)));
                engine.announce(heard);
            }
        }
    };
    Builder::new().name("listener".to_owned()).spawn(listen).map(drop)
}
