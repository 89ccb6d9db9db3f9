//! Whether the operations on one resource can be put into an order in which each
//! is answered as it was.
//!
//! **The search** is that of Wing and Gong as Lowe made it: just-in-time
//! linearization. The answers are gone through in the order in which they came.
//! At each, every configuration (a [`State`], which of the operations under way
//! have been put, and which hidden steps were used) is continued by operations
//! that were sent by then until the one that is answered has been put; not
//! further. Where no configuration is left the history is not linearizable, and
//! that answer is where it got stuck. What keeps the set of configurations small
//! is not only that equal ones are one: one goes if all that may follow it may
//! follow another, which has used fewer hidden steps, has more observations behind
//! it, or leaves time more freedom. Resources are independent of each other, so
//! each is judged alone.
//!
//! Hidden steps (`model::hidden_steps_of`) of grants that nothing shows to have
//! been made are left out at first, and tried if the search gets stuck. Then it is
//! not asked which of them was made, but only how many: those with the same ttl are
//! one, which may be made as many times as there were requests.
//!
//! **What else there is.** `LinearizabilityTester` of stateright (Rust) and
//! `WGLChecker` of todc-utils (Rust) look through the orders of a whole history
//! over specifications without time; the first keeps nothing of what it has looked
//! through, so that it is for the dozen operations of a model; the second wants an
//! answer to each call. lincheck (Rust) runs data structures of one process.
//! Porcupine (Go), the best of those for thousands of operations, allows several
//! next states, so that time could be had as ranges of numbers, but knows equal
//! states only: hundreds of operations without an answer, each of which may have
//! happened or not, are more sets than it can go through, and ranges are hardly
//! ever equal. Knossos (Clojure) has the same algorithm and the same limit; Elle
//! judges transactions by the values that they read and has no time either. None
//! is able to say that one configuration is as good as another, and that is what
//! makes this problem small; without it there are few lines left to save.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::history::{Answer, Asked, Key, Operation, Seen, Us, Wish};
use super::model::{Around, Kind, State, Step, hidden_steps_of, in_line_until, step_of};

/// Configurations that are looked at before the search gives up.
const LOOKED_AT_MAX: usize = 2_000_000;

/// Where no order was found.
#[derive(Debug)]
pub struct Stuck {
    /// The operation that fits nowhere, by its number in the history.
    pub at: usize,
    /// What the resource may have been like before it.
    pub before: Vec<State>,
    /// Whether the search gave up, so that there may be an order after all.
    pub gave_up: bool,
}

/// How much work it was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effort {
    pub looked_at: usize,
    /// Whether grants that nothing shows had to be tried.
    pub tried_doubtful: bool,
}

/// Judges the operations on one resource that nobody had ever acquired before.
pub fn check(operations: &[Operation]) -> Result<Effort, Stuck> {
    let hidden = Hidden::of(operations);
    let mut effort = Effort::default();
    loop {
        let mut search = Search::over(operations, &hidden, effort.tried_doubtful);
        let result = search.run();
        effort.looked_at += search.looked_at;
        match result {
            Ok(()) => return Ok(effort),
            Err(stuck) if stuck.gave_up || effort.tried_doubtful => return Err(stuck),
            Err(_) => effort.tried_doubtful = true,
        }
    }
}

/// What may have happened without anybody being told.
struct Hidden {
    steps: Vec<Step>,
    doubtful: Vec<Doubtful>,
}

/// Grants with the same ttl of which nothing shows that they were made.
struct Doubtful {
    granted: Kind,
    given_back: Kind,
    /// For each request from when to when it may have been granted, in the order in
    /// which they were sent.
    requests: Vec<(Us, Us)>,
}

impl Hidden {
    fn of(operations: &[Operation]) -> Self {
        let shown = Shown::by(operations);
        let mut hidden = Self {
            steps: Vec::new(),
            doubtful: Vec::new(),
        };
        for operation in operations {
            for step in hidden_steps_of(operation) {
                match step.kind {
                    Kind::Granted { ttl, .. } if !shown.tells_of_hidden(operation) => {
                        let number = hidden.class_of(ttl);
                        hidden.doubtful[number].requests.push((step.sent, step.until));
                    }
                    Kind::GivenBack { .. } if !shown.tells_of_hidden(operation) => {}
                    _ => hidden.steps.push(step),
                }
            }
        }
        for class in &mut hidden.doubtful {
            class.requests.sort_unstable();
        }
        hidden
    }

    fn class_of(&mut self, ttl: Option<Us>) -> usize {
        let is_same = |class: &Doubtful| matches!(class.granted, Kind::Granted { ttl: its, .. } if its == ttl);
        self.doubtful.iter().position(is_same).unwrap_or_else(|| {
            // A number that no client has.
            let wish = Wish::MAX - self.doubtful.len() as Wish;
            self.doubtful.push(Doubtful {
                granted: Kind::Granted {
                    key: wish,
                    wish,
                    ttl,
                    token: None,
                },
                given_back: Kind::GivenBack { wish },
                requests: Vec::new(),
            });
            self.doubtful.len() - 1
        })
    }
}

/// Of which grants it is known that they were made.
#[derive(Default)]
struct Shown {
    /// Of locks that were released.
    keys: HashSet<Key>,
    /// With their tokens.
    wishes: HashMap<Wish, HashSet<i64>>,
}

impl Shown {
    fn by(operations: &[Operation]) -> Self {
        let mut shown = Self::default();
        for operation in operations {
            let (wish, token) = match (&operation.asked, &operation.answer) {
                (Asked::Release { key, .. }, Answer::Released) => {
                    shown.keys.insert(*key);
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
            shown.wishes.entry(wish).or_default().insert(token);
        }
        shown
    }

    /// Whether a grant was made because of the operation that is not the one that
    /// its client was told of, if it was told of one; as far as is known.
    fn tells_of_hidden(&self, operation: &Operation) -> bool {
        let Asked::Acquire { key, wish, .. } = &operation.asked else {
            return true;
        };
        let tokens = self.wishes.get(wish);
        match operation.answer {
            Answer::Unknown(_) => tokens.is_some() || self.keys.contains(key),
            Answer::Granted { token } => tokens.is_some_and(|tokens| tokens.iter().any(|seen| *seen != token)),
            _ => tokens.is_some(),
        }
    }
}

#[derive(Clone, Debug)]
struct Configuration {
    state: State,
    /// Operations that are put already and answered later; in order.
    put: Vec<usize>,
    /// Hidden steps that happened, without those that happened in all; in order.
    used: Vec<usize>,
    /// How many of each class of doubtful grants were made.
    doubtful: Vec<usize>,
}

struct Search<'h> {
    operations: &'h [Operation],
    hidden: &'h Hidden,
    /// Of each class of doubtful grants: how many requests were sent by now, and of
    /// those that may still be granted when the first was sent. None, if they are
    /// not tried.
    doubtful: Vec<(usize, Option<Us>)>,
    /// What each operation was, if that is known.
    steps: Vec<Option<Step>>,
    /// Who may stand in line, since when and until when; the next is the last.
    waiters: Vec<(usize, Us, Us)>,
    /// Those of them who may do so since a while.
    in_line: Vec<(usize, Us)>,
    /// Hidden steps that may happen now.
    may_happen: Vec<usize>,
    /// Operations that were sent and not answered.
    under_way: Vec<usize>,
    /// Those of them that are granted, by token.
    grants: BTreeMap<i64, Vec<usize>>,
    looked_at: usize,
}

impl<'h> Search<'h> {
    fn over(operations: &'h [Operation], hidden: &'h Hidden, tries_doubtful: bool) -> Self {
        let classes = if tries_doubtful { hidden.doubtful.len() } else { 0 };
        let waiter =
            |(number, operation): (usize, &Operation)| Some((number, operation.sent, in_line_until(operation)?));
        let mut waiters: Vec<_> = operations.iter().enumerate().filter_map(waiter).collect();
        waiters.sort_by_key(|(_, since, _)| std::cmp::Reverse(*since));
        Self {
            operations,
            hidden,
            doubtful: vec![(0, None); classes],
            steps: operations.iter().map(step_of).collect(),
            waiters,
            in_line: Vec::new(),
            may_happen: Vec::new(),
            under_way: Vec::new(),
            grants: BTreeMap::new(),
            looked_at: 0,
        }
    }

    fn run(&mut self) -> Result<(), Stuck> {
        let known = || (0..self.operations.len()).filter(|number| self.steps[*number].is_some());
        let mut answered: Vec<_> = known().collect();
        answered.sort_by_key(|number| self.operations[*number].ended);
        let mut sent: Vec<_> = known().collect();
        sent.sort_by_key(|number| self.operations[*number].sent);
        let mut sent = sent.into_iter().peekable();
        let mut hidden: Vec<_> = (0..self.hidden.steps.len()).collect();
        hidden.sort_by_key(|number| self.hidden.steps[*number].sent);
        let mut hidden = hidden.into_iter().peekable();

        let mut configurations = vec![Configuration {
            state: State::NEVER_ACQUIRED,
            put: Vec::new(),
            used: Vec::new(),
            doubtful: vec![0; self.doubtful.len()],
        }];
        for number in answered {
            let to = self.operations[number].ended;
            while let Some(next) = sent.next_if(|next| self.operations[*next].sent <= to) {
                self.under_way.push(next);
                if let Answer::Granted { token } = self.operations[next].answer {
                    self.grants.entry(token).or_default().push(next);
                }
            }
            while let Some(next) = hidden.next_if(|next| self.hidden.steps[*next].sent <= to) {
                self.may_happen.push(next);
            }
            self.line_up(to);
            self.count_doubtful(to);
            let before = configurations.iter().map(|configuration| configuration.state.clone());
            let before: Vec<_> = before.collect();
            configurations = self.put(number, to, configurations);
            let gave_up = self.looked_at > LOOKED_AT_MAX;
            if configurations.is_empty() || gave_up {
                return Err(Stuck {
                    at: number,
                    before,
                    gave_up,
                });
            }
            self.under_way.retain(|under_way| *under_way != number);
            if let Answer::Granted { token } = self.operations[number].answer
                && let Some(same) = self.grants.get_mut(&token)
            {
                same.retain(|grant| *grant != number);
                if same.is_empty() {
                    self.grants.remove(&token);
                }
            }
            self.forget_what_happened_in_all(&mut configurations);
        }
        Ok(())
    }

    /// All configurations in which the operation is put that follow from these.
    fn put(&mut self, number: usize, to: Us, configurations: Vec<Configuration>) -> Vec<Configuration> {
        let may_be_raised = self.may_be_raised();
        let mut done = Best::new(may_be_raised);
        let mut looked_at = Best::new(may_be_raised);
        let mut open = Vec::new();
        for mut configuration in configurations {
            match configuration.put.binary_search(&number) {
                Ok(at) => {
                    configuration.put.remove(at);
                    done.add(configuration, self.operations);
                }
                Err(_) => open.push(configuration),
            }
        }
        while let Some(configuration) = open.pop() {
            self.looked_at += 1;
            if self.looked_at > LOOKED_AT_MAX {
                break;
            }
            if !looked_at.add(configuration.clone(), self.operations) {
                continue;
            }
            // Where somebody only looked, and nothing is known better for it, nothing else is as good as putting it now.
            if self.continue_from(&configuration, number, to, &mut |next| {
                done.add(next, self.operations);
            }) {
                continue;
            }
            let already_open = open.len();
            let mut costs_nothing = false;
            for other in &self.under_way {
                if !costs_nothing && *other != number && configuration.put.binary_search(other).is_err() {
                    costs_nothing = self.continue_from(&configuration, *other, to, &mut |mut next: Configuration| {
                        let at = next.put.partition_point(|put| put < other);
                        next.put.insert(at, *other);
                        open.push(next);
                    });
                }
            }
            if costs_nothing {
                let best = open.pop();
                open.truncate(already_open);
                open.extend(best);
                continue;
            }
            self.continue_by_hidden(&configuration, to, &mut open);
            self.continue_by_doubtful(&configuration, to, &mut open);
        }
        done.into_all()
    }

    /// Calls `next` with what follows if an operation is put. Says whether that is
    /// an observation that costs nothing.
    fn continue_from(
        &self,
        configuration: &Configuration,
        number: usize,
        to: Us,
        next: &mut impl FnMut(Configuration),
    ) -> bool {
        let Some(step) = &self.steps[number] else {
            return false;
        };
        if matches!(step.kind, Kind::Granted { .. }) && !self.is_next_grant(configuration, number) {
            return false;
        }
        let is_observation = self.operations[number].is_observation();
        let mut costs_nothing = false;
        let around = Around {
            in_line: |from| self.may_wait(configuration, number, from),
            may_be_raised: self.may_be_raised(),
        };
        configuration.state.after(step, to, around, &mut |state| {
            costs_nothing |= is_observation && state == configuration.state;
            next(Configuration {
                state,
                ..configuration.clone()
            });
        });
        costs_nothing
    }

    fn continue_by_hidden(&self, configuration: &Configuration, to: Us, open: &mut Vec<Configuration>) {
        for number in &self.may_happen {
            if let Err(at) = configuration.used.binary_search(number) {
                let step = &self.hidden.steps[*number];
                configuration.state.after(step, to, Around::NOTHING, &mut |state| {
                    let mut next = Configuration {
                        state,
                        ..configuration.clone()
                    };
                    next.used.insert(at, *number);
                    open.push(next);
                });
            }
        }
    }

    fn continue_by_doubtful(&self, configuration: &Configuration, to: Us, open: &mut Vec<Configuration>) {
        for (class, (sent, first)) in self.doubtful.iter().enumerate() {
            let Doubtful {
                granted, given_back, ..
            } = &self.hidden.doubtful[class];
            let made = configuration.doubtful[class];
            let granted = first.filter(|_| made < *sent).map(|first| (granted, first, made + 1));
            let given_back = (made > 0).then_some((given_back, Us::MIN, made));
            for (kind, sent, made) in granted.into_iter().chain(given_back) {
                let step = Step {
                    sent,
                    until: Us::MAX,
                    kind: kind.clone(),
                };
                configuration.state.after(&step, to, Around::NOTHING, &mut |state| {
                    let mut next = Configuration {
                        state,
                        ..configuration.clone()
                    };
                    next.doubtful[class] = made;
                    open.push(next);
                });
            }
        }
    }

    /// Whether somebody may have been granted the resource, and have given it
    /// back, without anybody knowing but for the token.
    fn may_be_raised(&self) -> bool {
        self.doubtful.iter().any(|(sent, _)| *sent > 0)
    }

    fn count_doubtful(&mut self, to: Us) {
        let sent = self.under_way.iter().map(|number| self.operations[*number].sent);
        let since = sent.min().unwrap_or(to);
        for (class, (count, first)) in self.hidden.doubtful.iter().zip(&mut self.doubtful) {
            *count = class.requests.partition_point(|(sent, _)| *sent <= to);
            let open = class.requests[..*count].iter().find(|(_, until)| *until >= since);
            *first = open.map(|(sent, _)| *sent);
        }
    }

    /// Tokens rise, so grants are put in their order.
    fn is_next_grant(&self, configuration: &Configuration, number: usize) -> bool {
        let is_put = |grant: &usize| configuration.put.binary_search(grant).is_ok();
        let first = self.grants.values().find(|same| !same.iter().all(is_put));
        first.is_some_and(|same| same.contains(&number))
    }

    /// Notes who may stand in line by now, and who cannot any more for anybody who
    /// is not answered yet.
    fn line_up(&mut self, to: Us) {
        while let Some((waiter, _, until)) = self.waiters.pop_if(|(_, since, _)| *since <= to) {
            self.in_line.push((waiter, until));
        }
        let sent = self.under_way.iter().map(|number| self.operations[*number].sent);
        if let Some(first) = sent.min() {
            self.in_line.retain(|(_, until)| *until >= first);
        }
    }

    /// Whether somebody else may stand in line now, and at `from` or later.
    fn may_wait(&self, configuration: &Configuration, number: usize, from: Us) -> bool {
        self.in_line.iter().any(|(waiter, until)| {
            let is_granted = || {
                matches!(self.operations[*waiter].answer, Answer::Granted { .. })
                    && configuration.put.binary_search(waiter).is_ok()
            };
            *waiter != number && from <= *until && !is_granted()
        })
    }

    fn forget_what_happened_in_all(&mut self, configurations: &mut [Configuration]) {
        let Some((first, others)) = configurations.split_first() else {
            return;
        };
        let in_all = |used: &usize| others.iter().all(|other| other.used.binary_search(used).is_ok());
        let happened: Vec<_> = first.used.iter().copied().filter(in_all).collect();
        if !happened.is_empty() {
            self.may_happen.retain(|hidden| !happened.contains(hidden));
            for configuration in configurations {
                configuration.used.retain(|used| !happened.contains(used));
            }
        }
    }
}

/// Configurations of which none is as good as another.
struct Best {
    /// Whether tokens may be higher than is known.
    may_be_raised: bool,
    /// By whom the lock is held.
    by_holder: HashMap<Option<Wish>, Vec<Configuration>>,
}

impl Best {
    fn new(may_be_raised: bool) -> Self {
        Self {
            may_be_raised,
            by_holder: HashMap::new(),
        }
    }

    /// Adds one, unless there is one that is as good.
    fn add(&mut self, new: Configuration, operations: &[Operation]) -> bool {
        let holder = new.state.lease.as_ref().map(|lease| lease.wish);
        let best = self.by_holder.entry(holder).or_default();
        if best
            .iter()
            .any(|old| old.is_as_good_as(&new, operations, self.may_be_raised))
        {
            return false;
        }
        best.retain(|old| !new.is_as_good_as(old, operations, self.may_be_raised));
        best.push(new);
        true
    }

    fn into_all(self) -> Vec<Configuration> {
        self.by_holder.into_values().flatten().collect()
    }
}

impl Configuration {
    /// Whether all that may follow `other` may follow this one.
    fn is_as_good_as(&self, other: &Self, operations: &[Operation], may_be_raised: bool) -> bool {
        let differs_by_observations = || {
            let more = self.put.iter().filter(|put| other.put.binary_search(put).is_err());
            contains_all(&self.put, &other.put) && more.into_iter().all(|more| operations[*more].is_observation())
        };
        let made_no_more = || {
            self.doubtful
                .iter()
                .zip(&other.doubtful)
                .all(|(ours, theirs)| ours <= theirs)
        };
        self.state.allows_all_of(&other.state, may_be_raised)
            && contains_all(&other.used, &self.used)
            && made_no_more()
            && differs_by_observations()
    }
}

/// Whether one set contains the other; both are in order.
fn contains_all(set: &[usize], other: &[usize]) -> bool {
    other.iter().all(|one| set.binary_search(one).is_ok())
}

mod tests;
