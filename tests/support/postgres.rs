//! A real PostgreSQL server for the tests, and a database of its own for each.

mod changes;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Cls, eventually};

/// How long PostgreSQL may take to accept connections, on a busy machine.
const START_WAIT_MAX: Duration = Duration::from_secs(30);

/// Who `initdb` makes superuser, and its password.
const CREDENTIALS: (&str, &str) = ("cls", "pass%40word");

/// What all databases are copies of.
const TEMPLATE: &str = "cls_template";

/// A PostgreSQL server: fsync on, on a socket of its own and a port of its own.
///
/// It ends with this value or, however that ends, with the test process: a
/// shell waits for the end of its input, kills the server by its number and
/// removes the files.
pub struct Cluster {
    url: String,
    data: PathBuf,
    port: u16,
    binaries: PathBuf,
    /// What else it is started with.
    settings: Vec<String>,
    running: Option<Running>,
    directory: Option<TempDir>,
}

struct Running {
    shell: Child,
    _input: ChildStdin,
    pid: u32,
}

impl Cluster {
    /// The one that tests share which ask no more of it than databases: at
    /// `TEST_DATABASE_URL` if that is set.
    pub fn shared() -> &'static Self {
        static NAMED: OnceLock<Cluster> = OnceLock::new();
        match std::env::var("TEST_DATABASE_URL") {
            Ok(url) => NAMED.get_or_init(|| {
                let cluster = Self::at(&url);
                cluster.make_template();
                cluster
            }),
            Err(_) => Self::with_password(),
        }
    }

    /// The one that tests share which count on its users and passwords.
    pub fn with_password() -> &'static Self {
        static STARTED: OnceLock<Cluster> = OnceLock::new();
        STARTED.get_or_init(Self::of_its_own)
    }

    /// One for a test that breaks it.
    pub fn of_its_own() -> Self {
        Self::with_settings(&[])
    }

    /// One of its own with some settings, each as `name=value`.
    pub fn with_settings(settings: &[&str]) -> Self {
        let cluster = Self::start(settings);
        cluster.make_template();
        cluster
    }

    fn at(url: &str) -> Self {
        Self {
            url: url.trim_end_matches('/').to_owned(),
            data: PathBuf::new(),
            port: 0,
            binaries: PathBuf::new(),
            settings: Vec::new(),
            running: None,
            directory: None,
        }
    }

    fn start(settings: &[&str]) -> Self {
        let binaries = find_binaries();
        let directory = TempDir::new().expect("a temporary directory");
        let data = directory.path().join("data");
        let password_file = directory.path().join("password");
        std::fs::write(&password_file, CREDENTIALS.1.replace("%40", "@")).expect("writable");
        if is_root() {
            must_run(Command::new("chown").args(["-R", "postgres"]).arg(directory.path()));
        }
        must_run(
            unprivileged(&binaries.join("initdb"))
                .args([
                    "--username",
                    CREDENTIALS.0,
                    "--auth-host=scram-sha-256",
                    "--auth-local=trust",
                ])
                .args(["--encoding=UTF8", "--locale=C", "--no-sync"])
                .arg(format!("--pwfile={}", password_file.display()))
                .arg("-D")
                .arg(&data),
        );
        // For those who come by a cable of a `Machine`.
        let allowed = "host all all 10.213.0.0/16 scram-sha-256";
        let access = OpenOptions::new().append(true).open(data.join("pg_hba.conf"));
        writeln!(access.expect("initdb made it"), "{allowed}").expect("writable");
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let (user, password) = CREDENTIALS;
        let mut cluster = Self {
            url: format!("postgres://{user}:{password}@127.0.0.1:{port}"),
            data,
            port,
            binaries,
            settings: settings.iter().map(ToString::to_string).collect(),
            running: None,
            directory: Some(directory),
        };
        cluster.run();
        cluster
    }

    /// Runs the server on its files and returns when it accepts connections.
    pub fn run(&mut self) {
        let script = "\"$@\" >&2 & server=$!; echo $server; \
                      cat >/dev/null; kill -QUIT $server 2>/dev/null; wait $server; rm -rf \"$REMOVED\"";
        let mut shell = Command::new("sh")
            .args(["-c", script, "sh"])
            .args(unprivileged_words(&self.binaries.join("postgres")))
            .arg("-D")
            .arg(&self.data)
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300"])
            .args(["-c", &format!("port={}", self.port)])
            .args(["-c", &format!("unix_socket_directories={}", self.data.display())])
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .env("REMOVED", self.data.parent().expect("it is in a directory"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh can be run");
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("stdout is piped"))
            .read_line(&mut line)
            .expect("the shell says a number");
        self.running = Some(Running {
            _input: shell.stdin.take().expect("stdin is piped"),
            shell,
            pid: line.trim().parse().expect("a number"),
        });
        eventually("PostgreSQL accepts connections", START_WAIT_MAX, || {
            try_psql(&self.url_of("postgres"), "SELECT 1").is_ok()
        });
    }

    /// The same as a standby of a primary that is gone.
    pub fn run_as_standby(&mut self) {
        std::fs::write(self.data.join("standby.signal"), "").expect("writable");
        self.run();
    }

    /// Ends the server as a crash would, and keeps its files.
    pub fn crash(&mut self) {
        let mut running = self.running.take().expect("it runs");
        must_run(Command::new("kill").args(["-QUIT", &running.pid.to_string()]));
        // The shell waits for its input, which this process keeps open: so the files stay.
        eventually("PostgreSQL ends", START_WAIT_MAX, || !is_running(running.pid));
        // Ended before its input is, it removes nothing.
        running.shell.kill().expect("a child of ours");
        running.shell.wait().expect("a child of ours");
    }

    /// The URL of a database on it.
    pub fn url_of(&self, database: &str) -> String {
        format!("{}/{database}", self.url)
    }

    /// A migrated database that goes with the value.
    pub fn database(&self) -> PostgresDatabase {
        self.copy_of(TEMPLATE)
    }

    /// An empty database that goes with the value.
    pub fn empty_database(&self) -> PostgresDatabase {
        self.copy_of("template0")
    }

    fn copy_of(&self, template: &str) -> PostgresDatabase {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("cls_test_{}_{number}", std::process::id());
        psql(
            &self.url_of("postgres"),
            &format!("CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'"),
        );
        PostgresDatabase {
            url: self.url_of(&name),
            server: self.url_of("postgres"),
            name,
        }
    }

    fn make_template(&self) {
        let url = self.url_of("postgres");
        let known = format!("SELECT 1 FROM pg_database WHERE datname = '{TEMPLATE}'");
        if psql(&url, &known).is_empty() {
            psql(
                &url,
                &format!("CREATE DATABASE {TEMPLATE} TEMPLATE template0 ENCODING 'UTF8'"),
            );
        }
        let directory = TempDir::new().expect("a temporary directory");
        let cls = Cls::in_directory(directory.path()).with("DATABASE_URL", &self.url_of(TEMPLATE));
        let output = cls.run(&["migrate"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(Running { mut shell, _input, .. }) = self.running.take() {
            drop(_input);
            shell.wait().expect("a child of ours");
        }
        // The shell has removed it, unless the server was not running.
        drop(self.directory.take());
    }
}

/// A database for one test, dropped with the value.
pub struct PostgresDatabase {
    pub url: String,
    pub name: String,
    server: String,
}

impl PostgresDatabase {
    /// Runs SQL; answers with one string a row, its columns separated by bars.
    pub fn sql(&self, statement: &str) -> Vec<String> {
        psql(&self.url, statement)
    }

    /// A session of somebody else.
    pub fn session(&self) -> PsqlSession {
        PsqlSession::on(&self.url)
    }

    /// Ends all sessions on it but the one that asks. Says how many.
    pub fn terminate_sessions(&self) -> usize {
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .len()
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        // The server may be gone already, with everything on it.
        let _ = try_psql(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

/// A session that lasts, for transactions and locks.
pub struct PsqlSession {
    shell: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl PsqlSession {
    pub fn on(url: &str) -> Self {
        let mut shell = Command::new("psql")
            .args(["-X", "-q", "-A", "-t", "-d", url])
            // What would wait for ever fails instead.
            .env("PGOPTIONS", "-c statement_timeout=20s")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql is installed");
        Self {
            input: shell.stdin.take().expect("stdin is piped"),
            output: BufReader::new(shell.stdout.take().expect("stdout is piped")),
            shell,
        }
    }

    /// Runs SQL and returns its rows when it is done.
    pub fn sql(&mut self, statement: &str) -> Vec<String> {
        writeln!(self.input, "{statement};\n\\echo done").expect("it reads");
        let mut rows = Vec::new();
        loop {
            let mut line = String::new();
            assert!(
                self.output.read_line(&mut line).expect("rows are text") > 0,
                "psql ended"
            );
            match line.trim_end_matches('\n') {
                "done" => return rows,
                row => rows.push(row.to_owned()),
            }
        }
    }
}

impl Drop for PsqlSession {
    fn drop(&mut self) {
        // It may have ended with its server.
        let _ = self.shell.kill();
        self.shell.wait().expect("a child of ours");
    }
}

fn psql(url: &str, statement: &str) -> Vec<String> {
    try_psql(url, statement).unwrap_or_else(|error| panic!("{statement}: {error}"))
}

fn try_psql(url: &str, statement: &str) -> Result<Vec<String>, String> {
    let output = Command::new("psql")
        .args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            url,
            "-c",
            statement,
        ])
        // A test that has made the server wait for a standby does not wait with it.
        .env("PGOPTIONS", "-c synchronous_commit=local")
        .output()
        .unwrap_or_else(|e| panic!("psql: {e}; {INSTALL}"));
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let rows = String::from_utf8(output.stdout).expect("rows are text");
    Ok(rows.lines().map(str::to_owned).collect())
}

const INSTALL: &str = "these tests need PostgreSQL 14 or later: `apt-get install postgresql`";

/// The directory of the server's programs: Debian keeps them out of PATH.
fn find_binaries() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<_> = std::env::split_paths(&path).collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    candidates.extend(versions.map(|version| version.path().join("bin")));
    candidates
        .into_iter()
        .find(|directory| {
            ["initdb", "postgres", "pg_basebackup"]
                .iter()
                .all(|program| directory.join(program).is_file())
        })
        .unwrap_or_else(|| panic!("initdb, postgres and pg_basebackup are not installed; {INSTALL}"))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// PostgreSQL refuses to run as root.
fn unprivileged_words(program: &Path) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    if is_root() {
        words.extend(["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"].map(str::to_owned));
    }
    words.push(program.display().to_string());
    words
}

fn unprivileged(program: &Path) -> Command {
    let words = unprivileged_words(program);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir("/");
    command
}

fn must_run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
}

fn is_running(pid: u32) -> bool {
    // A child that has ended and was not waited for yet is a zombie: Z.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
    state.is_some_and(|state| state != 'Z')
}
