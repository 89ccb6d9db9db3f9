//! A proxy between clients and a server that loses the answer to each request
//! that it has not seen before.

use std::collections::HashSet;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::Client;

/// Stands before one server. Its threads go with the process.
pub struct LossyProxy {
    pub address: SocketAddr,
    lost: Arc<AtomicUsize>,
}

struct Lossy {
    server: SocketAddr,
    /// By their `Idempotency-Key`.
    seen: Mutex<HashSet<String>>,
    lost: Arc<AtomicUsize>,
}

impl LossyProxy {
    pub fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let lost = Arc::new(AtomicUsize::new(0));
        let lossy = Arc::new(Lossy {
            server,
            seen: Mutex::default(),
            lost: Arc::clone(&lost),
        });
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, lossy) = (client.expect("a connection"), Arc::clone(&lossy));
                // Whoever hangs up ends its thread.
                thread::spawn(move || lossy.serve(client));
            }
        });
        Self { address, lost }
    }

    /// How many answers were lost.
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Lossy {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let mut server = TcpStream::connect(self.server)?;
        loop {
            let request = read_request(&mut client)?;
            server.write_all(&request)?;
            let key = idempotency_key(&request);
            if key.is_some_and(|key| self.seen.lock().expect("no panic").insert(key)) {
                Client::over(server).try_answer()?;
                self.lost.fetch_add(1, Ordering::Relaxed);
                return client.shutdown(Shutdown::Both);
            }
            // What is passed on is cut off where the next request begins: the client waits for it.
            let mut buffer = [0; 16384];
            loop {
                let length = server.read(&mut buffer)?;
                if length == 0 {
                    return Ok(());
                }
                client.write_all(&buffer[..length])?;
                if is_whole(&buffer[..length]) {
                    break;
                }
            }
        }
    }
}

/// A head and as much of a body as it says.
fn read_request(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !is_whole(&request) {
        let length = client.read(&mut buffer)?;
        if length == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        request.extend_from_slice(&buffer[..length]);
    }
    Ok(request)
}

fn is_whole(message: &[u8]) -> bool {
    let text = String::from_utf8_lossy(message);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = header(head, "content-length").and_then(|length| length.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn idempotency_key(request: &[u8]) -> Option<String> {
    header(&String::from_utf8_lossy(request), "idempotency-key").map(str::to_owned)
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
    lines
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .next()
}
