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
//! Hidden grants ([`Hidden`]) of which something tells, such as a look or a
//! release, are tried up to the last time that it does. All others are left out
//! at first, and tried if the search gets stuck. Then it is not asked which of them
//! was made, but only how many: those with the same ttl are one, which may be made
//! as many times as there were requests.
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

mod hidden;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use self::hidden::Hidden;
use super::history::{Answer, Operation, Us, Wish};
use super::model::{Around, Kind, State, Step, in_line_until, step_of};

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
    let mut effort = Effort::default();
    loop {
        let hidden = Hidden::of(operations, effort.tried_doubtful);
        let mut search = Search::over(operations, &hidden);
        let result = search.run();
        effort.looked_at += search.looked_at;
        match result {
            Ok(()) => return Ok(effort),
            Err(stuck) if stuck.gave_up || effort.tried_doubtful => return Err(stuck),
            Err(_) => effort.tried_doubtful = true,
        }
    }
}

#[derive(Clone, Debug)]
struct Configuration {
    state: State,
    /// Operations that are put already and answered later; in order.
    put: Vec<usize>,
    /// Hidden changes that happened, without those that happened in all; in order.
    used: Vec<usize>,
    /// How many grants were made of each class that is open; in the order of classes.
    made: Vec<(usize, usize)>,
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
    /// Classes of hidden grants whose time has not come; the next is the last.
    closed: Vec<usize>,
    /// Those whose time it is.
    open: Vec<OpenClass>,
    /// Hidden changes that happened in all configurations.
    happened: HashSet<usize>,
    /// Operations that were sent and not answered.
    under_way: Vec<usize>,
    /// Those of them that are granted, by token.
    grants: BTreeMap<i64, Vec<usize>>,
    looked_at: usize,
}

struct OpenClass {
    class: usize,
    /// How many requests were sent by now.
    sent: usize,
    /// When the first was sent of those that may still be granted.
    first_sent: Us,
}

impl<'h> Search<'h> {
    fn over(operations: &'h [Operation], hidden: &'h Hidden) -> Self {
        let waiter =
            |(number, operation): (usize, &Operation)| Some((number, operation.sent, in_line_until(operation)?));
        let mut waiters: Vec<_> = operations.iter().enumerate().filter_map(waiter).collect();
        waiters.sort_by_key(|(_, since, _)| Reverse(*since));
        let mut closed: Vec<_> = (0..hidden.classes.len()).collect();
        closed.sort_by_key(|class| Reverse(hidden.classes[*class].first_sent()));
        let step = |operation| step_of(operation).map(|step| hidden.without_what_is_not_repeated(step));
        Self {
            operations,
            hidden,
            steps: operations.iter().map(step).collect(),
            waiters,
            in_line: Vec::new(),
            closed,
            open: Vec::new(),
            happened: HashSet::new(),
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

        let mut configurations = vec![Configuration {
            state: State::NEVER_ACQUIRED,
            put: Vec::new(),
            used: Vec::new(),
            made: Vec::new(),
        }];
        for number in answered {
            let to = self.operations[number].ended;
            while let Some(next) = sent.next_if(|next| self.operations[*next].sent <= to) {
                self.under_way.push(next);
                if let Answer::Granted { token } = self.operations[next].answer {
                    self.grants.entry(token).or_default().push(next);
                }
            }
            self.line_up(to);
            self.open_classes(to, &mut configurations);
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
            self.note_what_happened_in_all(&mut configurations);
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
            self.continue_by_hidden_change(&configuration, to, &mut open);
            self.continue_by_hidden_grant(&configuration, to, &mut open);
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

    /// A release or a renewal.
    fn continue_by_hidden_change(&self, configuration: &Configuration, to: Us, open: &mut Vec<Configuration>) {
        let Some(lease) = &configuration.state.lease else {
            return;
        };
        for number in self.hidden.changes_by.get(&lease.key).into_iter().flatten() {
            let step = &self.hidden.changes[*number];
            if step.sent > to || self.happened.contains(number) {
                continue;
            }
            if let Err(at) = configuration.used.binary_search(number) {
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

    /// One that is made, or one that is undone.
    fn continue_by_hidden_grant(&self, configuration: &Configuration, to: Us, open: &mut Vec<Configuration>) {
        let given_back = Step {
            sent: Us::MIN,
            until: Us::MAX,
            kind: Kind::GivenBack,
        };
        configuration
            .state
            .after(&given_back, to, Around::NOTHING, &mut |state| {
                open.push(Configuration {
                    state,
                    ..configuration.clone()
                });
            });
        for OpenClass {
            class,
            sent,
            first_sent,
        } in &self.open
        {
            let at = configuration.made.binary_search_by_key(class, |(class, _)| *class);
            let made = at.map_or(0, |at| configuration.made[at].1);
            if made == *sent {
                continue;
            }
            let class_of = &self.hidden.classes[*class];
            let step = Step {
                sent: *first_sent,
                until: class_of.until(),
                kind: class_of.granted.clone(),
            };
            configuration.state.after(&step, to, Around::NOTHING, &mut |state| {
                let mut next = Configuration {
                    state,
                    ..configuration.clone()
                };
                match at {
                    Ok(at) => next.made[at].1 += 1,
                    Err(at) => next.made.insert(at, (*class, 1)),
                }
                open.push(next);
            });
        }
    }

    /// Whether somebody may have been granted the resource, and have given it
    /// back, without anybody knowing but for the token.
    fn may_be_raised(&self) -> bool {
        !self.open.is_empty()
    }

    /// Notes which hidden grants may be made by now, and which cannot any more
    /// before anything that is not answered yet.
    fn open_classes(&mut self, to: Us, configurations: &mut [Configuration]) {
        let classes = &self.hidden.classes;
        while let Some(class) = self.closed.pop_if(|class| classes[*class].first_sent() <= to) {
            self.open.push(OpenClass {
                class,
                sent: 0,
                first_sent: Us::MIN,
            });
        }
        let sent = self.under_way.iter().map(|number| self.operations[*number].sent);
        let since = sent.min().unwrap_or(to);
        let mut ended = Vec::new();
        self.open.retain_mut(|open| {
            let requests = &classes[open.class].requests;
            open.sent = requests.partition_point(|(sent, _)| *sent <= to);
            let may_be_granted = requests[..open.sent].iter().find(|(_, until)| *until >= since);
            match may_be_granted {
                Some((sent, _)) => open.first_sent = *sent,
                // More of them come later.
                None if open.sent < requests.len() => open.first_sent = Us::MAX,
                None => ended.push(open.class),
            }
            !ended.contains(&open.class)
        });
        if !ended.is_empty() {
            for configuration in configurations {
                configuration.made.retain(|(class, _)| !ended.contains(class));
            }
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

    fn note_what_happened_in_all(&mut self, configurations: &mut [Configuration]) {
        let Some((first, others)) = configurations.split_first() else {
            return;
        };
        let in_all = |used: &usize| others.iter().all(|other| other.used.binary_search(used).is_ok());
        let happened: Vec<_> = first.used.iter().copied().filter(in_all).collect();
        for configuration in configurations {
            configuration.used.retain(|used| !happened.contains(used));
        }
        self.happened.extend(happened);
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
            self.made.iter().all(|(class, ours)| {
                let theirs = other.made.binary_search_by_key(class, |(class, _)| *class);
                theirs.is_ok_and(|at| *ours <= other.made[at].1)
            })
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
