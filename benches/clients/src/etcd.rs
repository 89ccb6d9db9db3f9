//! etcd over gRPC, one lease for each session.

use std::cell::Cell;
use std::rc::Rc;

use etcd_client::{Client, Compare, CompareOp, GetOptions, LockOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp};

use crate::session::{Lasting, SHORT, Session};

/// Sessions beyond this many share connections, as streams of HTTP/2.
const CONNECTIONS_MAX: usize = 256;

/// Longer than any measurement, so that nothing has to be kept alive.
const LONG_SECONDS: i64 = 3_600;

/// The most operations that etcd takes in a transaction, as it comes.
const OPERATIONS_MAX: usize = 128;

/// Connections, taken in turn.
#[derive(Clone)]
pub struct Server {
    clients: Vec<Client>,
    next: Rc<Cell<usize>>,
}

impl Server {
    async fn connect(address: &str, sessions: usize) -> Self {
        let mut clients = Vec::new();
        for _ in 0..sessions.min(CONNECTIONS_MAX) {
            clients.push(Client::connect([address], None).await.expect("etcd accepts"));
        }
        let next = Rc::new(Cell::new(0));
        Self { clients, next }
    }

    fn client(&self) -> Client {
        let number = self.next.replace(self.next.get() + 1);
        self.clients[number % self.clients.len()].clone()
    }

    async fn lease(&self, lasting: Lasting) -> (Client, i64) {
        let mut client = self.client();
        let seconds = match lasting {
            Lasting::Long => LONG_SECONDS,
            Lasting::TwoSeconds => i64::try_from(SHORT.as_secs()).expect("a small number"),
        };
        let lease = client.lease_grant(seconds, None).await.expect("etcd grants a lease");
        (client, lease.id())
    }

    async fn in_line(&self, name: &str) -> usize {
        let options = GetOptions::new().with_prefix().with_count_only();
        let found = self
            .client()
            .get(format!("{name}/"), Some(options))
            .await
            .expect("etcd counts");
        usize::try_from(found.count()).expect("a small number")
    }

    /// The same keys as those of the lock service, many in a transaction.
    async fn hold_many(&self, locks: usize) {
        let (mut client, lease) = self.lease(Lasting::Long).await;
        let numbers: Vec<usize> = (0..locks).collect();
        for chunk in numbers.chunks(OPERATIONS_MAX) {
            let put = |number: &usize| {
                let options = PutOptions::new().with_lease(lease);
                TxnOp::put(format!("held-{number:06}/{lease:x}"), "", Some(options))
            };
            let transaction = Txn::new().and_then(chunk.iter().map(put).collect::<Vec<_>>());
            client.txn(transaction).await.expect("etcd commits");
        }
    }
}

/// The lock service: `v3lock.Lock` and `Unlock`. The server puts a key below the
/// name and waits until those before it are gone.
pub struct LockService {
    client: Client,
    lease: i64,
    key: Vec<u8>,
}

impl Session for LockService {
    type Server = Server;

    async fn server(address: &str, sessions: usize) -> Server {
        Server::connect(address, sessions).await
    }

    async fn open(server: &Server, _number: usize, lasting: Lasting) -> Self {
        let (client, lease) = server.lease(lasting).await;
        Self {
            client,
            lease,
            key: Vec::new(),
        }
    }

    async fn acquire(&mut self, name: &str) {
        let options = LockOptions::new().with_lease(self.lease);
        let locked = self.client.lock(name, Some(options)).await.expect("etcd locks");
        self.key = locked.key().to_vec();
    }

    async fn release(&mut self) {
        let key = std::mem::take(&mut self.key);
        self.client.unlock(key).await.expect("etcd unlocks");
    }

    async fn in_line(server: &Server, name: &str) -> usize {
        server.in_line(name).await
    }

    async fn hold_many(server: &Server, locks: usize) -> Vec<Self> {
        server.hold_many(locks).await;
        Vec::new()
    }
}

/// What `concurrency.Mutex` of etcd's own client does where nobody is in the way:
/// a transaction that puts the key if it is not there and reads whose turn it is,
/// and a delete.
pub struct Transactions {
    client: Client,
    lease: i64,
    key: String,
}

impl Session for Transactions {
    type Server = Server;

    async fn server(address: &str, sessions: usize) -> Server {
        Server::connect(address, sessions).await
    }

    async fn open(server: &Server, _number: usize, lasting: Lasting) -> Self {
        let (client, lease) = server.lease(lasting).await;
        Self {
            client,
            lease,
            key: String::new(),
        }
    }

    async fn acquire(&mut self, name: &str) {
        let prefix = format!("{name}/");
        self.key = format!("{prefix}{:x}", self.lease);
        let first = GetOptions::new()
            .with_prefix()
            .with_sort(SortTarget::Create, SortOrder::Ascend)
            .with_limit(1);
        let whose_turn = TxnOp::get(prefix, Some(first));
        let put = TxnOp::put(&*self.key, "", Some(PutOptions::new().with_lease(self.lease)));
        let transaction = Txn::new()
            .when([Compare::create_revision(&*self.key, CompareOp::Equal, 0)])
            .and_then([put, whose_turn.clone()])
            .or_else([TxnOp::get(&*self.key, None), whose_turn]);
        let answer = self.client.txn(transaction).await.expect("etcd commits");
        assert!(answer.succeeded(), "{name} is nobody else's");
    }

    async fn release(&mut self) {
        self.client.delete(&*self.key, None).await.expect("etcd deletes");
    }

    async fn in_line(server: &Server, name: &str) -> usize {
        server.in_line(name).await
    }

    async fn hold_many(server: &Server, locks: usize) -> Vec<Self> {
        server.hold_many(locks).await;
        Vec::new()
    }
}
