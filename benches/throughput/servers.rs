//! The servers that are measured, each a process of its own.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use crate::postgres_server::must_run;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `cls runserver`.
    Cls,
    /// Another build of it, to compare with: the path in `BESIDE`.
    Beside,
    /// actix answering the same bodies without looking at the request.
    Constants,
    /// actix, one transaction a request from an r2d2 pool on the same schema.
    PerRequest,
}

impl Kind {
    /// The other build, if this run compares with one.
    pub fn beside() -> Option<Self> {
        std::env::var_os("BESIDE").map(|_| Self::Beside)
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Cls => "(a) cls, durable",
            Self::Beside => "(d) cls, the other build",
            Self::Constants => "(b) actix, constants",
            Self::PerRequest => "(c) a transaction a request, r2d2",
        }
    }

    /// How its program is called.
    fn program(self) -> Command {
        match self {
            Self::Cls => Command::new(env!("CARGO_BIN_EXE_cls")),
            Self::Beside => Command::new(std::env::var_os("BESIDE").expect("it was chosen")),
            Self::Constants | Self::PerRequest => {
                let mut command = Command::new(std::env::current_exe().expect("a path to ourselves"));
                let kind = if self == Self::Constants {
                    "constants"
                } else {
                    "per-request"
                };
                command.args(["serve", kind]);
                command
            }
        }
    }
}

/// Makes the tables of a database.
pub fn migrate(kind: Kind, url: &str) {
    must_run(kind.program().arg("migrate").env("DATABASE_URL", url));
}

/// A directory on the disk of the working directory.
pub fn fresh_directory() -> TempDir {
    tempfile::Builder::new()
        .prefix(".bench-")
        .tempdir_in(".")
        .expect("a directory can be made here")
}

/// A running server; dropped, it ends and its directory goes.
pub struct ServerProcess {
    child: Child,
    address: SocketAddr,
    _stdout: BufReader<ChildStdout>,
    directory: TempDir,
}

impl ServerProcess {
    /// A server on a fresh SQLite database, if it has one.
    pub fn start(kind: Kind) -> Self {
        Self::start_on(kind, "sqlite://db.sqlite3")
    }

    /// A `cls` on this database.
    pub fn start_on(kind: Kind, database_url: &str) -> Self {
        Self::start_with(kind, &[("DATABASE_URL", database_url)])
    }

    /// A `cls` with these settings.
    pub fn start_with(kind: Kind, settings: &[(&str, &str)]) -> Self {
        let directory = fresh_directory();
        let mut command = kind.program();
        match kind {
            Kind::Cls | Kind::Beside => command
                .args(["runserver", "127.0.0.1:0"])
                .current_dir(directory.path())
                .env("RUST_LOG", "error")
                .envs(settings.iter().copied()),
            Kind::Constants | Kind::PerRequest => command.arg(directory.path()),
        };
        let log = directory.path().join("stderr.log");
        let stderr = File::create(&log).expect("a file can be made here");
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the server can be run");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            if stdout.read_line(&mut line).expect("text") == 0 {
                child.wait().expect("a child of ours");
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("{kind:?} did not start: {said}");
            }
            let url = line.trim().strip_prefix("Starting server at http");
            if let Some((_, address)) = url.and_then(|url| url.split_once("://")) {
                break address.trim_end_matches('/').parse().expect("an address");
            }
        };
        Self {
            child,
            address,
            _stdout: stdout,
            directory,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The key of a new token, on the server's own SQLite database.
    pub fn token(&self) -> String {
        let mut command = Kind::Cls.program();
        let directory = self.directory.path();
        must_run(command.args(["createtoken", "bench"]).current_dir(directory))
            .trim()
            .to_owned()
    }

    /// Processor time used so far, in seconds.
    pub fn processor_seconds(&self) -> f64 {
        processor_seconds_of(self.pid())
    }

    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("Linux says so");
        line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time that a process used so far, in seconds: of all its threads,
/// of the kernel for them, and of its children that have ended.
pub fn processor_seconds_of(pid: u32) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    // A child may have ended meanwhile.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = after_name
        .split(' ')
        .skip(11)
        .take(4)
        .map(|ticks| ticks.parse::<f64>().expect("a number"));
    ticks.sum::<f64>() / TICKS_PER_SECOND
}
