//! A client of a stream of server-sent events that can be cut off.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a look at the connection lasts.
const LOOK: Duration = Duration::from_millis(50);

/// A connection on which events come.
pub struct EventStream {
    stream: TcpStream,
    /// What has come and was not taken apart yet.
    raw: Vec<u8>,
    /// The same without the marks of HTTP's pieces.
    text: Vec<u8>,
    has_head: bool,
    /// Whether the server has ended it.
    pub is_over: bool,
}

impl EventStream {
    /// Asks for `/events/stream/` and what follows it, with these headers.
    pub fn open(address: SocketAddr, query: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = TcpStream::connect(address).expect("the server listens");
        let mut head = format!("GET /events/stream/{query} HTTP/1.1\r\nHost: {address}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).expect("the server reads");
        stream.set_read_timeout(Some(LOOK)).expect("a socket of ours");
        Self {
            stream,
            raw: Vec::new(),
            text: Vec::new(),
            has_head: false,
            is_over: false,
        }
    }

    /// The same, or `None` if the server refuses because too many wait.
    pub fn open_or_refused(address: SocketAddr, query: &str) -> Option<Self> {
        let mut stream = Self::open(address, query, &[]);
        let until = Instant::now() + Duration::from_secs(5);
        while find(&stream.raw, b"\r\n\r\n").is_none() && !stream.is_over && Instant::now() < until {
            let mut piece = [0; 4096];
            match stream.stream.read(&mut piece) {
                Ok(0) => stream.is_over = true,
                Ok(length) => stream.raw.extend_from_slice(&piece[..length]),
                Err(_) => {}
            }
        }
        (!stream.raw.starts_with(b"HTTP/1.1 429")).then_some(stream)
    }

    /// The next `count` events, or as many as come within `wait_max`, each with
    /// its number as the stream gives it.
    pub fn next(&mut self, count: usize, wait_max: Duration) -> Vec<(i64, Value)> {
        let until = Instant::now() + wait_max;
        let mut events = Vec::new();
        while events.len() < count {
            match self.take() {
                Some(event) => events.push(event),
                None if self.is_over || Instant::now() >= until => break,
                None => self.read(),
            }
        }
        events
    }

    fn read(&mut self) {
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) => self.is_over = true,
            Ok(length) => self.raw.extend_from_slice(&piece[..length]),
            Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind()) => {}
            Err(_) => self.is_over = true,
        }
        if !self.has_head {
            let Some(end) = find(&self.raw, b"\r\n\r\n") else {
                return;
            };
            let head: Vec<u8> = self.raw.drain(..end + 4).collect();
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 200"), "{head}");
            assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
            assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
            self.has_head = true;
        }
        while let Some(end) = find(&self.raw, b"\r\n") {
            let length = std::str::from_utf8(&self.raw[..end]).expect("a length");
            let length = usize::from_str_radix(length, 16).expect("a length");
            let after = end + 2 + length + 2;
            if self.raw.len() < after {
                return;
            }
            self.text.extend_from_slice(&self.raw[end + 2..after - 2]);
            self.raw.drain(..after);
            self.is_over |= length == 0;
        }
    }

    fn take(&mut self) -> Option<(i64, Value)> {
        loop {
            let end = find(&self.text, b"\n\n")?;
            let message: Vec<u8> = self.text.drain(..end + 2).collect();
            let message = String::from_utf8(message).expect("UTF-8");
            let field = |name: &str| {
                message
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            };
            // Else a sign of life.
            if let Some(data) = field("data") {
                assert_eq!(field("event"), Some("lock"), "{message}");
                let id = field("id").and_then(|id| id.parse().ok()).expect("a number");
                return Some((id, serde_json::from_str(data).expect("JSON")));
            }
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
