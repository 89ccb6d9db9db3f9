//! The load generator: one thread, all connections, a closed loop each.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use openssl::ssl::{SslConnector, SslStream};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

const WARM_UP: Duration = Duration::from_millis(500);

/// Pairs of PUT and DELETE, each connection over names of its own.
pub struct Load {
    pub address: SocketAddr,
    pub connections: usize,
    pub names: usize,
    /// The distance of a name from the next, in a table that may have more.
    pub every: usize,
    /// Whether any answer but 200 and 204 ends the run.
    pub strict: bool,
}

/// What came of it.
pub struct Measured {
    microseconds: Histogram<u64>,
    pub errors: u64,
    length: Duration,
    processor_seconds: f64,
}

impl Measured {
    /// Microseconds of processor time that the server spent on an operation.
    pub fn processor_us(&self) -> f64 {
        self.processor_seconds * 1e6 / self.microseconds.len() as f64
    }

    pub fn rate(&self) -> f64 {
        self.microseconds.len() as f64 / self.length.as_secs_f64()
    }

    pub fn errors_per_second(&self) -> f64 {
        self.errors as f64 / self.length.as_secs_f64()
    }

    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.microseconds.value_at_quantile(quantile) as f64 / 1e3
    }
}

pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("sensible bounds")
}

/// What a connection reads and writes.
enum Wire {
    Plain(TcpStream),
    /// The second is the same socket, as it is registered.
    Tls(
        SslStream<std::net::TcpStream>,
        #[expect(dead_code, reason = "it is registered until it is dropped")] TcpStream,
    ),
}

impl Wire {
    fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(chunk),
            Self::Tls(stream, _) => stream.read(chunk),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(stream, _) => stream.write_all(bytes),
        }
    }
}

/// Finds a whole answer at the start of what was read: its length and status.
pub type Framing = fn(&[u8]) -> Option<(usize, u16)>;

/// One connection with at most one request under way.
pub struct Connection {
    wire: Wire,
    framing: Framing,
    buffer: Vec<u8>,
    pub sent: Instant,
}

impl Connection {
    pub fn open(address: SocketAddr, poll: &Poll, token: usize) -> Self {
        Self::open_over(None, address, poll, token)
    }

    /// Over TLS, if there is a connector.
    fn open_over(connector: Option<&SslConnector>, address: SocketAddr, poll: &Poll, token: usize) -> Self {
        // Blocking, so that a full backlog and a handshake are waited for.
        let stream = std::net::TcpStream::connect(address).expect("the server accepts");
        Self::on(stream, connector, poll, token)
    }

    /// The same from another address of this machine.
    pub fn open_from(from: Ipv4Addr, address: SocketAddr, poll: &Poll, token: usize) -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&socket, &SocketAddr::new(from.into(), 0)).expect("all of 127.0.0.0/8 is this machine");
        connect(&socket, &address).expect("the server accepts");
        Self::on(socket.into(), None, poll, token)
    }

    fn on(stream: std::net::TcpStream, connector: Option<&SslConnector>, poll: &Poll, token: usize) -> Self {
        stream.set_nodelay(true).expect("a socket of ours");
        let register = |stream: std::net::TcpStream| {
            stream.set_nonblocking(true).expect("a socket of ours");
            let mut stream = TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(token), Interest::READABLE)
                .expect("a free token");
            stream
        };
        let wire = match connector {
            None => Wire::Plain(register(stream)),
            Some(connector) => {
                let stream = connector.connect("localhost", stream).expect("an agreement");
                let registered = register(stream.get_ref().try_clone().expect("a descriptor"));
                Wire::Tls(stream, registered)
            }
        };
        Self {
            wire,
            framing: http_answer,
            buffer: Vec::with_capacity(1024),
            sent: Instant::now(),
        }
    }

    /// The same connection to a server whose answers are not those of HTTP.
    #[allow(dead_code, reason = "it is the report that asks such servers")]
    pub fn framed_by(self, framing: Framing) -> Self {
        Self { framing, ..self }
    }

    pub fn send(&mut self, request: &[u8]) {
        self.sent = Instant::now();
        // A request is far smaller than the socket's buffer.
        self.wire.write_all(request).expect("the server reads");
    }

    /// The status of an answer, if a whole one has arrived.
    pub fn receive(&mut self) -> Option<u16> {
        let mut chunk = [0; 2048];
        loop {
            if let Some(status) = self.take_answer() {
                return Some(status);
            }
            match self.wire.read(&mut chunk) {
                Ok(0) => panic!("the server closed a connection"),
                Ok(length) => self.buffer.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => panic!("a connection failed: {error}"),
            }
        }
    }

    fn take_answer(&mut self) -> Option<u16> {
        let (length, status) = (self.framing)(&self.buffer)?;
        self.buffer.drain(..length);
        Some(status)
    }
}

fn http_answer(read: &[u8]) -> Option<(usize, u16)> {
    const LENGTH: &[u8] = b"content-length: ";
    let head_end = read.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = &read[..head_end];
    let status = std::str::from_utf8(&head[9..12]).ok()?.parse().ok()?;
    let length = head
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split_at_checked(LENGTH.len()))
        .find(|(name, _)| name.eq_ignore_ascii_case(LENGTH))
        .map_or(0, |(_, value)| {
            value
                .trim_ascii()
                .iter()
                .fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
        });
    let end = head_end + length;
    (read.len() >= end).then_some((end, status))
}

pub fn request(method: &str, name: &str, body: &str) -> Vec<u8> {
    request_to(method, &format!("/resources/{name}/"), body)
}

/// The same request with one more header.
pub fn with_header(request: &[u8], header: &str) -> Vec<u8> {
    let first_line = request.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    [
        &request[..first_line],
        header.as_bytes(),
        b"\r\n",
        &request[first_line..],
    ]
    .concat()
}

pub fn request_to(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A request and the status that it is answered with.
#[derive(Clone)]
pub struct Step {
    pub request: Vec<u8>,
    pub status: u16,
}

impl Load {
    /// Runs for `length` after a warm-up. `processor_seconds` is the server's,
    /// so far.
    pub fn run(&self, length: Duration, processor_seconds: impl Fn() -> f64) -> Measured {
        self.run_over(None, length, processor_seconds)
    }

    /// The same over TLS, if there is a connector.
    pub fn run_over(
        &self,
        connector: Option<&SslConnector>,
        length: Duration,
        processor_seconds: impl Fn() -> f64,
    ) -> Measured {
        let names_each = self.names / self.connections;
        let pair = |number: usize| {
            let name = format!("bench-{:06}", number * self.every);
            let key = format!("{{\"locked_by\":\"key-{number:06}\"}}");
            let step = |method, status| Step {
                request: request(method, &name, &key),
                status,
            };
            [step("PUT", 200), step("DELETE", 204)]
        };
        let script = |connection: usize| {
            let numbers = connection * names_each..(connection + 1) * names_each;
            numbers.flat_map(pair).collect()
        };
        let scripts: Vec<_> = (0..self.connections).map(script).collect();
        let open = |poll: &Poll, token| Connection::open_over(connector, self.address, poll, token);
        drive_over(open, &scripts, self.strict, length, processor_seconds)
    }
}

/// Takes each connection through its script over and over, for `length` after a
/// warm-up. If it is `strict` an answer with another status ends the run.
pub fn drive(
    address: SocketAddr,
    scripts: &[Vec<Step>],
    strict: bool,
    length: Duration,
    processor_seconds: impl Fn() -> f64,
) -> Measured {
    let open = |poll: &Poll, token| Connection::open(address, poll, token);
    drive_over(open, scripts, strict, length, processor_seconds)
}

/// The same on connections that are opened in another way.
pub fn drive_over(
    open: impl Fn(&Poll, usize) -> Connection,
    scripts: &[Vec<Step>],
    strict: bool,
    length: Duration,
    processor_seconds: impl Fn() -> f64,
) -> Measured {
    let mut poll = Poll::new().expect("epoll");
    let mut connections: Vec<_> = (0..scripts.len()).map(|n| open(&poll, n)).collect();
    let mut steps = vec![0_usize; scripts.len()];
    let at = |connection: usize, step: usize| &scripts[connection][step % scripts[connection].len()];
    let mut events = Events::with_capacity(1024);
    let mut measured = Measured {
        microseconds: histogram(),
        errors: 0,
        length,
        processor_seconds: 0.0,
    };
    let mut used_before = None;
    let begin = Instant::now() + WARM_UP;
    let end = begin + length;
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.send(&at(number, 0).request);
    }
    while Instant::now() < end {
        poll.poll(&mut events, Some(Duration::from_millis(100))).expect("epoll");
        if used_before.is_none() && Instant::now() >= begin {
            used_before = Some(processor_seconds());
        }
        for event in &events {
            let number = event.token().0;
            let connection = &mut connections[number];
            let Some(status) = connection.receive() else {
                continue;
            };
            let now = Instant::now();
            let failed = status != at(number, steps[number]).status;
            assert!(!(failed && strict), "step {} was answered {status}", steps[number]);
            if now >= begin && now < end {
                let taken = now.duration_since(connection.sent).as_micros();
                measured
                    .microseconds
                    .saturating_record(u64::try_from(taken).unwrap_or(u64::MAX).max(1));
                measured.errors += u64::from(failed);
            }
            steps[number] += 1;
            let next = &at(number, steps[number]).request;
            connection.send(next);
        }
    }
    measured.processor_seconds = processor_seconds() - used_before.unwrap_or_default();
    measured
}

/// Acquires `count` locks with an hour's ttl and leaves them.
pub fn hold(address: SocketAddr, count: usize) {
    const CONNECTIONS: usize = 128;
    let mut poll = Poll::new().expect("epoll");
    let mut connections: Vec<_> = (0..CONNECTIONS).map(|n| Connection::open(address, &poll, n)).collect();
    let mut requests = (0..count).map(|number| {
        let body = format!("{{\"locked_by\":\"key-{number:06}\",\"ttl\":3600}}");
        request("PUT", &format!("held-{number:06}"), &body)
    });
    let mut events = Events::with_capacity(1024);
    let mut answered = 0;
    for connection in &mut connections {
        if let Some(request) = requests.next() {
            connection.send(&request);
        }
    }
    while answered < count {
        poll.poll(&mut events, Some(Duration::from_secs(10))).expect("epoll");
        for event in &events {
            let connection = &mut connections[event.token().0];
            let Some(status) = connection.receive() else {
                continue;
            };
            assert_eq!(status, 200);
            answered += 1;
            if let Some(request) = requests.next() {
                connection.send(&request);
            }
        }
    }
}
