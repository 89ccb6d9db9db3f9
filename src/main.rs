//! The command line: parse it, run the command, report failure in one line.

use std::io::{Write, stderr};
use std::process::ExitCode;

use central_locking_system::management::CommandLine;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    match CommandLine::from_arguments().run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Where it cannot be written nobody reads it, and the code says what it can.
            let _ = writeln!(stderr(), "cls: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
