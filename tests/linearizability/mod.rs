//! The history of a real server is linearizable.

mod chance;
mod checker;
mod clients;
mod history;
mod link;
mod model;
mod sqlite;
mod trial;
