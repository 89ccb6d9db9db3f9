//! From the expiry of a lock whose holder died to its grant to one who waits.

use std::time::{Duration, Instant};

use mio::{Events, Poll};
use serde::Deserialize;

use crate::clients;
use crate::figures::System;
use crate::load::{Connection, request};
use crate::redis_line::{Contenders, Form, Next};
use crate::stage::{Stage, Started};

/// What every lock is taken for.
pub const TTL: Duration = Duration::from_secs(2);

/// Nobody waits longer.
const WAIT_MAX: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Answer {
    after_expiry_ms: Vec<f64>,
    after_death_ms: Vec<f64>,
}

/// Milliseconds from the expiry of each lock, which is two seconds after its
/// holder was told that it has it; of advisory locks, from the holder's death.
pub fn measure(stage: &Stage, started: &Started, system: System, locks: usize) -> Result<Vec<f64>, String> {
    match system {
        System::Sqlite | System::Postgres | System::Replicas => Ok(of_ours(started, locks)),
        System::RedisAlways | System::RedisEverysec => Ok(of_redis(started, locks)),
        System::EtcdLock | System::Zookeeper | System::Advisory => {
            let address = match system {
                System::Advisory => stage.direct_url.clone(),
                _ => started.rival().address.to_string(),
            };
            let numbers = [("locks", locks as u64)];
            let answer: Answer = clients::measure(system, "take-over", &address, &numbers, WAIT_MAX)?;
            Ok(match system {
                System::Advisory => answer.after_death_ms,
                _ => answer.after_expiry_ms,
            })
        }
        other => panic!("{other:?} has nobody who waits"),
    }
}

fn ms_after(expiry: Instant, now: Instant) -> f64 {
    let late = now.saturating_duration_since(expiry).as_secs_f64();
    let early = expiry.saturating_duration_since(now).as_secs_f64();
    (late - early) * 1e3
}

/// Whoever waits does so at another replica than the holder's, if there is one.
fn of_ours(started: &Started, locks: usize) -> Vec<f64> {
    let mut poll = Poll::new().expect("epoll");
    let address_of = |number: usize| started.ours[number % started.ours.len()].address();
    let mut holders: Vec<_> = (0..locks)
        .map(|number| Connection::open(address_of(number), &poll, number))
        .collect();
    let mut granted = Vec::new();
    for (number, holder) in holders.iter_mut().enumerate() {
        let body = format!(r#"{{"locked_by":"holder-{number}","ttl":{}}}"#, TTL.as_secs());
        holder.send(&request("PUT", &format!("taken-{number}"), &body));
        let answered = until_answered(&mut poll, std::slice::from_mut(holder), number);
        granted.push(answered[0]);
    }
    let mut waiters: Vec<_> = (0..locks)
        .map(|number| Connection::open(address_of(number + 1), &poll, locks + number))
        .collect();
    for (number, waiter) in waiters.iter_mut().enumerate() {
        let body = format!(r#"{{"locked_by":"waiter-{number}","timeout":{}}}"#, WAIT_MAX.as_secs());
        waiter.send(&request("PUT", &format!("taken-{number}"), &body));
    }
    let taken = until_answered(&mut poll, &mut waiters, locks);
    let pairs = granted.into_iter().zip(taken);
    pairs.map(|(granted, taken)| ms_after(granted + TTL, taken)).collect()
}

/// When each of them was granted; their tokens begin with `first`.
fn until_answered(poll: &mut Poll, connections: &mut [Connection], first: usize) -> Vec<Instant> {
    let mut events = Events::with_capacity(1024);
    let mut answered = vec![None; connections.len()];
    let until = Instant::now() + WAIT_MAX;
    while answered.contains(&None) {
        assert!(Instant::now() < until, "some got no answer");
        poll.poll(&mut events, Some(WAIT_MAX)).expect("epoll");
        for event in &events {
            let number = event.token().0 - first;
            if let Some(status) = connections[number].receive() {
                assert_eq!(status, 200, "contender {number}");
                answered[number] = Some(Instant::now());
            }
        }
    }
    answered.into_iter().flatten().collect()
}

fn of_redis(started: &Started, locks: usize) -> Vec<f64> {
    let ttl_ms = u32::try_from(TTL.as_millis()).expect("two thousand");
    let names = (0..2 * locks).map(|number| format!("taken-{}", number % locks));
    let mut contenders = Contenders::connect(started.rival().address, Form::Polling, names);
    let granted: Vec<_> = (0..locks).map(|number| contenders.take(number, Some(ttl_ms))).collect();
    contenders.begin(locks..2 * locks);
    let mut after_ms = Vec::new();
    let until = Instant::now() + WAIT_MAX;
    while after_ms.len() < locks {
        assert!(Instant::now() < until, "{} were taken over in time", after_ms.len());
        contenders.turn(|number, now| {
            after_ms.push(ms_after(granted[number - locks] + TTL, now));
            Next::Keep
        });
    }
    after_ms
}
