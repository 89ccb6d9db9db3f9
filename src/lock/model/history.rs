//! Random histories: batches of requests, time that passes, clients that leave.

use proptest::collection::vec;
use proptest::prelude::*;

use super::naive::{KEYS, NAMES};

#[derive(Clone, Debug)]
pub(super) enum Step {
    Batch { tasks: Vec<(usize, Ask)>, fate: Fate },
    Pass(Passage),
    Depart { nth: usize, noticed: bool },
}

#[derive(Clone, Debug)]
pub(super) enum Ask {
    Acquire { key: u8, ttl: Option<u8>, waits: bool },
    ReleaseByHolder,
    Release { key: Option<u8> },
    GiveBack { tokens_ago: i64 },
    Expire,
}

/// How a transaction ends, and whether the engine learns of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    Committed,
    RolledBack,
    /// COMMIT failed as far as the engine knows, but is on disk.
    CommittedUnknown,
}

#[derive(Clone, Debug)]
pub(super) enum Passage {
    Us(i64),
    ToExpiryOf { name: usize, us_before: i64 },
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let ask = prop_oneof![
        6 => (0..KEYS, prop::option::of(1..4_u8), prop::bool::weighted(0.7))
            .prop_map(|(key, ttl, waits)| Ask::Acquire { key, ttl, waits }),
        3 => Just(Ask::ReleaseByHolder),
        2 => prop::option::of(0..KEYS).prop_map(|key| Ask::Release { key }),
        1 => (0..2_i64).prop_map(|tokens_ago| Ask::GiveBack { tokens_ago }),
        1 => Just(Ask::Expire),
    ];
    let fate = prop_oneof![4 => Just(Fate::Committed), 1 => Just(Fate::RolledBack), 1 => Just(Fate::CommittedUnknown)];
    let passage = prop_oneof![
        (0..2_500_000_i64).prop_map(Passage::Us),
        (0..NAMES, 0..2_i64).prop_map(|(name, us_before)| Passage::ToExpiryOf { name, us_before }),
    ];
    prop_oneof![
        4 => (vec((0..NAMES, ask), 1..9), fate).prop_map(|(tasks, fate)| Step::Batch { tasks, fate }),
        2 => passage.prop_map(Step::Pass),
        2 => (0..8_usize, any::<bool>()).prop_map(|(nth, noticed)| Step::Depart { nth, noticed }),
    ]
}
