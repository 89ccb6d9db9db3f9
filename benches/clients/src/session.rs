//! What a system has to offer to be measured.

use std::time::Duration;

/// Whether the holder is expected to die.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// It lives longer than any measurement takes.
    Long,
    /// What it holds ends two seconds after it was last heard of.
    TwoSeconds,
}

/// As long as a lock of somebody who dies lasts.
pub const SHORT: Duration = Duration::from_secs(2);

/// One who acquires and releases: what a process of an application would have.
pub trait Session: Sized + 'static {
    /// What sessions may share, for there may be more of them than connections.
    type Server: Clone + 'static;

    /// Who is asked; of so many sessions altogether.
    async fn server(address: &str, sessions: usize) -> Self::Server;

    /// The `number`th session.
    async fn open(server: &Self::Server, number: usize, lasting: Lasting) -> Self;

    /// Returns when the lock is held, however long that takes.
    async fn acquire(&mut self, name: &str);

    /// Gives back what was acquired last.
    async fn release(&mut self);

    /// How many hold `name` or wait for it.
    async fn in_line(server: &Self::Server, name: &str) -> usize;

    /// Takes so many locks at once, by the quickest way there is.
    async fn hold_many(server: &Self::Server, locks: usize) -> Vec<Self>;
}
