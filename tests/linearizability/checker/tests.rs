//! The checker accepts what a lock can do and refuses what none can.

use super::{Effort, check};
use crate::linearizability::chance::Chance;
use crate::linearizability::history::{Answer, Asked, Operation, Seen, SeenLock, Us};

const SECOND: Us = 1_000_000;

/// An operation; its times are in milliseconds.
fn op(sent: Us, ended: Us, asked: Asked, answer: Answer) -> Operation {
    Operation {
        client: 0,
        asked,
        sent: sent * 1000,
        answer,
        ended: ended * 1000,
    }
}

/// The key is also the number of the wish.
fn acquire(key: u32, ttl: Option<Us>) -> Asked {
    Asked::Acquire {
        key,
        wish: key,
        ttl: ttl.map(|seconds| seconds * SECOND),
        timeout: 0,
    }
}

fn wait(key: u32, timeout: Us) -> Asked {
    Asked::Acquire {
        key,
        wish: key,
        ttl: None,
        timeout: timeout * SECOND,
    }
}

fn release(key: u32) -> Asked {
    Asked::Release {
        key,
        token: None,
        request: None,
    }
}

/// One that can be repeated.
fn release_again(key: u32) -> Asked {
    Asked::Release {
        key,
        token: None,
        request: Some(key),
    }
}

fn renew(key: u32, ttl: Us) -> Asked {
    Asked::Renew {
        key,
        ttl: Some(ttl * SECOND),
        token: None,
    }
}

fn granted(token: i64) -> Answer {
    Answer::Granted { token }
}

/// Seen held, with so many milliseconds left.
fn held(wish: u32, token: i64, left: Option<Us>) -> Answer {
    Answer::Seen(Seen {
        held: Some(SeenLock {
            wish,
            expires_in: left.map(|left| left * 1000),
        }),
        token,
    })
}

fn free(token: i64) -> Answer {
    Answer::Seen(Seen { held: None, token })
}

fn checked(valid: bool, latest: i64) -> Answer {
    Answer::Checked { valid, latest }
}

const UNKNOWN: Answer = Answer::Unknown("no answer");

fn accepts(what: &str, operations: &[Operation]) {
    if let Err(stuck) = check(operations) {
        panic!("{what}: stuck at {}", operations[stuck.at]);
    }
}

/// Refuses it because of the operation with this number.
fn refuses(what: &str, at: usize, operations: &[Operation]) {
    match check(operations) {
        Ok(_) => panic!("{what}: accepted"),
        Err(stuck) => assert_eq!((stuck.at, stuck.gave_up), (at, false), "{what}: {stuck:?}"),
    }
}

#[test]
fn one_after_the_other_is_accepted() {
    accepts(
        "all that there is",
        &[
            op(0, 1, Asked::Look, free(0)),
            op(2, 3, acquire(1, Some(2)), granted(1)),
            op(4, 5, acquire(2, None), Answer::Locked),
            op(6, 7, Asked::Look, held(1, 1, Some(1995))),
            op(8, 9, Asked::Check { token: 1 }, checked(true, 1)),
            op(10, 11, renew(2, 1), Answer::Invalid),
            op(500, 501, renew(1, 1), held(1, 1, Some(1000))),
            op(1480, 1490, acquire(3, None), Answer::Locked),
            op(1510, 1511, renew(1, 1), Answer::NotAcquired),
            op(1512, 1513, Asked::Check { token: 1 }, checked(false, 1)),
            op(1514, 1515, acquire(4, None), granted(7)),
            op(1516, 1517, release(1), Answer::Invalid),
            op(1518, 1519, release(4), Answer::Released),
            op(1520, 1521, release(4), Answer::NotAcquired),
            op(1522, 1523, Asked::Look, free(7)),
        ],
    );
}

#[test]
fn what_no_lock_does_is_refused() {
    let first = || op(0, 1, acquire(1, None), granted(1));
    let leased = || op(0, 10, acquire(1, Some(1)), granted(1));
    let released = || op(10, 11, release(1), Answer::Released);
    refuses("a second grant", 1, &[first(), op(2, 3, acquire(2, None), granted(2))]);
    refuses(
        "a token that was used",
        2,
        &[first(), released(), op(12, 13, acquire(2, None), granted(1))],
    );
    refuses(
        "a token that goes back",
        2,
        &[
            op(0, 1, acquire(1, None), granted(5)),
            released(),
            op(12, 13, acquire(2, None), granted(4)),
        ],
    );
    refuses(
        "a release by somebody else",
        1,
        &[first(), op(2, 3, release(2), Answer::Released)],
    );
    refuses(
        "a holder who is told that it is another",
        1,
        &[first(), op(2, 3, release(1), Answer::Invalid)],
    );
    refuses(
        "a grant that is lost",
        1,
        &[first(), op(2, 3, release(1), Answer::NotAcquired)],
    );
    refuses(
        "a grant that was never seen",
        1,
        &[first(), op(2, 3, Asked::Look, free(0))],
    );
    refuses(
        "a look at the past",
        2,
        &[first(), released(), op(12, 13, Asked::Look, held(1, 1, None))],
    );
    refuses(
        "a check of the past",
        2,
        &[
            first(),
            released(),
            op(12, 13, Asked::Check { token: 1 }, checked(true, 1)),
        ],
    );
    refuses(
        "the holder of before",
        3,
        &[
            first(),
            released(),
            op(12, 13, acquire(2, None), granted(2)),
            op(14, 15, Asked::Look, held(1, 2, None)),
        ],
    );
    refuses(
        "a grant before the lease is over",
        1,
        &[leased(), op(900, 990, acquire(2, None), granted(2))],
    );
    refuses(
        "a refusal after the lease is over",
        1,
        &[leased(), op(1020, 1030, acquire(2, None), Answer::Locked)],
    );
    refuses(
        "a renewal after the lease is over",
        1,
        &[leased(), op(1020, 1030, renew(1, 1), held(1, 1, Some(1000)))],
    );
    refuses(
        "a renewal that is lost",
        2,
        &[
            leased(),
            op(500, 501, renew(1, 5), held(1, 1, Some(5000))),
            op(1100, 1101, acquire(2, None), granted(2)),
        ],
    );
    refuses(
        "a lease that is longer than was asked for",
        1,
        &[leased(), op(20, 30, Asked::Look, held(1, 1, Some(1500)))],
    );
    refuses(
        "a lock for ever that ends",
        1,
        &[first(), op(9_000, 9_001, release(9), Answer::NotAcquired)],
    );
    refuses(
        "a release that is undone",
        2,
        &[first(), released(), op(12, 13, acquire(2, None), Answer::Locked)],
    );
    refuses(
        "a refusal of what is free",
        0,
        &[op(0, 1, acquire(1, None), Answer::Locked)],
    );
    refuses(
        "the same released twice",
        2,
        &[first(), released(), op(12, 13, release(1), Answer::Released)],
    );
    refuses(
        "a holder's own second grant",
        1,
        &[
            first(),
            op(
                2,
                3,
                Asked::Acquire {
                    key: 1,
                    wish: 2,
                    ttl: None,
                    timeout: 0,
                },
                granted(2),
            ),
        ],
    );
    refuses(
        "a repetition that is told another token",
        1,
        &[first(), op(2, 3, acquire(1, None), granted(2))],
    );
    refuses(
        "a release of another grant",
        1,
        &[
            first(),
            op(
                2,
                3,
                Asked::Release {
                    key: 1,
                    token: Some(9),
                    request: None,
                },
                Answer::Released,
            ),
        ],
    );
}

#[test]
fn what_overlaps_may_be_in_any_order() {
    accepts(
        "a grant while the release is under way",
        &[
            op(0, 1, acquire(1, None), granted(1)),
            op(2, 9, release(1), Answer::Released),
            op(3, 4, acquire(2, None), granted(2)),
            op(5, 6, Asked::Look, held(2, 2, None)),
        ],
    );
    accepts(
        "a lease that was granted late",
        &[
            op(0, 500, acquire(1, Some(1)), granted(1)),
            op(1400, 1410, acquire(2, None), Answer::Locked),
        ],
    );
    accepts(
        "a lease that was granted early",
        &[
            op(0, 500, acquire(1, Some(1)), granted(1)),
            op(1010, 1020, acquire(2, None), granted(2)),
        ],
    );
    accepts(
        "a look that sees a commit before its answer",
        &[
            op(0, 100, acquire(1, None), granted(1)),
            op(10, 20, Asked::Look, free(0)),
            op(30, 40, Asked::Look, held(1, 1, None)),
        ],
    );
    refuses(
        "a look that goes back",
        2,
        &[
            op(0, 100, acquire(1, None), granted(1)),
            op(10, 20, Asked::Look, held(1, 1, None)),
            op(30, 40, Asked::Look, free(0)),
        ],
    );
}

#[test]
fn what_has_no_answer_may_have_happened_or_not() {
    let lost = |key, ttl| op(0, 1, acquire(key, ttl), UNKNOWN);
    let first = || op(0, 1, acquire(1, None), granted(1));
    accepts(
        "a grant that was made",
        &[lost(1, None), op(9000, 9001, acquire(2, None), Answer::Locked)],
    );
    accepts(
        "one that was not",
        &[lost(1, None), op(9000, 9001, acquire(2, None), granted(1))],
    );
    accepts(
        "one that was made and given back",
        &[
            lost(1, None),
            op(10, 11, acquire(2, None), Answer::Locked),
            op(12, 13, acquire(3, None), granted(2)),
        ],
    );
    accepts(
        "one that was made late",
        &[
            lost(1, Some(1)),
            op(5000, 5001, Asked::Look, free(0)),
            op(5010, 5011, acquire(2, None), Answer::Locked),
            op(5500, 5501, Asked::Look, held(1, 1, Some(502))),
        ],
    );
    accepts(
        "one that is told again",
        &[
            lost(1, None),
            op(10, 11, acquire(2, None), Answer::Locked),
            op(12, 13, acquire(1, None), granted(1)),
        ],
    );
    refuses(
        "one that is told again and then given back",
        3,
        &[
            lost(1, None),
            op(10, 11, acquire(2, None), Answer::Locked),
            op(12, 13, acquire(1, None), granted(1)),
            op(14, 15, acquire(3, None), granted(2)),
        ],
    );
    refuses(
        "one that was made twice",
        4,
        &[
            lost(1, None),
            op(10, 11, release(1), Answer::Released),
            op(12, 13, Asked::Look, free(1)),
            op(14, 15, acquire(2, None), granted(2)),
            op(16, 17, Asked::Look, held(1, 3, None)),
        ],
    );
    refuses(
        "one that happened before it was sent",
        0,
        &[
            op(0, 1, acquire(2, None), Answer::Locked),
            op(2, 3, acquire(1, None), UNKNOWN),
        ],
    );
    accepts(
        "a release that happened",
        &[
            first(),
            op(2, 3, release(1), UNKNOWN),
            op(4, 5, acquire(2, None), granted(2)),
        ],
    );
    accepts(
        "one that did not",
        &[
            first(),
            op(2, 3, release(1), UNKNOWN),
            op(4, 5, acquire(2, None), Answer::Locked),
        ],
    );
    accepts(
        "one that is repeated",
        &[
            first(),
            op(2, 3, release_again(1), UNKNOWN),
            op(4, 5, acquire(2, None), granted(2)),
            op(6, 7, release_again(1), Answer::Released),
            op(8, 9, Asked::Look, held(2, 2, None)),
        ],
    );
    refuses(
        "one by another key",
        2,
        &[
            first(),
            op(2, 3, release(3), UNKNOWN),
            op(4, 5, acquire(2, None), granted(2)),
        ],
    );
    accepts(
        "a renewal that happened",
        &[
            op(0, 1, acquire(1, Some(1)), granted(1)),
            op(500, 501, renew(1, 5), UNKNOWN),
            op(2000, 2001, acquire(2, None), Answer::Locked),
        ],
    );
    accepts(
        "one that did not",
        &[
            op(0, 1, acquire(1, Some(1)), granted(1)),
            op(500, 501, renew(1, 5), UNKNOWN),
            op(2000, 2001, acquire(2, None), granted(2)),
        ],
    );
    refuses(
        "one that came too late",
        2,
        &[
            op(0, 1, acquire(1, Some(1)), granted(1)),
            op(1100, 1101, renew(1, 5), UNKNOWN),
            op(2000, 2001, acquire(2, None), Answer::Locked),
        ],
    );
}

#[test]
fn what_is_free_is_kept_for_who_is_in_line() {
    let before = || {
        [
            op(0, 1, acquire(1, None), granted(1)),
            op(100, 101, release(1), Answer::Released),
        ]
    };
    let refused = || op(102, 103, acquire(3, None), Answer::Locked);
    let [first, released] = before();
    accepts(
        "until it is served",
        &[
            first,
            op(2, 200, wait(2, 5), granted(2)),
            released,
            op(101, 102, Asked::Look, free(1)),
            refused(),
        ],
    );
    let [first, released] = before();
    refuses(
        "not after it was",
        4,
        &[
            first,
            op(2, 110, wait(2, 5), granted(2)),
            released,
            op(120, 121, release(2), Answer::Released),
            op(130, 131, acquire(3, None), Answer::Locked),
        ],
    );
    let [first, released] = before();
    accepts(
        "if it is gone, until its time is over",
        &[first, op(2, 3, wait(2, 1), UNKNOWN), released, refused()],
    );
}

/// What a lock answers to operations by chance, each decided at one instant,
/// sent some time before and answered some time after.
fn by_chance(seed: u64, count: usize, unknown_percent: u64) -> Vec<Operation> {
    let mut chance = Chance::seeded(seed);
    let mut now: Us = 0;
    let mut latest = 0;
    let mut lock: Option<(u32, i64, Option<Us>, Option<Us>)> = None;
    let mut operations = Vec::new();
    for number in 0..count {
        now += 1 + chance.below(100_000) as Us;
        lock = lock.filter(|(_, _, end, _)| end.is_none_or(|end| now < end));
        let holder = lock.map(|(key, ..)| key).filter(|_| chance.percent(60));
        let key = holder.unwrap_or(number as u32 + 1);
        let left = |end: Option<Us>| end.map(|end| end - now);
        let (asked, answer) = match chance.below(6) {
            0..=2 if holder.is_none() => {
                let ttl = chance.percent(70).then(|| 1 + chance.below(2) as Us);
                let answer = match lock {
                    Some(_) => Answer::Locked,
                    None => {
                        latest += 1 + chance.below(3) as i64;
                        let ttl = ttl.map(|ttl| ttl * SECOND);
                        lock = Some((key, latest, ttl.map(|ttl| now + ttl), ttl));
                        granted(latest)
                    }
                };
                (acquire(key, ttl), answer)
            }
            3 => match &mut lock {
                None => (renew(key, 2), Answer::NotAcquired),
                Some((holder, token, end, ttl)) if *holder == key => {
                    (*end, *ttl) = (Some(now + 2 * SECOND), Some(2 * SECOND));
                    (renew(key, 2), held(key, *token, Some(2000)))
                }
                Some(_) => (renew(key, 2), Answer::Invalid),
            },
            4 => match lock {
                None => (Asked::Look, free(latest)),
                Some((holder, token, end, _)) => {
                    let mut seen = held(holder, token, None);
                    if let Answer::Seen(Seen { held: Some(held), .. }) = &mut seen {
                        held.expires_in = left(end);
                    }
                    (Asked::Look, seen)
                }
            },
            _ => {
                let answer = match lock {
                    None => Answer::NotAcquired,
                    Some((holder, ..)) if holder == key => Answer::Released,
                    Some(_) => Answer::Invalid,
                };
                if answer == Answer::Released {
                    lock = None;
                }
                (release(key), answer)
            }
        };
        let is_unknown = chance.percent(unknown_percent);
        operations.push(Operation {
            client: number % 8,
            asked,
            sent: now - chance.below(150_000) as Us,
            answer: if is_unknown { UNKNOWN } else { answer },
            ended: now + chance.below(150_000) as Us,
        });
    }
    operations
}

#[test]
fn whatever_a_lock_does_is_accepted() {
    for seed in 0..150 {
        let unknown = seed % 3 * 10;
        let operations = by_chance(seed, 120, unknown);

        if let Err(stuck) = check(&operations) {
            panic!("seed {seed}: stuck at {}: {:?}", operations[stuck.at], stuck.before);
        }
    }
}

#[test]
fn a_false_answer_is_found_wherever_it_is() {
    let mut found = 0;
    for seed in 0..60 {
        let mut operations = by_chance(seed, 120, 0);
        let is_grant = |operation: &Operation| matches!(operation.answer, Answer::Granted { .. });
        let grants: Vec<_> = (0..operations.len()).filter(|at| is_grant(&operations[*at])).collect();
        let at = grants[grants.len() / 2];
        let Answer::Granted { token } = &mut operations[at].answer else {
            unreachable!("it is one of the grants");
        };
        *token = 1;

        found += usize::from(check(&operations).is_err());
    }

    assert_eq!(found, 60);
}

#[test]
fn tens_of_thousands_of_operations_are_little_work() {
    let count = 20_000;

    let Effort { looked_at, .. } = check(&by_chance(7, count, 2)).expect("it is what a lock does");

    assert!(looked_at < 100 * count, "{looked_at} configurations");
}
