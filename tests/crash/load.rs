//! Clients that acquire, renew and release in every way, and write down what
//! they were told and where in the log that was.

use std::net::SocketAddr;

use chrono::DateTime;
use serde_json::Value;

use crate::crash::chance::Chance;
use crate::crash::facts::{Change, End, Facts, Hold, Verdict};
use crate::crash::shim::Shim;
use crate::support::{Answer, Client};

/// Names that one client has to itself at a time.
const OWN_NAMES: usize = 12;
/// Names that all want.
const SHARED_NAMES: usize = 2;
/// Names of a request for all or none.
const TOGETHER: usize = 3;
/// The most that one request can name.
const TOGETHER_MAX: usize = 64;
/// The longest label.
const LABEL_CHARS: usize = 200;
/// Longer than any test.
const TTL_MIN: usize = 10_000;

/// One client, on one connection.
pub struct Worker<'s> {
    shim: &'s Shim,
    client: Client,
    chance: Chance,
    /// What its names and keys begin with.
    prefix: String,
    facts: Facts,
    /// Those in `facts` that hold.
    held: Vec<usize>,
    free: Vec<String>,
    keys: usize,
    names: usize,
}

/// The server is gone.
struct Gone;

impl<'s> Worker<'s> {
    pub fn connect(shim: &'s Shim, address: SocketAddr, prefix: &str, seed: u64) -> Self {
        let mut worker = Self {
            shim,
            client: Client::connect(address),
            chance: Chance::of(seed),
            prefix: prefix.to_owned(),
            facts: Facts::default(),
            held: Vec::new(),
            free: Vec::new(),
            keys: 0,
            names: 0,
        };
        for _ in 0..OWN_NAMES {
            worker.take_new_name();
        }
        worker
    }

    /// Asks so many times, or until the server is gone.
    pub fn work(mut self, steps: usize) -> Facts {
        self.go_on(steps);
        self.into_facts()
    }

    pub fn go_on(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.step().is_err() {
                break;
            }
        }
    }

    pub fn into_facts(self) -> Facts {
        self.facts
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether a lock that nobody holds is granted.
    pub fn is_served(&mut self) -> bool {
        self.take_new_name();
        self.free.pop().is_some_and(|name| {
            let answered = self.take(name, "", &[200]);
            answered.is_ok() && self.facts.holds.last().is_some_and(|hold| hold.granted_at().is_some())
        })
    }

    /// One that it holds.
    pub fn any_held(&self) -> Option<&str> {
        let hold = self.held.first()?;
        Some(&self.facts.holds[*hold].name)
    }

    /// The status with which a resource is shown, and whether it is said to be held.
    pub fn look(&mut self, name: &str) -> (u16, bool) {
        let answer = self.client.get(&format!("/resources/{name}/"));
        (answer.status, answer.body.contains("\"locked\":true"))
    }

    fn take_new_name(&mut self) {
        let name = format!("{}-{}", self.prefix, self.names);
        self.names += 1;
        self.free.push(name);
    }

    fn new_key(&mut self) -> String {
        self.keys += 1;
        format!("key-of-{}-{}", self.prefix, self.keys)
    }

    fn step(&mut self) -> Result<(), Gone> {
        let choice = self.chance.among(0..16);
        match choice {
            0..=4 if !self.free.is_empty() => self.acquire(),
            5 if self.free.len() >= TOGETHER => self.acquire_together(),
            6 => self.acquire_shared(),
            7 | 8 if !self.held.is_empty() => self.renew(),
            9 if !self.held.is_empty() => self.change_all(true),
            10 if !self.held.is_empty() => self.change_all(false),
            _ if !self.held.is_empty() => {
                let index = self.chance.among(0..self.held.len());
                self.release(index)
            }
            _ => self.acquire(),
        }
    }

    /// The places in the log before and behind, and the answer, if there is one.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> (u64, Option<(Answer, u64)>) {
        let asked = self.shim.position();
        let shown = [("Prefer", "return=representation")];
        let sent = self.client.try_send_with((method, path), &shown, body);
        let answer = sent.and_then(|()| self.client.try_answer());
        let answered = self.shim.position();
        (asked, answer.ok().map(|answer| (answer, answered)))
    }

    fn acquire(&mut self) -> Result<(), Gone> {
        if self.free.is_empty() {
            self.take_new_name();
        }
        let index = self.chance.among(0..self.free.len());
        let name = self.free.swap_remove(index);
        self.take(name, "", &[200])
    }

    /// Waits in line with the others, and gives it back at once.
    fn acquire_shared(&mut self) -> Result<(), Gone> {
        let name = format!("shared-{}", self.chance.among(0..SHARED_NAMES));
        let before = self.held.len();
        self.take(name, ", \"timeout\": 1", &[200, 400, 408])?;
        match self.held.len() > before {
            true => self.release(before),
            false => Ok(()),
        }
    }

    fn take(&mut self, name: String, more: &str, allowed: &[u16]) -> Result<(), Gone> {
        let key = self.new_key();
        let ttl = match self.chance.one_in(3) {
            true => String::new(),
            false => format!(", \"ttl\": {}", self.chance.among(TTL_MIN..2 * TTL_MIN)),
        };
        let body = format!("{{\"locked_by\": \"{key}\"{ttl}{more}}}");
        let (asked, answer) = self.ask("PUT", &format!("/resources/{name}/"), &body);
        let verdict = match &answer {
            Some((answer, at)) if answer.status == 200 => Verdict::Granted {
                at: *at,
                token: answer.fencing_token(),
                end: end_in(answer),
            },
            Some((answer, _)) if answer.status != 503 => {
                let status = answer.status;
                assert!(allowed.contains(&status), "PUT {name}: {status} {}", answer.body);
                Verdict::Refused
            }
            _ => Verdict::Unknown,
        };
        self.note(name, key, asked, verdict);
        answer.map(drop).ok_or(Gone)
    }

    fn note(&mut self, name: String, key: String, asked: u64, verdict: Verdict) {
        if matches!(verdict, Verdict::Granted { .. }) {
            self.held.push(self.facts.holds.len());
        }
        self.facts.holds.push(Hold {
            name,
            key,
            asked,
            verdict,
            changes: Vec::new(),
        });
    }

    fn acquire_together(&mut self) -> Result<(), Gone> {
        let names = self.free.split_off(self.free.len() - TOGETHER);
        let ttl = self.chance.among(TTL_MIN..2 * TTL_MIN);
        let key = self.new_key();
        self.take_together(names, &key, &format!(", \"ttl\": {ttl}"))
    }

    /// All or none, with one key.
    fn take_together(&mut self, names: Vec<String>, key: &str, more: &str) -> Result<(), Gone> {
        let listed = serde_json::to_string(&names).expect("names are text");
        let body = format!("{{\"resources\": {listed}, \"locked_by\": \"{key}\"{more}}}");
        let (asked, answer) = self.ask("POST", "/locks/", &body);
        for (index, name) in names.into_iter().enumerate() {
            let verdict = match &answer {
                Some((answer, at)) if answer.status == 200 => {
                    let granted = &answer.json()["resources"][index];
                    assert_eq!(granted["name"], name.as_str());
                    Verdict::Granted {
                        at: *at,
                        token: granted["fencing_token"].as_i64().expect("a token"),
                        end: End::Untold,
                    }
                }
                Some((answer, _)) => {
                    assert_eq!(answer.status, 503, "POST of {name}: {}", answer.body);
                    Verdict::Unknown
                }
                None => Verdict::Unknown,
            };
            self.note(name, key.to_owned(), asked, verdict);
        }
        answer.map(drop).ok_or(Gone)
    }

    fn renew(&mut self) -> Result<(), Gone> {
        let index = self.chance.among(0..self.held.len());
        let hold = self.held[index];
        let Hold { name, key, .. } = &self.facts.holds[hold];
        let ttl = self.chance.among(TTL_MIN..2 * TTL_MIN);
        let (path, body) = (
            format!("/resources/{name}/"),
            format!("{{\"locked_by\": \"{key}\", \"ttl\": {ttl}}}"),
        );
        let (asked, answer) = self.ask("PATCH", &path, &body);
        let answered = done(&answer, 200, &path);
        let end = answer.as_ref().map_or(End::Untold, |(answer, _)| end_in(answer));
        self.facts.holds[hold].changes.push(Change {
            asked,
            answered,
            renewed: Some(end),
        });
        answer.map(drop).ok_or(Gone)
    }

    /// Releases the lock that is at `index` of those that it holds.
    fn release(&mut self, index: usize) -> Result<(), Gone> {
        let hold = self.held.swap_remove(index);
        let Hold { name, key, .. } = &self.facts.holds[hold];
        let (name, body) = (name.clone(), format!("{{\"locked_by\": \"{key}\"}}"));
        let (asked, answer) = self.ask("DELETE", &format!("/resources/{name}/"), &body);
        let answered = done(&answer, 204, &name);
        self.end(hold, asked, answered);
        answer.map(drop).ok_or(Gone)
    }

    fn end(&mut self, hold: usize, asked: u64, answered: Option<u64>) {
        let hold = &mut self.facts.holds[hold];
        hold.changes.push(Change {
            asked,
            answered,
            renewed: None,
        });
        let name = hold.name.clone();
        match answered {
            // Nobody knows whether it is free.
            None => self.take_new_name(),
            Some(_) if name.starts_with(&self.prefix) => self.free.push(name),
            Some(_) => {}
        }
    }

    /// Renews or releases all that one of its keys holds.
    fn change_all(&mut self, is_renewal: bool) -> Result<(), Gone> {
        let index = self.chance.among(0..self.held.len());
        let key = self.facts.holds[self.held[index]].key.clone();
        let ttl = self.chance.among(TTL_MIN..2 * TTL_MIN);
        self.change_all_of(&key, is_renewal, ttl)
    }

    fn change_all_of(&mut self, key: &str, is_renewal: bool, ttl: usize) -> Result<(), Gone> {
        let (mut of_key, others) = (Vec::new(), std::mem::take(&mut self.held));
        for hold in others {
            match self.facts.holds[hold].key == key {
                true => of_key.push(hold),
                false => self.held.push(hold),
            }
        }
        let (method, more, done_as) = match is_renewal {
            true => ("PATCH", format!(", \"ttl\": {ttl}"), "renewed"),
            false => ("DELETE", String::new(), "released"),
        };
        let body = format!("{{\"locked_by\": \"{key}\"{more}}}");
        let (asked, answer) = self.ask(method, "/resources/", &body);
        let answered = done(&answer, 200, "/resources/");
        if let Some((answer, _)) = answer.as_ref().filter(|_| answered.is_some()) {
            assert_eq!(answer.json()[done_as], of_key.len(), "{method} of {key}");
        }
        for hold in of_key {
            if is_renewal {
                self.facts.holds[hold].changes.push(Change {
                    asked,
                    answered,
                    renewed: Some(End::Untold),
                });
                self.held.push(hold);
            } else {
                self.end(hold, asked, answered);
            }
        }
        answer.map(drop).ok_or(Gone)
    }

    /// Takes so many locks with one key and renews them all, again and again: each
    /// time dozens of pages go to the log. Returns when that has been written back
    /// to the database, which `is_done` says, or the server is gone.
    pub fn fill_log(&mut self, locks: usize, mut is_done: impl FnMut() -> bool) {
        let key = self.new_key();
        // A long label makes a long row, so that there are few on a page.
        let more = format!(", \"ttl\": {TTL_MIN}, \"label\": \"{}\"", "€".repeat(LABEL_CHARS));
        for _ in 0..locks.div_ceil(TOGETHER_MAX) {
            let names = (0..TOGETHER_MAX).map(|_| format!("{}-{:016x}", self.prefix, self.chance.next()));
            let names = names.collect();
            if self.take_together(names, &key, &more).is_err() {
                return;
            }
        }
        while !is_done() {
            if self.change_all_of(&key, true, TTL_MIN).is_err() {
                return;
            }
        }
    }
}

/// Where it was answered that it is done, with `status`.
fn done(answer: &Option<(Answer, u64)>, status: u16, what: &str) -> Option<u64> {
    let (answer, at) = answer.as_ref()?;
    assert!(
        [status, 503].contains(&answer.status),
        "{what}: {} {}",
        answer.status,
        answer.body
    );
    (answer.status == status).then_some(*at)
}

/// The end of a lock, as a resource that is shown says it.
fn end_in(answer: &Answer) -> End {
    if answer.status != 200 {
        return End::Untold;
    }
    let shown = answer.json();
    // A grant shows it beside what it says.
    match shown
        .get("resource")
        .unwrap_or(&shown)
        .get("expires_at")
        .expect("a resource is shown")
    {
        Value::Null => End::Never,
        at => {
            let at = DateTime::parse_from_rfc3339(at.as_str().expect("an instant"));
            End::At(at.expect("an instant").timestamp_micros())
        }
    }
}
