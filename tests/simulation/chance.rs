//! Everything that is left to chance comes from here: one seed, one run.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A source of chance. Clones draw from the same one, in the order in which they
/// are asked.
#[derive(Clone)]
pub struct Chance(Arc<Mutex<fastrand::Rng>>);

impl Chance {
    pub fn of(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    pub fn below(&self, end: usize) -> usize {
        self.within(0..end)
    }

    pub fn within(&self, range: Range<usize>) -> usize {
        self.0.lock().expect("nobody panics with it").usize(range)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Whole milliseconds: that is how fine the clock is.
    pub fn ms(&self, range: Range<usize>) -> Duration {
        Duration::from_millis(self.within(range) as u64)
    }

    pub fn pick<'t, T>(&self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }

    /// One of these, by their weights.
    pub fn weighted<T: Copy>(&self, of: &[(usize, T)]) -> T {
        let mut left = self.below(of.iter().map(|(weight, _)| weight).sum());
        for (weight, what) in of {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *what,
            }
        }
        unreachable!("it is below the sum of the weights")
    }
}
