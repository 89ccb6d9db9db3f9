//! Redis, etcd and ZooKeeper, each on a fresh directory of the same disk and as
//! durable as it is asked to be, else as it comes.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::servers::fresh_directory;

/// How long one may take to start, on a busy machine.
const START_WAIT_MAX: Duration = Duration::from_secs(60);

/// How long an answer to one request on a connection of its own may take.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);

/// Where Debian has the programs of ZooKeeper.
const ZOOKEEPER: &str = "/usr/share/java/zookeeper.jar";

/// A running server; dropped, it ends and its directory goes.
pub struct Rival {
    child: Child,
    pub address: SocketAddr,
    _directory: TempDir,
}

impl Rival {
    /// Redis whose append-only file is synced `always` or `everysec`.
    pub fn redis(appendfsync: &str) -> Result<Self, String> {
        let directory = fresh_directory();
        let port = free_port();
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--appendonly", "yes", "--appendfsync", appendfsync, "--save", ""])
            .args(["--maxclients", "15000"])
            .current_dir(directory.path());
        Self::start(command, directory, port, |address| {
            ask(address, b"PING\r\n").contains("+PONG")
        })
    }

    pub fn etcd() -> Result<Self, String> {
        let directory = fresh_directory();
        let (port, peer_port) = (free_port(), free_port());
        let (url, peer_url) = (
            format!("http://127.0.0.1:{port}"),
            format!("http://127.0.0.1:{peer_port}"),
        );
        let mut command = Command::new("etcd");
        command
            .args(["--data-dir", "data", "--log-level", "error", "--logger", "zap"])
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args([
                "--listen-peer-urls",
                &peer_url,
                "--initial-advertise-peer-urls",
                &peer_url,
            ])
            .args(["--initial-cluster", &format!("default={peer_url}")])
            .current_dir(directory.path());
        Self::start(command, directory, port, |address| {
            ask(address, b"GET /health HTTP/1.0\r\n\r\n").contains("\"true\"")
        })
    }

    pub fn zookeeper() -> Result<Self, String> {
        if !Path::new(ZOOKEEPER).exists() {
            return Err(format!("{ZOOKEEPER} is not there: `apt-get install libzookeeper-java`"));
        }
        let directory = fresh_directory();
        let port = free_port();
        // Ticks of a second, so that a session may last as short as two.
        let settings = format!(
            "tickTime=1000\ndataDir=data\nclientPortAddress=127.0.0.1\nclientPort={port}\nmaxClientCnxns=0\n\
             admin.enableServer=false\n4lw.commands.whitelist=ruok,srvr\n"
        );
        std::fs::write(directory.path().join("zoo.cfg"), settings).expect("a file can be made here");
        let mut command = Command::new("java");
        command
            .args(["-cp", &class_path(), "org.apache.zookeeper.server.ZooKeeperServerMain"])
            .arg("zoo.cfg")
            .current_dir(directory.path());
        Self::start(command, directory, port, |address| {
            ask(address, b"ruok").contains("imok")
        })
    }

    fn start(
        mut command: Command,
        directory: TempDir,
        port: u16,
        is_ready: impl Fn(SocketAddr) -> bool,
    ) -> Result<Self, String> {
        let log = directory.path().join("log");
        let output = File::create(&log).expect("a file can be made here");
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a descriptor"))
            .stderr(output)
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let mut rival = Self {
            child,
            address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            _directory: directory,
        };
        let until = Instant::now() + START_WAIT_MAX;
        while !is_ready(rival.address) {
            let ended = rival.child.try_wait().expect("a child of ours");
            if ended.is_some() || Instant::now() > until {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                let last = said.lines().last().unwrap_or("it said nothing").to_owned();
                return Err(format!("{program} did not start: {last}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(rival)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// ZooKeeper, whose archive names those that it needs, and no log.
pub fn class_path() -> String {
    format!("{ZOOKEEPER}:/usr/share/java/slf4j-nop.jar")
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("it is bound").port()
}

/// What is answered at once to a request on a connection of its own; nothing if
/// nobody listens yet.
pub fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut answer = vec![0; 64 * 1024];
    let mut length = 0;
    if let Ok(mut stream) = TcpStream::connect(address)
        && stream.set_read_timeout(Some(ANSWER_WAIT_MAX)).is_ok()
        && stream.write_all(request).is_ok()
    {
        while let Ok(read) = stream.read(&mut answer[length..])
            && read > 0
        {
            length += read;
            let said = &answer[..length];
            // Redis keeps the connection.
            if matches!(said[0], b'+' | b'$' | b'-') && said.ends_with(b"\r\n") {
                break;
            }
        }
    }
    String::from_utf8_lossy(&answer[..length]).into_owned()
}
