//! `cls lock`: a command under a lock, as somebody at a shell sees it.

mod looking;
mod losing;
mod lost_answers;
mod running;
mod signals;
mod terminal;
mod waiting;

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Cls, Server, eventually};

/// For what happens at once, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// How `cls` is called by somebody to whom this server is set.
fn cls(server: &Server) -> Cls {
    Cls::in_directory(server.directory())
        .with("CLS_URL", &server.base_url())
        // Whoever runs the tests may ignore some signals, as nohup does HUP; those could not be trapped.
        .under(&["env", "--default-signal"])
}

/// Runs `cls lock` to its end.
fn lock(server: &Server, arguments: &[&str]) -> Output {
    cls(server).run(&[&["lock"], arguments].concat())
}

/// A shell script under the lock `r`.
fn script(server: &Server, options: &[&str], script: &str) -> Running {
    let arguments = [&["lock"], options, &["r", "--", "sh", "-c", script]].concat();
    start(&cls(server), &arguments)
}

fn start(cls: &Cls, arguments: &[&str]) -> Running {
    let mut command = cls.command(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Who is alone in a session cannot be stopped by TSTP.
        .process_group(0);
    Running {
        child: Some(command.spawn().expect("cls can be run")),
    }
}

/// `cls lock` while it runs. Dropped, it is killed, and its command with it.
struct Running {
    child: Option<Child>,
}

impl Running {
    fn child(&self) -> &Child {
        self.child.as_ref().expect("it was not waited for")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child()), signal).expect("it runs");
    }

    fn pid(&self) -> u32 {
        self.child().id()
    }

    /// Its exit code, and what it said on stderr.
    fn wait(mut self) -> (Option<i32>, String) {
        let mut child = self.child.take().expect("it was not waited for");
        let mut said = String::new();
        let stderr = child.stderr.take();
        let status = child.wait().expect("a child of ours");
        // What it has left running may hold the other end open.
        stderr.expect("it is piped").read_to_string(&mut said).expect("text");
        (status.code(), said)
    }

    fn is_over(&mut self) -> bool {
        let child = self.child.as_mut().expect("it was not waited for");
        child.try_wait().expect("a child of ours").is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn code(output: &Output) -> i32 {
    let code = output.status.code();
    code.unwrap_or_else(|| panic!("killed: {}", String::from_utf8_lossy(&output.stderr)))
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn look(server: &Server, name: &str) -> Value {
    server
        .client()
        .get(&format!("/locks/{}/", name.replace('/', "%2F")))
        .json()
}

fn is_held(server: &Server, name: &str) -> bool {
    look(server, name)["locked"] == true
}

fn hold(server: &Server, name: &str) -> i64 {
    let answer = server.client().put(name, "{\"locked_by\": \"holder\"}");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.fencing_token()
}

fn release(server: &Server, name: &str) {
    assert_eq!(server.client().delete(name, "holder").status, 204);
}

fn waiters(server: &Server, name: &str) -> i64 {
    look(server, name)["waiters"].as_i64().expect("a number")
}

/// A file in the directory that scripts run in.
fn file(server: &Server, name: &str) -> PathBuf {
    server.directory().join(name)
}

/// Returns what a script has written to a file, when it has.
fn written(server: &Server, name: &str) -> String {
    let path = file(server, name);
    eventually("the script writes", SOON, || {
        fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n'))
    });
    fs::read_to_string(&path).expect("it is there").trim().to_owned()
}

/// Whether a process is there, and no corpse.
fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with('Z'));
    state == Some(false)
}

fn within(wait_max: Duration, began: Instant) {
    let took = began.elapsed();
    assert!(took < wait_max, "it took {took:?}");
}
