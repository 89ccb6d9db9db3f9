//! What is on disk after a crash, and what a disk that fails leads to.
//!
//! A small library stands between a server and its files (`disk_shim.c`). It
//! writes down every write, every sync and every name, and lets any of them fail.
//! From that the disk is made again as it may be if the power is lost at any
//! moment (`disk.rs`), a server is started on it, and what clients were told by
//! then is held against it (`facts.rs`).

mod chance;
mod commands;
mod disk;
mod errors;
mod facts;
mod load;
mod made_disk;
mod points;
mod power_loss;
mod recording;
mod rows;
mod shim;
