//! Random histories: batches of requests, time that passes, clients that leave.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::naive::{KEYS, NAMES};

#[derive(Clone, Debug)]
pub(super) struct History {
    /// Microseconds for which an expired lock is not granted to another key.
    pub(super) delay_us: i64,
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Batch {
        asks: Vec<Ask>,
        fate: Fate,
    },
    /// An operation of a holder on everything, which has a batch of its own.
    Each {
        key: u8,
        renews: bool,
        fate: Fate,
    },
    Pass(Passage),
    Depart {
        nth: usize,
        noticed: bool,
    },
    /// The engine has time for everything that is due.
    Rest,
}

#[derive(Clone, Debug)]
pub(super) enum Ask {
    Acquire {
        names: Vec<usize>,
        key: u8,
        ttl: Option<u8>,
        label: Option<u8>,
        request: Option<u8>,
        waits: bool,
    },
    /// A request to acquire that may be sent again is, or one that lately was.
    AcquireAgain {
        sent_ago: usize,
        waits: bool,
    },
    Release {
        name: usize,
        by: By,
        token: Option<Token>,
        request: Option<u8>,
    },
    /// The same of one to release.
    ReleaseAgain {
        sent_ago: usize,
    },
    Renew {
        name: usize,
        by: By,
        ttl: Option<u8>,
        label: Option<Option<u8>>,
        token: Option<Token>,
    },
    GiveBack {
        name: usize,
        tokens_ago: i64,
    },
    Expire {
        name: usize,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum By {
    Holder,
    Key(u8),
    Nobody,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Token {
    Current,
    Old,
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
    ToEndOf { name: usize, us_before: i64, delayed: bool },
}

pub(super) fn history() -> impl Strategy<Value = History> {
    let delay_us = prop_oneof![2 => Just(0), 1 => Just(1_500_000_i64)];
    // In some nearly everybody wants several and has time.
    let steps = prop_oneof![vec(step(1, 2), 1..40), vec(step(3, 8), 1..40)];
    (delay_us, steps).prop_map(|(delay_us, steps)| History { delay_us, steps })
}

/// Somebody who wants several is so much likelier than the usual, and for each
/// one who has no time so many have.
fn step(several: u32, patient: u32) -> impl Strategy<Value = Step> {
    let fate =
        || prop_oneof![5 => Just(Fate::Committed), 1 => Just(Fate::RolledBack), 1 => Just(Fate::CommittedUnknown)];
    let passage = prop_oneof![
        (0..2_500_000_i64).prop_map(Passage::Us),
        (0..NAMES, 0..2_i64, any::<bool>()).prop_map(|(name, us_before, delayed)| Passage::ToEndOf {
            name,
            us_before,
            delayed
        }),
    ];
    prop_oneof![
        8 => (vec(ask(several, patient), 1..9), fate()).prop_map(|(asks, fate)| Step::Batch { asks, fate }),
        1 => (0..KEYS, any::<bool>(), fate()).prop_map(|(key, renews, fate)| Step::Each { key, renews, fate }),
        4 => passage.prop_map(Step::Pass),
        3 => (0..8_usize, any::<bool>()).prop_map(|(nth, noticed)| Step::Depart { nth, noticed }),
        2 => Just(Step::Rest),
    ]
}

fn ask(several: u32, patient: u32) -> impl Strategy<Value = Ask> {
    let names = prop_oneof![
        2 => (0..NAMES).prop_map(|name| vec![name]),
        several => subsequence((0..NAMES).collect::<Vec<_>>(), 2..4).prop_shuffle(),
    ];
    let waits = move || prop_oneof![patient => Just(true), 1 => Just(false)];
    let ttl = || prop::option::of(1..4_u8);
    let label = || prop::option::weighted(0.3, 0..3_u8);
    let request = || prop::option::weighted(0.3, 0..6_u8);
    let token = || prop::option::weighted(0.3, prop_oneof![3 => Just(Token::Current), 1 => Just(Token::Old)]);
    let by = || prop_oneof![4 => Just(By::Holder), 2 => (0..KEYS).prop_map(By::Key), 1 => Just(By::Nobody)];
    prop_oneof![
        12 => (names, 0..KEYS, ttl(), label(), request(), waits()).prop_map(
            |(names, key, ttl, label, request, waits)| Ask::Acquire { names, key, ttl, label, request, waits }
        ),
        3 => (0..3_usize, waits())
            .prop_map(|(sent_ago, waits)| Ask::AcquireAgain { sent_ago, waits }),
        8 => (0..NAMES, by(), token(), request())
            .prop_map(|(name, by, token, request)| Ask::Release { name, by, token, request }),
        2 => (0..2_usize).prop_map(|sent_ago| Ask::ReleaseAgain { sent_ago }),
        3 => (0..NAMES, by(), ttl(), prop::option::of(label()), token())
            .prop_map(|(name, by, ttl, label, token)| Ask::Renew { name, by, ttl, label, token }),
        1 => (0..NAMES, 0..2_i64).prop_map(|(name, tokens_ago)| Ask::GiveBack { name, tokens_ago }),
        1 => (0..NAMES).prop_map(|name| Ask::Expire { name }),
    ]
}
