//! A lock that is lost, and a command that must be over by then.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use super::{SOON, cls, file, is_alive, is_held, look, script, waiters, written};
use crate::support::{Server, eventually};

/// A command and a grandchild of its own that do not end when they are asked to;
/// the grandchild writes the time again and again, in nanoseconds since 1970.
const STUBBORN: &str = "trap '' TERM
    sh -c 'trap \"\" TERM; echo $$ >grandchild; while :; do date +%s%N >now && mv now beat; done' &
    wait; wait; wait";

fn last_beat(server: &Server) -> Duration {
    let text = fs::read_to_string(file(server, "beat")).expect("it has beaten");
    Duration::from_nanos(text.trim().parse().expect("a number"))
}

/// Waits until the grandchild runs; says its number.
fn beats(server: &Server) -> String {
    let grandchild = written(server, "grandchild");
    eventually("it beats", SOON, || file(server, "beat").exists());
    grandchild
}

fn expires_at(server: &Server) -> Duration {
    let seen = look(server, "r");
    let text = seen["expires_at"].as_str().expect("a time");
    let time = chrono::DateTime::parse_from_rfc3339(text).expect("RFC 3339");
    Duration::from_micros(time.timestamp_micros().unsigned_abs())
}

#[test]
fn grandchildren_are_dead_before_the_server_may_grant_to_another() {
    let server = Server::start();
    let running = script(&server, &["--ttl", "10"], STUBBORN);
    let grandchild = beats(&server);
    let mut next = server.client();
    next.send_put("r", "{\"locked_by\": \"next\", \"timeout\": 60}");
    eventually("it stands in line", SOON, || waiters(&server, "r") == 1);

    server.signal(Signal::STOP);
    let ends = server.select("SELECT expires_at_us FROM resources WHERE name = 'r'");
    let ends = Duration::from_micros(ends[0].parse().expect("a time"));
    eventually("it is dead", 2 * SOON, || !is_alive(&grandchild));
    let ended = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let (code, said) = running.wait();

    assert_eq!(code, Some(76), "{said}");
    assert!(
        said.contains("lost the lock on r: it could not be renewed: no answer in time"),
        "{said}"
    );
    assert!(ended < ends, "{ended:?} is not before {ends:?}");
    assert!(last_beat(&server) < ended, "it is dead");
    server.signal(Signal::CONT);
    assert_eq!(next.answer().status, 200);
}

#[test]
fn a_command_whose_lock_was_broken_is_ended_with_all_that_it_has_started() {
    let server = Server::start();
    let running = script(&server, &["--ttl", "2"], STUBBORN);
    let grandchild = beats(&server);

    let broken = server.cls().run(&["break", "r", "--reason", "a test"]);
    assert!(broken.status.success());
    let (code, said) = running.wait();

    assert_eq!(code, Some(76), "{said}");
    assert!(said.contains("it was broken by") && said.contains("a test"), "{said}");
    assert!(!is_alive(&grandchild));
}

#[test]
fn a_command_that_ends_when_it_is_asked_to_has_time_for_it() {
    let server = Server::start();
    let running = script(
        &server,
        &["--ttl", "2"],
        "trap 'echo cleaned up >done; exit 0' TERM; echo ready >ready; while :; do sleep 0.05; done",
    );
    written(&server, "ready");
    let broken = server
        .client()
        .request("POST", "/resources/r/break/", "{\"reason\": \"a test\"}");
    assert_eq!(broken.status, 200);
    assert_eq!(running.wait().0, Some(76));
    assert_eq!(written(&server, "done"), "cleaned up");
}

#[test]
fn a_lock_that_was_lost_while_the_command_ended_is_told() {
    let server = Server::start();
    let running = script(
        &server,
        &["--ttl", "60"],
        "echo ready >ready; while [ ! -e end ]; do sleep 0.02; done",
    );
    written(&server, "ready");
    let broken = server
        .client()
        .request("POST", "/resources/r/break/", "{\"reason\": \"a test\"}");
    assert_eq!(broken.status, 200);
    fs::write(file(&server, "end"), "").expect("writable");
    let (code, said) = running.wait();
    assert_eq!(code, Some(76), "{said}");
    assert!(
        said.contains("the lock on r was lost before the command ended"),
        "{said}"
    );
}

#[test]
fn a_server_that_comes_back_in_time_is_not_missed() {
    let server = Server::start();
    let running = script(
        &server,
        &["--ttl", "6"],
        "echo ready >ready; while [ ! -e end ]; do sleep 0.02; done",
    );
    written(&server, "ready");
    let before = expires_at(&server);
    server.signal(Signal::STOP);
    // Past the moment at which it would be renewed, well before its end.
    eventually("time passes", SOON, || {
        SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") > before - Duration::from_millis(3500)
    });
    server.signal(Signal::CONT);
    eventually("it is renewed", SOON, || expires_at(&server) > before);
    fs::write(file(&server, "end"), "").expect("writable");
    assert_eq!(running.wait(), (Some(0), String::new()));
}

#[test]
fn the_command_of_one_that_is_killed_is_asked_to_end_and_its_lock_expires() {
    let server = Server::start();
    let running = script(
        &server,
        &["--ttl", "2"],
        "trap 'echo asked >asked; exit 0' TERM; echo $$ >command; while :; do sleep 0.05; done",
    );
    let command = written(&server, "command");
    running.signal(Signal::KILL);
    assert_eq!(written(&server, "asked"), "asked");
    eventually("it ends", SOON, || !is_alive(&command));
    eventually("the lock expires", SOON, || !is_held(&server, "r"));
}

#[test]
fn a_command_that_was_stopped_past_its_lock_never_takes_another_step() {
    let server = Server::start();
    let running = script(&server, &["--ttl", "1"], STUBBORN);
    let grandchild = beats(&server);
    running.signal(Signal::TSTP);
    eventually("the lock expires", SOON, || !is_held(&server, "r"));
    let beat = last_beat(&server);
    running.signal(Signal::CONT);
    let (code, said) = running.wait();
    assert_eq!(code, Some(76), "{said}");
    assert_eq!(last_beat(&server), beat, "it went on");
    assert!(!is_alive(&grandchild));
}

#[test]
fn a_command_is_ended_also_where_nobody_reads_why() {
    let server = Server::start();
    // The pipe is full, and nobody reads from it.
    let full = format!("head -c 65536 /dev/zero >&2; {STUBBORN}");
    let running = script(&server, &["--ttl", "2"], &full);
    let grandchild = beats(&server);
    let broken = server.cls().run(&["break", "r", "--reason", "a test"]);
    assert!(broken.status.success());
    eventually("it is dead", SOON, || !is_alive(&grandchild));
    assert_eq!(running.wait().0, Some(76));
}

#[test]
fn a_command_is_ended_also_where_nothing_can_be_said() {
    let server = Server::start();
    let mut command = cls(&server).command(&["lock", "--ttl", "2", "r", "--", "sh", "-c", STUBBORN]);
    let full = fs::File::options().write(true).open("/dev/full").expect("it is there");
    let mut child = command.stderr(full).spawn().expect("cls can be run");
    let grandchild = beats(&server);
    let broken = server.cls().run(&["break", "r", "--reason", "a test"]);
    assert!(broken.status.success());
    eventually("it is dead", SOON, || !is_alive(&grandchild));
    assert_eq!(child.wait().expect("a child of ours").code(), Some(76));
}
