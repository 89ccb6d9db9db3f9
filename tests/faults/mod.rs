//! One test a fault: what breaks, and what must happen all the same.
//!
//! Each breaks a real server from outside: signals, mounts, limits, other
//! processes. An operation that was under way when it broke, or was answered
//! 503, may or may not have happened; every other answer is a fact.

mod backup;
mod clock;
mod connections;
mod corrupt;
mod crash;
mod disk_full;
mod hostile_http;
mod lost_commit;
mod lost_file;
mod migration;
mod names;
mod other_process;
mod panics;
mod pause;
mod postgres;
mod postgres_failover;
mod postgres_refusals;
mod postgres_silent;
mod postgres_tls;
mod power_loss;
mod read_only;
mod stop;
mod vanished;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{Answer, Client, Cls, Server};

/// "Within 1 s" of the promises, as a test on a busy machine can hold it.
pub const AT_ONCE: Duration = Duration::from_secs(1);

/// `{"locked_by": key}`, with more members if wanted.
pub fn body(key: &str, more: &str) -> String {
    format!("{{\"locked_by\": \"{key}\"{more}}}")
}

/// Takes what must be free.
pub fn acquire(client: &mut Client, name: &str, key: &str) -> i64 {
    let answer = client.put(name, &body(key, ""));
    assert_eq!(answer.status, 200, "{name}: {}", answer.body);
    answer.fencing_token()
}

/// Whether somebody holds `name`. If nobody does, `probe` holds it afterwards.
pub fn is_held(client: &mut Client, name: &str) -> bool {
    let answer = client.put(name, &body("probe", ""));
    match answer.status {
        200 => false,
        400 if answer.body.contains("Resource is locked.") => true,
        status => panic!("{name}: {status} {}", answer.body),
    }
}

/// A 503 as it must be: when to come again, and why in one sentence.
fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(answer.header("Retry-After"), Some("1"));
    assert!(answer.body.starts_with("{\"detail\":"), "{}", answer.body);
}

/// A command that was refused at start: exit code 1 and one line.
fn assert_refused(output: &Output, reason: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("cls: ") && stderr.contains(reason), "{stderr}");
}

/// How the log says that the database failed.
fn failures_logged(server: &Server) -> usize {
    server.log().matches("ERROR").count()
}

/// A server whose log and database lie in different places: the log must be
/// written when the database cannot be.
fn start_on(database: &Path, logs: &TempDir) -> Server {
    on(database, logs).start()
}

fn on(database: &Path, logs: &TempDir) -> Cls {
    Cls::in_directory(logs.path()).with("DATABASE_URL", &format!("sqlite://{}", database.display()))
}

fn directory() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

/// Runs a program of the machine that must succeed.
fn must_run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{program} must be installed: {e}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What an SQL script prints, run by SQLite's own shell.
fn sql(database: &Path, script: &str) -> String {
    must_run("sqlite3", &[&database.display().to_string(), script])
}

/// SQLite's own shell in the middle of a transaction.
struct OpenTransaction {
    shell: Child,
    input: ChildStdin,
}

impl OpenTransaction {
    /// Runs `statements`, which leave a transaction open.
    fn begin(database: &Path, statements: &str) -> Self {
        let mut command = Command::new("sqlite3");
        command.arg(database).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = command.spawn().expect("sqlite3 is installed");
        let mut input = shell.stdin.take().expect("a pipe");
        writeln!(input, ".timeout 5000\n{statements}\nSELECT 'begun';").expect("it reads");
        let output = BufReader::new(shell.stdout.take().expect("a pipe"));
        let begun = output.lines().any(|line| line.expect("it writes") == "begun");
        assert!(begun, "{statements}");
        Self { shell, input }
    }

    fn end(mut self) {
        writeln!(self.input, "ROLLBACK;").expect("it reads");
        drop(self.input);
        assert!(self.shell.wait().expect("a child of ours").success());
    }
}

/// A small file system of its own. Needs root.
struct Tmpfs {
    directory: TempDir,
}

impl Tmpfs {
    fn mount(size: &str) -> Self {
        let directory = directory();
        let path = directory.path().display().to_string();
        must_run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", &path]);
        Self { directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn remount(&self, options: &str) {
        let path = self.directory.path().display().to_string();
        must_run("mount", &["-o", &format!("remount,{options}"), &path]);
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a test that fails may leave a server on it for a moment.
        let unmounted = Command::new("umount").arg("-l").arg(self.directory.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// Asks for a page that needs no database, again and again, and notes how long
/// the slowest answer took.
pub struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<Duration>,
}

impl Watch {
    pub fn start(address: SocketAddr) -> Self {
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let mut slowest = Duration::ZERO;
            while stopped.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {
                let asked = Instant::now();
                let answer = Client::connect(address).request("GET", "/nowhere/", "");
                assert_eq!(answer.status, 404);
                slowest = slowest.max(asked.elapsed());
            }
            slowest
        });
        Self { stop, thread }
    }

    pub fn slowest(self) -> Duration {
        drop(self.stop);
        self.thread.join().expect("the server answered all the time")
    }
}

/// The time that a process has used so far, in clock ticks of 10 ms.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let after_name = stat.rsplit_once(')').expect("a name in brackets").1;
    let fields: Vec<_> = after_name.split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<u64>().expect("a number");
    ticks(11) + ticks(12)
}

/// The memory that a process has in use, in MiB.
pub fn rss_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("a size");
    kib.trim().parse::<u64>().expect("a number") / 1024
}
