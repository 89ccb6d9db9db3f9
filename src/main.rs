//! The command line: parse it, run the command, report failure in one line.

use std::process::ExitCode;

use central_locking_system::management::CommandLine;
use clap::Parser;

/// A request is allocated by one thread and freed by another; this allocator
/// is made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match CommandLine::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cls: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
