//! Says whether what happened was promised.
//!
//! It knows what clients asked and were told, and what was committed, and nothing
//! of lines, places, timers or batches.

mod calls;
mod grants;
mod quiet;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use central_locking_system::clock::Timestamp;
use central_locking_system::lock::{Resource, ResourceName};
use tokio::sync::Notify;
use tokio::time::Instant;

use self::calls::{Call, State};
pub use self::calls::{CallId, Episode, EpisodeId, Purpose};
pub use self::quiet::LOOK_INTERVAL;
use crate::history::History;
use crate::plan::{Kind, Plan};

/// After something was wrong, a server may have to give a sign of life before others
/// wait for those who wait there.
const BELIEVED_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The judge of one run. Cloning copies a pointer.
#[derive(Clone)]
pub struct Judge {
    case: Arc<Mutex<Case>>,
    /// Something is wrong.
    pub convinced: Arc<Notify>,
}

/// What is wrong, with the history that led to it.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub what: String,
    pub history: String,
}

struct Case {
    kind: Kind,
    is_calm: bool,
    born: Instant,
    history: History,
    verdict: Option<Verdict>,
    /// Counts everything that happens: of two things the one with the lower number
    /// came first.
    clock: u64,
    calls: Vec<Call>,
    /// Those that were not answered.
    pending: BTreeSet<CallId>,
    episodes: Vec<Episode>,
    /// By key; of two with the same key the later comes first.
    by_key: HashMap<String, Vec<EpisodeId>>,
    /// Those by which somebody breaks a lock.
    breaks: Vec<CallId>,
    /// The tokens of locks that were broken.
    broken: HashSet<i64>,
    /// Those that count on what they were told.
    believing: BTreeSet<EpisodeId>,
    resources: BTreeMap<ResourceName, Known>,
    tokens: HashSet<i64>,
    servers: BTreeMap<usize, Process>,
    /// When something was last wrong with everything.
    trouble: Option<Instant>,
    clock_set: Option<Instant>,
    counts: BTreeMap<&'static str, usize>,
}

/// What is known of a resource.
struct Known {
    resource: Resource,
    /// The one that was granted with its token.
    holder: Option<EpisodeId>,
    /// Which server has to give the lock back if it reaches nobody; none if that was
    /// killed before.
    granted_by: Option<usize>,
    /// Since when it is free and somebody waits for it, as far as anybody can see.
    free_and_wanted: Option<Instant>,
    changed: u64,
}

/// What is known of a server.
#[derive(Default)]
struct Process {
    turn_began: u64,
    transaction: Option<u64>,
    /// When something was last wrong with it.
    trouble: Option<Instant>,
    is_stopping: bool,
}

impl Judge {
    pub fn new(plan: &Plan) -> Self {
        let case = Case {
            kind: plan.kind,
            is_calm: plan.is_calm(),
            born: Instant::now(),
            history: History::default(),
            verdict: None,
            clock: 0,
            calls: Vec::new(),
            pending: BTreeSet::new(),
            episodes: Vec::new(),
            by_key: HashMap::new(),
            breaks: Vec::new(),
            broken: HashSet::new(),
            believing: BTreeSet::new(),
            resources: BTreeMap::new(),
            tokens: HashSet::new(),
            servers: BTreeMap::new(),
            trouble: None,
            clock_set: None,
            counts: BTreeMap::new(),
        };
        Self {
            case: Arc::new(Mutex::new(case)),
            convinced: Arc::new(Notify::new()),
        }
    }

    /// Only one runs at a time.
    fn case(&self) -> MutexGuard<'_, Case> {
        self.case.try_lock().expect("nobody waits while having it")
    }

    /// Judges by what `work` finds out.
    fn judge(&self, work: impl FnOnce(&mut Case)) {
        let mut case = self.case();
        case.clock += 1;
        work(&mut case);
        if case.verdict.is_some() {
            self.convinced.notify_one();
        }
    }

    pub fn verdict(&self) -> Option<Verdict> {
        self.case().verdict.clone()
    }

    pub fn history(&self) -> String {
        self.case().history.all()
    }

    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.case().counts.clone()
    }

    pub fn is_anybody_waiting(&self) -> bool {
        !self.case().pending.is_empty()
    }

    pub fn note_of(&self, name: &ResourceName, what: &str) {
        self.judge(|case| case.tell(Some(name), what));
    }

    pub fn note(&self, what: &str) {
        self.judge(|case| case.tell(None, what));
    }

    /// Something is wrong with a server, or with everything: for a while less is
    /// promised.
    pub fn trouble(&self, server: Option<usize>, what: &str) {
        self.trouble_for(server, Duration::ZERO, what);
    }

    /// The same for some time at least.
    pub fn trouble_for(&self, server: Option<usize>, lasts: Duration, what: &str) {
        self.judge(|case| {
            let until = Instant::now() + lasts + BELIEVED_AGAIN_AFTER;
            match server {
                None => case.trouble = case.trouble.max(Some(until)),
                Some(server) => {
                    let process = case.process(server);
                    process.trouble = process.trouble.max(Some(until));
                }
            }
            let who = server.map_or(String::new(), |server| format!("server {server}: "));
            case.tell(None, &format!("{who}{what}"));
        });
    }

    pub fn clock_set(&self, by_us: i64) {
        self.judge(|case| {
            let now = Instant::now();
            case.clock_set = Some(now);
            // Locks end by that clock, or do after the next start: who counts on a ttl by its own may be wrong.
            for episode in case.episodes.iter_mut().filter(|episode| episode.ttl_seconds.is_some()) {
                episode.believes = None;
            }
            case.trouble = case.trouble.max(Some(now + BELIEVED_AGAIN_AFTER));
            case.tell(None, &format!("the clock is set by {} s", by_us / 1_000_000));
        });
    }

    pub fn paused(&self, server: usize, lasts: Duration) {
        self.trouble_for(
            Some(server),
            lasts,
            &format!("stands still for {} ms", lasts.as_millis()),
        );
    }

    pub fn goes_on(&self, server: usize) {
        self.trouble(Some(server), "goes on");
    }

    pub fn stopping(&self, server: usize) {
        self.trouble(Some(server), "is told to stop");
        // Whoever comes back to a vacant place is waited for.
        self.judge(|case| {
            case.process(server).is_stopping = true;
            case.trouble = case.trouble.max(Some(Instant::now() + BELIEVED_AGAIN_AFTER));
        });
    }

    pub fn killed(&self, server: usize) {
        self.judge(|case| {
            case.tell(None, &format!("server {server}: has ended"));
            case.trouble = case.trouble.max(Some(Instant::now() + BELIEVED_AGAIN_AFTER));
            let here = |call: &CallId| case.calls[*call].server == server;
            let pending: Vec<_> = case.pending.iter().copied().filter(here).collect();
            for call in pending {
                case.end_call(call, State::Over, "is cut off");
            }
            case.process(server).transaction = None;
            for known in case
                .resources
                .values_mut()
                .filter(|known| known.granted_by == Some(server))
            {
                known.granted_by = None;
            }
        });
    }

    pub fn panicked(&self, server: usize, text: &str) {
        self.judge(|case| case.convict(None, format!("server {server} panicked: {text}")));
    }

    pub fn turn_began(&self, server: usize) {
        self.judge(|case| case.process(server).turn_began = case.clock);
    }

    /// Whoever was there before this turn and still waits after it is in line; unless
    /// it was put off once.
    pub fn turn_ended(&self, server: usize) {
        self.judge(|case| {
            let began = case.process(server).turn_began;
            let (clock, now) = (case.clock, Instant::now());
            for call in &case.pending {
                let call = &mut case.calls[*call];
                if call.server != server || call.submitted.is_none_or(|at| at >= began) {
                    continue;
                }
                call.turns += 1;
                if call.turns == 2 {
                    call.in_line = Some((clock, now));
                }
            }
        });
    }

    pub fn transaction_began(&self, server: usize, transaction: u64) {
        self.judge(|case| case.process(server).transaction = Some(transaction));
    }

    pub fn transaction_ended(&self, server: usize) {
        self.judge(|case| case.process(server).transaction = None);
    }

    /// The transaction that a server has begun and not ended.
    pub fn transaction_of(&self, server: usize) -> Option<u64> {
        self.case().servers.get(&server)?.transaction
    }

    /// What a transaction changed, each resource before and after. It is on disk.
    pub fn committed(&self, server: usize, now: Timestamp, changed: &[(Resource, Resource)]) {
        self.judge(|case| {
            for (before, after) in changed {
                case.note_commit(server, now, before, after);
            }
        });
    }
}

impl Case {
    fn tell(&mut self, name: Option<&ResourceName>, what: &str) {
        let at_ms = self.born.elapsed().as_millis();
        self.history.push(at_ms, name, what.to_owned());
    }

    /// The first thing that is wrong counts; what follows may follow from it.
    fn convict(&mut self, name: Option<&ResourceName>, what: String) {
        self.tell(name, &format!("WRONG: {what}"));
        if self.verdict.is_none() {
            let history = self.history.of(name);
            self.verdict = Some(Verdict { what, history });
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn process(&mut self, server: usize) -> &mut Process {
        self.servers.entry(server).or_default()
    }

    /// When something was last wrong that a server may feel; it may be in the
    /// future.
    fn trouble_of(&self, server: usize) -> Option<Instant> {
        let process = self.servers.get(&server).and_then(|process| process.trouble);
        process.max(self.trouble)
    }

    /// The same of all servers.
    fn latest_trouble(&self) -> Option<Instant> {
        let troubles = self.servers.values().map(|process| process.trouble);
        troubles.max().flatten().max(self.trouble)
    }

    /// The requests that were not answered.
    fn pending(&self) -> impl Iterator<Item = &Call> {
        self.pending.iter().map(|call| &self.calls[*call])
    }
}
