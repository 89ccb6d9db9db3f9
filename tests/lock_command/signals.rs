//! Signals that are passed on to the command.

use std::fs;

use rustix::process::Signal;

use super::{SOON, file, is_held, script, written};
use crate::support::{Server, eventually};

/// What `/proc` says that a process does.
fn state(pid: &str) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next())
        .unwrap_or('-')
}

#[test]
fn each_signal_reaches_the_whole_group() {
    let server = Server::start();
    let traps = |who: &str| {
        let trap = |name| format!("trap 'echo {name} >>{who}' {name}");
        ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH"]
            .map(trap)
            .join("; ")
    };
    // Who waits for a sleep hears a signal when that is over.
    let child = format!(
        "{}; echo $$ >child; while [ ! -e end ]; do sleep 0.02; done",
        traps("by_child")
    );
    fs::write(file(&server, "child.sh"), child).expect("writable");
    let running = script(
        &server,
        &[],
        &format!(
            "{}; sh child.sh & echo $$ >command; while [ ! -e end ]; do sleep 0.02; done",
            traps("by_command")
        ),
    );
    written(&server, "child");
    written(&server, "command");
    let mut expected = String::new();
    for (signal, name) in [
        (Signal::INT, "INT"),
        (Signal::TERM, "TERM"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::WINCH, "WINCH"),
    ] {
        running.signal(signal);
        expected += &format!("{name}\n");
        // A shell lets its background jobs ignore INT and QUIT, and those cannot be trapped then.
        let by_child = expected.replace("INT\n", "").replace("QUIT\n", "");
        eventually(name, SOON, || {
            let read = |who| fs::read_to_string(file(&server, who)).unwrap_or_default();
            read("by_command") == expected && read("by_child") == by_child
        });
    }
    assert!(is_held(&server, "r"));
    fs::write(file(&server, "end"), "").expect("writable");
    assert_eq!(running.wait().0, Some(0));
}

#[test]
fn a_command_is_stopped_and_goes_on_with_us() {
    let server = Server::start();
    let running = script(
        &server,
        &[],
        "echo $$ >command; while [ ! -e end ]; do sleep 0.02; done",
    );
    let command = written(&server, "command");
    let us = running.pid().to_string();
    running.signal(Signal::TSTP);
    eventually("both are stopped", SOON, || state(&command) == 'T' && state(&us) == 'T');
    running.signal(Signal::CONT);
    eventually("both go on", SOON, || state(&command) != 'T' && state(&us) != 'T');
    fs::write(file(&server, "end"), "").expect("writable");
    assert_eq!(running.wait().0, Some(0));
}

#[test]
fn what_was_ignored_from_the_beginning_stays_so() {
    let server = Server::start();
    let cls = super::cls(&server).under(&["nohup"]);
    let running = super::start(&cls, &["lock", "r", "--", "sh", "-c", "echo $$ >command; sleep 60"]);
    let command = written(&server, "command");
    running.signal(Signal::HUP);
    running.signal(Signal::USR1);
    assert_eq!(running.wait().0, Some(138), "the second one ends it");
    assert!(!super::is_alive(&command));
}
