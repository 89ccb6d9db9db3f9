//! `PUT` with a timeout: deadlines, hand-overs and order.
//!
//! A promise of milliseconds is measured many times and kept by what is typical;
//! a single one may be late by SLACK, because other tests and other people use
//! the machine. Nothing may ever be early.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{
    STAGGER, by, connected, hold, in_line, one_worker, release, settle, since, typical, with_timeout, with_ttl,
};
use crate::support::Server;

/// How late a promise of milliseconds may be kept once, on a busy machine.
const SLACK: Duration = Duration::from_millis(1500);

/// When those who push give up, so that a failure elsewhere is not a hang here.
const PUSH_MAX: Duration = Duration::from_secs(20);

const PROMISED: Duration = Duration::from_millis(50);

#[test]
pub(super) fn a_wait_ends_with_408_at_its_deadline_and_never_before() {
    let server = Server::start();
    hold(&server, "r");
    let wait = Duration::from_secs(1);

    let waiters: Vec<_> = (0..15)
        .map(|number| {
            let mut waiter = connected(&server);
            thread::spawn(move || {
                thread::sleep(STAGGER * number);
                let sent = Instant::now();
                waiter.send_put("r", &with_timeout(&format!("w{number}"), 1));
                (sent, waiter.answer())
            })
        })
        .collect();
    let mut late = Vec::new();
    for waiter in waiters {
        let (sent, answer) = waiter.join().expect("a waiter ends");
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (408, r#"{"Error":"Request timed out."}"#)
        );
        let took = since(sent, answer.received);
        assert!(took >= wait, "answered after {took:?}");
        assert!(took < wait + SLACK, "answered after {took:?}");
        late.push(took - wait);
    }

    assert!(typical(late.clone()) < PROMISED, "{late:?}");
}

#[test]
pub(super) fn who_timed_out_is_not_in_line_any_more() {
    let server = Server::start();
    let token = hold(&server, "r");

    let answer = server.client().put("r", &with_timeout("late", 1));
    release(&server, "r");

    assert_eq!(answer.status, 408);
    assert_eq!(server.client().put("r", &by("next")).fencing_token(), token + 1);
}

#[test]
pub(super) fn a_timeout_of_zero_or_null_does_not_wait() {
    let server = Server::start();
    hold(&server, "r");

    for body in [
        r#"{"locked_by": "k", "timeout": 0}"#,
        r#"{"locked_by": "k", "timeout": null}"#,
    ] {
        assert_eq!(server.client().put("r", body).status, 400, "{body}");
    }
}

#[test]
pub(super) fn a_release_hands_over_in_the_same_commit() {
    let server = one_worker();
    let mut late = Vec::new();
    for round in 0..15 {
        let name = format!("r{round}");
        let token = hold(&server, &name);
        let mut waiter = in_line(&server, &name, &with_timeout("waiter", 30));

        let answered = thread::spawn(move || waiter.answer());
        let released = server.client().delete(&name, "holder");
        let after_release = server.client().put(&name, &by("third"));
        let row = server.select(&format!(
            "SELECT locked_by, fencing_token FROM resources WHERE name = '{name}'"
        ));
        let answer = answered.join().expect("the waiter is answered");

        assert_eq!((released.status, after_release.status, answer.status), (204, 400, 200));
        assert_eq!(answer.fencing_token(), token + 1);
        assert_eq!(
            row,
            [format!("waiter|{}", token + 1)],
            "it is on disk when the release is answered"
        );
        late.push(since(released.received, answer.received));
    }

    assert!(typical(late.clone()) < PROMISED, "{late:?}");
}

#[test]
pub(super) fn an_expiry_hands_over_at_that_instant() {
    let server = Server::start();
    let waiters: Vec<_> = (0..11)
        .map(|number| {
            let (mut holder, mut waiter) = (connected(&server), connected(&server));
            let name = format!("r{number}");
            thread::spawn(move || {
                thread::sleep(STAGGER * number);
                let sent = Instant::now();
                let held = holder.put(&name, &with_ttl("holder", 1));
                assert_eq!(held.status, 200);
                (sent, held.received, waiter.put(&name, &with_timeout("waiter", 30)))
            })
        })
        .collect();
    let mut late = Vec::new();
    for waiter in waiters {
        let (sent, held, answer) = waiter.join().expect("a waiter ends");
        assert_eq!(answer.status, 200);
        assert!(
            since(sent, answer.received) >= Duration::from_secs(1),
            "granted too early"
        );
        late.push(since(held + Duration::from_secs(1), answer.received));
    }

    assert!(late.iter().all(|late| *late < SLACK), "{late:?}");
    assert!(typical(late.clone()) < 2 * PROMISED, "{late:?}");
}

#[test]
pub(super) fn two_hundred_waiters_are_served_in_the_order_in_which_they_came() {
    let server = one_worker();
    let mut latest = hold(&server, "r");
    let waiters: Vec<_> = (0..200)
        .map(|number| in_line(&server, "r", &with_timeout(&format!("w{number}"), 60)))
        .collect();

    release(&server, "r");
    for (number, mut waiter) in waiters.into_iter().enumerate() {
        let answer = waiter.answer();
        assert_eq!(answer.status, 200, "{number}");
        assert_eq!(answer.fencing_token(), latest + 1, "{number} is next");
        latest = answer.fencing_token();
        assert_eq!(waiter.delete("r", &format!("w{number}")).status, 204, "{number}");
    }
}

#[test]
pub(super) fn a_plain_put_never_overtakes_those_who_wait() {
    let server = one_worker();
    hold(&server, "r");
    let mut waiters: Vec<_> = (0..50)
        .map(|number| in_line(&server, "r", &with_timeout(&format!("w{number}"), 60)))
        .collect();
    let over = AtomicBool::new(false);

    let (overtakings, refusals) = thread::scope(|scope| {
        let pushers: Vec<_> = (0..3)
            .map(|_| {
                let mut pusher = connected(&server);
                let over = &over;
                scope.spawn(move || {
                    let (mut acquired, mut refused) = (0, 0);
                    let started = Instant::now();
                    while !over.load(Ordering::Relaxed) && started.elapsed() < PUSH_MAX {
                        match pusher.put("r", &by("pusher")).status {
                            200 => acquired += 1,
                            _ => refused += 1,
                        }
                    }
                    (acquired, refused)
                })
            })
            .collect();
        release(&server, "r");
        let last = waiters.pop();
        for (number, mut waiter) in waiters.into_iter().enumerate() {
            assert_eq!(waiter.answer().status, 200, "{number}");
            assert_eq!(waiter.delete("r", &format!("w{number}")).status, 204, "{number}");
        }
        assert_eq!(last.expect("fifty came").answer().status, 200);
        over.store(true, Ordering::Relaxed);
        let counts = pushers.into_iter().map(|pusher| pusher.join().expect("it ends"));
        counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
    });

    assert_eq!(overtakings, 0);
    assert!(refusals > 50, "the pushers hardly tried: {refusals}");
}

#[test]
pub(super) fn a_plain_put_at_the_instant_of_expiry_does_not_overtake_either() {
    let server = Server::start();
    thread::scope(|scope| {
        for number in 0..6 {
            let (mut holder, mut waiter, mut pusher) = (connected(&server), connected(&server), connected(&server));
            let name = format!("r{number}");
            let server = &server;
            scope.spawn(move || {
                let held = holder.put(&name, &with_ttl("holder", 2));
                waiter.send_put(&name, &with_timeout("waiter", 30));
                // Both workers have read what came before when each of these was answered.
                settle(server, &name);
                settle(server, &name);

                // From a little before the instant to a little after it.
                thread::sleep(Duration::from_millis(1900).saturating_sub(held.received.elapsed()));
                while held.received.elapsed() < Duration::from_millis(2200) {
                    assert_eq!(pusher.put(&name, &by("pusher")).status, 400, "{name}");
                }

                let answer = waiter.answer();
                assert_eq!(answer.status, 200, "{name}");
                assert!(answer.fencing_token() > held.fencing_token(), "{name}");
            });
        }
    });
}

#[test]
pub(super) fn the_ttl_of_a_waiter_counts_from_its_grant() {
    let server = one_worker();
    hold(&server, "r");
    let mut waiter = in_line(&server, "r", r#"{"locked_by": "waiter", "ttl": 2, "timeout": 30}"#);
    // Longer than half of the ttl, so that counting from the request would show.
    thread::sleep(Duration::from_millis(1200));

    let released = Instant::now();
    release(&server, "r");
    assert_eq!(waiter.answer().status, 200);

    let ttl_us = "SELECT expires_at_us - acquired_at_us FROM resources";
    assert_eq!(server.select(ttl_us), ["2000000"]);
    let mut client = server.client();
    let free = loop {
        let answer = client.put("r", &by("next"));
        if answer.status == 200 {
            break answer.received;
        }
    };
    assert!(
        since(released, free) >= Duration::from_secs(2),
        "{:?}",
        since(released, free)
    );
}
