//! `examples/worker.py` when answers are lost, clients sleep and locks expire.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{Server, eventually, on_postgres};

/// More than a worker needs for what is asked of it here.
const WORK_WAIT_MAX: Duration = Duration::from_secs(30);

/// Between workers and a server. Each connection is one request.
struct Wire {
    address: SocketAddr,
    orders: Arc<Orders>,
}

#[derive(Default)]
struct Orders {
    /// Answers that are lost yet.
    answers_to_lose: AtomicUsize,
    /// Nothing comes through.
    is_cut: AtomicBool,
    is_closed: AtomicBool,
}

impl Wire {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let orders = Arc::new(Orders::default());
        let seen = Arc::clone(&orders);
        thread::spawn(move || {
            for client in listener.incoming() {
                if seen.is_closed.load(Ordering::Acquire) {
                    return;
                }
                let (client, orders) = (client.expect("a connection"), Arc::clone(&seen));
                thread::spawn(move || carry(client, server, &orders));
            }
        });
        Self { address, orders }
    }

    fn lose_answers(&self, count: usize) {
        self.orders.answers_to_lose.store(count, Ordering::Release);
    }

    fn cut(&self, is_cut: bool) {
        self.orders.is_cut.store(is_cut, Ordering::Release);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.orders.is_closed.store(true, Ordering::Release);
        // The thread that accepts looks once more. If it cannot be reached it has ended.
        let _ = TcpStream::connect(self.address);
    }
}

/// Carries one request, and its answer unless that is lost. Where either side
/// ends early so does this.
fn carry(mut client: TcpStream, server: SocketAddr, orders: &Orders) {
    if orders.is_cut.load(Ordering::Acquire) {
        return;
    }
    let Ok(mut server) = TcpStream::connect(server) else {
        return;
    };
    let (Ok(mut from_client), Ok(mut to_server)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
    let mut answer = Vec::new();
    if server.read_to_end(&mut answer).is_err() {
        return;
    }
    let one_less = |left: usize| left.checked_sub(1);
    let is_lost = orders
        .answers_to_lose
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less)
        .is_ok();
    if !is_lost {
        // The client may have left.
        let _ = client.write_all(&answer);
    }
    let _ = client.shutdown(std::net::Shutdown::Both);
}

/// A server, a wire to it and what is guarded.
struct Bench {
    server: Server,
    wire: Wire,
    directory: TempDir,
}

/// A running `worker.py`; killed when dropped.
struct Worker {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Bench {
    fn new() -> Self {
        let server = Server::start();
        let wire = Wire::to(server.address);
        let directory = TempDir::new().expect("a temporary directory");
        Self {
            server,
            wire,
            directory,
        }
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store.txt")
    }

    /// By the wire, with locks of one second, writing every tenth of one.
    fn worker(&self, who: &str, writes: usize) -> Worker {
        let mut child = python()
            .arg(example().join("worker.py"))
            .args([format!("http://{}", self.wire.address), "job".to_owned()])
            .arg(self.store())
            .args(["--who", who, "--ttl", "1", "--pace", "0.1"])
            .args(["--writes", &writes.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let said = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Worker { child, said }
    }

    /// The tokens of all writes that were accepted, and who wrote.
    fn written(&self) -> Vec<(i64, String)> {
        let lines = std::fs::read_to_string(self.store()).expect("somebody wrote");
        let fields = lines.lines().filter_map(|line| {
            let (token, rest) = line.split_once(' ')?;
            Some((token.parse().ok()?, rest.split_once(' ')?.0.to_owned()))
        });
        fields.collect()
    }

    fn is_free(&self) -> bool {
        let shown = self.server.client().request("GET", "/resources/job/", "");
        shown.body.contains("\"locked\":false")
    }

    /// What a client gets that wakes up between its look at the clock and its write.
    fn write_late(&self, token: i64) -> String {
        let line = format!(
            "import sys, worker\ntry: worker.Store(sys.argv[1]).write({token}, 'late 0')\nexcept worker.Lost: print('refused')"
        );
        let output = python()
            .args(["-c", &line])
            .arg(self.store())
            .current_dir(example())
            .output()
            .expect("python3 is installed");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The work of `first` was taken over by `second`, and done later.
    fn assert_nothing_stale(&self, first: &str, second: &str) {
        let written = self.written();
        let tokens: Vec<i64> = written.iter().map(|(token, _)| *token).collect();
        let by = |who: &str| written.iter().filter(|(_, writer)| writer == who).count();

        assert!(tokens.is_sorted(), "{written:?}");
        assert_eq!((by(first), by(second)), (WRITES, 2), "{written:?}");
        assert_eq!(self.write_late(tokens[0]), "refused");
        assert_eq!(self.written(), written);
        assert!(self.is_free());
    }
}

/// Writes of a worker that is disturbed: it has some left when its lock expires.
const WRITES: usize = 20;

impl Worker {
    /// What it says next.
    fn says(&mut self) -> String {
        let mut line = String::new();
        let length = self.said.read_line(&mut line).expect("it is text");
        assert_ne!(length, 0, "it ended");
        line.trim().to_owned()
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("an id of a process");
        kill_process(Pid::from_raw(id).expect("not zero"), signal).expect("a child of ours");
    }

    fn finish(mut self) {
        eventually("it has done its work", WORK_WAIT_MAX, || {
            let ended = self.child.try_wait().expect("a child of ours");
            assert!(ended.is_none_or(|status| status.success()), "{ended:?}");
            ended.is_some()
        });
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn python() -> Command {
    let mut python = Command::new("python3");
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

#[test]
fn a_worker_survives_lost_answers_on_postgres() {
    on_postgres(a_worker_survives_lost_answers);
}

#[test]
fn a_worker_survives_lost_answers() {
    let bench = Bench::new();
    bench.wire.lose_answers(2);

    bench.worker("one", 2).finish();

    let written = bench.written();
    assert_eq!(written.len(), 2);
    assert_eq!(written[0], written[1], "it was granted once");
    assert_eq!(bench.server.select("SELECT count(*) FROM held_locks"), ["0"]);
    assert!(bench.is_free());
}

#[test]
fn a_worker_that_was_paused_writes_nothing_stale() {
    let bench = Bench::new();
    let mut paused = bench.worker("paused", WRITES);
    paused.says();
    paused.signal(Signal::STOP);
    eventually("its lock expires", WORK_WAIT_MAX, || bench.is_free());

    bench.worker("other", 2).finish();
    paused.signal(Signal::CONT);
    paused.finish();

    bench.assert_nothing_stale("paused", "other");
}

#[test]
fn a_worker_whose_lock_expired_writes_nothing_stale() {
    let bench = Bench::new();
    let mut cut_off = bench.worker("cut-off", WRITES);
    cut_off.says();
    bench.wire.cut(true);
    while cut_off.says() != "lost" {}
    eventually("its lock expires", WORK_WAIT_MAX, || bench.is_free());

    bench.wire.cut(false);
    bench.worker("other", 2).finish();
    cut_off.finish();

    bench.assert_nothing_stale("cut-off", "other");
}

#[test]
fn the_readme_shows_the_example_as_it_is() {
    let readme = include_str!("../../README.md");
    let worker = include_str!("../../examples/worker.py");
    let shown: Vec<&str> = readme.split("```python\n").skip(1).collect();

    assert_eq!(shown.len(), 2);
    for block in shown {
        let block = block.split("```").next().expect("one piece at least");
        assert!(worker.contains(block.trim_end()), "{block}");
    }
}
