//! The exit codes of the commands that ask a server. Those of `sysexits.h`, where
//! it has one.

/// Asked wrongly (EX_USAGE).
pub(super) const USAGE: u8 = 64;

/// No server answers (EX_UNAVAILABLE).
pub(super) const UNREACHABLE: u8 = 69;

/// Not acquired in time (EX_TEMPFAIL).
pub(super) const NOT_ACQUIRED: u8 = 75;

/// The lock is not held any more (EX_PROTOCOL).
pub(super) const LOST: u8 = 76;

/// The command cannot be executed, as a shell tells it.
pub(super) const NOT_EXECUTED: u8 = 126;

/// The token is not good, or not for this (EX_NOPERM).
pub(super) const NOT_ALLOWED: u8 = 77;
