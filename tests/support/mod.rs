//! What tests stand on: a real server in a directory of its own, and a client
//! that puts on the wire exactly what it is told.

mod client;
mod server;

pub use client::{Answer, Client};
pub use server::{Cls, Server, eventually};
