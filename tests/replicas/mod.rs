//! Several servers on one PostgreSQL database: to clients they are one.

mod faults;
mod hearing;
mod line;
mod load;
mod partition;
mod restart;
mod together;
mod watching;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{Client, Cls, Cluster, PostgresDatabase, Server, eventually};

/// For what happens at once, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// Servers on one database, each in a directory of its own.
pub struct Replicas {
    servers: Vec<Server>,
    directories: Vec<TempDir>,
    database: PostgresDatabase,
}

impl Replicas {
    pub fn start(count: usize) -> Self {
        Self::on(Cluster::shared().database(), count)
    }

    fn on(database: PostgresDatabase, count: usize) -> Self {
        let mut replicas = Self {
            servers: Vec::new(),
            directories: Vec::new(),
            database,
        };
        for _ in 0..count {
            let url = replicas.database.url.clone();
            replicas.add(&url);
        }
        replicas
    }

    /// One more, which reaches the database by this URL.
    fn add(&mut self, url: &str) {
        let directory = TempDir::new().expect("a temporary directory");
        let cls = Cls::in_directory(directory.path()).with("DATABASE_URL", url);
        self.servers.push(cls.start());
        self.directories.push(directory);
    }

    /// One more, run by another program, on this address.
    fn add_under(&mut self, url: &str, prefix: &[&str], address: &str) {
        let directory = TempDir::new().expect("a temporary directory");
        let cls = Cls::in_directory(directory.path())
            .with("DATABASE_URL", url)
            .with("AUTH", "off")
            .under(prefix);
        let server = cls.try_start(&["runserver", address]);
        self.servers
            .push(server.unwrap_or_else(|log| panic!("the server did not start: {log}")));
        self.directories.push(directory);
    }

    /// Starts another in the place of one that was killed.
    fn restart(&mut self, replica: usize) {
        self.servers[replica] = self.servers[replica].cls().start();
    }

    /// Where they are.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.address).collect()
    }

    /// What they share.
    pub fn database(&self) -> &PostgresDatabase {
        &self.database
    }

    fn client(&self, replica: usize) -> Client {
        self.servers[replica].client()
    }

    /// Holds `name`, by a server, with the key `holder`.
    fn hold(&self, replica: usize, name: &str) -> i64 {
        let answer = self.client(replica).put(name, &by("holder"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.fencing_token()
    }

    fn release(&self, replica: usize, name: &str, key: &str) {
        let answer = self.client(replica).delete(name, key);
        assert_eq!(answer.status, 204, "{}", answer.body);
    }

    /// Releases by a server, and sees somebody in line granted so soon.
    fn hands_over_within(&self, wait_max: Duration, (replica, name, key): (usize, &str, &str), waiter: &mut Client) {
        let released = Instant::now();
        self.release(replica, name, key);
        granted_within(waiter, SOON);
        let waited = released.elapsed();
        assert!(waited < wait_max, "after {waited:?}");
    }

    /// Sends a PUT that waits a minute, and returns when it stands in line.
    fn in_line(&self, replica: usize, name: &str, key: &str) -> Client {
        self.in_line_with(replica, name, &format!("{{\"locked_by\": \"{key}\", \"timeout\": 60}}"))
    }

    fn in_line_with(&self, replica: usize, name: &str, body: &str) -> Client {
        let before = self.waiting(name);
        let mut client = self.client(replica);
        client.send_put(name, body);
        eventually("it stands in line", SOON, || self.waiting(name) == before + 1);
        client
    }

    /// How many wait for `name`, as the table says.
    fn waiting(&self, name: &str) -> usize {
        let count = self
            .database
            .sql(&format!("SELECT count(*) FROM waiters WHERE name = '{name}'"));
        count[0].parse().expect("a number")
    }
}

fn by(key: &str) -> String {
    format!("{{\"locked_by\": \"{key}\"}}")
}

/// The token of a grant that comes within `wait_max`.
fn granted_within(client: &mut Client, wait_max: Duration) -> i64 {
    let stream = client.stream();
    stream.set_read_timeout(Some(wait_max)).expect("a positive timeout");
    let answer = client
        .try_answer()
        .unwrap_or_else(|e| panic!("no answer within {wait_max:?}: {e}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.fencing_token()
}
