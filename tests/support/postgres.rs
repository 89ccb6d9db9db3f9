//! A real PostgreSQL server for the tests, and a database of its own for each.

mod changes;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::postgres_server::{PostgresFiles, PostgresProcess, START_WAIT_MAX, must_run, psql, try_psql};
use crate::support::{Cls, eventually};

/// How long it may take until a server is seen to wait that was just asked.
const LOCK_WAIT_SEEN_MAX: Duration = Duration::from_secs(4);

/// What all databases are copies of.
const TEMPLATE: &str = "cls_template";

/// A PostgreSQL server of the tests.
pub struct Cluster {
    url: String,
    /// What it runs on, if it is ours.
    files: Option<PostgresFiles>,
    process: Option<PostgresProcess>,
    directory: Option<TempDir>,
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
            files: None,
            process: None,
            directory: None,
        }
    }

    fn start(settings: &[&str]) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let files = PostgresFiles::make(directory.path(), settings);
        // For those who come by a cable of a `Machine`.
        let allowed = "host all all 10.213.0.0/16 scram-sha-256";
        let access = OpenOptions::new().append(true).open(files.data.join("pg_hba.conf"));
        writeln!(access.expect("initdb made it"), "{allowed}").expect("writable");
        Self::run_on(files, directory)
    }

    fn run_on(files: PostgresFiles, directory: TempDir) -> Self {
        Self {
            url: files.url(),
            process: Some(files.run()),
            files: Some(files),
            directory: Some(directory),
        }
    }

    fn files(&self) -> &PostgresFiles {
        self.files.as_ref().expect("it is ours")
    }

    /// Runs the server on its files and returns when it accepts connections.
    pub fn run(&mut self) {
        self.process = Some(self.files().run());
    }

    /// The same as a standby of a primary that is gone.
    pub fn run_as_standby(&mut self) {
        std::fs::write(self.files().data.join("standby.signal"), "").expect("writable");
        self.run();
    }

    /// Ends the server as a crash would, and keeps its files.
    pub fn crash(&mut self) {
        let mut process = self.process.take().expect("it runs");
        must_run(Command::new("kill").args(["-QUIT", &process.pid.to_string()]));
        // The shell waits for its input, which this process keeps open: so the files stay.
        eventually("PostgreSQL ends", START_WAIT_MAX, || !is_running(process.pid));
        // Ended before its input is, it removes nothing.
        process.shell.kill().expect("a child of ours");
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
        drop(self.process.take());
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

    /// Returns when a server waits for a row that somebody else has locked.
    pub fn until_a_server_waits_for_a_row(&self) {
        let waiting = "SELECT count(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock' \
                         AND application_name LIKE 'cls runserver%'";
        eventually("a server waits for a row", LOCK_WAIT_SEEN_MAX, || {
            self.sql(waiting) == ["1"]
        });
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

fn is_running(pid: u32) -> bool {
    // A child that has ended and was not waited for yet is a zombie: Z.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
    state.is_some_and(|state| state != 'Z')
}
