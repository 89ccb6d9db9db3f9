//! A real `cls` process in a directory of its own, on a port of its own.

use std::cell::Cell;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::planted::{line_that_tells, passwords_in, take_keys};
use crate::support::{Client, Cluster, PostgresDatabase};

/// How long a server may take to say that it serves, on a busy machine.
const START_WAIT_MAX: Duration = Duration::from_secs(20);

/// How the `cls` binary is called.
#[derive(Clone)]
pub struct Cls {
    directory: PathBuf,
    variables: Vec<(String, String)>,
    prefix: Vec<String>,
}

impl Cls {
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            variables: Vec::new(),
            prefix: Vec::new(),
        }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it under another program, for example `["sh", "-c", …]`.
    pub fn under(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(ToString::to_string).collect();
        self
    }

    /// A command that is not run yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let cls = env!("CARGO_BIN_EXE_cls");
        let mut command = match self.prefix.split_first() {
            None => Command::new(cls),
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(cls);
                command
            }
        };
        command.args(arguments).current_dir(&self.directory).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.variables.iter().cloned());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("cls can be run")
    }

    /// Starts a command and leaves it alone.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("cls can be run")
    }

    /// Starts a server and returns when it says that it serves.
    pub fn start(&self) -> Server {
        self.try_start(&["runserver", "127.0.0.1:0"])
            .unwrap_or_else(|log| panic!("the server did not start: {log}"))
    }

    /// Starts a server; `Err` is what it said before it ended.
    pub fn try_start(&self, arguments: &[&str]) -> Result<Server, String> {
        let log = self.directory.join("stderr.log");
        let stderr = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log file");
        let mut child = self
            .command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("cls can be run");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, found) = channel();
        // A thread, so that a server that says nothing is not waited for without end.
        thread::spawn(move || sender.send(wait_for_address(stdout)));
        let found = found.recv_timeout(START_WAIT_MAX).unwrap_or_else(|_| {
            // It may have ended by now.
            let _ = child.kill();
            panic!("the server took too long to start")
        });
        match found {
            Some((address, stdout)) => Ok(Server {
                child,
                _stdout: stdout,
                address,
                log,
                cls: self.clone(),
                directory: None,
                postgres: None,
            }),
            None => {
                child.wait().expect("the server ended");
                Err(std::fs::read_to_string(&log).unwrap_or_default())
            }
        }
    }
}

fn wait_for_address(mut stdout: BufReader<ChildStdout>) -> Option<(SocketAddr, BufReader<ChildStdout>)> {
    let mut line = String::new();
    while stdout.read_line(&mut line).expect("stdout is text") > 0 {
        let url = line.trim().strip_prefix("Starting server at http");
        if let Some((_, address)) = url.and_then(|url| url.split_once("://")) {
            let address = address.trim_end_matches('/').parse().expect("an address");
            return Some((address, stdout));
        }
        line.clear();
    }
    None
}

/// A running server. Dropped, it is killed, and its directory goes with it
/// unless somebody else holds that.
pub struct Server {
    child: Child,
    /// Kept open, so that the server can write to it.
    _stdout: BufReader<ChildStdout>,
    pub address: SocketAddr,
    log: PathBuf,
    cls: Cls,
    directory: Option<Arc<TempDir>>,
    postgres: Option<PostgresDatabase>,
}

thread_local! {
    static ON_POSTGRES: Cell<bool> = const { Cell::new(false) };
}

/// Runs a claim with servers on PostgreSQL: those that this thread starts with
/// an empty database.
pub fn on_postgres(claim: impl FnOnce()) {
    ON_POSTGRES.set(true);
    claim();
    ON_POSTGRES.set(false);
}

/// Whether this thread's servers are to be on PostgreSQL.
pub fn is_on_postgres() -> bool {
    ON_POSTGRES.get()
}

impl Server {
    /// A server with the default settings and an empty database.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with some settings.
    pub fn start_with(variables: &[(&str, &str)]) -> Self {
        let directory = Arc::new(TempDir::new().expect("a temporary directory"));
        let mut cls = Cls::in_directory(directory.path());
        for (name, value) in variables {
            cls = cls.with(name, value);
        }
        let postgres = is_on_postgres().then(|| Cluster::shared().database());
        if let Some(database) = &postgres {
            cls = cls.with("DATABASE_URL", &database.url);
        }
        let mut server = cls.start();
        server.directory = Some(directory);
        server.postgres = postgres;
        server
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// How this server's binary is called, for other commands beside it.
    pub fn cls(&self) -> &Cls {
        &self.cls
    }

    pub fn directory(&self) -> &Path {
        &self.cls.directory
    }

    pub fn database(&self) -> PathBuf {
        self.cls.directory.join("db.sqlite3")
    }

    pub fn is_on_postgres(&self) -> bool {
        self.postgres.is_some()
    }

    /// The database of a server that was started [`on_postgres`].
    pub fn postgres(&self) -> &PostgresDatabase {
        self.postgres.as_ref().expect("it was started on PostgreSQL")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it logged so far, and whatever ran in its directory before.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the server runs");
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self, wait_max: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + wait_max;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// Kills it with SIGKILL and starts another in the same directory.
    pub fn kill_and_restart(mut self) -> Self {
        self.kill();
        let (directory, postgres) = (self.directory.take(), self.postgres.take());
        let mut server = self.cls.start();
        server.directory = directory;
        server.postgres = postgres;
        server
    }

    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        self.child.wait().expect("a child of ours");
    }

    /// Fails if its log shows a key that it was sent, or the password of its
    /// database.
    fn require_secrecy(&self) {
        let mut secrets = take_keys(self.address);
        let urls = self.cls.variables.iter().filter(|(name, _)| name == "DATABASE_URL");
        secrets.extend(urls.flat_map(|(_, url)| passwords_in(url)));
        let log = self.log();
        let told = line_that_tells(&log, &secrets);
        assert!(told.is_none(), "a secret is in the log: {told:?}");
    }

    /// What `SELECT` answers, one string a row, read by a second connection.
    pub fn select(&self, query: &str) -> Vec<String> {
        if let Some(database) = &self.postgres {
            return database.sql(query);
        }
        let output = Command::new("sqlite3")
            // What is no SELECT may find the server writing.
            .args(["-cmd", ".timeout 5000"])
            .arg(self.database())
            .arg(query)
            .output()
            .expect("sqlite3 is installed");
        assert!(
            output.status.success(),
            "{query}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // A second panic would end the tests.
        if !thread::panicking() {
            self.require_secrecy();
        }
    }
}

/// Asks until the answer is yes; a state that must come is waited for, not
/// slept for.
pub fn eventually(what: &str, wait_max: Duration, mut claim: impl FnMut() -> bool) {
    let until = Instant::now() + wait_max;
    while !claim() {
        assert!(Instant::now() < until, "not within {wait_max:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
