//! What may have happened without anybody being told.

use std::collections::{HashMap, HashSet};

use crate::linearizability::history::{Answer, Asked, Key, Operation, Seen, Us, Wish};
use crate::linearizability::model::{Kind, Step, hidden_step_of};

pub struct Hidden {
    /// Releases and renewals.
    pub changes: Vec<Step>,
    /// Which of them were asked for with a key.
    pub changes_by: HashMap<Key, Vec<usize>>,
    pub classes: Vec<Class>,
    /// Each `Idempotency-Key` with which a release was asked for more than once.
    pub repeated: HashSet<u32>,
}

/// Hidden grants of which it does not matter which of them is made.
pub struct Class {
    pub granted: Kind,
    /// For each from when to when it may be made, in the order in which they were
    /// asked for.
    pub requests: Vec<(Us, Us)>,
}

impl Class {
    pub fn first_sent(&self) -> Us {
        self.requests.first().map_or(Us::MAX, |(sent, _)| *sent)
    }

    /// When the last of them may be made.
    pub fn until(&self) -> Us {
        self.requests.iter().map(|(_, until)| *until).max().unwrap_or(Us::MIN)
    }
}

impl Hidden {
    /// With the grants of which nothing tells, if they are to be tried.
    pub fn of(operations: &[Operation], tries_doubtful: bool) -> Self {
        let shown = Shown::by(operations);
        let mut by_wish = HashMap::new();
        let mut by_ttl = HashMap::new();
        let mut hidden = Self {
            changes: Vec::new(),
            changes_by: HashMap::new(),
            classes: Vec::new(),
            repeated: repeated(operations),
        };
        for operation in operations {
            if let Some(step) = hidden_step_of(operation) {
                match step.kind {
                    Kind::Granted { wish, ttl, .. } => {
                        let told = shown.last_time(operation);
                        if let Some(told) = told {
                            let class = by_wish
                                .entry(wish)
                                .or_insert_with(|| hidden.add_class(step.kind.clone()));
                            hidden.classes[*class].requests.push((step.sent, told.min(step.until)));
                        }
                        let since = told.map_or(step.sent, |told| told.max(step.sent));
                        if tries_doubtful && since <= step.until {
                            let class = by_ttl.entry(ttl).or_insert_with(|| hidden.add_doubtful(ttl));
                            hidden.classes[*class].requests.push((since, step.until));
                        }
                    }
                    Kind::Released { key, .. } | Kind::Renewed { key, .. } => {
                        hidden.changes_by.entry(key).or_default().push(hidden.changes.len());
                        hidden.changes.push(hidden.without_what_is_not_repeated(step));
                    }
                    _ => unreachable!("nothing else changes a resource"),
                }
            }
        }
        for class in &mut hidden.classes {
            class.requests.sort_unstable();
        }
        hidden
    }

    fn add_class(&mut self, granted: Kind) -> usize {
        self.classes.push(Class {
            granted,
            requests: Vec::new(),
        });
        self.classes.len() - 1
    }

    fn add_doubtful(&mut self, ttl: Option<Us>) -> usize {
        // A number that no client has.
        let wish = Wish::MAX - self.classes.len() as Wish;
        self.add_class(Kind::Granted {
            key: wish,
            wish,
            ttl,
            token: None,
        })
    }

    /// The step, by whose `Idempotency-Key` it is known again only if anybody used
    /// that again.
    pub fn without_what_is_not_repeated(&self, step: Step) -> Step {
        let kind = match step.kind {
            Kind::Released {
                key,
                token,
                request,
                told,
            } => Kind::Released {
                key,
                token,
                request: request.filter(|request| self.repeated.contains(request)),
                told,
            },
            kind => kind,
        };
        Step { kind, ..step }
    }
}

fn repeated(operations: &[Operation]) -> HashSet<u32> {
    let mut seen = HashSet::new();
    let requests = operations.iter().filter_map(|operation| match operation.asked {
        Asked::Release { request, .. } => request,
        _ => None,
    });
    requests.filter(|request| !seen.insert(*request)).collect()
}

/// Of which grants something tells, and when for the last time.
#[derive(Default)]
struct Shown {
    /// Of locks that were released.
    keys: HashMap<Key, Us>,
    /// With their tokens.
    wishes: HashMap<Wish, HashMap<i64, Us>>,
}

impl Shown {
    fn by(operations: &[Operation]) -> Self {
        let mut shown = Self::default();
        for operation in operations {
            let (wish, token) = match (&operation.asked, &operation.answer) {
                (Asked::Release { key, .. }, Answer::Released) => {
                    let last = shown.keys.entry(*key).or_insert(Us::MIN);
                    *last = operation.ended.max(*last);
                    continue;
                }
                (Asked::Acquire { wish, .. }, Answer::Granted { token }) => (*wish, *token),
                (
                    _,
                    Answer::Seen(Seen {
                        held: Some(held),
                        token,
                    }),
                ) => (held.wish, *token),
                _ => continue,
            };
            let tokens = shown.wishes.entry(wish).or_default();
            let last = tokens.entry(token).or_insert(Us::MIN);
            *last = operation.ended.max(*last);
        }
        shown
    }

    /// The last time that something tells of a grant that was made because of the
    /// acquisition; of another one than that of which its client was told, if it was.
    fn last_time(&self, operation: &Operation) -> Option<Us> {
        let Asked::Acquire { key, wish, .. } = &operation.asked else {
            return None;
        };
        let tokens = self.wishes.get(wish).into_iter().flatten();
        let told = match operation.answer {
            Answer::Granted { token } => Some(token),
            _ => None,
        };
        let by_wish = tokens.filter(|(token, _)| told != Some(**token)).map(|(_, last)| *last);
        let by_key = self
            .keys
            .get(key)
            .filter(|_| matches!(operation.answer, Answer::Unknown(_)));
        by_wish.chain(by_key.copied()).max()
    }
}
