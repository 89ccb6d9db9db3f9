//! The signals that are heard, in the order in which they are looked at.

use std::fs;
use std::future::poll_fn;
use std::io;
use std::task::Poll;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

/// Signals that are heard instead of ending the process.
///
/// One that was ignored when the process began (`nohup`, a job of a shell without
/// job control) stays so, for it and for what it starts.
#[derive(Debug)]
pub struct Signals {
    heard: Vec<(Signal, unix::Signal)>,
}

impl Signals {
    /// Hears these from now on, for as long as the process lives.
    ///
    /// Errors: the system refuses. Panics outside of a runtime.
    pub fn hear(signals: &[Signal]) -> io::Result<Self> {
        let ignored = ignored();
        let wanted = signals.iter().filter(|signal| ignored & bit(**signal) == 0);
        let heard = wanted.map(|signal| {
            let kind = SignalKind::from_raw(signal.as_raw());
            unix::signal(kind).map(|heard| (*signal, heard))
        });
        Ok(Self {
            heard: heard.collect::<io::Result<_>>()?,
        })
    }

    /// The next of them. Dropping the future loses none.
    pub async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (signal, heard) in &mut self.heard {
                if let Poll::Ready(Some(())) = heard.poll_recv(context) {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn bit(signal: Signal) -> u64 {
    1 << (signal.as_raw() - 1)
}

/// The signals that this process ignores, one a bit.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_known() {
        // The runtime of the language ignores this one, and nothing ignores the other.
        assert_ne!(ignored() & bit(Signal::PIPE), 0);
        assert_eq!(ignored() & bit(Signal::SEGV), 0);
    }
}
