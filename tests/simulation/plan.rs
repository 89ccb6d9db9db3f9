//! What kind of run a seed is.

use std::time::Duration;

use crate::chance::Chance;
use crate::fault::Fault;

/// Which of the two databases is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As SQLite: one server at a time has it.
    Embedded,
    /// As PostgreSQL: servers share it.
    Shared,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub kind: Kind,
    pub servers: usize,
    pub clients: usize,
    pub names: usize,
    /// Which faults there are; none in a calm run.
    pub faults: Vec<Fault>,
    /// Between two faults, about.
    pub fault_interval: Duration,
    /// For how long clients begin something new.
    pub activity: Duration,
    /// How long clients hold a lock at most.
    pub hold_max_ms: usize,
}

impl Plan {
    pub fn of(chance: &Chance) -> Self {
        let kind = *chance.pick(&[Kind::Embedded, Kind::Shared, Kind::Shared]);
        // Hundreds now and then: a run of a few takes a hundredth of the time, and most of what can happen takes a few.
        let crowd = chance.percent(1);
        let faults: Vec<_> = match chance.percent(25) {
            true => Vec::new(),
            // Each by itself, and with others.
            false => Fault::of(kind).iter().copied().filter(|_| chance.percent(40)).collect(),
        };
        Self {
            kind,
            servers: match kind {
                Kind::Embedded => 1,
                Kind::Shared => chance.within(1..4),
            },
            clients: if crowd {
                chance.within(100..300)
            } else {
                chance.within(2..16)
            },
            names: chance.within(1..5),
            faults,
            fault_interval: chance.ms(300..4000),
            activity: chance.ms(3000..12_000),
            hold_max_ms: *chance.pick(&[20, 300, 2500]),
        }
    }

    pub fn is_calm(&self) -> bool {
        self.faults.is_empty()
    }
}
