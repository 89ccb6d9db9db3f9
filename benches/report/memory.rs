//! Resident memory with many locks held, and with many who wait.

use mio::{Events, Poll};

use crate::clients::Staying;
use crate::figures::{Memory, System};
use crate::handover::Line;
use crate::load::{self, Connection};
use crate::redis;
use crate::redis_line::{Contenders, Form};
use crate::stage::{Stage, Started};

/// Those who wait stand in so many lines.
const LINES: usize = 100;

/// Requests to Redis that are sent before the first is answered.
const AT_ONCE: usize = 1_000;

/// Locks last longer than this takes.
const TTL_MS: u32 = 3_600_000;

pub fn measure(stage: &Stage, system: System, held: usize, waiting: usize) -> Result<Memory, String> {
    let started = stage.start(system)?;
    let idle_kib = started.resident_kib();
    let held_kib = with_held(&started, system, held)?;
    drop(started);
    let started = stage.start(system)?;
    let before_kib = started.resident_kib();
    let waiting_kib = with_waiting(&started, system, waiting)?;
    Ok(Memory {
        system,
        idle_kib,
        held_kib,
        waiting_kib: (before_kib, waiting_kib),
    })
}

fn with_held(started: &Started, system: System, held: usize) -> Result<u64, String> {
    match system {
        System::Sqlite | System::Postgres => load::hold(started.ours[0].address(), held),
        System::RedisAlways | System::RedisSignal => hold_in_redis(started, held),
        _ => {
            let address = started.rival().address.to_string();
            let _staying = Staying::start(system, "hold", &address, &[("locks", held as u64)])?;
            return Ok(started.resident_kib());
        }
    }
    Ok(started.resident_kib())
}

fn with_waiting(started: &Started, system: System, waiting: usize) -> Result<u64, String> {
    match system {
        System::Sqlite | System::Postgres => {
            let lines: Vec<_> = (0..LINES)
                .map(|number| {
                    let mut line = Line::for_name(&format!("line-{number}"));
                    line.join(&started.ours, waiting / LINES + 1);
                    line
                })
                .collect();
            let resident_kib = started.resident_kib();
            drop(lines);
            Ok(resident_kib)
        }
        System::RedisAlways | System::RedisSignal => {
            let names = (0..waiting + LINES).map(|number| format!("line-{}", number % LINES));
            let mut contenders = Contenders::connect(started.rival().address, Form::Signal, names);
            for holder in 0..LINES {
                contenders.take(holder, None);
            }
            contenders.begin(LINES..waiting + LINES);
            contenders.until_refused(LINES..waiting + LINES);
            Ok(started.resident_kib())
        }
        _ => {
            let address = started.rival().address.to_string();
            let _staying = Staying::start(system, "wait", &address, &[("waiters", waiting as u64)])?;
            Ok(started.resident_kib())
        }
    }
}

fn hold_in_redis(started: &Started, held: usize) {
    let mut poll = Poll::new().expect("epoll");
    let mut events = Events::with_capacity(16);
    let mut connection = Connection::open(started.rival().address, &poll, 0).framed_by(redis::answer);
    let numbers: Vec<usize> = (0..held).collect();
    for chunk in numbers.chunks(AT_ONCE) {
        let request = |number: &usize| redis::acquire(&format!("held-{number:06}"), &redis::random_value(), TTL_MS);
        connection.send(&chunk.iter().flat_map(request).collect::<Vec<_>>());
        let mut answered = 0;
        while answered < chunk.len() {
            match connection.receive() {
                Some(status) => {
                    assert_eq!(status, 200, "a lock that nobody holds");
                    answered += 1;
                }
                None => poll.poll(&mut events, None).expect("epoll"),
            }
        }
    }
}
