//! The power is lost at any moment of the life of a server.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::crash::commands::{make_token, revoke};
use crate::crash::facts::{Facts, Standing};
use crate::crash::load::Worker;
use crate::crash::points::{Point, count, find_loss, seed};
use crate::crash::recording::{self, Event};
use crate::crash::rows::{EventRow, Rows, start};
use crate::crash::shim::Shim;
use crate::support::{Cls, Server, eventually};

const WORKERS: usize = 6;
/// Crashes between two that a real server is started after.
const SERVER_EVERY: usize = 20;
/// What is asked between one crash and the next.
const STEPS_AGAIN: usize = 8;
/// Locks that are renewed together until the log has been written back.
const LOCKS_TOGETHER: usize = 300;

/// What was recorded, and what is known of it.
struct Story {
    log: Vec<u8>,
    facts: Facts,
    /// All events, as the database has them in the end.
    events: Vec<EventRow>,
}

/// Some clients at once, each so many steps.
fn load(shim: &Shim, server: &Server, round: usize, steps: usize) -> Facts {
    let mut facts = Facts::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..WORKERS)
            .map(|id| {
                let seed = seed() ^ (((round * WORKERS + id) as u64) << 32);
                let worker = Worker::connect(shim, server.address, &format!("r{round}w{id}"), seed);
                scope.spawn(move || worker.work(steps))
            })
            .collect();
        for thread in threads {
            facts.add(thread.join().expect("only true answers"));
        }
    });
    facts
}

/// Whether pages of the log were written back while a server ran.
fn is_written_back(log: &[u8], from: u64) -> bool {
    let events = recording::read(&log[from as usize..]);
    let database = |event: &Event<'_>| matches!(event, Event::Write { offset: 0, data, .. } if data.len() == 4096);
    events.iter().any(|(_, event)| database(event))
}

/// From the first start on an empty directory to the last kill.
fn record() -> Story {
    let shim = Shim::new();
    let mut facts = Facts::default();

    let mut server = shim.cls().start();
    facts.add(load(&shim, &server, 0, 25));
    let mut token = make_token(&shim, "first");
    revoke(&shim, &mut token);
    facts.tokens.extend([token, make_token(&shim, "second")]);
    facts.add(load(&shim, &server, 1, 15));
    server.signal(Signal::TERM);
    assert!(
        server
            .wait(Duration::from_secs(10))
            .is_some_and(|status| status.success())
    );

    let mut server = shim.cls().start();
    // The log is written back and begun again, while others go on.
    facts.add(std::thread::scope(|scope| {
        let beside = scope.spawn(|| load(&shim, &server, 2, 30));
        let mut worker = Worker::connect(&shim, server.address, "bulk", seed());
        let from = shim.position();
        worker.fill_log(LOCKS_TOGETHER, || is_written_back(&shim.log(), from));
        let mut facts = worker.into_facts();
        facts.add(beside.join().expect("only true answers"));
        facts
    }));
    facts.add(load(&shim, &server, 3, 10));
    facts.add(std::thread::scope(|scope| {
        let beside = scope.spawn(|| load(&shim, &server, 4, 1_000));
        let enough = shim.position() + 1_000_000;
        eventually("enough is under way", Duration::from_secs(20), || {
            shim.position() > enough
        });
        // Not a power loss: what was written stays.
        server.signal(Signal::KILL);
        beside.join().expect("only true answers")
    }));
    server.kill();

    let mut server = shim.cls().start();
    facts.add(load(&shim, &server, 5, 10));
    server.kill();
    let log = shim.log();
    start(&shim.database()).expect("the next server starts");
    let events = Rows::read(&shim.database()).events;
    Story { log, facts, events }
}

impl Story {
    fn answers(&self) -> Vec<u64> {
        answers(&self.facts)
    }

    fn require(&self, directory: &Path, point: &Point) -> Result<(), String> {
        let database = directory.join("db.sqlite3");
        start(&database)?;
        let rows = Rows::read(&database);
        self.facts.require(&rows, point.position)?;
        match rows
            .events
            .iter()
            .zip(&self.events)
            .find(|(found, recorded)| found != recorded)
        {
            Some((found, recorded)) => Err(format!("event {found:?} was recorded as {recorded:?}")),
            None if rows.events.len() > self.events.len() => Err("more events than there were".to_owned()),
            None => Ok(()),
        }
    }
}

/// The positions at which something was acknowledged.
pub fn answers(facts: &Facts) -> Vec<u64> {
    let grants = facts.holds.iter().filter_map(|hold| hold.granted_at());
    let changes = facts.holds.iter().flat_map(|hold| &hold.changes);
    let tokens = facts.tokens.iter().map(|token| token.made);
    let revoked = facts
        .tokens
        .iter()
        .filter_map(|token| token.revoked.map(|(_, done)| done));
    let answered = changes.filter_map(|change| change.answered);
    grants.chain(answered).chain(tokens).chain(revoked).collect()
}

/// Asks a real server, started on what was left, for what must be so.
fn require_of_server(facts: &Facts, directory: &Path, position: u64) -> Result<(), String> {
    let server = Cls::in_directory(directory).try_start(&["runserver", "127.0.0.1:0"])?;
    let mut client = server.client();
    let mut highest = facts.highest_token(position);
    let mut by_name: Vec<_> = facts.by_name().into_iter().collect();
    by_name.sort_by_key(|(name, _)| *name);
    for (name, holds) in by_name.into_iter().step_by(7) {
        let standings: HashMap<_, _> = holds.iter().map(|hold| (&hold.key, hold.standing(position))).collect();
        let is_open = standings.values().any(|standing| *standing == Standing::Open);
        let holder = standings.iter().find(|(_, standing)| **standing == Standing::Held);
        let answer = client.put(name, "{\"locked_by\": \"another\"}");
        let expected = match holder {
            Some(_) => &[400_u16][..],
            None if is_open => &[200, 400],
            None => &[200],
        };
        if !expected.contains(&answer.status) {
            return Err(format!("PUT {name}: {} {}; {holds:?}", answer.status, answer.body));
        }
        if answer.status == 200 {
            let token = answer.fencing_token();
            if token <= highest {
                return Err(format!("{name} got token {token}, after {highest}"));
            }
            highest = token;
        }
        if let Some((key, _)) = holder
            && client.delete(name, key).status != 204
        {
            return Err(format!("{name} is not released by its key {key}"));
        }
    }
    Ok(())
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_power_is_cut() {
    let story = record();
    let end = story.log.len() as u64;
    let acknowledged = story.facts.acknowledged(end);
    assert!(acknowledged > 300, "a test of nothing: {acknowledged}");

    let servers = AtomicUsize::new(0);
    let tried = find_loss(&story.log, &story.answers(), count(200), |directory, point| {
        story.require(directory, point)?;
        let number = servers.fetch_add(1, Ordering::Relaxed);
        match number % SERVER_EVERY {
            0 => require_of_server(&story.facts, directory, point.position),
            _ => Ok(()),
        }
    });
    let tried = tried.unwrap_or_else(|loss| panic!("{loss}"));

    assert!(tried.open * 2 > tried.crashes, "hardly anything was open: {tried:?}");
}

/// The power is lost again while a server that was started on `directory` mends
/// what the first time has left, or goes on from there.
fn lose_again(directory: &Path, points: usize) -> Result<(), String> {
    let shim = Shim::beginning_with(directory);
    start(&directory.join("db.sqlite3"))?;
    let mut facts = Rows::read(&directory.join("db.sqlite3")).as_facts();
    let began = shim.position();
    let server = shim.cls().try_start(&["runserver", "127.0.0.1:0"])?;
    let worker = Worker::connect(&shim, server.address, "again", seed());
    facts.add(worker.work(STEPS_AGAIN));
    drop(server);
    let check = |directory: &Path, point: &Point| {
        if point.position < began {
            return Ok(());
        }
        let database = directory.join("db.sqlite3");
        start(&database)?;
        facts.require(&Rows::read(&database), point.position)
    };
    find_loss(&shim.log(), &answers(&facts), points, check).map(drop)
}

#[test]
fn the_power_may_be_cut_again_while_a_server_mends_what_was_left() {
    let shim = Shim::new();
    let mut server = shim.cls().start();
    let mut facts = load(&shim, &server, 0, 10);
    server.kill();
    server = shim.cls().start();
    facts.add(load(&shim, &server, 1, 5));
    server.kill();

    let tried = find_loss(&shim.log(), &answers(&facts), count(20), |directory, _| {
        lose_again(directory, 10)
    });

    tried.map(drop).unwrap_or_else(|loss| panic!("{loss}"));
}
