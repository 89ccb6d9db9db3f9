//! Those who want a lock of Redis that somebody holds. Redis has no line: they
//! ask again and again, or block on a list into which a release puts something.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use crate::load::Connection;
use crate::redis::{self, Scripts};

/// How long one rests who was refused: 50 ms, give or take half. Libraries of
/// Redlock rest longer, 200 ms as they come.
const REST_US_MIN: u64 = 25_000;
const REST_US_MAX: u64 = 75_000;

/// Nobody waits longer than this for anything.
const SILENCE_MAX: Duration = Duration::from_secs(30);

const TTL_MS: u32 = 600_000;

/// How those who wait learn that they may ask again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Polling,
    /// As python-redis-lock does it.
    Signal,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Resting,
    Asking,
    Blocked,
    Granted,
    Releasing,
    Done,
}

struct Contender {
    connection: Connection,
    name: String,
    value: String,
    state: State,
    refused: bool,
}

/// Connections to one server, each for a lock.
pub struct Contenders {
    form: Form,
    scripts: Scripts,
    poll: Poll,
    events: Events,
    contenders: Vec<Contender>,
    resting: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl Contenders {
    /// As many as there are names.
    pub fn connect(address: SocketAddr, form: Form, names: impl Iterator<Item = String>) -> Self {
        let poll = Poll::new().expect("epoll");
        let contender = |(number, name)| Contender {
            connection: Connection::open(address, &poll, number).framed_by(redis::answer),
            name,
            value: redis::random_value(),
            state: State::Done,
            refused: false,
        };
        Self {
            form,
            scripts: Scripts::load(address),
            contenders: names.enumerate().map(contender).collect(),
            events: Events::with_capacity(1024),
            resting: BinaryHeap::new(),
            poll,
        }
    }

    /// Takes the lock of one, which must be free, and says when that was answered.
    pub fn take(&mut self, number: usize, ttl_ms: Option<u32>) -> Instant {
        let contender = &mut self.contenders[number];
        contender.state = State::Asking;
        let request = redis::acquire(&contender.name, &contender.value, ttl_ms.unwrap_or(TTL_MS));
        contender.connection.send(&request);
        let mut answered = None;
        while answered.is_none() {
            self.turn(|asked, now| {
                assert_eq!(asked, number, "only one asks");
                answered = Some(now);
                Next::Keep
            });
        }
        answered.expect("it was answered")
    }

    /// These begin to ask, at moments of their own.
    pub fn begin(&mut self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            self.rest(number, 0);
        }
    }

    /// Until all of these have been refused once, and wait.
    pub fn until_refused(&mut self, numbers: std::ops::Range<usize>) {
        let is_waiting = |contender: &Contender, form| {
            contender.refused && (form == Form::Polling || contender.state == State::Blocked)
        };
        while !self.contenders[numbers.clone()]
            .iter()
            .all(|one| is_waiting(one, self.form))
        {
            self.turn(|number, _| panic!("contender {number} was granted what is held"));
        }
    }

    /// The holder releases; says when that was sent.
    pub fn release(&mut self, number: usize) -> Instant {
        let contender = &mut self.contenders[number];
        let request = match self.form {
            Form::Polling => self.scripts.release(&contender.name, &contender.value),
            Form::Signal => self.scripts.release_and_signal(&contender.name, &contender.value),
        };
        contender.state = State::Releasing;
        let now = Instant::now();
        contender.connection.send(&request);
        now
    }

    fn rest(&mut self, number: usize, at_least_us: u64) {
        let spread = REST_US_MAX - REST_US_MIN;
        let rest_us = at_least_us + getrandom::u64().expect("the system has chance") % spread;
        let until = Instant::now() + Duration::from_micros(rest_us);
        self.contenders[number].state = State::Resting;
        self.resting.push(Reverse((until, number)));
    }

    fn ask(&mut self, number: usize) {
        let contender = &mut self.contenders[number];
        contender.state = State::Asking;
        let request = redis::acquire(&contender.name, &contender.value, TTL_MS);
        contender.connection.send(&request);
    }

    /// Handles what is due. `granted` is told who was granted, and when.
    pub fn turn(&mut self, mut granted: impl FnMut(usize, Instant) -> Next) {
        while let Some(Reverse((until, number))) = self.resting.peek().copied()
            && until <= Instant::now()
        {
            self.resting.pop();
            self.ask(number);
        }
        let next = self
            .resting
            .peek()
            .map(|Reverse((until, _))| until.duration_since(Instant::now()));
        // epoll waits whole milliseconds: what is due in less is looked for again at once.
        let wait = next.map_or(SILENCE_MAX, |next| Duration::from_millis(next.as_millis() as u64));
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        self.poll.poll(&mut events, Some(wait)).expect("epoll");
        assert!(!events.is_empty() || next.is_some(), "nothing happens any more");
        for event in &events {
            let number = event.token().0;
            while let Some(status) = self.contenders[number].connection.receive() {
                let contender = &mut self.contenders[number];
                match (contender.state, status) {
                    (State::Asking, 200) => {
                        contender.state = State::Granted;
                        if granted(number, Instant::now()) == Next::Release {
                            self.release(number);
                        }
                    }
                    (State::Asking, 404) => {
                        contender.refused = true;
                        match self.form {
                            Form::Polling => self.rest(number, REST_US_MIN),
                            Form::Signal => {
                                contender.state = State::Blocked;
                                let request = redis::wait_for_signal(&contender.name);
                                contender.connection.send(&request);
                            }
                        }
                    }
                    (State::Blocked, 200) => self.ask(number),
                    (State::Releasing, 204) => contender.state = State::Done,
                    (_, status) => panic!("contender {number} was answered {status}"),
                }
            }
        }
        self.events = events;
    }
}

/// What one does that was granted the lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Release,
    Keep,
}
