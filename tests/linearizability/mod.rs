//! The history of a real server is linearizable, whatever breaks.
//!
//! Many clients work at a few resources by chance ([`clients`]) and note what they
//! asked, what they were answered and when ([`history`]), while something breaks
//! again and again ([`sqlite`], [`replicas`]). In the end all is healed, each
//! resource is taken once more ([`trial`]), and for each it is asked whether what was
//! answered fits into one order in which a lock would have answered so
//! ([`model`], [`checker`]): nobody was granted what somebody else held, tokens
//! rise, leases last exactly as long as they should, nothing that was answered is
//! lost, and nothing old is shown. What this cannot see is whether those in line
//! are served in order.
//!
//! `LINEARIZABILITY_SECONDS` is how long each fault is repeated.

mod chance;
mod checker;
mod clients;
mod history;
mod link;
mod model;
mod replicas;
mod sqlite;
mod trial;
