//! What one resource may be like after some operations, and what each next one
//! makes of it.
//!
//! **Time.** Clients know when they sent and when they were answered; the
//! instant at which the server decided lies between. So each operation that
//! decides is given an instant in `[sent, ended]`, which do not go back in the
//! order in which operations are put; a lease that is granted or renewed at
//! instant `g` ends at `g + ttl`, and whoever decides at instant `t` finds it held
//! if `t < end`, and free if `t >= end`. Instants are not guessed: a [`State`]
//! stands for all choices of them that are possible, by the earliest instant of
//! the latest decision and the interval in which the end of the lease lies. That
//! is exact, because all later operations end later than those that were put
//! before: what `ended` bounds is bounded once and for all when it is put, so
//! that nothing relates the two numbers any more.
//!
//! Whoever only looks waits for nobody's row, and sees what is committed, with
//! the clock of that moment. So a look is in its place in the order, but its
//! instant is its own: it bounds the end of the lease, and not the instants of
//! decisions whose commit it did not wait for.
//!
//! **What nobody was told.** An operation without an answer may be put anywhere
//! after it was sent, or nowhere. If it is an acquisition then the grant may be
//! undone again, once and at any time, unless a repetition of the request was told
//! of it: the server gives back what reaches nobody. The same is true, without
//! anybody knowing, of whoever waits: a hand-over whose commit is lost is undone,
//! and a grant at the deadline that comes too late.
//!
//! Such a grant leaves its token behind when it is undone: the latest token may
//! be higher than anybody knows, if a grant may have been made that nobody saw.
//!
//! **Lines.** A resource that is free is kept for who is first in line, until
//! that one is served or turns out to be gone. So a refusal is legal, whatever
//! the resource is like, while somebody may wait.

use std::fmt;

use super::history::{Answer, Asked, Key, Operation, Seen, Us, Wish};

/// How much the server's clock may differ from that of the clients: it counts
/// whole microseconds, a process may be put aside between seeing and reading it,
/// and after a restart SQLite's is set by the wall clock anew.
pub const TOLERANCE: Us = 5_000;

/// For how long after its time somebody may be kept a place whose client is gone:
/// as long as a server that says nothing is believed to live, and places are kept.
pub const PLACE_KEPT: Us = 5_000_000;

/// What is put into an order.
#[derive(Clone, Debug)]
pub struct Step {
    pub sent: Us,
    /// When it was over for sure.
    pub until: Us,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Granted {
        key: Key,
        wish: Wish,
        ttl: Option<Us>,
        /// `None` if nobody was told.
        token: Option<i64>,
    },
    /// A grant of which nobody was told is undone.
    GivenBack,
    Refused {
        wish: Wish,
    },
    Released {
        key: Key,
        token: Option<i64>,
        request: Option<u32>,
        /// Whether anybody was told.
        told: bool,
    },
    Renewed {
        key: Key,
        ttl: Option<Us>,
        token: Option<i64>,
        seen: Option<Seen>,
    },
    FoundFree,
    FoundOthers {
        key: Key,
        token: Option<i64>,
    },
    Looked(Seen),
    Checked {
        token: i64,
        valid: bool,
        latest: i64,
    },
}

/// What there is beside the resource.
pub struct Around<F> {
    /// Whether somebody else may wait for it at this instant or later.
    pub in_line: F,
    /// Whether a grant may have been made, and undone, of which nothing else is
    /// known.
    pub may_be_raised: bool,
}

impl Around<fn(Us) -> bool> {
    pub const NOTHING: Self = Self {
        in_line: |_| false,
        may_be_raised: false,
    };
}

/// All that a resource may be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The earliest instant at which the latest decision may have been made.
    pub decided: Us,
    pub lease: Option<Lease>,
    pub token: Token,
    /// The `Idempotency-Key` of the latest release.
    pub released: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub key: Key,
    pub wish: Wish,
    pub ttl: Option<Us>,
    /// Between which instants it ends, if it does.
    pub end: Option<(Us, Us)>,
    /// Whether somebody knows of it, so that it cannot be given back.
    pub told: bool,
}

/// That of the latest grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Known(i64),
    Above(i64),
}

impl Token {
    /// None has a token below this.
    pub fn least(self) -> i64 {
        match self {
            Self::Known(token) => token,
            Self::Above(token) => token + 1,
        }
    }

    fn matched(self, token: i64) -> Option<Self> {
        let may_be = match self {
            Self::Known(known) => known == token,
            Self::Above(bound) => bound < token,
        };
        may_be.then_some(Self::Known(token))
    }

    fn allows_all_of(self, other: Self, may_be_raised: bool) -> bool {
        match (self, other) {
            (Self::Known(_), Self::Above(_)) if may_be_raised => self.least() <= other.least(),
            (Self::Above(_), _) => self.least() <= other.least(),
            (Self::Known(_), _) => self == other,
        }
    }
}

impl State {
    pub const NEVER_ACQUIRED: Self = Self {
        decided: Us::MIN,
        lease: None,
        token: Token::Known(0),
        released: None,
    };

    /// Whether whatever is possible after `other` is possible after this one.
    pub fn allows_all_of(&self, other: &Self, may_be_raised: bool) -> bool {
        let is_free = self.lease.is_none();
        let lease = match (&self.lease, &other.lease) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => ours.allows_all_of(theirs),
            _ => false,
        };
        lease
            && self.decided <= other.decided
            && self.token.allows_all_of(other.token, is_free && may_be_raised)
            && (self.released == other.released || other.released.is_none())
    }

    /// As it is found held, at the earliest at `from`; or not.
    fn held(&self, from: Us) -> Option<(Self, &Lease)> {
        let lease = self.lease.as_ref()?;
        let mut found = self.clone();
        if let Some((earliest, latest)) = lease.end {
            if from >= latest + TOLERANCE {
                return None;
            }
            let ours = found.lease.as_mut()?;
            ours.end = Some((earliest.max(from).min(latest), latest));
        }
        Some((found, lease))
    }

    /// As it is found free in `[from, to]`; or not.
    fn free(&self, from: Us, to: Us) -> Option<Self> {
        let mut found = self.clone();
        found.decided = from;
        if let Some(lease) = &self.lease {
            let (earliest, _) = lease.end?;
            found.decided = from.max(earliest - TOLERANCE);
            found.lease = None;
        }
        (found.decided <= to).then_some(found)
    }

    /// Calls `next` with each state that `step` may lead to if it is decided by
    /// `to` at the latest.
    pub fn after(&self, step: &Step, to: Us, around: Around<impl FnOnce(Us) -> bool>, next: &mut impl FnMut(Self)) {
        let (from, to) = (self.decided.max(step.sent), to.min(step.until));
        if from > to {
            return;
        }
        match &step.kind {
            Kind::Granted { key, wish, ttl, token } => self.granted((*key, *wish), *ttl, *token, (from, to), next),
            Kind::GivenBack => {
                if self.lease.as_ref().is_some_and(|lease| !lease.told) {
                    // It does not matter whether the lease is over.
                    let mut after = self.clone();
                    after.decided = from;
                    after.lease = None;
                    next(after);
                }
            }
            Kind::Refused { wish } => {
                if (around.in_line)(from) {
                    next(self.decided_at(from));
                } else if let Some((found, lease)) = self.held(from)
                    && lease.wish != *wish
                {
                    next(found.decided_at(from));
                }
            }
            Kind::Released {
                key,
                token,
                request,
                told,
            } => {
                let is_theirs = self.lease.as_ref().is_some_and(|lease| lease.key == *key);
                if is_theirs && let Some((mut after, _)) = self.held(from) {
                    let matched = token.map_or(Some(after.token), |token| after.token.matched(token));
                    if let Some(matched) = matched {
                        after.token = matched;
                        after.decided = from;
                        after.lease = None;
                        after.released = *request;
                        next(after);
                    }
                }
                // Told again. An expired lock of the same key is not in the way.
                if *told && request.is_some() && self.released == *request {
                    match is_theirs {
                        false => next(self.decided_at(from)),
                        true => self.free(from, to).into_iter().for_each(next),
                    }
                }
            }
            Kind::Renewed { key, ttl, token, seen } => {
                let Some((mut after, lease)) = self.held(from) else {
                    return;
                };
                let ttl = ttl.or(lease.ttl);
                let to = lease.end.map_or(to, |(_, latest)| to.min(latest + TOLERANCE));
                let shown = seen.as_ref().map(|seen| (seen.token, seen.held.as_ref()));
                let is_shown = shown.is_none_or(|(_, held)| {
                    held.is_some_and(|held| held.wish == lease.wish && held.expires_in.is_some() == ttl.is_some())
                });
                for token in token.iter().copied().chain(shown.map(|(token, _)| token)) {
                    match after.token.matched(token) {
                        Some(matched) => after.token = matched,
                        None => return,
                    }
                }
                if lease.key == *key && is_shown {
                    after.decided = from;
                    if let Some(lease) = &mut after.lease {
                        lease.ttl = ttl;
                        lease.end = ttl.map(|ttl| (from + ttl, to + ttl));
                    }
                    next(after);
                }
            }
            Kind::FoundFree => self.free(from, to).into_iter().for_each(next),
            Kind::FoundOthers { key, token } => {
                if let Some((found, lease)) = self.held(from) {
                    let is_another_grant = token.is_some_and(|token| self.token != Token::Known(token));
                    if lease.key != *key || is_another_grant {
                        next(found.decided_at(from));
                    }
                }
            }
            Kind::Looked(seen) => {
                let found = match &seen.held {
                    None => self.seen_free(from, to),
                    Some(held) => self.seen_held(held.wish, held.expires_in, (from, to)),
                };
                match (self.token.matched(seen.token), found) {
                    (Some(token), Some(found)) => next(Self { token, ..found }),
                    (None, _) if around.may_be_raised && seen.held.is_none() => {
                        self.raised(seen.token, (from, to)).into_iter().for_each(next);
                    }
                    _ => {}
                }
            }
            Kind::Checked { token, valid, latest } => {
                let Some(known) = self.token.matched(*latest) else {
                    if around.may_be_raised && !valid {
                        self.raised(*latest, (from, to)).into_iter().for_each(next);
                    }
                    return;
                };
                let found = match (valid, token == latest) {
                    (true, true) => self.held(from).map(|(found, _)| found),
                    (true, false) => None,
                    (false, true) => self.seen_free(from, to),
                    (false, false) => Some(self.clone()),
                };
                found.into_iter().for_each(|found| next(Self { token: known, ..found }));
            }
        }
    }

    /// Free, and after a grant of which only this token is known.
    fn raised(&self, token: i64, (from, to): (Us, Us)) -> Option<Self> {
        let found = self.free(from, to).filter(|_| token >= self.token.least())?;
        Some(Self {
            token: Token::Known(token),
            ..found
        })
    }

    fn decided_at(&self, instant: Us) -> Self {
        Self {
            decided: instant,
            ..self.clone()
        }
    }

    fn granted(
        &self,
        (key, wish): (Key, Wish),
        ttl: Option<Us>,
        token: Option<i64>,
        (from, to): (Us, Us),
        next: &mut impl FnMut(Self),
    ) {
        // The request was sent before, and its grant stands.
        if let Some(told) = token
            && let Some((mut after, lease)) = self.held(from)
            && lease.wish == wish
            && let Some(known) = self.token.matched(told)
        {
            after.token = known;
            after.decided = from;
            if let Some(lease) = &mut after.lease {
                lease.told = true;
            }
            next(after);
        }
        let Some(mut after) = self.free(from, to) else {
            return;
        };
        if token.is_some_and(|token| token <= self.token.least()) {
            return;
        }
        after.token = token.map_or(Token::Above(self.token.least()), Token::Known);
        after.lease = Some(Lease {
            key,
            wish,
            ttl,
            end: ttl.map(|ttl| (after.decided + ttl, to + ttl)),
            told: token.is_some(),
        });
        next(after);
    }

    /// Free for who looks. The end of the lease may be known better now; it
    /// stays, because a renewal may be decided and not committed yet.
    fn seen_free(&self, from: Us, to: Us) -> Option<Self> {
        self.free(from, to)?;
        let mut found = self.clone();
        if let Some(lease) = &mut found.lease {
            let (earliest, latest) = lease.end?;
            let latest = latest.min(to + TOLERANCE);
            lease.end = Some((earliest.min(latest), latest));
        }
        Some(found)
    }

    fn seen_held(&self, wish: Wish, expires_in: Option<Us>, (from, to): (Us, Us)) -> Option<Self> {
        let (mut found, lease) = self.held(from)?;
        if lease.wish != wish || lease.end.is_some() != expires_in.is_some() {
            return None;
        }
        if let (Some(Lease { end: Some(end), .. }), Some(left)) = (&mut found.lease, expires_in) {
            let shown = (from + left - TOLERANCE, to + left + TOLERANCE);
            *end = (end.0.max(shown.0), end.1.min(shown.1));
            if end.0 > end.1 {
                return None;
            }
        }
        Some(found)
    }
}

impl Lease {
    fn allows_all_of(&self, other: &Self) -> bool {
        let end = match (self.end, other.end) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => ours.0 <= theirs.0 && theirs.1 <= ours.1,
            _ => false,
        };
        let known = (self.key, self.wish, self.ttl) == (other.key, other.wish, other.ttl);
        end && known && (!self.told || other.told)
    }
}

/// For people.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |us: Us| us as f64 / 1e6;
        match &self.lease {
            None => f.write_str("free")?,
            Some(Lease {
                key, wish, end, told, ..
            }) => {
                write!(f, "held by key {key} for wish {wish}")?;
                match end {
                    None => f.write_str(" for ever")?,
                    Some((from, to)) => write!(f, " until {:.4} to {:.4}", seconds(*from), seconds(*to))?,
                }
                f.write_str(if *told { "" } else { ", of which nobody was told" })?;
            }
        }
        match self.token {
            Token::Known(token) => write!(f, "; latest token {token}"),
            Token::Above(token) => write!(f, "; latest token above {token}"),
        }
    }
}

/// What an operation was if it is known to have happened.
pub fn step_of(operation: &Operation) -> Option<Step> {
    let kind = match (&operation.asked, &operation.answer) {
        (_, Answer::Unknown(_)) => return None,
        (Asked::Acquire { key, wish, ttl, .. }, Answer::Granted { token }) => Kind::Granted {
            key: *key,
            wish: *wish,
            ttl: *ttl,
            token: Some(*token),
        },
        (Asked::Acquire { wish, .. }, Answer::Locked | Answer::TimedOut) => Kind::Refused { wish: *wish },
        (Asked::Release { key, token, request }, Answer::Released) => Kind::Released {
            key: *key,
            token: *token,
            request: *request,
            told: true,
        },
        (Asked::Release { .. } | Asked::Renew { .. }, Answer::NotAcquired) => Kind::FoundFree,
        (Asked::Release { key, token, .. } | Asked::Renew { key, token, .. }, Answer::Invalid) => Kind::FoundOthers {
            key: *key,
            token: *token,
        },
        (Asked::Renew { key, ttl, token }, Answer::Seen(seen)) => Kind::Renewed {
            key: *key,
            ttl: *ttl,
            token: *token,
            seen: Some(seen.clone()),
        },
        (Asked::Look, Answer::Seen(seen)) => Kind::Looked(seen.clone()),
        (Asked::Check { token }, Answer::Checked { valid, latest }) => Kind::Checked {
            token: *token,
            valid: *valid,
            latest: *latest,
        },
        (asked, answer) => panic!("{asked:?} cannot be answered with {answer:?}"),
    };
    Some(Step {
        sent: operation.sent,
        until: operation.ended,
        kind,
    })
}

/// What may have happened because of an operation without anybody being told. It
/// can be a grant that is undone, too.
pub fn hidden_step_of(operation: &Operation) -> Option<Step> {
    let is_unknown = matches!(operation.answer, Answer::Unknown(_));
    let kind = match operation.asked.clone() {
        Asked::Acquire {
            key,
            wish,
            ttl,
            timeout,
        } if is_unknown || (timeout > 0 && operation.answer != Answer::Locked) => Kind::Granted {
            key,
            wish,
            ttl,
            token: None,
        },
        Asked::Release { key, token, request } if is_unknown => Kind::Released {
            key,
            token,
            request,
            told: false,
        },
        Asked::Renew { key, ttl, token } if is_unknown => Kind::Renewed {
            key,
            ttl,
            token,
            seen: None,
        },
        _ => return None,
    };
    let until = match operation.answer {
        Answer::Granted { .. } => operation.ended,
        _ => Us::MAX,
    };
    Some(Step {
        sent: operation.sent,
        until,
        kind,
    })
}

/// Until when its client may stand in line because of an operation.
pub fn in_line_until(operation: &Operation) -> Option<Us> {
    match (&operation.asked, &operation.answer) {
        (Asked::Acquire { timeout: 0, .. }, _) => None,
        (Asked::Acquire { .. }, Answer::Granted { .. }) => Some(operation.ended),
        // Its server may fall silent before it says so.
        (Asked::Acquire { .. }, Answer::TimedOut) => Some(operation.ended + PLACE_KEPT),
        (Asked::Acquire { timeout, .. }, _) => Some(operation.sent + timeout + PLACE_KEPT),
        _ => None,
    }
}
