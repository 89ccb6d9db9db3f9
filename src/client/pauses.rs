//! How long to wait before the same is asked again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

/// Pauses that grow, each by chance between half of it and all, so that many who
/// failed at once do not come back at once.
#[derive(Debug)]
pub struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Pauses {
    /// Whether the same was asked often.
    pub fn are_long(&self) -> bool {
        self.next == LONGEST
    }

    /// The next one; no shorter than what the server asked for (`Retry-After`).
    pub fn next(&mut self, asked_for: Option<Duration>) -> Duration {
        let pause = self.next / 2 + self.next.mul_f64(chance() / 2.0);
        self.next = (self.next * 2).min(LONGEST);
        // A server that says an hour is asked before.
        asked_for.map_or(pause, |asked_for| asked_for.min(12 * LONGEST) + pause / 2)
    }
}

/// Between 0 and 1.
fn chance() -> f64 {
    let mut byte = [0];
    // Without a source of chance all pauses are long.
    getrandom::fill(&mut byte).map_or(1.0, |()| f64::from(byte[0]) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_heed_the_server() {
        let mut pauses = Pauses::default();
        let first = pauses.next(None);
        assert!(first >= FIRST / 2 && first <= FIRST, "{first:?}");
        for _ in 0..20 {
            assert!(pauses.next(None) <= LONGEST);
        }
        assert!(pauses.next(None) >= LONGEST / 2);

        let asked_for = Duration::from_secs(7);
        assert!(Pauses::default().next(Some(asked_for)) >= asked_for);
        assert!(Pauses::default().next(Some(Duration::from_secs(86_400))) < Duration::from_secs(90));
    }
}
