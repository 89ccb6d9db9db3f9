//! `/resources/{name}/` on the real binary: who gets a lock, when, and what
//! becomes of those who leave.

mod acquire;
mod actions;
mod bad_input;
mod bulk;
mod client_locks;
mod deadlock;
mod disconnect;
mod drain;
mod example;
mod expiry;
mod fencing;
mod limits;
mod list;
mod look;
mod lost_answers;
mod policy;
mod postgres;
mod prefer;
mod release;
mod renew;
mod request_ids;
mod retries;
mod schema;
mod schemathesis;
mod together;
pub mod together_fairness;
mod waiting;
mod watch;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Client, PsqlSession, Server};

/// A server in which order is certain: what is sent first is decided first,
/// whichever connections it comes by, because one thread reads them all.
fn one_worker() -> Server {
    Server::start_with(&[("WORKERS", "1")])
}

fn by(locked_by: &str) -> String {
    format!("{{\"locked_by\": \"{locked_by}\"}}")
}

fn with_ttl(locked_by: &str, ttl: u32) -> String {
    format!("{{\"locked_by\": \"{locked_by}\", \"ttl\": {ttl}}}")
}

fn with_timeout(locked_by: &str, timeout: u32) -> String {
    format!("{{\"locked_by\": \"{locked_by}\", \"timeout\": {timeout}}}")
}

/// A connection that its worker already knows.
fn connected(server: &Server) -> Client {
    let mut client = server.client();
    assert_eq!(client.request("OPTIONS", "/resources/x/", "").status, 200);
    client
}

/// Holds `name` with the key `holder`, and answers with its token.
fn hold(server: &Server, name: &str) -> i64 {
    let answer = server.client().put(name, &by("holder"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.fencing_token()
}

fn release(server: &Server, name: &str) {
    let answer = server.client().delete(name, "holder");
    assert_eq!(answer.status, 204, "{}", answer.body);
}

/// Sends a PUT that waits and returns when it stands in line. The server has
/// one worker and `name` is held.
fn in_line(server: &Server, name: &str, body: &str) -> Client {
    let mut waiter = connected(server);
    waiter.send_put(name, body);
    settle(server, name);
    waiter
}

/// Returns when all that was sent before has reached the one who decides: a
/// later request, read by the same worker, was decided after it.
fn settle(server: &Server, name: &str) {
    let answer = server.client().put(name, &by("probe"));
    assert_eq!(answer.status, 400, "{}", answer.body);
}

/// What everybody may see of `name`.
fn look(server: &Server, name: &str) -> Value {
    let answer = server.client().get(&format!("/resources/{name}/"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// The body of a request for several resources; `more` are other fields, each
/// after a comma.
fn together(names: &[&str], locked_by: &str, more: &str) -> String {
    let (names, locked_by) = (json!(names), json!(locked_by));
    format!("{{\"resources\": {names}, \"locked_by\": {locked_by}{more}}}")
}

/// Sends a request for several resources that waits a minute and returns when
/// it stands in line. The server has one worker and `held` is held.
fn together_in_line(server: &Server, names: &[&str], locked_by: &str, held: &str) -> Client {
    let mut waiter = connected(server);
    waiter.send("POST", "/locks/", &together(names, locked_by, ", \"timeout\": 60"));
    settle(server, held);
    waiter
}

/// The tokens of what was acquired together, in the order of the names.
fn tokens(answer: &Answer) -> Vec<i64> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let resources = answer.json()["resources"].as_array().cloned().expect("a list");
    let tokens = resources.iter().map(|resource| resource["fencing_token"].as_i64());
    tokens.map(|token| token.expect("a number")).collect()
}

/// A refusal for lack of room, or of a server that stops.
fn assert_unavailable(answer: &Answer, status: u16, reason: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    let opening = match status {
        429 => "Request was throttled",
        _ => "Service temporarily unavailable",
    };
    assert_eq!(answer.body, format!("{{\"detail\":\"{opening}: {reason}.\"}}"));
    assert_eq!(answer.header("Retry-After"), Some("1"));
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
}

/// How late things typically are: what one in four keeps. The others may be late
/// because the machine was busy with other tests.
fn typical(mut delays: Vec<Duration>) -> Duration {
    delays.sort_unstable();
    delays[delays.len() / 4]
}

/// Between the starts of things that are measured, so that one busy moment of
/// the machine does not hit them all.
const STAGGER: Duration = Duration::from_millis(90);

/// How often something is tried that goes wrong now and then: less often where
/// each commit takes longer.
fn rounds(server: &Server, count: u32) -> u32 {
    if server.is_on_postgres() { count / 4 } else { count }
}

fn since(earlier: Instant, later: Instant) -> Duration {
    later.saturating_duration_since(earlier)
}

/// Somebody else who has the database locked until the value is dropped.
pub enum Blocker {
    Sqlite(Child),
    /// It ends with its session.
    Postgres {
        _session: PsqlSession,
    },
}

impl Blocker {
    pub fn lock(server: &Server) -> Self {
        use std::io::{BufRead, BufReader, Write};
        if server.is_on_postgres() {
            let mut session = server.postgres().session();
            session.sql("BEGIN; LOCK TABLE resources");
            return Self::Postgres { _session: session };
        }
        let mut shell = Command::new("sqlite3")
            .arg(server.database())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sqlite3 is installed");
        let stdin = shell.stdin.as_mut().expect("stdin is piped");
        stdin
            .write_all(b".timeout 2000\nBEGIN IMMEDIATE;\nSELECT 'locked';\n")
            .expect("the shell reads");
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("stdout is piped"))
            .read_line(&mut line)
            .expect("the shell answers");
        assert_eq!(line.trim(), "locked");
        Self::Sqlite(shell)
    }
}

impl Drop for Blocker {
    fn drop(&mut self) {
        if let Self::Sqlite(shell) = self {
            // It ends with its input, and takes its lock with it.
            drop(shell.stdin.take());
            let _ = shell.wait();
        }
    }
}
