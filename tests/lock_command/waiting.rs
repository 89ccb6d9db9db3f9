//! The way to the lock.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{SOON, code, hold, is_held, lock, release, script, stdout, waiters, within};
use crate::support::{Server, eventually};

#[test]
fn who_does_not_wait_is_told_at_once() {
    let server = Server::start();
    hold(&server, "r");
    for (options, expected) in [(&["-n"][..], 75), (&["-n", "-E", "1"], 1), (&["-w", "0", "-E", "0"], 0)] {
        let output = lock(&server, &[options, &["r", "--", "echo", "ran"]].concat());
        assert_eq!((code(&output), stdout(&output).as_str()), (expected, ""), "{options:?}");
    }
}

#[test]
fn who_waits_for_some_time_is_told_when_it_is_over() {
    let server = Server::start();
    hold(&server, "r");
    let began = Instant::now();
    let output = lock(&server, &["-w", "0.7", "-E", "9", "r", "--", "echo", "ran"]);
    let waited = began.elapsed();
    assert_eq!((code(&output), stdout(&output).as_str()), (9, ""));
    assert!(waited >= Duration::from_millis(700), "{waited:?}");
    eventually("it has left the line", SOON, || waiters(&server, "r") == 0);
    release(&server, "r");
    assert!(!is_held(&server, "r"), "nothing was granted behind its back");
}

#[test]
fn those_who_wait_are_served_in_their_order() {
    let server = Server::start();
    hold(&server, "r");
    let mut running = Vec::new();
    for number in 0..3 {
        running.push(script(&server, &[], &format!("echo {number} >>order")));
        eventually("it stands in line", SOON, || waiters(&server, "r") == number + 1);
    }
    release(&server, "r");
    for one in running {
        assert_eq!(one.wait(), (Some(0), String::new()));
    }
    let order = std::fs::read_to_string(super::file(&server, "order")).expect("they ran");
    assert_eq!(order, "0\n1\n2\n");
}

#[test]
fn who_is_told_to_end_while_it_waits_leaves_the_line() {
    let server = Server::start();
    hold(&server, "r");
    for (signal, expected) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let running = script(&server, &[], "echo ran >>ran");
        eventually("it stands in line", SOON, || waiters(&server, "r") == 1);
        running.signal(signal);
        assert_eq!(running.wait().0, Some(expected));
        eventually("it has left the line", SOON, || waiters(&server, "r") == 0);
    }
    // What means nothing yet does not end it.
    let running = script(&server, &[], "true");
    eventually("it stands in line", SOON, || waiters(&server, "r") == 1);
    running.signal(Signal::USR1);
    running.signal(Signal::WINCH);
    release(&server, "r");
    assert_eq!(running.wait().0, Some(0));
    assert!(!super::file(&server, "ran").exists());
}

#[test]
fn a_wait_longer_than_the_ttl_ends_with_a_lock_that_is_fresh() {
    let server = Server::start();
    hold(&server, "r");
    let running = script(&server, &["--ttl", "1", "--verbose"], "sleep 0.5");
    eventually("it stands in line", SOON, || waiters(&server, "r") == 1);
    let began = Instant::now();
    // By the time of the grant the ttl is over if it is counted from the question.
    eventually("more than the ttl", SOON, || {
        began.elapsed() > Duration::from_millis(1300)
    });
    release(&server, "r");
    let (code, said) = running.wait();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_server_that_lets_nobody_wait_for_long_is_asked_again() {
    let server = Server::start_with(&[("MAX_TIMEOUT", "1")]);
    hold(&server, "r");
    let running = script(&server, &["-w", "30"], "true");
    let began = Instant::now();
    eventually("longer than it allows", SOON, || {
        began.elapsed() > Duration::from_millis(2500)
    });
    release(&server, "r");
    assert_eq!(running.wait().0, Some(0));
}

#[test]
fn who_waits_outlives_a_restart_of_the_server() {
    let server = Server::start();
    hold(&server, "r");
    let (address, directory) = (server.address.to_string(), server.directory().to_owned());
    let mut running = script(&server, &[], "true");
    eventually("it stands in line", SOON, || waiters(&server, "r") == 1);

    let cls = server.cls().clone();
    let mut server = server;
    server.kill();
    assert!(directory.exists());
    let again = cls.try_start(&["runserver", &address]).expect("the same address");
    eventually("it stands in line again", SOON, || waiters(&again, "r") == 1);
    assert!(!running.is_over());
    release(&again, "r");
    assert_eq!(running.wait().0, Some(0));
}

#[test]
fn who_waits_for_a_server_that_is_not_there_yet_is_served_when_it_is() {
    let server = Server::start();
    let address = server.address.to_string();
    let cls = server.cls().clone();
    let mut server = server;
    server.kill();
    let running = script(&server, &[], "true");
    let began = Instant::now();
    let _again = cls.try_start(&["runserver", &address]).expect("the same address");
    assert_eq!(running.wait().0, Some(0));
    within(SOON * 2, began);
}

#[test]
fn a_server_that_never_answered_is_told_from_a_lock_that_is_held() {
    let server = Server::start();
    let output = lock(
        &server,
        &[
            "-w",
            "0.3",
            "-E",
            "0",
            "--url",
            "http://127.0.0.1:1",
            "r",
            "--",
            "echo",
            "ran",
        ],
    );
    let told = super::stderr(&output);
    assert_eq!((code(&output), stdout(&output).as_str()), (69, ""), "{told}");
    assert!(told.contains("Connection refused"), "{told}");
}
