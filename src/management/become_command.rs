//! What `cls lock` starts to become its command.

use std::ffi::OsString;
use std::io::ErrorKind;

use clap::Args;
use rustix::process::Pid;

use crate::client::SinceBoot;
use crate::management::CommandError;
use crate::management::exit_code::{LOST, NOT_EXECUTED};
use crate::supervise::{Program, become_program};

/// Becomes a command that ends with its parent. Not for people.
#[derive(Debug, Args)]
pub struct Become {
    /// The parent.
    parent: i32,
    /// Until when the lock is believed in, in nanoseconds since the machine was started.
    until: u64,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Become {
    /// Errors: always, because else there is nobody to return.
    pub(super) fn run(mut self) -> CommandError {
        let program = Program {
            path: self.command.remove(0),
            arguments: self.command,
        };
        let Some(parent) = Pid::from_raw(self.parent) else {
            return CommandError::client(NOT_EXECUTED, "there is no such parent");
        };
        // Whoever started us may have been stopped for longer than the lock lasts.
        if SinceBoot::from_nanos(self.until).has_come() {
            return CommandError::client(LOST, "the lock was over before the command could be started");
        }
        let error = become_program(&program, parent);
        let code = if error.kind() == ErrorKind::NotFound {
            127
        } else {
            NOT_EXECUTED
        };
        CommandError::client(code, format!("cannot execute {}: {error}", program.path.display()))
    }
}
