//! Every test that needs a running server, a file or a process. The folders
//! mirror what they test: URLs, commands, faults.

#[macro_use]
mod access;
mod admin;
mod benchmarks;
mod clients;
mod conformance;
mod crash;
mod endurance;
mod faults;
mod guarantees;
mod history;
mod hostile;
mod layers;
mod linearizability;
mod lock_command;
mod management;
mod operating;
mod replicas;
mod resources;
mod secrets;
mod store;
mod support;
mod terraform;
mod tls;
