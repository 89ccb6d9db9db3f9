//! A server that dies or stops harms no other.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Replicas, SOON, by, granted_within};
use crate::support::eventually;

/// For how long one that is gone may hold up the others.
const HOLD_UP_MAX: Duration = Duration::from_secs(3);

#[test]
fn whoever_waits_at_a_server_that_was_killed_holds_up_the_others_for_three_seconds_at_most() {
    let mut replicas = Replicas::start(3);
    replicas.hold(1, "r");
    let _dead = [replicas.in_line(0, "r", "a"), replicas.in_line(0, "r", "b")];
    let mut living = replicas.in_line(2, "r", "c");

    replicas.servers[0].kill();
    // By a server at which nobody waits.
    replicas.hands_over_within(HOLD_UP_MAX, (1, "r", "holder"), &mut living);
    // And for no time at all once that is known.
    let mut next = replicas.in_line(1, "r", "d");
    replicas.hands_over_within(Duration::from_secs(1), (2, "r", "c"), &mut next);
}

#[test]
fn a_plain_put_gets_what_was_kept_for_a_server_that_was_killed() {
    let mut replicas = Replicas::start(2);
    replicas.hold(1, "r");
    let _dead = replicas.in_line(0, "r", "a");

    replicas.servers[0].kill();
    replicas.release(1, "r", "holder");

    let mut client = replicas.client(1);
    eventually("it is free for all", HOLD_UP_MAX, || {
        client.put("r", &by("k")).status == 200
    });
}

#[test]
fn a_stopped_server_holds_nobody_up_and_goes_on_with_its_line_afterwards() {
    let replicas = Replicas::start(2);
    replicas.hold(1, "r");
    let mut first = replicas.in_line(0, "r", "first");
    let mut second = replicas.in_line(1, "r", "second");
    let mut third = replicas.in_line(1, "r", "third");

    replicas.servers[0].signal(Signal::STOP);
    let released = Instant::now();
    replicas.release(1, "r", "holder");
    let second = granted_within(&mut second, SOON);
    let waited = released.elapsed();
    replicas.servers[0].signal(Signal::CONT);

    assert!(waited < HOLD_UP_MAX, "after {waited:?}");
    // It is alive again, and still the one who began to wait first.
    let beats = "SELECT count(*) FROM replicas WHERE seen_us > clock_us() - 1000000";
    eventually("both give signs of life", SOON, || {
        replicas.database.sql(beats) == ["2"]
    });
    replicas.release(1, "r", "second");
    let first = granted_within(&mut first, SOON);
    replicas.release(1, "r", "first");
    let third = granted_within(&mut third, SOON);
    assert!(second < first && first < third);
}

#[test]
fn a_server_that_was_forgotten_tells_again_who_waits_there() {
    let replicas = Replicas::start(2);
    replicas.hold(1, "r");
    let mut first = replicas.in_line(0, "r", "first");
    let mut second = replicas.in_line(1, "r", "second");

    replicas.servers[0].signal(Signal::STOP);
    replicas
        .database
        .sql("DELETE FROM waiters WHERE replica = (SELECT min(id) FROM replicas)");
    replicas
        .database
        .sql("DELETE FROM replicas WHERE id = (SELECT min(id) FROM replicas)");
    replicas.servers[0].signal(Signal::CONT);
    eventually("it tells again", SOON, || replicas.waiting("r") == 2);
    replicas.release(1, "r", "holder");

    let first = granted_within(&mut first, SOON);
    replicas.release(0, "r", "first");
    assert!(granted_within(&mut second, SOON) > first);
    let log = replicas.servers[0].log();
    assert!(log.contains("the database had forgotten this server"), "{log}");
}

#[test]
fn whoever_waits_at_a_server_that_was_stopped_meanwhile_is_served_when_it_goes_on() {
    let replicas = Replicas::start(2);
    replicas.hold(1, "r");
    let mut waiter = replicas.in_line(0, "r", "waiter");

    replicas.servers[0].signal(Signal::STOP);
    eventually("it is taken for gone", SOON, || {
        let silent = "SELECT count(*) FROM replicas WHERE seen_us < clock_us() - 2100000";
        replicas.database.sql(silent) == ["1"]
    });
    // Nobody is told: there is nobody else in line.
    replicas.release(1, "r", "holder");
    replicas.servers[0].signal(Signal::CONT);

    granted_within(&mut waiter, SOON);
}

#[test]
fn a_row_that_somebody_keeps_locked_holds_up_nobody_but_those_who_want_it() {
    let replicas = Replicas::start(2);
    let answer = replicas.client(1).put("locked", "{\"locked_by\": \"k\", \"ttl\": 1}");
    assert_eq!(answer.status, 200);
    let mut waiter = replicas.in_line(0, "locked", "waiter");
    let mut other = replicas.database.session();
    other.sql("BEGIN");
    other.sql("SELECT id FROM resources WHERE name = 'locked' FOR UPDATE");

    // Long after the ttl is over and the waiter's server has begun to look.
    let until = Instant::now() + Duration::from_secs(4);
    let mut clients = [replicas.client(0), replicas.client(1)];
    for number in 0.. {
        if Instant::now() > until {
            break;
        }
        for client in &mut clients {
            let asked = Instant::now();
            let answer = client.put(&format!("{number}"), &by("k"));
            assert!([200, 400].contains(&answer.status), "{}", answer.body);
            assert!(asked.elapsed() < Duration::from_secs(1), "after {:?}", asked.elapsed());
        }
        let living = "SELECT count(*) FROM replicas WHERE seen_us > clock_us() - 1900000";
        assert_eq!(replicas.database.sql(living), ["2"]);
    }
    other.sql("COMMIT");

    granted_within(&mut waiter, SOON);
}

#[test]
fn somebody_who_is_only_in_the_table_holds_nobody_up() {
    let replicas = Replicas::start(2);
    replicas.hold(1, "r");
    let mut living = replicas.in_line(1, "r", "living");
    // As the COMMIT of a request may leave it whose answer was lost.
    replicas
        .database
        .sql("INSERT INTO waiters SELECT 'r', min(id), 1, clock_us() + 60000000 FROM replicas");

    replicas.hands_over_within(Duration::from_secs(1), (1, "r", "holder"), &mut living);
    eventually("nobody is in the table any more", SOON, || replicas.waiting("r") == 0);
}
