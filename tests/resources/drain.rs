//! The stop: waiters are told, what runs is finished, nobody is waited for.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Blocker, assert_unavailable, by, connected, hold, in_line, one_worker, with_timeout};
use crate::support::{Server, eventually};

/// From SIGTERM to the end, as promised.
const STOP_WAIT_MAX: Duration = Duration::from_secs(5);

const STOPPING: &str = "the server is being stopped";

fn stops_on(signal: Signal) {
    let mut server = one_worker();
    hold(&server, "r");
    let mut waiters: Vec<_> = (0..30)
        .map(|number| in_line(&server, "r", &with_timeout(&format!("w{number}"), 600)))
        .collect();

    server.signal(signal);

    for waiter in &mut waiters {
        assert_unavailable(&waiter.answer(), 503, STOPPING);
    }
    let status = server.wait(STOP_WAIT_MAX).expect("it ends in time");
    assert_eq!(status.code(), Some(0), "{}", server.log());
    let log_of_writes = server.directory().join("db.sqlite3-wal");
    assert!(!log_of_writes.exists(), "everything is in the database itself");
    assert_eq!(
        server.select("SELECT locked_by FROM resources"),
        ["holder"],
        "the lock outlives the server"
    );
}

#[test]
pub(super) fn sigterm_tells_all_who_wait_and_ends_with_success() {
    stops_on(Signal::TERM);
}

#[test]
pub(super) fn sigint_tells_all_who_wait_and_ends_with_success() {
    stops_on(Signal::INT);
}

#[test]
pub(super) fn idle_connections_do_not_delay_the_stop() {
    let mut server = Server::start();
    let mut idle: Vec<_> = (0..20).map(|_| connected(&server)).collect();
    let _silent: Vec<_> = (0..20).map(|_| server.client()).collect();

    let asked = Instant::now();
    server.signal(Signal::TERM);
    let status = server.wait(STOP_WAIT_MAX).expect("it ends in time");

    assert_eq!(status.code(), Some(0));
    // Less than what a request that still runs is given.
    assert!(asked.elapsed() < Duration::from_millis(2500), "{:?}", asked.elapsed());
    assert!(
        idle.iter_mut()
            .all(|client| client.is_closed_within(Duration::from_secs(1)))
    );
}

#[test]
pub(super) fn what_is_being_committed_is_finished_and_answered() {
    let mut server = one_worker();
    hold(&server, "r");
    let blocker = Blocker::lock(&server);
    let (mut releaser, mut acquirer, mut bystander) = (connected(&server), connected(&server), connected(&server));
    releaser.send("DELETE", "/resources/r/", &by("holder"));
    acquirer.send_put("new", &by("k"));
    // Read by the same worker after the two, so they are on their way to the commit.
    assert_eq!(bystander.request("OPTIONS", "/resources/x/", "").status, 200);

    server.signal(Signal::TERM);
    eventually("it stops", STOP_WAIT_MAX, || server.log().contains("SIGTERM: stopping"));
    drop(blocker);

    assert_eq!(releaser.answer().status, 204);
    assert_eq!(acquirer.answer().status, 200);
    assert_eq!(server.wait(STOP_WAIT_MAX).expect("it ends in time").code(), Some(0));
    let rows = "SELECT name, locked_by FROM resources ORDER BY name";
    assert_eq!(server.select(rows), ["new|k", "r|"]);
}

#[test]
pub(super) fn a_second_signal_ends_at_once() {
    let mut server = one_worker();
    let _blocker = Blocker::lock(&server);
    let (mut running, mut bystander) = (connected(&server), connected(&server));
    running.send_put("r", &by("k"));
    assert_eq!(bystander.request("OPTIONS", "/resources/x/", "").status, 200);

    let asked = Instant::now();
    server.signal(Signal::TERM);
    eventually("it stops", STOP_WAIT_MAX, || server.log().contains("SIGTERM: stopping"));
    server.signal(Signal::TERM);

    assert_eq!(server.wait(STOP_WAIT_MAX).expect("it ends").code(), Some(1));
    // The commit that is blocked would have been waited for until then.
    assert!(asked.elapsed() < Duration::from_millis(1500), "{:?}", asked.elapsed());
    assert!(running.try_answer().is_err(), "what was not committed was not answered");
}
