//! PostgreSQL's advisory locks of a session, blocking.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use tokio::task::spawn_local;
use tokio_postgres::{Client, NoTls, Statement};

use crate::session::{Lasting, Session};

/// A connection, and so a process of the server.
pub struct Advisory {
    client: Client,
    lock: Statement,
    unlock: Statement,
    held: i64,
}

/// A connection whose messages are passed on by a task of its own.
async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("PostgreSQL accepts");
    spawn_local(async move {
        // The end of the server is the end of the measurement.
        let _ = connection.await;
    });
    client
}

/// Advisory locks have numbers in place of names.
fn number_of(name: &str) -> i64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    // In 32 bits, as `pg_locks` shows it in one column.
    i64::from(u32::try_from(hasher.finish() >> 33).expect("31 bits"))
}

impl Session for Advisory {
    type Server = (String, Rc<Client>);

    async fn server(address: &str, _sessions: usize) -> Self::Server {
        (address.to_owned(), Rc::new(connect(address).await))
    }

    async fn open((url, _): &Self::Server, _number: usize, _lasting: Lasting) -> Self {
        let client = connect(url).await;
        let prepare = async |statement: &str| client.prepare(statement).await.expect("it is right");
        let (lock, unlock) = (
            prepare("SELECT pg_advisory_lock($1)").await,
            prepare("SELECT pg_advisory_unlock($1)").await,
        );
        Self {
            client,
            lock,
            unlock,
            held: 0,
        }
    }

    async fn acquire(&mut self, name: &str) {
        self.held = number_of(name);
        self.client
            .query(&self.lock, &[&self.held])
            .await
            .expect("PostgreSQL locks");
    }

    async fn release(&mut self) {
        self.client
            .query(&self.unlock, &[&self.held])
            .await
            .expect("PostgreSQL unlocks");
    }

    async fn in_line((_, client): &Self::Server, name: &str) -> usize {
        let count = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid::bigint = $1";
        let found = client
            .query_one(count, &[&number_of(name)])
            .await
            .expect("PostgreSQL counts");
        usize::try_from(found.get::<_, i64>(0)).expect("a small number")
    }

    async fn hold_many(_server: &Self::Server, _locks: usize) -> Vec<Self> {
        panic!("PostgreSQL has room for a few thousand, as it comes");
    }
}
