//! `cls lock` on a terminal, which `script` makes.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;

use super::{SOON, file, hold, is_held, release, waiters};
use crate::support::{Server, eventually};

/// A shell line on a terminal of its own. What it shows goes to a file.
fn on_terminal(server: &Server, line: &str) -> Child {
    let mut command = Command::new("script");
    command
        .args(["-q", "-e", "-f", "-c", line, "shown"])
        .current_dir(server.directory());
    command
        .env("CLS_URL", server.base_url())
        .env("CLS", env!("CARGO_BIN_EXE_cls"))
        .env("SHELL", "/bin/sh");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("script is there");
    let mut stdout = child.stdout.take().expect("piped");
    // So that it never waits for a reader.
    thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
    child
}

fn shown(server: &Server) -> String {
    std::fs::read(file(server, "shown")).map_or(String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn a_command_reads_from_the_terminal() {
    let server = Server::start();
    let mut child = on_terminal(
        &server,
        "$CLS lock r -- sh -c 'echo really?; read answer; echo \"you said $answer\"'; echo code $?",
    );
    eventually("it asks", SOON, || shown(&server).contains("really?"));
    child
        .stdin
        .as_mut()
        .expect("piped")
        .write_all(b"yes\n")
        .expect("it reads");
    eventually("it reads", SOON, || shown(&server).contains("you said yes"));
    eventually("it ends", SOON, || shown(&server).contains("code 0"));
    assert!(!is_held(&server, "r"));
    drop(child.stdin.take());
    child.wait().expect("a child of ours");
}

#[test]
fn a_key_of_the_terminal_ends_the_command() {
    let server = Server::start();
    // Once before it has read from the terminal, and once after.
    for begin in ["", "read line; "] {
        let line = format!("$CLS lock r -- sh -c '{begin}echo ready; sleep 60'; echo code $?");
        let mut child = on_terminal(&server, &line);
        child
            .stdin
            .as_mut()
            .expect("piped")
            .write_all(b"x\n")
            .expect("it reads");
        eventually("it runs", SOON, || {
            shown(&server).contains("ready") && is_held(&server, "r")
        });
        child
            .stdin
            .as_mut()
            .expect("piped")
            .write_all(b"\x03")
            .expect("it reads");
        eventually("it ends", SOON, || !is_held(&server, "r"));
        drop(child.stdin.take());
        child.wait().expect("a child of ours");
        std::fs::remove_file(file(&server, "shown")).expect("it was written");
    }
}

#[test]
fn who_waits_sees_for_whom() {
    let server = Server::start();
    let held = server
        .client()
        .put("r", "{\"locked_by\": \"holder\", \"label\": \"release 7\"}");
    assert_eq!(held.status, 200);
    let mut first = server.client();
    first.send_put("r", "{\"locked_by\": \"first\", \"timeout\": 60}");
    eventually("it stands in line", SOON, || waiters(&server, "r") == 1);

    let mut child = on_terminal(&server, "$CLS lock r -- echo ran");
    eventually("it is told", SOON, || {
        shown(&server).contains("waiting for r, held by release 7, 1 ahead, 00:0")
    });
    release(&server, "r");
    assert_eq!(first.answer().status, 200);
    eventually("it moves up", SOON, || {
        shown(&server).contains("waiting for r, 0 ahead, 00:")
    });
    assert_eq!(server.client().delete("r", "first").status, 204);
    eventually("it runs", SOON, || {
        shown(&server).ends_with("\r\u{1b}[Kran\r\n") || shown(&server).contains("\u{1b}[Kran")
    });
    drop(child.stdin.take());
    child.wait().expect("a child of ours");
    hold(&server, "r");
}

#[test]
fn a_key_of_the_terminal_stops_nobody_whom_no_shell_would_let_go_on() {
    let server = Server::start();
    for begin in ["", "read line; "] {
        // What is shown begins with this line, so it is not to hold what is waited for.
        // Ready says who sleeps: a shell that is about to start it by vfork cannot be
        // stopped, nor go on while its child is, and no process above it learns of that.
        let line = format!(
            "$CLS lock r -- sh -c '{begin}sh -c \"echo ready$((1+1)); exec sleep 1\"; read answer; \
             echo \"you said $answer\"'"
        );
        let mut child = on_terminal(&server, &line);
        let mut keys = child.stdin.take().expect("piped");
        if !begin.is_empty() {
            keys.write_all(b"x\n").expect("it reads");
        }
        eventually("it runs", SOON, || shown(&server).contains("ready2"));
        keys.write_all(b"\x1a").expect("it reads");
        eventually("it is pressed", SOON, || shown(&server).contains("^Z"));
        keys.write_all(b"yes\n").expect("it reads");
        eventually("it goes on", SOON, || shown(&server).contains("you said yes"));
        eventually("it ends", SOON, || !is_held(&server, "r"));
        drop(keys);
        child.wait().expect("a child of ours");
        std::fs::remove_file(file(&server, "shown")).expect("it was written");
    }
}
