//! What the service manager is told (sd_notify(3)), if there is one that asks.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::limits::{BATCHER_END_WAIT_MAX, SHUTDOWN_WAIT_MAX};

/// The server serves.
pub(super) fn ready() {
    warn_of(sd_notify::notify(&[NotifyState::Ready]));
}

/// The server was told to stop, and will be done when it has drained.
///
/// What the manager allows by itself may be less than that.
pub(super) fn stopping(drain: Duration) {
    let takes_us = (drain + SHUTDOWN_WAIT_MAX + BATCHER_END_WAIT_MAX).as_micros();
    let takes_us = u32::try_from(takes_us).unwrap_or(u32::MAX);
    warn_of(sd_notify::notify(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(takes_us),
    ]));
}

/// The server reloads, and then is ready again.
pub(super) fn around_reload(reload: impl FnOnce()) {
    let now = NotifyState::monotonic_usec_now();
    warn_of(now.and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])));
    reload();
    ready();
}

/// A server whose manager does not listen serves all the same.
fn warn_of(told: io::Result<()>) {
    if let Err(error) = told {
        log::warn!("the service manager was not told: {error}");
    }
}
