//! An HTTP/1.1 client that hides nothing: one connection, raw bytes if wanted.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use openssl::ssl::{ConnectConfiguration, HandshakeError, SslRef};
use serde_json::Value;

use crate::support::planted::note_keys;
use crate::support::wire::Wire;

/// How long a test waits for an answer that must come.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

/// One connection.
pub struct Client {
    stream: Wire,
    buffer: Vec<u8>,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub received: Instant,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Its headers but for those that are others each time.
    pub fn lasting_headers(&self) -> Vec<(String, String)> {
        let is_another = |name: &str| ["date", "x-request-id"].contains(&name.to_ascii_lowercase().as_str());
        let lasting = self.headers.iter().filter(|(name, _)| !is_another(name));
        lasting.cloned().collect()
    }

    pub fn fencing_token(&self) -> i64 {
        let token = self.header("Fencing-Token").expect("a grant has a token");
        token.parse().expect("a token is a number")
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the server accepts connections")
    }

    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::on(Wire::Plain(connect(address)?)))
    }

    /// Over a connection that is open already.
    pub fn over(stream: TcpStream) -> Self {
        Self::on(Wire::Plain(set_up(stream).expect("a socket")))
    }

    /// Over TLS, to the host `localhost`.
    pub fn try_connect_tls(
        address: SocketAddr,
        configuration: ConnectConfiguration,
    ) -> Result<Self, HandshakeError<TcpStream>> {
        let stream = connect(address).expect("the server accepts connections");
        let stream = configuration.connect("localhost", stream)?;
        Ok(Self::on(Wire::Tls(stream)))
    }

    fn on(stream: Wire) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub fn stream(&self) -> &TcpStream {
        self.stream.tcp()
    }

    /// What TLS knows of the connection.
    pub fn ssl(&self) -> &SslRef {
        match &self.stream {
            Wire::Tls(stream) => stream.ssl(),
            Wire::Plain(_) => panic!("it is not encrypted"),
        }
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.try_send_raw(bytes).expect("the server reads");
    }

    pub fn try_send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        // One that is gone has no address, and no log.
        if let Ok(server) = self.stream().peer_addr() {
            note_keys(server, bytes);
        }
        self.stream.write_all(bytes)
    }

    /// Closes an encrypted connection as TLS wants it to be closed.
    pub fn farewell(self) {
        match self.stream {
            Wire::Tls(mut stream) => stream.shutdown().map(drop).expect("it is open"),
            Wire::Plain(_) => panic!("it is not encrypted"),
        }
    }

    /// Sends a request with a JSON body and does not wait.
    pub fn send(&mut self, method: &str, path: &str, body: &str) {
        self.try_send(method, path, body).expect("the server reads");
    }

    /// The same to a server that may be gone.
    pub fn try_send(&mut self, method: &str, path: &str, body: &str) -> io::Result<()> {
        self.try_send_raw(request_text(method, path, &[JSON], body).as_bytes())
    }

    /// Sends a request with a JSON body and more headers, and does not wait.
    pub fn send_with(&mut self, (method, path): (&str, &str), headers: &[(&str, &str)], body: &str) {
        self.try_send_with((method, path), headers, body)
            .expect("the server reads");
    }

    /// The same to a server that may be gone.
    pub fn try_send_with(
        &mut self,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<()> {
        let headers = [&[JSON], headers].concat();
        self.try_send_raw(request_text(method, path, &headers, body).as_bytes())
    }

    pub fn request_with(&mut self, target: (&str, &str), headers: &[(&str, &str)], body: &str) -> Answer {
        self.send_with(target, headers, body);
        self.answer()
    }

    /// A request whose body is of another type.
    pub fn request_as(&mut self, (method, path): (&str, &str), content_type: &str, body: &str) -> Answer {
        self.send_raw(request_text(method, path, &[("Content-Type", content_type)], body).as_bytes());
        self.answer()
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.request("GET", path, "")
    }

    /// The answer to HEAD, which has no body whatever its length says.
    pub fn head(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send_with(("HEAD", path), headers, "");
        self.next_answer(false).expect("the server answers")
    }

    pub fn try_request(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        self.try_send(method, path, body)?;
        self.try_answer()
    }

    pub fn request(&mut self, method: &str, path: &str, body: &str) -> Answer {
        self.send(method, path, body);
        self.answer()
    }

    pub fn put(&mut self, name: &str, body: &str) -> Answer {
        self.request("PUT", &format!("/resources/{name}/"), body)
    }

    pub fn delete(&mut self, name: &str, locked_by: &str) -> Answer {
        let body = format!("{{\"locked_by\": \"{locked_by}\"}}");
        self.request("DELETE", &format!("/resources/{name}/"), &body)
    }

    /// Sends a PUT that will wait and does not wait for its answer.
    pub fn send_put(&mut self, name: &str, body: &str) {
        self.send("PUT", &format!("/resources/{name}/"), body);
    }

    /// The next answer on this connection.
    pub fn answer(&mut self) -> Answer {
        self.try_answer().expect("the server answers")
    }

    /// The next answer, or why there is none.
    pub fn try_answer(&mut self) -> io::Result<Answer> {
        self.next_answer(true)
    }

    fn next_answer(&mut self, has_body: bool) -> io::Result<Answer> {
        loop {
            if let Some((answer, length)) = parse(&self.buffer, has_body) {
                self.buffer.drain(..length);
                return Ok(answer);
            }
            let mut chunk = [0; 16384];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.buffer.extend_from_slice(&chunk[..length]),
                // A child of the tests ended, perhaps; nothing was read.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// All that comes until the server closes the connection, or for `wait`.
    pub fn rest(&mut self, wait: Duration) -> Vec<u8> {
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.is_closed_within(Duration::from_millis(100)) {}
        std::mem::take(&mut self.buffer)
    }

    /// Whether the server closes the connection within `wait`.
    pub fn is_closed_within(&mut self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.stream().set_read_timeout(Some(left)).expect("a positive timeout");
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return true,
                Ok(length) => self.buffer.extend_from_slice(&chunk[..length]),
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return false,
                Err(_) => return true,
            }
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    set_up(TcpStream::connect_timeout(&address, Duration::from_secs(5))?)
}

fn set_up(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
    stream.set_write_timeout(Some(ANSWER_WAIT_MAX))?;
    Ok(stream)
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn request_text(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

fn parse(buffer: &[u8], has_body: bool) -> Option<(Answer, usize)> {
    let head_end = buffer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status is a number");
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.filter(|_| has_body);
    let length = length.map_or(0, |(_, value)| value.parse().expect("a length is a number"));
    let end = head_end + 4 + length;
    let body = buffer.get(head_end + 4..end)?;
    let answer = Answer {
        status,
        headers,
        body: String::from_utf8_lossy(body).into_owned(),
        received: Instant::now(),
    };
    Some((answer, end))
}
