//! A bad network: a proxy on the way to a server that delays what passes, holds
//! it back, or cuts connections.
//!
//! A cable of a `Machine` can only be pulled; delays by `tc netem` would ask for a
//! module that not every kernel has.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::Duration;

use crate::linearizability::chance::Chance;

/// How often what is held back is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Its threads end with the connections that they serve.
pub struct Link {
    pub address: SocketAddr,
    state: Arc<LinkState>,
}

#[derive(Default)]
struct LinkState {
    /// What passes is delayed by up to so many milliseconds.
    delay_ms_max: AtomicU64,
    is_silent: AtomicBool,
    is_closed: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Link {
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(LinkState::default());
        let accepting = Arc::clone(&state);
        thread::spawn(move || accepting.accept(&listener, target));
        Self { address, state }
    }

    pub fn delay(&self, up_to: Duration) {
        let milliseconds = up_to.as_millis().try_into().expect("it is short");
        self.state.delay_ms_max.store(milliseconds, Ordering::Relaxed);
    }

    /// Lets nothing pass, and closes nothing; or lets all pass again.
    pub fn hold_back(&self, is_silent: bool) {
        self.state.is_silent.store(is_silent, Ordering::Relaxed);
    }

    /// Closes all connections. What was on its way is lost.
    pub fn cut(&self) {
        for connection in self.state.connections.lock().expect("no panic").drain(..) {
            // It may be closed already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.is_closed.store(true, Ordering::Relaxed);
        self.cut();
        // The thread that accepts looks once more. If it cannot be reached it has ended.
        let _ = TcpStream::connect(self.address);
    }
}

impl LinkState {
    fn accept(self: Arc<Self>, listener: &TcpListener, target: SocketAddr) {
        for (number, client) in listener.incoming().enumerate() {
            if self.is_closed.load(Ordering::Relaxed) {
                return;
            }
            // Where the server is down the client's connection ends here.
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(target)) else {
                continue;
            };
            for (seed, from, to) in [(0, &client, &server), (1, &server, &client)] {
                let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
                from.set_nodelay(true).expect("it is a connection");
                self.connections.lock().expect("no panic").push(clone(from));
                let (from, to, state) = (clone(from), clone(to), Arc::clone(&self));
                let chance = Chance::seeded(2 * number as u64 + seed);
                thread::spawn(move || {
                    // An error is the end of a connection; so is the end of this.
                    let _ = state.pass(&from, &to, chance);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    }

    fn pass(&self, mut from: &TcpStream, mut to: &TcpStream, mut chance: Chance) -> io::Result<()> {
        let mut buffer = [0; 65536];
        loop {
            let length = from.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            let delay = self.delay_ms_max.load(Ordering::Relaxed);
            if delay > 0 {
                sleep(Duration::from_millis(chance.below(delay)));
            }
            while self.is_silent.load(Ordering::Relaxed) && !self.is_closed.load(Ordering::Relaxed) {
                sleep(LOOK_INTERVAL);
            }
            to.write_all(&buffer[..length])?;
        }
    }
}
