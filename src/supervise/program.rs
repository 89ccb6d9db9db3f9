//! A program and its arguments, and how a process becomes it.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// What is run.
#[derive(Clone, Debug)]
pub struct Program {
    /// Found by PATH unless it has a slash.
    pub path: OsString,
    /// All but the first, which is the path.
    pub arguments: Vec<OsString>,
}

/// Becomes `program`, to which SIGTERM is sent when its parent ends, by whatever
/// means; `parent` is who that has to be.
///
/// Done by the new process itself, because it has to be done between fork and
/// exec, where one may call next to nothing.
///
/// Errors: it cannot be executed.
pub fn become_program(program: &Program, parent: Pid) -> io::Error {
    let dies_with_parent = set_parent_process_death_signal(Some(Signal::TERM));
    if let Err(error) = dies_with_parent {
        return error.into();
    }
    if getppid() != Some(parent) {
        // It ended before that, and nothing must begin.
        return io::Error::other("whoever started it is gone");
    }
    Command::new(&program.path).args(&program.arguments).exec()
}
