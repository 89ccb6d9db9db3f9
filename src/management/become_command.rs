//! What `cls lock` starts to become its command.

use std::ffi::OsString;
use std::io::ErrorKind;

use clap::Args;
use rustix::process::Pid;

use crate::management::CommandError;
use crate::supervise::{Program, become_program};

/// Becomes a command that ends with its parent. Not for people.
#[derive(Debug, Args)]
pub struct Become {
    /// The parent.
    parent: i32,
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
            return CommandError::client(126, "there is no such parent");
        };
        let error = become_program(&program, parent);
        let code = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
        CommandError::client(code, format!("cannot execute {}: {error}", program.path.display()))
    }
}
