//! A command that is run on somebody's behalf, with all that it starts: its
//! processes, the signals that are passed on to them, and the terminal.
//!
//! Knows nothing of locks. Linux only: where what a command has started is, and
//! whether it lives, is read from `/proc`.

mod family;
mod program;
mod signals;
mod supervised;

pub use program::{Program, become_program};
pub use signals::Signals;
pub use supervised::{Change, Ended, Supervised};
