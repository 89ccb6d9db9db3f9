//! Clients that ask for what is not theirs: another host's name, more than
//! their share, more than fits, or a second request inside the first.

mod flood;
mod hosts;
mod malformed;
mod smuggling;
mod throttling;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::faults::{AT_ONCE, Watch, acquire, rss_mib};
use crate::support::Server;

/// A server under attack: what must be true of it meanwhile and afterwards.
struct Besieged {
    server: Server,
    watch: Watch,
    before_mib: u64,
}

impl Besieged {
    fn start() -> Self {
        let server = Server::start();
        // So that what it needs for anybody at all is not taken for the attack's.
        acquire(&mut server.client(), "before", "k");
        let before_mib = rss_mib(server.pid());
        let watch = Watch::start(server.address);
        Self {
            server,
            watch,
            before_mib,
        }
    }

    fn used_mib(&self) -> u64 {
        rss_mib(self.server.pid()).saturating_sub(self.before_mib)
    }

    /// Others were answered within a second all the time, still are, and nothing
    /// broke.
    fn stood(self) {
        assert!(self.watch.slowest() < AT_ONCE);
        acquire(&mut self.server.client(), "afterwards", "k");
        let log = self.server.log();
        assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    }
}

/// A connection from another address of this machine.
pub fn connect_from(last_octet: u8, server: SocketAddr) -> TcpStream {
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last_octet)), 0);
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &from).expect("all of 127.0.0.0/8 is this machine");
    connect(&socket, &server).expect("the server accepts connections");
    TcpStream::from(socket)
}

/// Lets this process open so many files, besides those of the other tests.
fn raise_limit_of_open_files(needed: u64) {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    setrlimit(Resource::Nofile, Rlimit { current, ..limit }).expect("a limit may be raised to its maximum");
    assert!(
        current.is_none_or(|files| files >= needed + 2000),
        "the hard limit of open files is {current:?}; this test needs {}",
        needed + 2000
    );
}
