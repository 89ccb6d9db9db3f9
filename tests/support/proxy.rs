//! A proxy between a server and PostgreSQL that loses what it is told to lose.
//!
//! It knows of the protocol where messages begin and end, and the names of a
//! few. Each connection has a thread for each direction; what tests tell the
//! proxy holds for all connections, those that are open included.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use crate::support::{Cluster, PostgresDatabase, PsqlSession};

/// The first message of a connection has no letter before its length, but a
/// code in it. These two ask for encryption, and others may follow.
const ENCRYPTION_REQUESTS: [u32; 2] = [80_877_103, 80_877_104];

/// How a transaction begins that decides nothing: those are not meant by a loss.
const LOCAL_COMMIT: &[u8] = b"SET LOCAL synchronous_commit = local";

/// What is lost of a commit, and with it the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The database does not hear of it.
    Commit,
    /// It is done, and nobody hears of that.
    Answer,
}

/// Stands before one database. Connections that are open outlive the value.
pub struct Proxy {
    url: String,
    address: SocketAddr,
    orders: Arc<Orders>,
}

/// What tests want of it.
#[derive(Default)]
struct Orders {
    /// After so many commits that pass, this is lost of the next.
    loses: Mutex<Option<(usize, Lost)>>,
    /// How many were lost so far.
    lost: AtomicUsize,
    /// NotificationResponse is thrown away.
    is_deaf: AtomicBool,
    /// Nothing is passed on, and nothing closed.
    is_stopped: Mutex<bool>,
    resumed: Condvar,
    /// No connection is accepted any more.
    is_closed: AtomicBool,
}

/// One direction of a connection, and the other end to be cut with it.
struct Pump {
    from: TcpStream,
    to: TcpStream,
    orders: Arc<Orders>,
    /// Whether the answer to a COMMIT on its way is to be lost.
    loses_answer: Arc<AtomicBool>,
}

impl Proxy {
    pub fn before(database: &PostgresDatabase) -> Self {
        let (credentials, rest) = database.url.split_once('@').expect("a URL with a user");
        let (target, path) = rest.split_once('/').expect("a URL with a database");
        let target: SocketAddr = target.parse().expect("a numeric address");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let orders = Arc::new(Orders::default());
        let proxy = Self {
            url: format!("{credentials}@{address}/{path}"),
            address,
            orders: Arc::clone(&orders),
        };
        thread::spawn(move || accept(&listener, target, &orders));
        proxy
    }

    /// The database's URL by way of the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// After `passed` more commits loses the next, and its connection.
    pub fn lose(&self, lost: Lost, passed: usize) {
        *lock(&self.orders.loses) = Some((passed, lost));
    }

    /// How many commits were lost so far.
    pub fn lost(&self) -> usize {
        self.orders.lost.load(Ordering::Acquire)
    }

    /// Lets no notification through: as if another session listened, which a
    /// pooler that changes sessions with each transaction may bring about.
    pub fn drop_notifications(&self, is_deaf: bool) {
        self.orders.is_deaf.store(is_deaf, Ordering::Release);
    }

    /// Passes nothing on from now on, and closes nothing.
    pub fn stop(&self) {
        *lock(&self.orders.is_stopped) = true;
    }

    /// Passes on what has come meanwhile, and all that comes.
    pub fn resume(&self) {
        *lock(&self.orders.is_stopped) = false;
        self.orders.resumed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.orders.is_closed.store(true, Ordering::Release);
        self.resume();
        // The thread that accepts looks once more. If it cannot be reached it has ended.
        let _ = TcpStream::connect(self.address);
    }
}

impl Orders {
    /// What is to be lost of a commit that comes now.
    fn take_loss(&self) -> Option<Lost> {
        let mut loses = lock(&self.loses);
        match &mut *loses {
            Some((passed @ 1.., _)) => {
                *passed -= 1;
                None
            }
            _ => loses.take().map(|(_, lost)| lost),
        }
    }

    fn wait_while_stopped(&self) {
        let mut is_stopped = lock(&self.is_stopped);
        while *is_stopped {
            is_stopped = self
                .resumed
                .wait(is_stopped)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }
}

impl Pump {
    fn carry_to_database(mut self) {
        // An error is the end of a connection; so is the end of this.
        let _ = self.pass_beginning().and_then(|()| {
            let mut is_local = false;
            self.pass_messages(|pump, letter, content| {
                is_local |= letter == b'Q' && content.starts_with(LOCAL_COMMIT);
                if letter != b'Q' || content != b"COMMIT\0" || std::mem::take(&mut is_local) {
                    return true;
                }
                match pump.orders.take_loss() {
                    None => true,
                    Some(Lost::Answer) => {
                        pump.loses_answer.store(true, Ordering::Release);
                        true
                    }
                    Some(Lost::Commit) => pump.lose(),
                }
            })
        });
        self.cut();
    }

    fn carry_to_client(mut self) {
        let _ = self.pass_messages(|pump, letter, _| match letter {
            b'A' => !pump.orders.is_deaf.load(Ordering::Acquire),
            b'C' if pump.loses_answer.load(Ordering::Acquire) => pump.lose(),
            _ => true,
        });
        self.cut();
    }

    fn lose(&mut self) -> bool {
        self.orders.lost.fetch_add(1, Ordering::Release);
        self.cut();
        false
    }

    fn cut(&self) {
        // It may be closed already.
        let _ = self.from.shutdown(Shutdown::Both);
        let _ = self.to.shutdown(Shutdown::Both);
    }

    /// What a client sends first. It is told that there is no encryption.
    fn pass_beginning(&mut self) -> io::Result<()> {
        loop {
            let content = self.read_content()?;
            let code = content.first_chunk().map(|code| u32::from_be_bytes(*code));
            self.orders.wait_while_stopped();
            if code.is_some_and(|code| ENCRYPTION_REQUESTS.contains(&code)) {
                self.from.write_all(b"N")?;
            } else {
                return self.write(&[], &content);
            }
        }
    }

    /// All further messages to which `passes` says yes.
    fn pass_messages(&mut self, mut passes: impl FnMut(&mut Self, u8, &[u8]) -> bool) -> io::Result<()> {
        loop {
            let mut letter = [0];
            self.from.read_exact(&mut letter)?;
            let content = self.read_content()?;
            self.orders.wait_while_stopped();
            if passes(self, letter[0], &content) {
                self.write(&letter, &content)?;
            }
        }
    }

    /// The content of a message, whose length counts itself.
    fn read_content(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.from.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length)
            .checked_sub(4)
            .ok_or(io::ErrorKind::InvalidData)?;
        let mut content = vec![0; length as usize];
        self.from.read_exact(&mut content)?;
        Ok(content)
    }

    fn write(&mut self, letter: &[u8], content: &[u8]) -> io::Result<()> {
        let length = u32::try_from(content.len() + 4).expect("it came with a length");
        self.to.write_all(&[letter, &length.to_be_bytes(), content].concat())
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, orders: &Arc<Orders>) {
    for client in listener.incoming() {
        if orders.is_closed.load(Ordering::Acquire) {
            return;
        }
        // Where the database is down the client's connection ends here.
        let (Ok(client), Ok(database)) = (client, TcpStream::connect(target)) else {
            continue;
        };
        let loses_answer = Arc::default();
        let pump = |from: &TcpStream, to: &TcpStream| {
            from.set_nodelay(true).expect("it is a connection");
            Pump {
                from: from.try_clone().expect("a descriptor"),
                to: to.try_clone().expect("a descriptor"),
                orders: Arc::clone(orders),
                loses_answer: Arc::clone(&loses_answer),
            }
        };
        let (there, back) = (pump(&client, &database), pump(&database, &client));
        thread::spawn(move || there.carry_to_database());
        thread::spawn(move || back.carry_to_client());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[test]
fn behind_a_deaf_proxy_a_session_listens_and_hears_nothing() {
    let database = Cluster::with_password().empty_database();
    let proxy = Proxy::before(&database);
    let mut session = PsqlSession::on(proxy.url());

    session.sql("LISTEN news");
    let heard = session.sql("NOTIFY news");
    proxy.drop_notifications(true);
    let missed = session.sql("NOTIFY news");

    assert!(heard.iter().any(|line| line.contains("\"news\"")), "{heard:?}");
    assert_eq!(missed, [""; 0]);
}
