//! A central lock server over HTTP and JSON that keeps its state in one SQL
//! table.
//!
//! # The map
//!
//! Layers import downwards only; a test holds them to it.
//!
//! | module | what lives there |
//! | --- | --- |
//! | [`management`] | the subcommands of `cls`, one a file |
//! | [`server`] | connections, their bounds, paths to views, the stop |
//! | [`admin`] | the operators' page, and who is signed in there |
//! | [`resources`] | the app: urls, views, serializers, as in the original |
//! | [`engine`] | what runs: group commit, waiting, expiry |
//! | [`rest`] | what Django REST framework is to the original |
//! | [`db`] | the only user of SQL |
//! | [`access`] | tokens and what they allow, pure |
//! | [`lock`] | the rules, pure |
//! | [`client`] | the other side of the API, for `cls lock` and its like |
//! | [`supervise`] | a command, its processes and its terminal |
//! | [`tls`] | certificates, and how they change at run time |
//! | [`metrics`], [`clock`], [`limits`], [`settings`] | know nothing of the rest |
//!
//! # The life of one PUT
//!
//! 1. [`server`] accepts the connection; [`resources::urls`] takes the name
//!    from the path.
//! 2. [`rest::dispatch`] negotiates the renderer, then calls the method of
//!    [`resources::ResourceView`], which asks for the body and validates it.
//! 3. [`engine::Engine::acquire`] puts the operation into the bounded queue and
//!    awaits the answer. If the queue is full the answer is 503 at once.
//! 4. The batcher thread takes it with whatever else is queued and runs one
//!    [`db::Store::transaction`]: load the rows, [`lock::decide`] each operation
//!    in the order of arrival, save what changed, COMMIT.
//! 5. After COMMIT each request learns its outcome. One that was refused and
//!    has a timeout stands in a [`lock::WaitingLines`] instead; a release or an
//!    expiry hands over to the first in line, in the same transaction, or tells
//!    the server on the same database where that one waits.
//! 6. The view turns the [`lock::Outcome`] into the original's answer. If the
//!    client has left meanwhile the grant is given back in the next batch.
//!
//! # What is guaranteed
//!
//! One holder at a time. What was answered is on disk. A lock is never free
//! before its ttl is over, and free at that instant. Fencing tokens rise for
//! ever. Waiters are served in order and answered by their deadline. README has
//! the long form, and what is not guaranteed.

pub mod management;

pub mod client;

pub mod supervise;

pub mod server;

pub mod admin;

pub mod resources;

pub mod engine;

pub mod rest;

pub mod db;

pub mod access;

pub mod lock;

pub mod tls;

pub mod metrics;

pub mod clock;
pub mod limits;
pub mod settings;

#[cfg(test)]
#[path = "../tests/fuzz/mod.rs"]
mod fuzz;
