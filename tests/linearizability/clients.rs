//! Clients that do by chance what clients do: acquire, wait, renew, look,
//! release, forget to; with the key of somebody else too. Some are impatient,
//! and leave before they are answered; all try again where they got no answer.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::chance::Chance;
use super::history::{Answer, Asked, Key, Operation, Seen, Us, Wish};
use crate::support::{Answer as HttpAnswer, Client};

/// Those in whose names nobody waits, so that each refusal has to be because of
/// a holder; and those with lines.
pub const NAMES: [&str; 6] = ["free-1", "free-2", "free-3", "line-1", "line-2", "line-3"];

/// The longest ttl that is asked for, and the longest timeout, in seconds.
pub const TTL_MAX: u64 = 2;
const TIMEOUT_MAX: u64 = 2;

/// For how long a client tries to release what it may hold.
const RELEASE_TRIES: Duration = Duration::from_secs(15);

/// How long it lets pass after it got no answer.
const PAUSE: Duration = Duration::from_millis(40);

/// And after it was asked to come again later.
const PAUSE_AFTER_503: Duration = Duration::from_millis(150);

/// What all clients share.
pub struct Arena {
    began: Instant,
    addresses: Mutex<Vec<SocketAddr>>,
    pub stop: AtomicBool,
    numbers: AtomicU32,
    pub grants: AtomicUsize,
    /// By name: the latest token that anybody was told.
    tokens: Mutex<HashMap<&'static str, i64>>,
    /// What was asked and answered.
    history: Mutex<HashMap<&'static str, Vec<Operation>>>,
    /// Keys that may hold something, for all that their clients know.
    leftovers: Mutex<Vec<(&'static str, Key)>>,
}

impl Arena {
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Self {
            began: Instant::now(),
            addresses: Mutex::new(addresses),
            stop: AtomicBool::new(false),
            numbers: AtomicU32::new(1),
            grants: AtomicUsize::new(0),
            tokens: Mutex::default(),
            history: Mutex::default(),
            leftovers: Mutex::default(),
        }
    }

    /// Where the servers are from now on.
    pub fn move_to(&self, addresses: Vec<SocketAddr>) {
        *lock(&self.addresses) = addresses;
    }

    /// All that was asked so far, by name.
    pub fn history(self) -> HashMap<&'static str, Vec<Operation>> {
        self.history
            .into_inner()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn leftovers(&self) -> Vec<(&'static str, Key)> {
        std::mem::take(&mut lock(&self.leftovers))
    }

    pub fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn us(&self, instant: Instant) -> Us {
        (instant - self.began).as_micros().try_into().expect("a test is short")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// One client, with a connection to one server at a time.
pub struct Visitor<'a> {
    number: usize,
    arena: &'a Arena,
    chance: Chance,
    /// Whether it leaves now and then before it is answered.
    is_impatient: bool,
    connection: Option<Client>,
}

impl<'a> Visitor<'a> {
    pub fn new(number: usize, arena: &'a Arena, seed: u64) -> Self {
        Self {
            number,
            arena,
            chance: Chance::seeded(seed ^ ((number as u64) << 32)),
            is_impatient: true,
            connection: None,
        }
    }

    /// One that waits for its answers.
    pub fn patient(number: usize, arena: &'a Arena) -> Self {
        let mut visitor = Self::new(number, arena, 0);
        visitor.is_impatient = false;
        visitor
    }

    /// Comes and goes until the arena is closed.
    pub fn work(mut self) {
        while !self.arena.stop.load(Ordering::Relaxed) {
            let name = *self.chance.one_of(&NAMES);
            match self.chance.below(10) {
                0..=5 => self.take_and_give_back(name),
                6 => self.look_or_check(name),
                7 => {
                    let (key, token) = (self.arena.number(), self.latest_token(name));
                    let token = token.filter(|_| self.chance.percent(50));
                    self.ask(name, release(key, token, None));
                }
                8 => {
                    let (key, ttl) = (self.arena.number(), self.ttl());
                    self.ask(name, renew(key, ttl, None));
                }
                _ => {
                    // Another server, perhaps.
                    self.connection = None;
                }
            }
            self.rest(10);
        }
    }

    fn take_and_give_back(&mut self, name: &'static str) {
        let (key, wish) = (self.arena.number(), self.arena.number());
        let ttl = self.ttl();
        let waits = name.starts_with("line") && self.chance.percent(40);
        let timeout = if waits { 1 + self.chance.below(TIMEOUT_MAX) } else { 0 };
        let asked = acquire(key, wish, ttl, timeout);
        let request = self.chance.percent(50).then_some(wish);
        let tries = if request.is_some() { 4 } else { 1 };
        let mut may_hold = false;
        for _ in 0..tries {
            match self.ask_as(name, asked.clone(), request) {
                Some(Answer::Granted { token }) => return self.hold(name, key, token, ttl.is_some()),
                Some(Answer::Unknown(_)) => may_hold = true,
                Some(_) => break,
                None => {}
            }
        }
        if may_hold {
            lock(&self.arena.leftovers).push((name, key));
            self.release_for_sure(name, key, None);
        }
    }

    fn hold(&mut self, name: &'static str, key: Key, token: i64, ends: bool) {
        for _ in 0..self.chance.below(4) {
            let fencing = self.chance.percent(50).then_some(token);
            match self.chance.below(6) {
                0 => {
                    let ttl = self.ttl();
                    self.ask(name, renew(key, ttl, fencing));
                }
                1 => {
                    self.ask(name, Asked::Check { token });
                }
                2 => {
                    self.ask(name, Asked::Look);
                }
                3 => {
                    // A lock is not reentrant.
                    let second = self.arena.number();
                    self.ask(name, acquire(key, second, Some(1), 0));
                }
                4 => {
                    // The token of before, or of nobody.
                    self.ask(name, release(key, Some(token - 1), None));
                }
                _ => self.rest(30),
            }
        }
        if ends && self.chance.percent(8) {
            // It is forgotten, and remembered when it is too late.
            if self.chance.percent(50) {
                sleep(Duration::from_millis(900 + self.chance.below(300)));
                self.ask(name, renew(key, None, None));
                self.ask(name, Asked::Check { token });
            }
            return;
        }
        let token = self.chance.percent(30).then_some(token);
        // What the second acquisition got has another token.
        if self.release_for_sure(name, key, token) != Some(Answer::Released) {
            lock(&self.arena.leftovers).push((name, key));
        }
    }

    /// Asks until it is known that the key does not hold the lock now, or for long.
    fn release_for_sure(&mut self, name: &'static str, key: Key, token: Option<i64>) -> Option<Answer> {
        let request = self.chance.percent(50).then(|| self.arena.number());
        let began = Instant::now();
        let mut answer = None;
        while began.elapsed() < RELEASE_TRIES {
            answer = self.ask_as(name, release(key, token, request), request);
            if !matches!(answer, None | Some(Answer::Unknown(_))) {
                break;
            }
        }
        answer
    }

    fn look_or_check(&mut self, name: &'static str) {
        match self.latest_token(name) {
            Some(token) if self.chance.percent(50) => self.ask(name, Asked::Check { token }),
            _ => self.ask(name, Asked::Look),
        };
    }

    fn latest_token(&self, name: &'static str) -> Option<i64> {
        lock(&self.arena.tokens).get(name).copied()
    }

    fn ttl(&mut self) -> Option<u64> {
        self.chance.percent(70).then(|| 1 + self.chance.below(TTL_MAX))
    }

    fn rest(&mut self, milliseconds: u64) {
        sleep(Duration::from_millis(self.chance.below(milliseconds)));
    }

    /// Asks once, and notes what was answered; `None` if nobody was there to ask.
    pub fn ask(&mut self, name: &'static str, asked: Asked) -> Option<Answer> {
        self.ask_as(name, asked, None)
    }

    /// The same with an `Idempotency-Key`.
    fn ask_as(&mut self, name: &'static str, asked: Asked, request: Option<u32>) -> Option<Answer> {
        let Some(mut connection) = self.connect() else {
            sleep(PAUSE);
            return None;
        };
        let (method, path, body) = request_of(name, &asked);
        let request = request.map(|request| request.to_string());
        let headers: Vec<_> = request.iter().map(|key| ("Idempotency-Key", key.as_str())).collect();
        let patience = self.patience(&asked);
        let sent = Instant::now();
        let answered = connection
            .stream()
            .set_read_timeout(Some(patience))
            .and_then(|()| connection.try_send_with((method, &path), &headers, &body))
            .and_then(|()| connection.try_answer());
        let answer = match &answered {
            Ok(answer) => read_answer(&asked, answer),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Answer::Unknown("left")
            }
            Err(_) => Answer::Unknown("cut off"),
        };
        let ended = answered
            .as_ref()
            .map_or_else(|_| Instant::now(), |answer| answer.received);
        if let (Answer::TimedOut, Asked::Acquire { timeout, .. }) = (&answer, &asked) {
            let waited = self.arena.us(ended) - self.arena.us(sent);
            assert!(waited >= *timeout, "{asked:?}: 408 after {waited} microseconds");
        }
        if answered.is_ok() {
            self.connection = Some(connection);
        }
        self.note(name, &asked, &answer, (sent, ended));
        if matches!(answer, Answer::Unknown(_)) {
            self.connection = None;
            sleep(if answer == Answer::Unknown("503") {
                PAUSE_AFTER_503
            } else {
                PAUSE
            });
        }
        Some(answer)
    }

    fn note(&self, name: &'static str, asked: &Asked, answer: &Answer, (sent, ended): (Instant, Instant)) {
        if let Answer::Granted { token } = answer {
            self.arena.grants.fetch_add(1, Ordering::Relaxed);
            lock(&self.arena.tokens).insert(name, *token);
        }
        // What changes nothing if it happens is of no interest if nobody knows.
        let is_look = matches!(asked, Asked::Look | Asked::Check { .. });
        if !(is_look && matches!(answer, Answer::Unknown(_))) {
            let operation = Operation {
                client: self.number,
                asked: asked.clone(),
                sent: self.arena.us(sent),
                answer: answer.clone(),
                ended: self.arena.us(ended),
            };
            lock(&self.arena.history).entry(name).or_default().push(operation);
        }
    }

    fn connect(&mut self) -> Option<Client> {
        self.connection.take().or_else(|| {
            let address = *self.chance.one_of(&lock(&self.arena.addresses));
            Client::try_connect(address).ok()
        })
    }

    /// How long the client waits for this answer.
    fn patience(&mut self, asked: &Asked) -> Duration {
        let timeout = match asked {
            Asked::Acquire { timeout, .. } => Duration::from_micros(timeout.unsigned_abs()),
            _ => Duration::ZERO,
        };
        match self.chance.below(20) {
            _ if !self.is_impatient => timeout + Duration::from_secs(10),
            0 => Duration::from_millis(1 + self.chance.below(10)),
            1 => (timeout / 2).max(Duration::from_millis(20)),
            // Through a pause.
            2..=4 => timeout + Duration::from_secs(8),
            _ => timeout + Duration::from_millis(1500),
        }
    }
}

pub fn acquire(key: Key, wish: Wish, ttl: Option<u64>, timeout: u64) -> Asked {
    Asked::Acquire {
        key,
        wish,
        ttl: ttl.map(microseconds),
        timeout: microseconds(timeout),
    }
}

pub fn release(key: Key, token: Option<i64>, request: Option<u32>) -> Asked {
    Asked::Release { key, token, request }
}

fn renew(key: Key, ttl: Option<u64>, token: Option<i64>) -> Asked {
    Asked::Renew {
        key,
        ttl: ttl.map(microseconds),
        token,
    }
}

fn microseconds(seconds: u64) -> Us {
    seconds as Us * 1_000_000
}

fn request_of(name: &str, asked: &Asked) -> (&'static str, String, String) {
    let path = format!("/resources/{name}/");
    let member =
        |name: &str, number: Option<i64>| number.map_or(String::new(), |number| format!(", \"{name}\": {number}"));
    let key_member = |key: &Key| format!("\"locked_by\": \"key-{key:08}\"");
    match asked {
        Asked::Acquire {
            key,
            wish,
            ttl,
            timeout,
        } => {
            let ttl = member("ttl", ttl.map(|ttl| ttl / 1_000_000));
            let timeout = member("timeout", Some(timeout / 1_000_000));
            let body = format!("{{{}, \"label\": \"{wish}\"{ttl}{timeout}}}", key_member(key));
            ("PUT", path, body)
        }
        Asked::Release { key, token, .. } => {
            let body = format!("{{{}{}}}", key_member(key), member("fencing_token", *token));
            ("DELETE", path, body)
        }
        Asked::Renew { key, ttl, token } => {
            let ttl = member("ttl", ttl.map(|ttl| ttl / 1_000_000));
            let body = format!("{{{}{ttl}{}}}", key_member(key), member("fencing_token", *token));
            ("PATCH", path, body)
        }
        Asked::Look => ("GET", path, String::new()),
        Asked::Check { token } => (
            "POST",
            format!("{path}check/"),
            format!("{{\"fencing_token\": {token}}}"),
        ),
    }
}

/// What the answer means. One that means nothing is an error of the server.
fn read_answer(asked: &Asked, answer: &HttpAnswer) -> Answer {
    let says = |text: &str| answer.body.contains(&format!("\"{text}\""));
    match (asked, answer.status) {
        (_, 503) => Answer::Unknown("503"),
        // The same request took over its place.
        (Asked::Acquire { .. }, 409) => Answer::Unknown("superseded"),
        // The key that was released before holds a later grant.
        (Asked::Release { .. }, 422) => Answer::Unknown("422"),
        (Asked::Acquire { .. }, 200) => Answer::Granted {
            token: answer.fencing_token(),
        },
        (Asked::Acquire { .. }, 400) if says("Resource is locked.") => Answer::Locked,
        (Asked::Acquire { .. }, 408) if says("Request timed out.") => Answer::TimedOut,
        (Asked::Release { .. }, 204) => Answer::Released,
        (Asked::Release { .. } | Asked::Renew { .. }, 400) if says("Resource is not acquired.") => Answer::NotAcquired,
        (Asked::Release { .. }, 400) if says("Invalid unlock request.") => Answer::Invalid,
        (Asked::Renew { .. }, 400) if says("Invalid renew request.") => Answer::Invalid,
        (Asked::Renew { .. } | Asked::Look, 200) => Answer::Seen(Seen::read(&answer.json())),
        (Asked::Look, 404) => Answer::Seen(Seen { held: None, token: 0 }),
        (Asked::Check { .. }, 200 | 409) => {
            let said = answer.json();
            Answer::Checked {
                valid: said["valid"].as_bool().expect("it says so"),
                latest: said["fencing_token"].as_i64().unwrap_or(0),
            }
        }
        (_, status) => panic!("{asked:?}: {status} {}", answer.body),
    }
}
