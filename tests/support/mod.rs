//! What tests stand on: a real server in a directory of its own, and a client
//! that puts on the wire exactly what it is told.

mod browser;
mod certificates;
mod client;
mod event_stream;
mod lossy;
mod machine;
mod planted;
mod postgres;
mod postgres_server;
mod proxy;
mod server;
mod spread;
mod wire;

pub use browser::Browser;
pub use certificates::{Certified, Days};
pub use client::{Answer, Client};
pub use event_stream::EventStream;
pub use lossy::LossyProxy;
pub use machine::Machine;
pub use postgres::{Cluster, PostgresDatabase, PsqlSession};
pub use proxy::{Lost, Proxy};
pub use server::{Cls, Server, eventually, is_on_postgres, on_postgres};
pub use spread::Spread;
