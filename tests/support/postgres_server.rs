//! A throwaway PostgreSQL server: its files, its process, and how it is asked.
//!
//! Separate from the tests' clusters, because the benchmark includes this file
//! too: it stands on nothing else of either.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long PostgreSQL may take to accept connections, on a busy machine.
pub const START_WAIT_MAX: Duration = Duration::from_secs(30);

/// Who `initdb` makes superuser, and its password as a URL has it.
pub const CREDENTIALS: (&str, &str) = ("cls", "pass%40word");

const INSTALL: &str = "PostgreSQL 14 or later is needed here: `apt-get install postgresql`";

/// The files of a server, on a port of its own: fsync on, as by default.
pub struct PostgresFiles {
    pub binaries: PathBuf,
    pub data: PathBuf,
    pub port: u16,
    /// What else it is started with, each as `name=value`.
    pub settings: Vec<String>,
}

/// The server, running on them.
///
/// It ends with this value or, however that ends, with this process: a shell
/// waits for the end of its input, kills the server by its number and removes
/// the directory of the files.
pub struct PostgresProcess {
    pub shell: Child,
    input: Option<ChildStdin>,
    pub pid: u32,
}

impl PostgresFiles {
    /// Makes them in `directory`, which goes with the server.
    pub fn make(directory: &Path, settings: &[&str]) -> Self {
        let settings = settings.iter().map(ToString::to_string).collect();
        let files = Self::in_directory(directory, settings);
        let password_file = files.data.with_file_name("password");
        std::fs::write(&password_file, CREDENTIALS.1.replace("%40", "@")).expect("writable");
        must_run(
            unprivileged(&files.binaries.join("initdb"))
                .args([
                    "--username",
                    CREDENTIALS.0,
                    "--auth-host=scram-sha-256",
                    "--auth-local=trust",
                ])
                .args(["--encoding=UTF8", "--locale=C", "--no-sync"])
                .arg(format!("--pwfile={}", password_file.display()))
                .arg("-D")
                .arg(&files.data),
        );
        files
    }

    /// None yet, and a directory in which PostgreSQL may make them.
    pub fn in_directory(directory: &Path, settings: Vec<String>) -> Self {
        let directory = directory.canonicalize().expect("it is there");
        if is_root() {
            must_run(Command::new("chown").arg("postgres").arg(&directory));
        }
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self {
            binaries: find_binaries(&["initdb", "postgres", "pg_basebackup"]),
            data: directory.join("data"),
            port: free.local_addr().expect("it is bound").port(),
            settings,
        }
    }

    /// The URL of the server; a slash and the name of a database go behind it.
    pub fn url(&self) -> String {
        let (user, password) = CREDENTIALS;
        format!("postgres://{user}:{password}@127.0.0.1:{}", self.port)
    }

    /// Runs the server and returns when it accepts connections.
    pub fn run(&self) -> PostgresProcess {
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
        let process = PostgresProcess {
            input: shell.stdin.take(),
            shell,
            pid: line.trim().parse().expect("a number"),
        };
        let until = Instant::now() + START_WAIT_MAX;
        while let Err(error) = try_psql(&format!("{}/postgres", self.url()), "SELECT 1") {
            assert!(Instant::now() < until, "PostgreSQL accepts no connections: {error}");
            thread::sleep(Duration::from_millis(20));
        }
        process
    }
}

impl Drop for PostgresProcess {
    fn drop(&mut self) {
        drop(self.input.take());
        self.shell.wait().expect("a child of ours");
    }
}

/// Runs SQL; answers with one string a row, its columns separated by bars.
pub fn psql(url: &str, statement: &str) -> Vec<String> {
    try_psql(url, statement).unwrap_or_else(|error| panic!("{statement}: {error}"))
}

/// The same; `Err` is what PostgreSQL says.
pub fn try_psql(url: &str, statement: &str) -> Result<Vec<String>, String> {
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

/// The directory that has all of these: Debian keeps the server's programs out
/// of PATH.
pub fn find_binaries(programs: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<_> = std::env::split_paths(&path).collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    candidates.extend(versions.map(|version| version.path().join("bin")));
    let has_all = |directory: &PathBuf| programs.iter().all(|program| directory.join(program).is_file());
    candidates
        .into_iter()
        .find(has_all)
        .unwrap_or_else(|| panic!("{} not found; {INSTALL}", programs.join(" and ")))
}

pub fn is_root() -> bool {
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

pub fn unprivileged(program: &Path) -> Command {
    let words = unprivileged_words(program);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir("/");
    command
}

/// Runs a program to its end and returns what it printed.
pub fn must_run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
