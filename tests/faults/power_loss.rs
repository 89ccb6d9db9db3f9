//! Power loss. `kill -9` cannot show it, because the kernel keeps what was
//! written; what counts is that a sync has finished between request and
//! answer. What is on disk by then is claimed in `crash`.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use crate::faults::{acquire, body, directory};
use crate::support::{Cls, Server, eventually};

/// What a line of strace's log says happened.
#[derive(Debug, PartialEq)]
enum Event {
    Request,
    Synced,
    Answer(String),
}

/// The events of a log, in the order in which they were finished; an answer
/// counts from when its write began.
fn events(log: &str) -> Vec<Event> {
    let mut events = Vec::new();
    let mut unfinished: HashMap<&str, &str> = HashMap::new();
    for line in log.lines() {
        let Some((pid, call)) = line.split_once(' ') else {
            continue;
        };
        let call = call.trim_start();
        let is_sync = |call: &str| call.starts_with("fdatasync(") || call.starts_with("fsync(");
        if let Some(status) = call.split_once("\"HTTP/1.1 ").map(|(_, rest)| rest) {
            if ["write", "sendto", "sendmsg"]
                .iter()
                .any(|write| call.starts_with(write))
            {
                events.push(Event::Answer(status.chars().take(3).collect()));
            }
        } else if call.ends_with("<unfinished ...>") {
            unfinished.insert(pid, call);
        } else if call.starts_with("<...") {
            let began = unfinished.remove(pid).unwrap_or_default();
            if is_sync(began) && began.contains("-wal>") && call.ends_with("= 0") {
                events.push(Event::Synced);
            } else if call.contains("\"PUT /") || call.contains("\"DELETE /") {
                events.push(Event::Request);
            }
        } else if is_sync(call) && call.contains("-wal>") && call.ends_with("= 0") {
            events.push(Event::Synced);
        } else if call.contains("\"PUT /") || call.contains("\"DELETE /") {
            events.push(Event::Request);
        }
    }
    events
}

/// A server whose system calls are noted. It keeps the process id that it was
/// started with, so that signals reach it and not the tracer.
fn start_traced(directory: &Path) -> Server {
    let log = directory.join("strace.log").display().to_string();
    let calls = "trace=fdatasync,fsync,read,recvfrom,recvmsg,write,writev,sendto,sendmsg";
    Cls::in_directory(directory)
        .under(&[
            "strace",
            "-D",
            "-f",
            "-y",
            "-s",
            "64",
            "-e",
            calls,
            "-e",
            "signal=none",
            "-o",
            &log,
        ])
        .start()
}

#[test]
fn no_change_is_answered_before_a_sync_of_the_log_has_finished() {
    const ROUNDS: usize = 20;
    let directory = directory();
    let server = start_traced(directory.path());
    let mut client = server.client();

    for i in 0..ROUNDS {
        let name = format!("r{i}");
        acquire(&mut client, &name, "k");
        assert_eq!(client.put(&name, &body("other", "")).status, 400);
        assert_eq!(client.delete(&name, "k").status, 204);
    }

    let log = directory.path().join("strace.log");
    let read = || std::fs::read_to_string(&log).expect("strace is installed and writes its log");
    eventually(
        "the tracer has written down the last answer",
        Duration::from_secs(10),
        || read().matches("\"HTTP/1.1 ").count() == 3 * ROUNDS,
    );
    drop(server);
    let (mut synced, mut changes, mut refusals, mut idle_syncs) = (false, 0, 0, 0);
    for event in events(&read()) {
        match event {
            Event::Request => synced = false,
            Event::Synced => synced = true,
            Event::Answer(status) if status == "200" || status == "204" => {
                changes += 1;
                assert!(
                    synced,
                    "answer {changes} ({status}) was sent before anything was on disk"
                );
            }
            Event::Answer(_) => {
                refusals += 1;
                idle_syncs += usize::from(synced);
            }
        }
    }
    assert_eq!((changes, refusals), (2 * ROUNDS, ROUNDS));
    assert!(
        idle_syncs <= 1,
        "a refusal changes nothing and needs no sync: {idle_syncs} of {refusals}"
    );
}
