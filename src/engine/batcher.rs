//! Group commit: the one thread that loads, decides, saves and commits.
//!
//! It takes one operation, then all others that are queued up to a bound, and
//! runs them in one transaction. There is no timer: what arrives during a
//! commit is the next batch, so an operation that comes alone waits for no
//! other.

mod outcome;
mod own_work;
mod reads;
mod upkeep;

use std::collections::BTreeSet;
use std::process;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::db::{Askers, Listener, Store, StoreError};
use crate::engine::counting::Counting;
use crate::engine::decisions::{Decisions, LinesToTell};
use crate::engine::hearing::Hearing;
use crate::engine::look_timers::LookTimers;
use crate::engine::messages::{InLine, Message, Parked, Reply, ReplySender, Submission, Told, Wish};
use crate::engine::policy::Policy;
use crate::engine::shared::Shared;
use crate::engine::suspects::Suspects;
use crate::engine::tasks::Work;
use crate::engine::{Engine, Unavailable, listening, time};
use crate::limits::{
    BATCH_OPERATIONS_MAX, HISTORY_PRUNE_INTERVAL, LAST_RETURNS_WAIT_MAX, PRUNE_INTERVAL, SWEEP_INTERVAL,
};
use crate::lock::{FencingToken, Operation, Place, ResourceName, Waiter, WaitingLines};
use crate::metrics::Metrics;

/// Between two attempts to tell the store the last things before the end.
const STOPPING_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// The state of the batcher thread. Nobody else touches any of it.
pub struct Batcher<S> {
    store: S,
    policy: Policy,
    queue: Receiver<Message>,
    shared: Arc<Shared>,
    counting: Counting,
    /// What did not fit into the last batch.
    held_over: Option<Submission>,
    /// What is decided in the next batch, with more rows.
    put_off: Vec<Submission>,
    lines: WaitingLines<Parked>,
    /// Resources that are to be looked at together.
    unfinished: Vec<Vec<ResourceName>>,
    timers: LookTimers,
    /// What is heard of other servers; `None` if there cannot be any.
    hearing: Option<Hearing>,
    /// Who left a line while other servers may wait for them.
    left: Vec<(ResourceName, Place)>,
    /// Places that may be at other servers now.
    moved: Vec<(ResourceName, Place)>,
    /// Names whose lines the store may not know as they are.
    unsettled: BTreeSet<ResourceName>,
    /// Names at which a look failed while the store works.
    suspects: Suspects,
    /// Grants to be undone in the next batch: they reached nobody, or their
    /// commit may have failed.
    returns: Vec<(ResourceName, FencingToken)>,
    /// What failed first since the store last worked.
    failing: Option<Failing>,
    /// Before this instant nothing is tried again that has failed.
    retry_at: Instant,
    next_beat: Instant,
    next_sweep: Instant,
    next_prune: Instant,
    next_history_prune: Instant,
    next_watched_look: Instant,
    stopping: bool,
}

/// Who asked for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Clients, some of it.
    Asked,
    /// Nobody.
    Own,
}

/// What the batcher did when the store failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    /// It committed a batch; when the next succeeds it works again.
    Commit,
    /// It kept up what nobody asks for.
    Upkeep,
}

/// Ends the process if the thread panics that alone can decide: a server that
/// only refuses is worse than one that is started again, and what was answered
/// is on disk.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            log::error!("the batcher thread panicked; please report it");
            process::abort();
        }
    }
}

impl<S: Store + 'static> Batcher<S> {
    /// Starts the thread, and one that listens where other servers may be on
    /// the database. Both end after [`Engine::stop`].
    pub fn spawn(store: S, policy: Policy, metrics: Arc<Metrics>) -> std::io::Result<(Engine, JoinHandle<()>)> {
        let (engine, batcher, listener) = Self::new(store, policy, metrics);
        if let Some(listener) = listener {
            listening::spawn(listener, engine.clone(), engine.shared())?;
        }
        let thread = Builder::new().name("batcher".to_owned()).spawn(move || {
            let _guard = AbortOnPanic;
            batcher.run();
        })?;
        Ok((engine, thread))
    }

    /// The same without threads, for whoever gives the batcher its turns by hand
    /// and tells the engine what the listener hears.
    pub fn new(mut store: S, policy: Policy, metrics: Arc<Metrics>) -> (Engine, Self, Option<Box<dyn Listener>>) {
        let (sender, queue) = sync_channel(policy.operations_queued_max);
        let counting = Counting::of(&metrics);
        let shared = Arc::new(Shared::counted_in(metrics));
        shared.note_policy(&policy);
        let engine = Engine::new(sender, Arc::clone(&shared), policy.waiters_max);
        store.record(policy.history);
        let now = time::now();
        let listener = store.listen();
        let batcher = Self {
            store,
            policy,
            queue,
            shared,
            counting,
            held_over: None,
            put_off: Vec::new(),
            lines: WaitingLines::default(),
            unfinished: Vec::new(),
            timers: LookTimers::default(),
            hearing: listener.is_some().then(|| Hearing::since(now)),
            left: Vec::new(),
            moved: Vec::new(),
            unsettled: BTreeSet::new(),
            suspects: Suspects::default(),
            returns: Vec::new(),
            failing: None,
            retry_at: now,
            next_beat: now,
            next_sweep: now + SWEEP_INTERVAL,
            next_prune: now + PRUNE_INTERVAL,
            next_history_prune: now + HISTORY_PRUNE_INTERVAL,
            next_watched_look: now,
            stopping: false,
        };
        (engine, batcher, listener)
    }

    fn run(mut self) {
        while self.goes_on() {
            let message = self.wait();
            self.take_turn(message);
        }
        self.finish(thread::sleep);
    }

    /// Does what there is to do, if there is anything, and waits for nothing but
    /// the store. False once it was told to stop: then it has to [`Self::finish`].
    pub fn turn(&mut self) -> bool {
        let message = match self.held_over {
            Some(_) => None,
            None => self.queue.try_recv().ok(),
        };
        if message.is_some() || self.due().is_none_or(|due| due <= time::now()) {
            self.take_turn(message);
        }
        self.goes_on()
    }

    /// When it has a turn even if nobody asks; `None` is at once.
    pub fn due(&self) -> Option<Instant> {
        let has_debts = self.has_debts(|name| !self.suspects.contains(name)) || !self.unfinished.is_empty();
        if self.failing.is_none() && has_debts || self.held_over.is_some() || !self.put_off.is_empty() {
            return None;
        }
        let due = self.next_upkeep();
        let due = self.timers.next().map_or(due, |look| due.min(look));
        let due = self.suspects.next().map_or(due, |look| due.min(look));
        // After a failure nothing that is overdue is tried again at once; a new operation is.
        Some(due.max(self.retry_at))
    }

    /// Ends what it has begun: nothing stays granted to nobody over the restart, and
    /// no other server waits for anybody here. `pause` waits until the store is
    /// tried again.
    pub fn finish(&mut self, pause: impl Fn(Duration)) {
        self.dismiss_all();
        self.take_departures();
        let give_up_at = time::now() + LAST_RETURNS_WAIT_MAX;
        while self.has_debts(|_| true) && time::now() < give_up_at {
            if self.failing.is_some() || !self.suspects.is_empty() {
                pause(STOPPING_RETRY_INTERVAL);
            }
            self.run_batch(Vec::new());
            self.take_departures();
        }
        if let Err(error) = self.store.leave() {
            log::debug!("the database was not told of the stop: {error}");
        }
        self.shared.note_end();
    }

    fn goes_on(&self) -> bool {
        !self.stopping || self.held_over.is_some() || !self.put_off.is_empty()
    }

    /// One turn, of which this is the first that was asked.
    fn take_turn(&mut self, message: Option<Message>) {
        let submissions = self.collect(message);
        if let Some(policy) = self.shared.take_policy() {
            self.policy = policy;
            self.store.record(policy.history);
        }
        self.take_announcements();
        self.take_departures();
        if self.shared.is_draining() {
            self.dismiss_all();
        }
        let idle = submissions.is_empty();
        self.run_batch(submissions);
        self.keep_up(idle);
        self.note_waiting();
        self.counting.add();
    }

    fn note_waiting(&self) {
        let waiting = self.lines.waiting();
        self.shared.note_waiting(waiting > 0);
        self.shared.metrics.waiters.set(waiting.try_into().unwrap_or(i64::MAX));
    }

    /// Tells everybody in line that the server is being stopped, and the store that
    /// their places are vacant.
    fn dismiss_all(&mut self) {
        if self.hearing.is_some() {
            self.unsettled.extend(self.lines.names().cloned());
        }
        for waiter in self.lines.take_all() {
            answer(waiter.ticket.reply, Err(Unavailable::Stopping));
        }
    }

    /// Whether the store has to be told something that nobody asks for, of one
    /// of these resources.
    fn has_debts(&self, of: impl Fn(&ResourceName) -> bool) -> bool {
        let is_any_told = !self.left.is_empty() || !self.moved.is_empty();
        is_any_told || self.returns.iter().any(|(name, _)| of(name)) || self.unsettled.iter().any(of)
    }

    /// Takes what was left for this turn, `message`, and whatever else is queued, up
    /// to what one transaction does.
    fn collect(&mut self, message: Option<Message>) -> Vec<Submission> {
        let mut submissions = std::mem::take(&mut self.put_off);
        let mut weight: usize = submissions.iter().map(|submission| submission.wish.weight()).sum();
        // Nothing was taken while there was something held over.
        let mut message = self.held_over.take().map(Message::Submit).or(message);
        let mut taken = 0;
        while let Some(received) = message.take().or_else(|| self.queue.try_recv().ok()) {
            match received {
                Message::Submit(submission) => {
                    weight += submission.wish.weight();
                    if weight > BATCH_OPERATIONS_MAX && !submissions.is_empty() {
                        self.held_over = Some(submission);
                        break;
                    }
                    submissions.push(submission);
                    taken += 1;
                }
                Message::Look => {}
                Message::Stop => self.stopping = true,
            }
            if weight >= BATCH_OPERATIONS_MAX {
                break;
            }
        }
        self.shared.metrics.queued_operations.sub(taken);
        submissions
    }

    /// Waits for something to do.
    fn wait(&mut self) -> Option<Message> {
        // Those who were just answered have more to ask: where all processors are busy they come first, and the next
        // commit is shared by more. Where one is idle this returns at once.
        thread::yield_now();
        if self.held_over.is_some() {
            return None;
        }
        let Some(due) = self.due() else {
            return self.queue.try_recv().ok();
        };
        match self.queue.recv_timeout(due.saturating_duration_since(time::now())) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                self.stopping = true;
                None
            }
        }
    }

    fn take_departures(&mut self) {
        // A line is looked through once, however many have left it.
        let mut shortened = BTreeSet::new();
        for departure in self.shared.take_departures() {
            if departure.grants.is_empty() {
                shortened.extend(departure.names);
            } else {
                self.returns.extend(departure.names.into_iter().zip(departure.grants));
            }
        }
        for name in shortened {
            for waiter in self.lines.take_departed(&name) {
                self.note_left(&waiter);
            }
        }
    }

    /// Notes that somebody is in no line any more, without having been served.
    fn note_left(&mut self, waiter: &Waiter<Parked>) {
        let now = time::now();
        for name in waiter.lines() {
            if self.hearing.is_some() {
                self.left.push((name.clone(), waiter.place));
            }
            // What was kept free for it is for the next.
            if waiter.wants_several() {
                self.timers.arm(now, name.clone());
            }
        }
    }

    /// Decides everything that is due and tells everybody.
    ///
    /// Where others may have rows locked, what nobody asks for goes first and by
    /// itself: it does not wait for rows, and requests do not wait for it.
    fn run_batch(&mut self, submissions: Vec<Submission>) {
        let mut work = Work::default();
        self.add_own_work(&mut work);
        if self.hearing.is_some() {
            if !work.is_empty() {
                self.commit(std::mem::take(&mut work), Kind::Own);
            }
            self.look_at_suspects();
        }
        // Each grant that fails at COMMIT is one to be undone; first those.
        let overburdened = self.failing.is_some() && self.returns.len() >= BATCH_OPERATIONS_MAX;
        let mut looks = Vec::new();
        let mut bulk = Vec::new();
        work.reserve(submissions.len());
        for submission in submissions {
            match &submission.wish {
                Wish::Look(name) => looks.push((name.clone(), submission.reply)),
                Wish::CountWaiting(names) => {
                    let told = Told::Waiting(names.iter().map(|name| self.waiting_here(name)).collect());
                    answer(submission.reply, Ok(Reply { told, lapses: None }));
                }
                Wish::ShowLine(name) => {
                    let told = Told::Line(self.lines.line(name).map(InLine::from).collect());
                    answer(submission.reply, Ok(Reply { told, lapses: None }));
                }
                _ if overburdened => answer(submission.reply, Err(Unavailable::Store)),
                // Nobody would learn of the grant.
                Wish::One(_, Operation::Acquire(_)) | Wish::Together(..) if submission.reply.is_closed() => {}
                Wish::Each(..) => bulk.push(submission),
                _ => work.add_asked(submission),
            }
        }
        if !work.is_empty() {
            self.commit(work, Kind::Asked);
        }
        for submission in bulk {
            let mut work = Work::default();
            work.add_asked(submission);
            self.commit(work, Kind::Asked);
        }
        if !looks.is_empty() {
            self.look(looks);
        }
    }

    /// Runs one transaction and tells everybody how it went. Says whether it
    /// succeeded.
    fn commit(&mut self, mut work: Work, kind: Kind) -> bool {
        work.add_companions(&self.lines);
        let clients = work.clients();
        // Where there is no other server nobody comes back from one.
        let requests = match self.hearing {
            Some(_) => work.requests(&self.lines),
            None => Vec::new(),
        };
        let askers = Askers {
            clients: &clients,
            requests: &requests,
        };
        let vacates = self.stopping || self.shared.is_draining();
        let Work {
            index,
            tasks,
            returned,
            restated,
            left,
            moved,
        } = work;
        let names = index.names;
        let operations = tasks.len();
        let mut tasks = Some(tasks);
        let mut decisions = None;
        let Self {
            store, lines, policy, ..
        } = self;
        let mut decide = |now, rows: &mut _| {
            let Some(tasks) = tasks.take() else {
                return;
            };
            let lines_to_tell = LinesToTell {
                restated: &restated,
                left: &left,
                moved: &moved,
                vacates,
            };
            decisions = Some(Decisions::make(now, rows, lines, policy, tasks, lines_to_tell));
        };
        let result = match kind {
            Kind::Own => store.look(&names, askers, &mut decide),
            Kind::Asked => store.transaction(&names, askers, &mut decide),
        };
        match (result, decisions) {
            (Ok(()), Some(decisions)) => {
                self.counting.transaction(&decisions, operations, kind == Kind::Asked);
                self.note_success();
                if decisions.is_recorded {
                    self.shared.feed.note_news();
                }
                self.tell(&names, decisions);
                true
            }
            (result, decisions) => {
                let error = result
                    .err()
                    .unwrap_or(StoreError::Failed("nothing was decided".to_owned()));
                if kind == Kind::Own && matches!(error, StoreError::Refused(_)) {
                    self.suspect(&names, &error);
                } else {
                    self.note_failure(
                        Failing::Commit,
                        format_args!("commit of {operations} operations"),
                        &error,
                    );
                }
                self.returns.extend(returned);
                let is_unknown = matches!(error, StoreError::Unknown(_));
                if self.hearing.is_some() {
                    let left = left.iter().chain(&moved).map(|(row, _)| row);
                    let told = decisions.iter().flat_map(|decisions| &decisions.lines_told);
                    let untold = restated.iter().chain(left).chain(told);
                    self.unsettled.extend(untold.map(|row| names[*row].clone()));
                }
                self.undo(names, tasks, decisions, is_unknown);
                false
            }
        }
    }
}

fn answer(reply: ReplySender, result: Result<Reply, Unavailable>) {
    // Whoever has left needs no answer.
    let _ = reply.send(result);
}
