//! Choices by chance, the same for the same seed.

pub struct Chance(fastrand::Rng);

impl Chance {
    pub fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.u64(..bound)
    }

    /// So many times in a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn one_of<'t, T>(&mut self, those: &'t [T]) -> &'t T {
        self.0.choice(those).expect("there are some")
    }
}
