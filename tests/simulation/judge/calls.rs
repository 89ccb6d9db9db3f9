//! What clients ask and are told.

use std::time::Duration;

use central_locking_system::engine::{Answer, Unavailable};
use central_locking_system::lock::{Grant, Outcome, ResourceName};
use tokio::time::Instant;

use super::{Case, Judge};
use crate::network::{Response, Told};

/// How late the end of a wait may be told.
const LATE_MAX: Duration = Duration::from_millis(50);

/// So many calls may have ended while one was under way.
const RECENT_CALLS: usize = 1000;

pub type CallId = usize;
pub type EpisodeId = usize;

/// Somebody's wish to have some resources, with a key that nobody else has: from
/// the first request to the end of the lock.
#[derive(Clone, Debug)]
pub struct Episode {
    pub client: usize,
    pub key: String,
    pub names: Vec<ResourceName>,
    pub ttl_seconds: Option<u32>,
    /// When its first request was sent.
    pub sent: Instant,
    /// When its first request was taken.
    pub submitted: Option<u64>,
    /// Whether somebody may end its locks: by its key, or without.
    pub may_end: bool,
    /// When a lock of it was last over in the table.
    pub ended: u64,
    /// Its requests.
    pub calls: Vec<CallId>,
    /// What it was told to have.
    pub told: Vec<(ResourceName, i64)>,
    /// Until when the client counts on it, by its own clock.
    pub believes: Option<(Instant, Option<Instant>)>,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Acquire,
    Release,
    Renew,
    Break,
    Other,
}

/// One request to one server.
#[derive(Clone, Debug)]
pub struct Call {
    pub episode: EpisodeId,
    pub purpose: Purpose,
    pub server: usize,
    pub timeout: Option<Duration>,
    pub wait_until: Option<Instant>,
    pub sent: u64,
    pub submitted: Option<u64>,
    /// Turns of its server since then.
    pub turns: u32,
    /// Since when it is certainly in line, if it waits.
    pub in_line: Option<(u64, Instant)>,
    pub state: State,
    pub over: u64,
    /// Whether it was told what came of it: what is refused because nobody knows may
    /// still be done.
    pub is_decided: bool,
    /// What was known of the resource when it was sent.
    pub changed_when_sent: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was not answered, and its client has not left, as far as the server knows.
    Pending,
    /// It was answered, whether that arrived or not.
    Answered,
    /// Nobody can be answered any more.
    Over,
}

impl Call {
    pub fn is_pending(&self) -> bool {
        self.state == State::Pending
    }
}

impl Judge {
    /// Somebody begins to want something.
    pub fn wants(&self, episode: Episode) -> EpisodeId {
        let mut case = self.case();
        let id = case.episodes.len();
        case.by_key.entry(episode.key.clone()).or_default().push(id);
        case.episodes.push(episode);
        id
    }

    /// A request is sent.
    pub fn sends(&self, episode: EpisodeId, purpose: Purpose, server: usize, timeout: Option<Duration>) -> CallId {
        let mut case = self.case();
        case.clock += 1;
        let names = case.episodes[episode].names.clone();
        let changed_when_sent = case.resources.get(&names[0]).map_or(0, |known| known.changed);
        let sent = case.clock;
        let call = Call {
            episode,
            purpose,
            server,
            timeout,
            wait_until: None,
            sent,
            submitted: None,
            turns: 0,
            in_line: None,
            state: State::Pending,
            over: u64::MAX,
            is_decided: false,
            changed_when_sent,
        };
        let (client, id) = (case.episodes[episode].client, case.calls.len());
        case.calls.push(call);
        case.pending.insert(id);
        if purpose == Purpose::Break {
            case.breaks.push(id);
        }
        case.episodes[episode].calls.push(id);
        let waits = timeout.map_or(String::new(), |timeout| format!(", waits {} ms", timeout.as_millis()));
        for name in names {
            case.tell(
                Some(&name),
                &format!("client {client} asks server {server} ({purpose:?}, call {id}{waits})"),
            );
        }
        id
    }

    /// From now on its key, or somebody without one, may end the locks of an
    /// episode.
    pub fn may_end(&self, episode: EpisodeId) {
        let mut case = self.case();
        case.episodes[episode].may_end = true;
        case.episodes[episode].believes = None;
    }

    /// The server has it.
    pub fn submitted(&self, call: CallId) {
        self.judge(|case| {
            let clock = case.clock;
            let it = &mut case.calls[call];
            if it.submitted.is_none() {
                it.submitted = Some(clock);
                it.wait_until = it.timeout.map(|timeout| Instant::now() + timeout);
                let episode = &mut case.episodes[it.episode];
                if it.purpose == Purpose::Acquire {
                    episode.submitted.get_or_insert(clock);
                }
            }
        });
    }

    /// It was lost on the way.
    pub fn never_arrived(&self, call: CallId) {
        self.judge(|case| case.end_call(call, State::Over, "is lost"));
    }

    /// The server knows that the client has gone.
    pub fn left(&self, call: CallId) {
        self.judge(|case| case.end_call(call, State::Over, "has left"));
    }

    /// The server answers.
    pub fn answered(&self, call: CallId, response: &Response) {
        self.judge(|case| case.note_answer(call, response));
    }

    /// The client has the answer that it was granted `token`.
    pub fn believes(&self, episode: EpisodeId, name: &ResourceName) {
        self.judge(|case| case.note_belief(episode, name));
    }
}

impl Case {
    pub(super) fn end_call(&mut self, call: CallId, state: State, what: &str) {
        let clock = self.clock;
        self.pending.remove(&call);
        let it = &mut self.calls[call];
        it.state = state;
        it.over = clock;
        let (client, names) = {
            let episode = &self.episodes[it.episode];
            (episode.client, episode.names.clone())
        };
        for name in names {
            self.tell(Some(&name), &format!("client {client}, call {call}: {what}"));
        }
    }

    fn note_answer(&mut self, call: CallId, response: &Response) {
        self.end_call(call, State::Answered, &shown(response));
        self.calls[call].is_decided = response.is_ok();
        self.check_in_time(call, response);
        let it = self.calls[call].clone();
        let names = self.episodes[it.episode].names.clone();
        match response {
            Ok(Told::Answer(Answer::Decided(outcome, _))) => match outcome {
                Outcome::Acquired(grant) | Outcome::AcquiredBefore(grant) => {
                    self.check_grant_told(call, &names[..1], std::slice::from_ref(grant));
                }
                Outcome::AcquiredTogether(grants) | Outcome::AcquiredTogetherBefore(grants) => {
                    self.check_grant_told(call, &names, grants);
                }
                Outcome::Locked => self.check_refusal(call, &names),
                Outcome::Deadlock(_) => self.count("deadlocks"),
                _ => {}
            },
            Ok(Told::Answer(Answer::TimedOut)) => self.count("timeouts"),
            Ok(Told::Answer(Answer::Superseded)) => self.count("superseded"),
            Ok(Told::Outcome(outcome)) => self.check_outcome(&it, &names, outcome),
            Err(Unavailable::Store) if self.is_calm => {
                self.convict(
                    Some(&names[0]),
                    format!("call {call} is answered 503 while nothing is wrong"),
                );
            }
            Err(Unavailable::Stopping) if !self.servers.get(&it.server).is_some_and(|process| process.is_stopping) => {
                self.convict(
                    Some(&names[0]),
                    format!("call {call} is told that a server stops, and it does not"),
                );
            }
            Err(_) => self.count("refused"),
            Ok(Told::Count(_) | Told::Seen(_)) => {}
        }
    }

    /// Whoever waits is answered by its deadline, and told that it is over not
    /// before.
    fn check_in_time(&mut self, call: CallId, response: &Response) {
        let it = self.calls[call].clone();
        let (Some(wait_until), now) = (it.wait_until, Instant::now()) else {
            return;
        };
        let name = self.episodes[it.episode].names[0].clone();
        let is_over = matches!(response, Ok(Told::Answer(Answer::TimedOut)));
        if is_over && now < wait_until {
            self.convict(
                Some(&name),
                format!("call {call} is told before its time that it is over"),
            );
        }
        let trouble = self.servers.get(&it.server).and_then(|process| process.trouble);
        let was_running = trouble.is_none_or(|trouble| trouble + LATE_MAX < wait_until);
        if was_running && now > wait_until + LATE_MAX {
            let late = now - wait_until;
            self.convict(
                Some(&name),
                format!("call {call} is answered {} ms late", late.as_millis()),
            );
        }
    }

    /// What is told is committed.
    fn check_grant_told(&mut self, call: CallId, names: &[ResourceName], grants: &[Grant]) {
        let episode = self.calls[call].episode;
        self.count(if self.calls[call].in_line.is_some() {
            "served from the line"
        } else {
            "served at once"
        });
        for (name, grant) in names.iter().zip(grants) {
            let token = grant.fencing_token.as_i64();
            let committed = self
                .resources
                .get(name)
                .map(|known| known.resource.fencing_token.as_i64());
            if committed.is_none_or(|committed| committed < token) {
                self.convict(
                    Some(name),
                    format!("call {call} is told token {token}, which is not committed"),
                );
            }
            self.episodes[episode].told.push((name.clone(), token));
        }
    }

    /// What is free all the time, and wanted by nobody else, is not refused.
    fn check_refusal(&mut self, call: CallId, names: &[ResourceName]) {
        self.count("refused as locked");
        let it = &self.calls[call];
        let ([name], None, true) = (names, it.timeout, self.is_calm) else {
            return;
        };
        let Some(known) = self.resources.get(name) else {
            return;
        };
        // Of those that are over, the latest came last.
        let recent = self.calls.iter().rev().take(RECENT_CALLS);
        let is_wanted = self.pending().chain(recent).any(|other| {
            let wants = self.episodes[other.episode].names.contains(name);
            wants && other.purpose == Purpose::Acquire && other.timeout.is_some() && other.over > it.sent
        });
        if known.changed == it.changed_when_sent && known.resource.lock.is_none() && !is_wanted {
            self.convict(Some(name), format!("call {call} is refused what is free"));
        }
    }

    fn check_outcome(&mut self, call: &Call, names: &[ResourceName], outcome: &Outcome) {
        let now = Instant::now();
        let believes = self.episodes[call.episode].believes;
        let believes = believes.is_some_and(|(_, until)| until.is_none_or(|until| now < until));
        match (call.purpose, outcome) {
            (Purpose::Break, Outcome::Broken(before)) => {
                self.broken.insert(before.fencing_token.as_i64());
            }
            (Purpose::Release, Outcome::Released) => {
                self.count("released");
                let is_held = self
                    .resources
                    .get(&names[0])
                    .is_some_and(|known| known.resource.lock.is_some() && known.holder == Some(call.episode));
                // Whoever waits with the same key by another connection may have it next.
                let has_ended = call
                    .submitted
                    .is_some_and(|submitted| submitted < self.episodes[call.episode].ended);
                if is_held && !has_ended {
                    self.convict(Some(&names[0]), "a release is told that is not committed".to_owned());
                }
            }
            (Purpose::Renew, Outcome::Renewed(_)) => self.count("renewed"),
            (Purpose::Renew, Outcome::NotAcquired | Outcome::InvalidRenew) if believes => {
                self.convict(Some(&names[0]), "a holder is refused a renewal".to_owned());
            }
            _ => {}
        }
    }

    /// Of two clients never both count on having the same.
    fn note_belief(&mut self, episode: EpisodeId, name: &ResourceName) {
        let now = Instant::now();
        let it = &self.episodes[episode];
        let is_broken = |episode: &Episode| {
            let mut told = episode.told.iter().filter(|(of, _)| of == name);
            told.any(|(_, token)| self.may_be_broken(name, *token))
        };
        let is_sure = it.ttl_seconds.is_none() || self.clock_set.is_none();
        if it.may_end || is_broken(it) || !is_sure {
            return;
        }
        let until = it
            .ttl_seconds
            .map(|seconds| it.sent + Duration::from_secs(seconds.into()));
        if until.is_some_and(|until| until <= now) {
            return;
        }
        let believes = |(_, until): (Instant, Option<Instant>)| until.is_none_or(|until| now < until);
        let others = self.believing.iter().map(|id| &self.episodes[*id]);
        let mut others = others.filter(|other| other.key != it.key && other.names.contains(name) && !other.may_end);
        let other = others.find(|other| other.believes.is_some_and(believes) && !is_broken(other));
        if let Some(other) = other {
            let what = format!("clients {} and {} both have it", other.client, it.client);
            self.convict(Some(name), what);
        }
        self.episodes[episode].believes = Some((now, until));
        let episodes = &self.episodes;
        self.believing
            .retain(|id| !episodes[*id].may_end && episodes[*id].believes.is_some_and(believes));
        self.believing.insert(episode);
    }
}

/// For the history.
fn shown(response: &Response) -> String {
    match response {
        Ok(Told::Answer(Answer::Decided(outcome, _)) | Told::Outcome(outcome)) => match outcome {
            Outcome::Acquired(grant) => format!("is told that it has token {}", grant.fencing_token),
            Outcome::AcquiredBefore(grant) => format!("is told again that it has token {}", grant.fencing_token),
            Outcome::Renewed(_) => "is told that it is renewed".to_owned(),
            other => format!("is told {other:?}"),
        },
        Ok(Told::Answer(answer)) => format!("is told {answer:?}"),
        Ok(Told::Count(count)) => format!("is told {count}"),
        Ok(Told::Seen(seen)) => format!("is shown token {}", seen.fencing_token),
        Err(reason) => format!("is refused: {reason}"),
    }
}
