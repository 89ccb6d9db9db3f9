//! A door to several servers: each connection goes to the next of them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Open for as long as this value lives.
pub struct Spread {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    closed: Arc<AtomicBool>,
}

impl Spread {
    pub fn over(servers: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let closed = Arc::new(AtomicBool::new(false));
        let (counted, seen_closed) = (Arc::clone(&connections), Arc::clone(&closed));
        thread::spawn(move || {
            for client in listener.incoming() {
                if seen_closed.load(Ordering::Relaxed) {
                    return;
                }
                let next = counted.fetch_add(1, Ordering::Relaxed) % servers.len();
                let joined = client.and_then(|client| join(client, servers[next]));
                joined.expect("both sides are there");
            }
        });
        Self {
            address,
            connections,
            closed,
        }
    }

    /// How many connections came through.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Spread {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        // So that the thread sees it; it is of no matter whether it is still there.
        let _ = TcpStream::connect(self.address);
    }
}

fn join(client: TcpStream, server: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_too, server_too) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || copy(client, server));
    thread::spawn(move || copy(server_too, client_too));
    Ok(())
}

/// Until one side ends; then the other does.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut chunk = [0; 16384];
    loop {
        match from.read(&mut chunk) {
            Ok(length) if length > 0 && to.write_all(&chunk[..length]).is_ok() => {}
            _ => break,
        }
    }
    // It may have ended before.
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
