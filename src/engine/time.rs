//! The clock by which the engine keeps deadlines and looks after what is due.
//!
//! One place, and the clock by which the timers of the requests go off: in a
//! simulation both stand still until it lets them go on. It runs on when the
//! wall clock is set. The store's clock, by which locks end, is another.

use std::time::Instant;

/// The present instant.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
