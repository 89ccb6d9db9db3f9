//! Random histories of several servers that share one line, and of clients who go
//! from one to the other.
//!
//! The table is kept as the store keeps it. The judge knows no places: it has the
//! clients in the order in which they first joined, and says of each grant whether
//! anybody was before it who had to be waited for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::Seen;
use crate::clock::Timestamp;
use crate::limits::{REPLICA_SILENT_MAX, VACANT_PLACE_MAX};
use crate::lock::{
    Acquire, Ahead, Batch, FencingCounter, FencingToken, LockedBy, Operation, Outcome, Place, Release, RequestId,
    Resource, ResourceName, Returning, Rows, Rules, StillWaits, WaitingLines,
};

const HISTORIES: u32 = 1024;
const SERVERS: usize = 3;
const CLIENTS: usize = 8;

/// What has to happen in the histories, and how often at least.
const INTERESTING: [(&str, usize); 9] = [
    ("came back to a vacant place", 500),
    ("came back too late to a place", 10),
    ("granted what was kept free", 50),
    ("several came back in one batch", 50),
    ("came back from one that was killed", 50),
    ("went while the server lives", 500),
    ("superseded", 50),
    ("kept free", 100),
    ("went to the end without a key", 50),
];

#[derive(Clone, Debug)]
enum Step {
    /// Clients ask at a server, in one batch; those who wait elsewhere too.
    Ask {
        clients: Vec<usize>,
        server: usize,
    },
    /// The holder releases at a server.
    Release {
        server: usize,
    },
    /// A client closes its connection.
    Leave {
        client: usize,
    },
    /// A server sends everybody away and ends; another is started.
    Stop {
        server: usize,
    },
    /// A server ends and tells nobody; another is started.
    Kill {
        server: usize,
    },
    Pass {
        ms: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let server = 0..SERVERS;
    prop_oneof![
        6 => (vec(0..CLIENTS, 1..4), server.clone()).prop_map(|(clients, server)| Step::Ask { clients, server }),
        3 => server.clone().prop_map(|server| Step::Release { server }),
        1 => (0..CLIENTS).prop_map(|client| Step::Leave { client }),
        2 => server.clone().prop_map(|server| Step::Stop { server }),
        1 => server.prop_map(|server| Step::Kill { server }),
        2 => (1..2500_i64).prop_map(|ms| Step::Pass { ms }),
    ]
}

/// Somebody's connection.
#[derive(Debug)]
struct Ticket {
    client: usize,
    is_open: Rc<Cell<bool>>,
}

impl StillWaits for Ticket {
    fn still_waits(&self) -> bool {
        self.is_open.get()
    }
}

/// A row of the table.
#[derive(Clone, Debug)]
struct Row {
    place: Place,
    /// The number of the server; `None` where the place is vacant.
    server: Option<usize>,
    request: Option<RequestId>,
    vacant_until: i64,
}

#[derive(Default)]
struct Server {
    /// Never the same again.
    number: usize,
    lines: WaitingLines<Ticket>,
}

/// Of a client that stands in line, what keeps its place.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Standing {
    /// A connection to the server with this number.
    Waits(usize),
    /// Nothing but the time: it is kept until then.
    Kept { until: i64, killed: bool },
}

struct World {
    now: i64,
    resource: Resource,
    tokens: FencingToken,
    last_place: Place,
    table: Vec<Row>,
    servers: Vec<Server>,
    next_number: usize,
    /// Until when each server is believed to live that was killed.
    killed: Vec<(usize, i64)>,
    /// In the order in which they joined first.
    line: Vec<(usize, Standing)>,
    holder: Option<usize>,
    connections: Vec<Option<Rc<Cell<bool>>>>,
    /// How often each client has been served: then its next request is another.
    served: Vec<usize>,
}

fn name() -> ResourceName {
    ResourceName::new("r").expect("well formed")
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now: 1_000_000_000,
            resource: Resource::unseen(name()),
            tokens: FencingToken::NONE,
            last_place: Place::NONE,
            table: Vec::new(),
            servers: Vec::new(),
            next_number: 1,
            killed: Vec::new(),
            line: Vec::new(),
            holder: None,
            connections: vec![None; CLIENTS],
            served: vec![0; CLIENTS],
        };
        for _ in 0..SERVERS {
            let server = world.new_server();
            world.servers.push(server);
        }
        world
    }

    fn new_server(&mut self) -> Server {
        self.next_number += 1;
        Server {
            number: self.next_number,
            lines: WaitingLines::default(),
        }
    }

    /// Every fourth has no `Idempotency-Key`.
    fn wish(&self, client: usize) -> Acquire {
        let key = format!("{client}-{}", self.served[client]);
        Acquire {
            request: RequestId::new(&key, None, [Some("body")]).filter(|_| client % 4 != 3),
            ..Acquire::by(LockedBy::new(key).expect("well formed"))
        }
    }

    fn step(&mut self, step: &Step, seen: &mut Seen) {
        match step {
            Step::Ask { clients, server } => {
                let mut once = Vec::new();
                for client in clients {
                    if self.holder != Some(*client) && !once.contains(client) {
                        once.push(*client);
                    }
                }
                self.ask(&once, *server, seen);
            }
            Step::Release { server } => {
                if let Some(holder) = self.holder.take() {
                    let key = LockedBy::new(format!("{holder}-{}", self.served[holder] - 1));
                    let release = Operation::Release(Release::by(key));
                    self.batch(*server, &[], seen, |batch, _| {
                        assert_eq!(batch.apply(0, &release), Outcome::Released);
                    });
                }
            }
            Step::Leave { client } => self.leave(*client, seen),
            Step::Stop { server } => {
                let until = self.now + VACANT_PLACE_MAX.as_micros() as i64;
                drop(self.servers[*server].lines.take_all());
                self.batch(*server, &[], seen, |batch, _| batch.vacate(0));
                self.gone(*server, Some(until), false);
            }
            Step::Kill { server } => {
                let until = self.now + REPLICA_SILENT_MAX.as_micros() as i64;
                self.killed.push((self.servers[*server].number, until));
                self.gone(*server, Some(until), true);
            }
            Step::Pass { ms } => self.now += ms * 1000,
        }
        self.rest(seen);
    }

    /// A server is not there any more; another is.
    fn gone(&mut self, server: usize, until: Option<i64>, killed: bool) {
        let number = self.servers[server].number;
        let until = until.unwrap_or(self.now);
        for (client, standing) in &mut self.line {
            if *standing == Standing::Waits(number) {
                self.connections[*client] = None;
                // Of one that was killed all are waited for, while it is believed in.
                let is_kept = killed || *client % 4 != 3;
                let until = if is_kept { until } else { self.now };
                *standing = Standing::Kept { until, killed };
            }
        }
        self.servers[server] = self.new_server();
    }

    fn leave(&mut self, client: usize, seen: &mut Seen) {
        let Some(is_open) = self.connections[client].take() else {
            return;
        };
        is_open.set(false);
        self.line.retain(|(other, _)| *other != client);
        // It will ask for something else.
        self.served[client] += 1;
        for server in 0..SERVERS {
            self.miss(server, seen);
        }
    }

    /// A server misses those who have left.
    fn miss(&mut self, server: usize, seen: &mut Seen) {
        let departed = self.servers[server].lines.take_departed(&name());
        self.batch(server, &[], seen, |batch, _| {
            for waiter in &departed {
                batch.leave(0, waiter.place);
            }
        });
    }

    fn ask(&mut self, clients: &[usize], server: usize, seen: &mut Seen) {
        let number = self.servers[server].number;
        let mut tickets = Vec::new();
        let mut moved_from = Vec::new();
        let mut returned = 0;
        for client in clients {
            // Whoever asks again has left the connection that it had.
            if let Some(before) = self.connections[*client].take() {
                before.set(false);
            }
            let is_open = Rc::new(Cell::new(true));
            self.connections[*client] = Some(Rc::clone(&is_open));
            tickets.push((*client, self.wish(*client), is_open));
            let known = self.line.iter().position(|(other, _)| other == client);
            let standing = known.map(|at| self.line[at].1);
            let has_key = client % 4 != 3;
            match standing {
                Some(Standing::Kept { until, killed }) if has_key => {
                    returned += 1;
                    match (killed, self.now < until) {
                        (true, _) => seen.note("came back from one that was killed", 1),
                        (false, true) => seen.note("came back to a vacant place", 1),
                        (false, false) => seen.note("came back too late to a place", 1),
                    }
                }
                Some(Standing::Waits(from)) if has_key && from != number => {
                    seen.note("went while the server lives", 1);
                    let waiter = self.servers.iter().find(|server| server.number == from);
                    let request = self.wish(*client).request.expect("it has a key");
                    let waiter = waiter.and_then(|server| server.lines.of_request(&[name()], &request));
                    moved_from.push((from, waiter.expect("it waits there").place));
                }
                Some(Standing::Waits(_)) if has_key => {}
                Some(_) => seen.note("went to the end without a key", 1),
                None => {}
            }
            match known {
                Some(at) if has_key => self.line[at].1 = Standing::Waits(number),
                Some(at) => {
                    // What it leaves behind is a dead connection, or a row of one that was killed.
                    let ghost = self.line.remove(at);
                    if let Standing::Kept { until, killed: true } = ghost.1 {
                        self.line
                            .insert(at, (usize::MAX, Standing::Kept { until, killed: true }));
                    }
                    self.line.push((*client, Standing::Waits(number)));
                }
                None => self.line.push((*client, Standing::Waits(number))),
            }
        }
        seen.note("several came back in one batch", usize::from(returned > 1));
        let was_free = self.holder.is_none();
        let mut granted = Vec::new();
        self.batch(server, clients, seen, |batch, now| {
            let wait_until = now + Duration::from_secs(3600);
            for (client, wish, is_open) in tickets {
                let outcome = batch.apply(0, &Operation::Acquire(wish.clone()));
                if let Outcome::Acquired(_) = outcome {
                    granted.push(client);
                    continue;
                }
                assert_eq!(outcome, Outcome::Locked);
                let ticket = Ticket { client, is_open };
                let waiting = wish
                    .request
                    .as_ref()
                    .and_then(|request| batch.lines().of_request(&[name()], request));
                match waiting.map(|waiter| waiter.place) {
                    Some(place) => {
                        batch.take_over(&[0], place, wait_until, ticket);
                    }
                    None => batch.join(&[0], 0, wish, wait_until, ticket),
                }
            }
        });
        seen.note(
            "granted what was kept free",
            usize::from(was_free && returned > 0 && !granted.is_empty()),
        );
        // Of some the servers where they waited hear; others find it out when it matters.
        for (from, place) in moved_from {
            if from % 2 == 0
                && let Some(server) = self.servers.iter().position(|server| server.number == from)
            {
                self.batch(server, &[], seen, |batch, _| match from % 4 {
                    0 => batch.restate(0),
                    _ => batch.let_go(0, place),
                });
            }
        }
        for server in 0..SERVERS {
            self.miss(server, seen);
        }
    }

    /// One transaction of a server, as the store does it.
    fn batch(
        &mut self,
        server: usize,
        askers: &[usize],
        seen: &mut Seen,
        work: impl FnOnce(&mut Batch<'_, Ticket>, Timestamp),
    ) {
        let number = self.servers[server].number;
        let now = Timestamp::from_us(self.now);
        let wishes = askers.iter().filter_map(|client| self.wish(*client).request);
        let name = name();
        let waiting = self.servers[server].lines.line(&name);
        let requests: Vec<_> = wishes
            .chain(waiting.filter_map(|waiter| waiter.acquire.request.clone()))
            .collect();
        let elsewhere = self.table.iter().filter(|row| row.server != Some(number));
        let returning = elsewhere.clone().filter_map(|row| {
            let request = row.request.clone().filter(|request| requests.contains(request))?;
            let place = row.place;
            Some(Returning { row: 0, request, place })
        });
        let returning: Vec<_> = returning.collect();
        let is_waited_for = |row: &&Row| match row.server {
            None => self.now < row.vacant_until,
            Some(other) => match self.killed.iter().find(|(killed, _)| *killed == other) {
                Some((_, until)) => self.now < *until,
                None => self.servers.iter().any(|server| server.number == other),
            },
        };
        let others = elsewhere.filter(is_waited_for).map(|row| row.place);
        let others = others.filter(|place| returning.iter().all(|returning| returning.place != *place));
        let ahead = others.min().map(|place| Ahead {
            place,
            believed_for: Duration::from_secs(1),
        });
        let tokens = FencingCounter::continuing_after(self.tokens);
        let mut rows = Rows::loaded(vec![self.resource.clone()], tokens, self.last_place)
            .with_ahead(vec![ahead])
            .with_returning(returning);
        let lines = &mut self.servers[server].lines;
        let mut batch = Batch::new(now, Rules::default(), &mut rows, lines);
        // A look before and after: the waiting are served in any batch.
        work(&mut batch, now);
        batch.apply(0, &Operation::Expire);
        let handed_over: Vec<_> = batch.handed_over.drain(..).map(|handed| handed.waiter).collect();
        seen.note("superseded", batch.superseded.len());
        for (_, waiter) in batch.superseded.drain(..) {
            assert!(!waiter.ticket.is_open.get(), "its client waits nowhere else");
        }

        // As the store saves it.
        for _ in rows.vacated() {
            for row in self.table.iter_mut().filter(|row| row.server == Some(number)) {
                if row.request.is_some() {
                    row.server = None;
                    row.vacant_until = self.now + VACANT_PLACE_MAX.as_micros() as i64;
                }
            }
        }
        if !rows.restated().is_empty() {
            self.table.retain(|row| row.server != Some(number));
        }
        self.table
            .retain(|row| !rows.returned().iter().any(|(_, place)| *place == row.place));
        for joined in rows.joined() {
            let is_there = |row: &Row| (row.server, row.place) == (Some(number), joined.place);
            if !self.table.iter().any(is_there) {
                self.table.push(Row {
                    place: joined.place,
                    server: Some(number),
                    request: joined.request.clone(),
                    vacant_until: 0,
                });
            }
        }
        let left = rows.left();
        let has_left = |row: &Row| row.server == Some(number) && left.iter().any(|(_, place)| *place == row.place);
        self.table.retain(|row| !has_left(row));
        self.last_place = rows.last_place();
        let tokens = rows.tokens_taken().map_or(self.tokens, |tokens| tokens.highest());
        self.tokens = tokens;
        self.resource = rows.into_resources().next().expect("there is one");
        for waiter in handed_over {
            assert!(waiter.ticket.is_open.get(), "nobody who left is served");
            self.judge(waiter.ticket.client);
        }
        // Who was granted at once is known by the key.
        if let (None, Some(lock)) = (self.holder, self.resource.holder_at(now)) {
            let key = lock.locked_by.reveal();
            let client = key.split('-').next().and_then(|client| client.parse().ok());
            self.judge(client.expect("a key of ours"));
        }
        let mut places: Vec<_> = self.table.iter().map(|row| row.place).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(
            places.len(),
            self.table.len(),
            "each place is in the table once: {:?}",
            self.table
        );
    }

    fn is_waited_for(&self, standing: Standing) -> bool {
        match standing {
            Standing::Waits(_) => true,
            Standing::Kept { until, .. } => self.now < until,
        }
    }

    /// Somebody is granted the resource.
    fn judge(&mut self, client: usize) {
        assert_eq!(self.holder, None, "{client} is granted what is held");
        let at = self.line.iter().position(|(other, _)| *other == client);
        let at = at.unwrap_or_else(|| panic!("{client} does not wait"));
        let mut before = self.line[..at].iter();
        let passed = before.find(|(_, standing)| self.is_waited_for(*standing));
        assert_eq!(passed, None, "{client} passed somebody: {:?}", self.line);
        self.line.remove(at);
        self.connections[client] = None;
        self.served[client] += 1;
        self.holder = Some(client);
    }

    /// Everybody looks until nothing changes; then what is free is kept for
    /// somebody, or nobody waits for it.
    fn rest(&mut self, seen: &mut Seen) {
        for _ in 0..2 {
            for server in 0..SERVERS {
                self.batch(server, &[], seen, |_, _| ());
            }
        }
        if self.holder.is_some() {
            return;
        }
        let first = self.line.iter().find(|(_, standing)| self.is_waited_for(*standing));
        match first {
            Some((client, Standing::Waits(_))) => panic!("{client} is first and not served: {:?}", self.line),
            Some(_)
                if self
                    .line
                    .iter()
                    .any(|(_, standing)| matches!(standing, Standing::Waits(_))) =>
            {
                seen.note("kept free", 1);
            }
            _ => {}
        }
    }
}

#[test]
fn places_of_those_who_change_servers_agree_with_the_model() {
    let config = ProptestConfig {
        cases: HISTORIES,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let seen = RefCell::new(Seen::default());
    let result = TestRunner::new(config).run(&vec(step(), 1..60), |steps| {
        let seen = &mut *seen.borrow_mut();
        let mut world = World::new();
        for step in &steps {
            world.step(step, seen);
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }

    let Seen(seen) = seen.into_inner();
    for (what, at_least) in INTERESTING {
        let times = seen.get(what).copied().unwrap_or_default();
        assert!(times >= at_least, "{what}: only {times} times in {HISTORIES} histories");
    }
}
