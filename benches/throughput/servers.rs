//! The servers that are measured, each a process of its own.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

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
    /// Those that are measured in this run.
    pub fn chosen() -> Vec<Self> {
        let mut chosen = vec![Self::Cls, Self::Constants, Self::PerRequest];
        if other_build().is_some() {
            chosen.push(Self::Beside);
        }
        chosen
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Cls => "(a) cls, durable",
            Self::Beside => "(d) cls, the other build",
            Self::Constants => "(b) actix, constants",
            Self::PerRequest => "(c) a transaction a request, r2d2",
        }
    }
}

/// Another build of `cls` that is to run in the same rounds.
fn other_build() -> Option<OsString> {
    std::env::var_os("BESIDE")
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
    _directory: TempDir,
}

impl ServerProcess {
    pub fn start(kind: Kind) -> Self {
        let directory = fresh_directory();
        let mut command = match kind {
            Kind::Cls | Kind::Beside => {
                let other = (kind == Kind::Beside).then(|| other_build().expect("it was chosen"));
                let mut command = Command::new(other.unwrap_or_else(|| env!("CARGO_BIN_EXE_cls").into()));
                command
                    .args(["runserver", "127.0.0.1:0"])
                    .current_dir(directory.path())
                    .env("RUST_LOG", "error");
                command
            }
            Kind::Constants | Kind::PerRequest => {
                let mut command = Command::new(std::env::current_exe().expect("a path to ourselves"));
                command.args([
                    "serve",
                    if kind == Kind::Constants {
                        "constants"
                    } else {
                        "per-request"
                    },
                ]);
                command.arg(directory.path());
                command
            }
        };
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the server can be run");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(stdout.read_line(&mut line).expect("text") > 0, "{kind:?} did not start");
            if let Some(address) = line.trim().strip_prefix("Starting server at http://") {
                break address.trim_end_matches('/').parse().expect("an address");
            }
        };
        Self {
            child,
            address,
            _stdout: stdout,
            _directory: directory,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Processor time used so far, in seconds, all threads and the kernel's
    /// work for them together.
    pub fn processor_seconds(&self) -> f64 {
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let after_name = stat.rsplit_once(") ").expect("the name is in brackets").1;
        let ticks = after_name
            .split(' ')
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<f64>().expect("a number"));
        ticks.sum::<f64>() / TICKS_PER_SECOND
    }

    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
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
