//! Terraform itself, where `terraform` is on PATH. Where it is not, nothing of
//! this is tested, and stderr says so.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::access::{guarded, token};
use crate::support::eventually;

on_both! {
    who_comes_second_is_told_who_holds_it
    who_waits_goes_on_within_a_second
    an_answer_that_is_lost_does_no_harm
    a_killed_apply_is_freed_by_its_ttl
    a_force_unlock_frees_it
    a_token_is_shown_as_the_password
    an_address_that_names_the_lock_is_refused
    what_readme_says_works
}

/// How long Terraform may take for anything, on a busy machine.
const RUN_WAIT_MAX: Duration = Duration::from_secs(60);

/// The program; `None`, and a line on stderr, if there is none.
fn terraform() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("terraform"))
        .find(|program| program.is_file());
    if found.is_none() {
        // Not by a macro, of which the test harness would show nothing.
        let _ = writeln!(
            io::stderr(),
            "NOT TESTED: terraform is not on PATH (tests/terraform/binary.rs)"
        );
    }
    found
}

/// Between Terraform and the server: it keeps states, hands on what concerns
/// locks, and loses answers to that if it is told to.
struct Between {
    address: SocketAddr,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// By path.
    states: Vec<(String, Vec<u8>)>,
    /// When which state was read.
    reads: Vec<(String, Instant)>,
    /// The method of which the next answer is lost.
    loses: Option<&'static str>,
}

impl Between {
    fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let known = Arc::new(Mutex::new(Known::default()));
        let (server, shared) = (server.address, Arc::clone(&known));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || pass(stream, server, &shared));
            }
        });
        Self { address, known }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nobody panics with it")
    }
}

/// Answers the one request of a connection.
fn pass(stream: TcpStream, server: SocketAddr, known: &Mutex<Known>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let mut words = head.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or_default()];
    reader.read_exact(&mut body).ok()?;
    let (status, said) = if target.starts_with("/terraform/") {
        let mut client = Client::connect(server);
        // A force-unlock has a body of no chunk.
        let is_chunked = head.contains("Transfer-Encoding: chunked");
        let rest: &[u8] = if is_chunked { b"0\r\n\r\n" } else { &body };
        client.send_raw(&[head.as_bytes(), rest].concat());
        let answer = client.answer();
        let mut known = known.lock().expect("nobody panics with it");
        if known.loses == Some(method.as_str()) {
            known.loses = None;
            return None;
        }
        (answer.status, answer.body.into_bytes())
    } else {
        keep_state(
            &mut known.lock().expect("nobody panics with it"),
            &method,
            &target,
            body,
        )
    };
    let head = format!(
        "HTTP/1.1 {status} said\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        said.len()
    );
    (&stream).write_all(&[head.as_bytes(), &said].concat()).ok()
}

fn keep_state(known: &mut Known, method: &str, target: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
    let path = target.split('?').next().expect("one piece at least");
    if method == "GET" {
        known.reads.push((path.to_owned(), Instant::now()));
        let found = known.states.iter().rev().find(|(of, _)| of == path);
        return found.map_or((404, Vec::new()), |(_, state)| (200, state.clone()));
    }
    known.states.push((path.to_owned(), body));
    (200, Vec::new())
}

/// Being applied it waits for `go`, or until its directory is gone: a killed
/// Terraform leaves the shell behind.
const RESOURCE: &str = r#"
resource "terraform_data" "a" {
  provisioner "local-exec" {
    command = "touch started; while [ -e main.tf ] && [ ! -e go ]; do sleep 0.05; done"
  }
}
"#;

/// A configuration in a directory of its own, whose state is locked as `prod`.
/// It applies for as long as there is no file `go`.
struct Run {
    program: PathBuf,
    directory: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Run {
    fn new(program: &Path, between: &Between, state: &str, query: &str) -> Self {
        let address = format!("http://{}", between.address);
        let lock = format!("{address}{PATH}{query}");
        Self::with_addresses(program, &format!("{address}/{state}"), &lock)
    }

    fn with_addresses(program: &Path, address: &str, lock: &str) -> Self {
        let backend = format!(
            r#"
            terraform {{
              backend "http" {{
                address        = "{address}"
                lock_address   = "{lock}"
                unlock_address = "{lock}"
              }}
            }}
            "#
        );
        Self::with_backend(program, &backend)
    }

    fn with_backend(program: &Path, backend: &str) -> Self {
        let run = Self {
            program: program.to_owned(),
            directory: TempDir::new().expect("a temporary directory"),
            variables: Vec::new(),
        };
        std::fs::write(run.file("main.tf"), [backend, RESOURCE].concat()).expect("it can be written");
        run
    }

    fn initialized(self) -> Self {
        let output = self.terraform(&["init", "-input=false", "-no-color"]);
        assert!(output.status.success(), "{}", said(&output));
        self
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Lets what is being applied come to its end, and what will be.
    fn go(&self) {
        std::fs::write(self.file("go"), "").expect("it can be written");
    }

    fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(self.directory.path());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.directory.path());
        command.env("CHECKPOINT_DISABLE", "1").env("TF_IN_AUTOMATION", "1");
        command.envs(self.variables.iter().cloned()).stdin(Stdio::null());
        command
    }

    fn terraform(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it can be run")
    }

    fn apply(&self) -> Output {
        self.terraform(&["apply", "-auto-approve", "-input=false", "-no-color"])
    }

    /// Starts an apply.
    fn applying(&self) -> Child {
        let mut command = self.command(&["apply", "-auto-approve", "-input=false", "-no-color"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("it can be run")
    }

    /// Starts an apply, and returns when it holds the lock.
    fn holding(&self) -> Child {
        let child = self.applying();
        eventually("it applies", RUN_WAIT_MAX, || self.file("started").exists());
        child
    }
}

/// What it said, without the frame around it.
fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&both).replace(['│', '╷', '╵'], "")
}

mod claims {
    use super::*;

    pub(super) fn who_comes_second_is_told_who_holds_it() {
        let Some(program) = terraform() else { return };
        let server = Server::start();
        let between = Between::before(&server);
        let first = Run::new(&program, &between, "first", "").initialized();
        let second = Run::new(&program, &between, "second", "").initialized();
        let mut holder = first.holding();
        let info: Value = serde_json::from_str(&server.select("SELECT info FROM resources")[0]).expect("it is JSON");

        let refused = second.apply();

        assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
        let told = said(&refused);
        for part in ["Error acquiring the state lock", "OperationTypeApply"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        for member in ["ID", "Who", "Version"] {
            let value = info[member].as_str().expect("text");
            assert!(!value.is_empty() && told.contains(value), "{member}: {told}");
        }
        assert_eq!(look(&server)["locked"], true);
        first.go();
        assert!(holder.wait().expect("a child of ours").success());
        assert_eq!(look(&server)["locked"], false);
        second.go();
        let served = second.apply();
        assert!(served.status.success(), "{}", said(&served));
    }

    pub(super) fn who_waits_goes_on_within_a_second() {
        let Some(program) = terraform() else { return };
        let server = Server::start();
        let between = Between::before(&server);
        let run = Run::new(&program, &between, "s", "?timeout=60").initialized();
        run.go();
        hold(&server);
        between.known().reads.clear();
        let mut waiter = run.applying();
        eventually("it waits", RUN_WAIT_MAX, || look(&server)["waiters"] == 1);

        let released = unlock(&mut server.client(), HOLDER);

        assert_eq!(released.status, 200);
        assert!(waiter.wait().expect("a child of ours").success());
        let known = between.known();
        let (_, first) = known.reads.first().expect("it reads the state when it has the lock");
        let late = first.duration_since(released.received);
        assert!(late < Duration::from_secs(1), "{late:?}");
    }

    pub(super) fn an_answer_that_is_lost_does_no_harm() {
        let Some(program) = terraform() else { return };
        let server = Server::start();
        let between = Between::before(&server);

        for (method, grants) in [("LOCK", 1), ("UNLOCK", 2)] {
            let run = Run::new(&program, &between, method, "").initialized();
            run.go();
            between.known().loses = Some(method);

            let output = run.apply();

            assert!(output.status.success(), "{method}: {}", said(&output));
            assert_eq!(between.known().loses, None, "{method}: it was lost");
            let seen = look(&server);
            assert_eq!(
                (&seen["locked"], &seen["fencing_token"]),
                (&false.into(), &grants.into()),
                "{method}: it was granted once, and released"
            );
        }
    }

    pub(super) fn a_killed_apply_is_freed_by_its_ttl() {
        let Some(program) = terraform() else { return };
        let server = Server::start();
        let between = Between::before(&server);
        let killed = Run::new(&program, &between, "killed", "?ttl=5").initialized();
        let next = Run::new(&program, &between, "next", "?ttl=60&timeout=60").initialized();
        next.go();
        let mut holder = killed.holding();
        holder.kill().expect("it runs");
        holder.wait().expect("a child of ours");

        let served = next.apply();

        assert!(served.status.success(), "{}", said(&served));
        assert_eq!(look(&server)["fencing_token"], 2);
    }

    pub(super) fn a_force_unlock_frees_it() {
        let Some(program) = terraform() else { return };
        let server = Server::start();
        let between = Between::before(&server);
        let run = Run::new(&program, &between, "s", "").initialized();
        run.go();
        hold(&server);

        let forced = run.terraform(&["force-unlock", "-force", "-no-color", HOLDER_ID]);

        assert!(forced.status.success(), "{}", said(&forced));
        assert!(server.log().contains("broke the lock"), "{}", server.log());
        let applied = run.apply();
        assert!(applied.status.success(), "{}", said(&applied));
        assert_eq!(unlock(&mut server.client(), HOLDER).status, 409);
    }

    pub(super) fn a_token_is_shown_as_the_password() {
        let Some(program) = terraform() else { return };
        let server = guarded();
        let ci = token(&server, &["ci", "--prefix", "terraform/"]);
        let oncall = token(&server, &["oncall", "--can", "break"]);
        let between = Between::before(&server);
        let mut run = Run::new(&program, &between, "s", "").initialized();
        run.go();
        let with = |key: &str| {
            vec![
                ("TF_HTTP_USERNAME", "terraform".to_owned()),
                ("TF_HTTP_PASSWORD", key.to_owned()),
            ]
        };
        let force = ["force-unlock", "-force", "-no-color", "any"];

        let stranger = run.apply();
        assert!(said(&stranger).contains("requires auth"), "{}", said(&stranger));
        run.variables = with(&ci);
        let applied = run.apply();
        assert!(applied.status.success(), "{}", said(&applied));

        let mut again = Run::new(&program, &between, "again", "").initialized();
        again.variables = with(&ci);
        let mut holder = again.holding();
        let refused = run.terraform(&force);
        assert!(said(&refused).contains("403"), "{}", said(&refused));
        run.variables = with(&oncall);
        let forced = run.terraform(&force);
        assert!(forced.status.success(), "{}", said(&forced));
        holder.kill().expect("it runs");
        holder.wait().expect("a child of ours");
    }

    pub(super) fn an_address_that_names_the_lock_is_refused() {
        let Some(program) = terraform() else { return };
        let server = Server::start();
        let between = Between::before(&server);
        let lock = format!("http://{}{PATH}", between.address);
        let run = Run::with_addresses(&program, &lock, &lock);

        let refused = run.terraform(&["init", "-input=false", "-no-color"]);

        assert_eq!(refused.status.code(), Some(1));
        assert!(said(&refused).contains("405"), "{}", said(&refused));
    }
    pub(super) fn what_readme_says_works() {
        let Some(program) = terraform() else { return };
        let server = Server::start();
        let between = Between::before(&server);
        let (_, block) = include_str!("../../README.md")
            .split_once("```hcl\n")
            .expect("it has one");
        let (block, _) = block.split_once("```").expect("it ends");
        let address = format!("http://{}", between.address);
        let here = block.replace("https://states.example", &address);
        let here = here.replace("https://locks.example:8443", &address);
        assert_eq!(here.matches(&address).count(), 3, "{block}");
        let run = Run::with_backend(&program, &here).initialized();
        let mut holder = run.holding();
        assert_eq!(look(&server)["ttl"], 3600);

        run.go();

        assert!(holder.wait().expect("a child of ours").success());
        assert_eq!(look(&server)["locked"], false);
    }
}
