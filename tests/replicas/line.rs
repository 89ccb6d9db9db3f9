//! One line for a resource, wherever those in it wait.

use std::time::{Duration, Instant};

use super::{Replicas, SOON, by, granted_within};
use crate::support::eventually;

/// "Within 100 ms" of the promises, as a test on a busy machine can hold it.
const EXPIRY_SLACK: Duration = Duration::from_millis(400);

#[test]
fn whoever_began_to_wait_first_is_served_first_wherever_that_was() {
    let replicas = Replicas::start(3);
    let mut token = replicas.hold(0, "r");
    let order = [0, 1, 2, 2, 1, 0, 0, 0, 1, 2, 1, 1, 2, 0, 2, 1, 0, 1, 2, 0];
    let mut waiters: Vec<_> = order
        .iter()
        .enumerate()
        .map(|(number, replica)| replicas.in_line(*replica, "r", &format!("k{number}")))
        .collect();

    let mut holder = "holder".to_owned();
    for (number, waiter) in waiters.iter_mut().enumerate() {
        // Not where anybody of them waits, for that matters to nobody.
        replicas.release((order[number] + 1) % 3, "r", &holder);
        let next = granted_within(waiter, SOON);
        assert!(next > token, "tokens rise");
        (token, holder) = (next, format!("k{number}"));
    }

    assert_eq!(replicas.waiting("r"), 0);
    replicas.release(0, "r", &holder);
    let marked = "SELECT count(*) FROM resources WHERE has_waiters";
    assert_eq!(replicas.client(1).put("r", &by("k")).status, 200);
    eventually("nobody is expected any more", SOON, || {
        replicas.database.sql(marked) == ["0"]
    });
}

#[test]
fn a_plain_put_overtakes_nobody_who_waits_at_another_server() {
    let replicas = Replicas::start(2);
    for round in 0..20 {
        let name = format!("r{round}");
        replicas.hold(1, &name);
        let mut waiter = replicas.in_line(0, &name, "waiter");
        let mut client = replicas.client(1);
        // Both in one go: the second is decided before the waiter's server can know of the first.
        let path = format!("/resources/{name}/");
        client.send("DELETE", &path, &by("holder"));
        client.send("PUT", &path, &by("overtaker"));

        assert_eq!(client.answer().status, 204);
        assert_eq!(client.answer().status, 400, "somebody is ahead");
        granted_within(&mut waiter, SOON);
    }
}

#[test]
fn whoever_waits_behind_somebody_elsewhere_is_not_served_before_them() {
    let replicas = Replicas::start(2);
    replicas.hold(0, "r");
    let mut first = replicas.in_line(0, "r", "first");
    let mut second = replicas.in_line(1, "r", "second");

    replicas.release(1, "r", "holder");

    let first = granted_within(&mut first, SOON);
    assert!(replicas.client(1).delete("r", "second").status == 400, "not yet");
    replicas.release(1, "r", "first");
    assert!(granted_within(&mut second, SOON) > first);
}

#[test]
fn an_expiry_hands_over_to_another_server_at_that_instant() {
    let replicas = Replicas::start(2);
    for round in 0..5 {
        let name = format!("r{round}");
        let asked = Instant::now();
        let held = replicas.client(0).put(&name, "{\"locked_by\": \"k\", \"ttl\": 1}");
        assert_eq!(held.status, 200);
        let mut waiter = replicas.in_line(1, &name, "waiter");

        granted_within(&mut waiter, SOON);

        let waited = asked.elapsed();
        assert!(waited >= Duration::from_secs(1), "after {waited:?}");
        assert!(waited < Duration::from_secs(1) + EXPIRY_SLACK, "after {waited:?}");
    }
}

#[test]
fn the_end_of_a_lock_that_was_granted_meanwhile_is_known_to_those_who_wait_elsewhere() {
    let replicas = Replicas::start(2);
    replicas.hold(0, "r");
    // Its server has nobody else in line, so nobody there looks when it ends.
    let mut first = replicas.in_line_with(0, "r", "{\"locked_by\": \"first\", \"timeout\": 60, \"ttl\": 1}");
    let mut second = replicas.in_line(1, "r", "second");

    let released = Instant::now();
    replicas.release(0, "r", "holder");
    granted_within(&mut first, SOON);
    granted_within(&mut second, SOON);

    let waited = released.elapsed();
    assert!(waited >= Duration::from_secs(1), "after {waited:?}");
    assert!(waited < Duration::from_secs(1) + EXPIRY_SLACK, "after {waited:?}");
}

#[test]
fn whoever_leaves_is_passed_over_at_once_by_those_who_wait_elsewhere() {
    let replicas = Replicas::start(2);
    replicas.hold(0, "r");
    let left: Vec<_> = (0..20)
        .map(|number| replicas.in_line(0, "r", &format!("gone{number}")))
        .collect();
    let mut living = replicas.in_line(1, "r", "living");

    drop(left);
    replicas.hands_over_within(Duration::from_secs(1), (1, "r", "holder"), &mut living);
    eventually("nobody is in the table any more", SOON, || replicas.waiting("r") == 0);
}

#[test]
fn whoever_timed_out_is_not_waited_for_elsewhere() {
    let replicas = Replicas::start(2);
    replicas.hold(0, "r");
    let mut first = replicas.in_line_with(0, "r", "{\"locked_by\": \"first\", \"timeout\": 1}");
    let mut second = replicas.in_line(1, "r", "second");

    assert_eq!(first.answer().status, 408);
    replicas.hands_over_within(Duration::from_secs(1), (1, "r", "holder"), &mut second);
}

#[test]
fn a_server_that_stops_keeps_nobody_waiting() {
    let mut replicas = Replicas::start(2);
    replicas.hold(1, "r");
    let mut first = replicas.in_line(0, "r", "first");
    let mut second = replicas.in_line(1, "r", "second");

    replicas.servers[0].signal(rustix::process::Signal::TERM);
    assert_eq!(first.answer().status, 503);
    let status = replicas.servers[0].wait(SOON).expect("it ends");
    replicas.hands_over_within(Duration::from_secs(1), (1, "r", "holder"), &mut second);

    assert!(status.success());
    assert_eq!(replicas.database.sql("SELECT count(*) FROM replicas"), ["1"]);
}

#[test]
fn people_see_the_line() {
    let replicas = Replicas::start(2);
    replicas.hold(0, "r");
    let _first = replicas.in_line(1, "r", "first");
    let _second = replicas.in_line(0, "r", "second");

    let line = replicas
        .database
        .sql("SELECT name, replica, wait_until > now() FROM waiting_lines");

    let pids = [&replicas.servers[1], &replicas.servers[0]].map(|server| format!("(pid {})|t", server.pid()));
    assert_eq!(line.len(), 2);
    for (row, pid) in line.iter().zip(pids) {
        assert!(row.starts_with("r|cls runserver on ") && row.ends_with(&pid), "{row}");
    }
}

#[test]
fn each_server_takes_two_connections() {
    let replicas = Replicas::start(2);
    replicas.hold(0, "r");
    let mut waiter = replicas.in_line(1, "r", "waiter");
    let sessions = "SELECT count(*) FROM pg_stat_activity \
                    WHERE datname = current_database() AND application_name LIKE 'cls %'";

    eventually("both listen", SOON, || replicas.database.sql(sessions) == ["4"]);
    replicas.hands_over_within(SOON, (0, "r", "holder"), &mut waiter);

    assert_eq!(replicas.database.sql(sessions), ["4"]);
}
