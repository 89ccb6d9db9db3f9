//! What clients were told, and what of it a database must say.
//!
//! Each fact has its place in the log: what was answered before the power was
//! lost is true, what was asked after it has not happened, and what was under way
//! may have. An answer of 503 leaves it open for good.

use std::collections::{HashMap, HashSet};

use crate::crash::rows::{EventRow, Rows};

/// When a lock ends, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    At(i64),
    Never,
    /// The answer does not say it.
    Untold,
}

#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    Granted {
        at: u64,
        token: i64,
        end: End,
    },
    Refused,
    /// Answered 503, or not at all.
    Unknown,
}

/// What a holder asked for.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub asked: u64,
    /// `None` if nobody knows whether it has happened.
    pub answered: Option<u64>,
    /// The new end; `None` if it was a release.
    pub renewed: Option<End>,
}

/// One request for a lock, with a key that no other has for that name.
#[derive(Clone, Debug)]
pub struct Hold {
    pub name: String,
    pub key: String,
    pub asked: u64,
    pub verdict: Verdict,
    pub changes: Vec<Change>,
}

/// A token that a command has made.
#[derive(Clone, Debug)]
pub struct Token {
    pub name: String,
    pub asked: u64,
    pub made: u64,
    /// When somebody asked to revoke it, and when that was done.
    pub revoked: Option<(u64, u64)>,
}

/// All that is known.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub holds: Vec<Hold>,
    pub tokens: Vec<Token>,
}

/// What is known of a lock when the power is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Held,
    Free,
    Open,
}

impl Hold {
    fn release(&self) -> Option<&Change> {
        self.changes.iter().find(|change| change.renewed.is_none())
    }

    /// Whether this request holds the lock at `position` of the log.
    pub fn standing(&self, position: u64) -> Standing {
        let release = self.release().filter(|release| release.asked < position);
        match (self.verdict, release) {
            (Verdict::Refused, _) => Standing::Free,
            _ if self.asked >= position => Standing::Free,
            (_, Some(release)) if is_before(release.answered, position) => Standing::Free,
            (Verdict::Granted { at, .. }, None) if at <= position => Standing::Held,
            _ => Standing::Open,
        }
    }

    /// Where it was told that it holds.
    pub fn granted_at(&self) -> Option<u64> {
        match self.verdict {
            Verdict::Granted { at, .. } => Some(at),
            Verdict::Refused | Verdict::Unknown => None,
        }
    }

    /// Its token, if that was told before `position`.
    pub fn token_at(&self, position: u64) -> Option<i64> {
        match self.verdict {
            Verdict::Granted { at, token, .. } if at <= position => Some(token),
            _ => None,
        }
    }

    /// When it may end, if it holds at `position`; `None` if any time will do.
    fn ends_at(&self, position: u64) -> Option<Vec<End>> {
        let Verdict::Granted { end, .. } = self.verdict else {
            return None;
        };
        let mut ends = vec![end];
        for change in self.changes.iter().filter(|change| change.asked < position) {
            let Some(end) = change.renewed else { continue };
            if is_before(change.answered, position) {
                ends.clear();
            }
            ends.push(if change.answered.is_some() { end } else { End::Untold });
        }
        (!ends.contains(&End::Untold)).then_some(ends)
    }
}

fn is_before(answered: Option<u64>, position: u64) -> bool {
    answered.is_some_and(|answered| answered <= position)
}

impl Facts {
    pub fn add(&mut self, other: Self) {
        self.holds.extend(other.holds);
        self.tokens.extend(other.tokens);
    }

    /// The requests for each name.
    pub fn by_name(&self) -> HashMap<&str, Vec<&Hold>> {
        let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
        for hold in &self.holds {
            by_name.entry(hold.name.as_str()).or_default().push(hold);
        }
        by_name
    }

    /// How many were acknowledged before `position`.
    pub fn acknowledged(&self, position: u64) -> usize {
        let granted = self.holds.iter().filter(|hold| hold.token_at(position).is_some());
        let changes = self.holds.iter().flat_map(|hold| &hold.changes);
        granted.count() + changes.filter(|change| is_before(change.answered, position)).count()
    }

    pub fn highest_token(&self, position: u64) -> i64 {
        self.holds
            .iter()
            .filter_map(|hold| hold.token_at(position))
            .max()
            .unwrap_or(0)
    }

    /// The first fact that `rows` denies, which are on disk after the power was
    /// lost at `position`.
    pub fn require(&self, rows: &Rows, position: u64) -> Result<(), String> {
        self.require_locks(rows, position)?;
        self.require_events(rows, position)?;
        self.require_tokens(rows, position)
    }

    fn require_locks(&self, rows: &Rows, position: u64) -> Result<(), String> {
        let by_name = self.by_name();
        for (name, row) in &rows.resources {
            let holds = by_name.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            let Some(key) = &row.locked_by else { continue };
            let Some(hold) = holds.iter().find(|hold| hold.key == *key) else {
                return Err(format!("{name} is held by {key}, which nobody asked for"));
            };
            if hold.standing(position) == Standing::Free {
                return Err(format!("{name} is held by a key that must not hold it: {hold:?}"));
            }
            match hold.verdict {
                Verdict::Granted { token, .. } if token != row.token => {
                    return Err(format!("{name} is held with token {}: {hold:?}", row.token));
                }
                _ => {}
            }
            if hold.ends_at(position).is_some_and(|ends| !ends.contains(&row.end)) {
                return Err(format!("{name} ends {:?}: {hold:?}", row.end));
            }
        }
        for (name, holds) in by_name {
            let row = rows.resources.get(name);
            for hold in holds {
                let is_held = row.is_some_and(|row| row.locked_by.as_ref() == Some(&hold.key));
                if hold.standing(position) == Standing::Held && !is_held {
                    return Err(format!("{name} was granted and is not held: {hold:?}, {row:?}"));
                }
                let token = hold.token_at(position).unwrap_or(0);
                if row.map_or(0, |row| row.token) < token {
                    return Err(format!("{name} had token {token}: {row:?}"));
                }
            }
        }
        let highest = self.highest_token(position);
        match rows.highest_token < highest {
            true => Err(format!("the counter is at {}, below {highest}", rows.highest_token)),
            false => Ok(()),
        }
    }

    fn require_events(&self, rows: &Rows, position: u64) -> Result<(), String> {
        let told = |event: &EventRow| (event.resource.clone(), event.token, event.kind.clone());
        let events: HashSet<_> = rows.events.iter().map(told).collect();
        let has = |hold: &Hold, kind: &str| {
            let token = hold.token_at(position).unwrap_or(0);
            match events.contains(&(hold.name.clone(), token, kind.to_owned())) {
                true => Ok(()),
                false => Err(format!("no event {kind} for {hold:?}")),
            }
        };
        for hold in &self.holds {
            if hold.token_at(position).is_some() {
                has(hold, "acquired")?;
                if hold
                    .release()
                    .is_some_and(|release| is_before(release.answered, position))
                {
                    has(hold, "released")?;
                }
            }
        }
        let latest: HashMap<_, _> = rows
            .events
            .iter()
            .map(|event| (event.resource.as_str(), event))
            .collect();
        for (name, row) in &rows.resources {
            let Some(event) = latest.get(name.as_str()) else {
                return Err(format!("{name} has no event: {row:?}"));
            };
            let is_held = event.kind == "acquired" || event.kind == "renewed";
            if row.last_event != Some(event.id) || is_held != row.locked_by.is_some() || event.token != row.token {
                return Err(format!("the latest event of {name} does not fit: {event:?}, {row:?}"));
            }
        }
        match latest.keys().find(|name| !rows.resources.contains_key(**name)) {
            Some(name) => Err(format!("there is an event of {name}, and no row")),
            None => Ok(()),
        }
    }

    pub fn require_tokens(&self, rows: &Rows, position: u64) -> Result<(), String> {
        for token in &self.tokens {
            let found = rows.tokens.get(&token.name);
            let (may_be, must_be) = (token.asked < position, token.made <= position);
            let may_be_revoked = token.revoked.is_some_and(|(asked, _)| asked < position);
            let must_be_revoked = token.revoked.is_some_and(|(_, done)| done <= position);
            let is_good = match found {
                None => !must_be,
                Some(true) => may_be && may_be_revoked,
                Some(false) => may_be && !must_be_revoked,
            };
            if !is_good {
                return Err(format!("{token:?} is {found:?} (whether it is revoked)"));
            }
        }
        match rows
            .tokens
            .keys()
            .find(|name| !self.tokens.iter().any(|token| token.name == **name))
        {
            Some(name) => Err(format!("there is a token {name:?}, which nobody made")),
            None => Ok(()),
        }
    }
}
