//! What tests stand on: a real server in a directory of its own, and a client
//! that puts on the wire exactly what it is told.

mod client;
mod postgres;
mod postgres_server;
mod server;

pub use client::{Answer, Client};
pub use postgres::{Cluster, PostgresDatabase};
pub use server::{Cls, Server, eventually, on_postgres};
