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
//! been made are left out until the search gets stuck, and then tried around the
//! place where it did, nearest first; at the end all of them.
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

use super::history::{Answer, Asked, Key, Operation, Us, Wish};
use super::model::{Kind, State, Step, hidden_steps_of, in_line_until, step_of};

/// Configurations that are looked at before the search gives up.
const LOOKED_AT_MAX: usize = 20_000_000;

/// Hidden steps that are tried more, each time that the search gets stuck.
const TRIED_MORE: usize = 8;

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
    pub rounds: usize,
}

/// Judges the operations on one resource that nobody had ever acquired before.
pub fn check(operations: &[Operation]) -> Result<Effort, Stuck> {
    let mut hidden = Hidden::of(operations);
    let mut effort = Effort::default();
    loop {
        effort.rounds += 1;
        let mut search = Search::over(operations, &hidden);
        let result = search.run();
        effort.looked_at += search.looked_at;
        match result {
            Ok(()) => return Ok(effort),
            Err(stuck) if stuck.gave_up || !hidden.try_more(operations[stuck.at].ended) => return Err(stuck),
            Err(_) => {}
        }
    }
}

/// What may have happened without anybody being told.
struct Hidden {
    steps: Vec<HiddenStep>,
}

struct HiddenStep {
    step: Step,
    /// When its client stopped waiting.
    ended: Us,
    /// Until when it is tried.
    tried_until: Us,
}

impl Hidden {
    fn of(operations: &[Operation]) -> Self {
        let shown = Shown::by(operations);
        let steps = operations.iter().flat_map(|operation| {
            hidden_steps_of(operation).into_iter().map(|step| {
                let is_answered = !matches!(operation.answer, Answer::Unknown(_));
                let is_doubtful = match step.kind {
                    Kind::Granted { key, wish, .. } => is_answered || !shown.tells_of(key, wish),
                    _ => false,
                };
                HiddenStep {
                    step,
                    ended: operation.ended,
                    tried_until: if is_doubtful { Us::MIN } else { Us::MAX },
                }
            })
        });
        Self { steps: steps.collect() }
    }

    /// Tries some more that may have happened before `stuck`; `false` if there are none.
    fn try_more(&mut self, stuck: Us) -> bool {
        let untried = |hidden: &&mut HiddenStep| hidden.step.sent <= stuck && hidden.tried_until < stuck;
        let mut untried: Vec<_> = self.steps.iter_mut().filter(untried).collect();
        untried.sort_by_key(|hidden| stuck - hidden.ended.min(stuck));
        for hidden in untried.iter_mut().take(TRIED_MORE) {
            hidden.tried_until = stuck;
        }
        !untried.is_empty()
    }
}

/// Of which grants it is known that they were made.
#[derive(Default)]
struct Shown {
    keys: HashSet<Key>,
    wishes: HashSet<Wish>,
}

impl Shown {
    fn by(operations: &[Operation]) -> Self {
        let mut shown = Self::default();
        for operation in operations {
            match (&operation.asked, &operation.answer) {
                (Asked::Release { key, .. }, Answer::Released) => {
                    shown.keys.insert(*key);
                }
                (Asked::Acquire { wish, .. }, Answer::Granted { .. }) => {
                    shown.wishes.insert(*wish);
                }
                (_, Answer::Seen(seen)) => shown.wishes.extend(seen.held.as_ref().map(|held| held.wish)),
                _ => {}
            }
        }
        shown
    }

    fn tells_of(&self, key: Key, wish: Wish) -> bool {
        self.keys.contains(&key) || self.wishes.contains(&wish)
    }
}

#[derive(Clone, Debug)]
struct Configuration {
    state: State,
    /// Operations that are put already and answered later; in order.
    put: Vec<usize>,
    /// Hidden steps that happened, without those that happened in all; in order.
    used: Vec<usize>,
}

struct Search<'h> {
    operations: &'h [Operation],
    hidden: &'h Hidden,
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
    fn over(operations: &'h [Operation], hidden: &'h Hidden) -> Self {
        let waiter =
            |(number, operation): (usize, &Operation)| Some((number, operation.sent, in_line_until(operation)?));
        let mut waiters: Vec<_> = operations.iter().enumerate().filter_map(waiter).collect();
        waiters.sort_by_key(|(_, since, _)| std::cmp::Reverse(*since));
        Self {
            operations,
            hidden,
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
        hidden.sort_by_key(|number| self.hidden.steps[*number].step.sent);
        let mut hidden = hidden.into_iter().peekable();

        let mut configurations = vec![Configuration {
            state: State::NEVER_ACQUIRED,
            put: Vec::new(),
            used: Vec::new(),
        }];
        for number in answered {
            let to = self.operations[number].ended;
            while let Some(next) = sent.next_if(|next| self.operations[*next].sent <= to) {
                self.under_way.push(next);
                if let Answer::Granted { token } = self.operations[next].answer {
                    self.grants.entry(token).or_default().push(next);
                }
            }
            while let Some(next) = hidden.next_if(|next| self.hidden.steps[*next].step.sent <= to) {
                self.may_happen.push(next);
            }
            self.line_up(to);
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
        let mut done = Best::default();
        let mut looked_at = Best::default();
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
            for hidden in &self.may_happen {
                self.continue_by_hidden(&configuration, *hidden, to, &mut open);
            }
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
        let in_line = |from| self.may_wait(configuration, number, from);
        configuration.state.after(step, to, in_line, &mut |state| {
            costs_nothing |= is_observation && state == configuration.state;
            next(Configuration {
                state,
                put: configuration.put.clone(),
                used: configuration.used.clone(),
            });
        });
        costs_nothing
    }

    fn continue_by_hidden(&self, configuration: &Configuration, number: usize, to: Us, open: &mut Vec<Configuration>) {
        let HiddenStep { step, tried_until, .. } = &self.hidden.steps[number];
        if *tried_until < to || configuration.used.binary_search(&number).is_ok() {
            return;
        }
        configuration.state.after(step, to, |_| false, &mut |state| {
            let mut used = configuration.used.clone();
            used.insert(used.partition_point(|used| *used < number), number);
            open.push(Configuration {
                state,
                put: configuration.put.clone(),
                used,
            });
        });
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
#[derive(Default)]
struct Best {
    /// By whom the lock is held.
    by_holder: HashMap<Option<Wish>, Vec<Configuration>>,
}

impl Best {
    /// Adds one, unless there is one that is as good.
    fn add(&mut self, new: Configuration, operations: &[Operation]) -> bool {
        let holder = new.state.lease.as_ref().map(|lease| lease.wish);
        let best = self.by_holder.entry(holder).or_default();
        if best.iter().any(|old| old.is_as_good_as(&new, operations)) {
            return false;
        }
        best.retain(|old| !new.is_as_good_as(old, operations));
        best.push(new);
        true
    }

    fn into_all(self) -> Vec<Configuration> {
        self.by_holder.into_values().flatten().collect()
    }
}

impl Configuration {
    /// Whether all that may follow `other` may follow this one.
    fn is_as_good_as(&self, other: &Self, operations: &[Operation]) -> bool {
        let differs_by_observations = || {
            let more = self.put.iter().filter(|put| other.put.binary_search(put).is_err());
            contains_all(&self.put, &other.put) && more.into_iter().all(|more| operations[*more].is_observation())
        };
        self.state.allows_all_of(&other.state) && contains_all(&other.used, &self.used) && differs_by_observations()
    }
}

/// Whether one set contains the other; both are in order.
fn contains_all(set: &[usize], other: &[usize]) -> bool {
    other.iter().all(|one| set.binary_search(one).is_ok())
}

mod tests;
