//! ZooKeeper by its recipe: a node that goes with its session, in sequence, and a
//! watch on the one before it.

use std::time::Duration;

use zookeeper_client::{Acls, Client, CreateMode, LockOptions, LockPrefix};

use crate::session::{Lasting, SHORT, Session};

/// As long as ZooKeeper allows with ticks of a second.
const LONG: Duration = Duration::from_secs(20);

/// Locks that are taken in one request.
const AT_ONCE: usize = 200;

/// A session, which is a connection too.
pub struct Recipe {
    client: Client,
    held: String,
}

async fn connect(address: &str, timeout: Duration) -> Client {
    let connector = Client::connector().with_session_timeout(timeout);
    connector.connect(address).await.expect("ZooKeeper accepts")
}

impl Session for Recipe {
    type Server = (String, Client);

    async fn server(address: &str, _sessions: usize) -> Self::Server {
        (address.to_owned(), connect(address, LONG).await)
    }

    async fn open((address, _): &Self::Server, _number: usize, lasting: Lasting) -> Self {
        let timeout = if lasting == Lasting::Long { LONG } else { SHORT };
        let client = connect(address, timeout).await;
        Self {
            client,
            held: String::new(),
        }
    }

    async fn acquire(&mut self, name: &str) {
        let directory = format!("/{name}");
        let prefix = LockPrefix::new_curator(&directory, "lock-").expect("a path");
        let options = LockOptions::new(Acls::anyone_all())
            .with_ancestor_options(CreateMode::Persistent.with_acls(Acls::anyone_all()))
            .expect("they stay");
        let lock = self.client.lock(prefix, b"", options).await.expect("ZooKeeper locks");
        self.held = lock.lock_path().to_owned();
        // It would be deleted in the background; `release` waits for that.
        std::mem::forget(lock);
    }

    async fn release(&mut self) {
        self.client.delete(&self.held, None).await.expect("ZooKeeper deletes");
    }

    async fn in_line((_, client): &Self::Server, name: &str) -> usize {
        let found = client.check_stat(&format!("/{name}")).await.expect("ZooKeeper counts");
        found.map_or(0, |found| usize::try_from(found.num_children).expect("a small number"))
    }

    async fn hold_many(server: &Self::Server, locks: usize) -> Vec<Self> {
        let session = Self::open(server, 0, Lasting::Long).await;
        let acls = Acls::anyone_all();
        let (parent, child) = (
            CreateMode::Persistent.with_acls(acls),
            CreateMode::EphemeralSequential.with_acls(acls),
        );
        let numbers: Vec<usize> = (0..locks).collect();
        for chunk in numbers.chunks(AT_ONCE) {
            let mut writer = session.client.new_multi_writer();
            for number in chunk {
                let directory = format!("/held-{number:06}");
                writer.add_create(&directory, b"", &parent).expect("a path");
                // As long as the name that the recipe gives.
                let node = format!("{directory}/_c_6ba7b810-9dad-11d1-80b4-00c04fd430c8-lock-");
                writer.add_create(&node, b"", &child).expect("a path");
            }
            writer.commit().await.expect("ZooKeeper commits");
        }
        vec![session]
    }
}
