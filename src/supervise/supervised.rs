//! A command in a process group of its own.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal as NixSignal};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group, set_child_subreaper, wait,
};
use rustix::termios::{tcgetpgrp, tcsetpgrp};
use tokio::signal::unix::{self, SignalKind};
use tokio::time::sleep;

use crate::supervise::family::Family;

/// How often the processes of a command are looked for of whose end we are told
/// nothing, because they are not our children.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(u8),
    /// By the signal of this number.
    Killed(u8),
}

impl Ended {
    /// What a shell makes of it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128_u8.saturating_add(signal),
        }
    }
}

/// What a command has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was stopped because it is not in the foreground of the terminal that it
    /// wants to use.
    WantsTerminal,
    /// It was stopped by a key of the terminal.
    StoppedByTerminal,
    /// It ended. What it started may go on.
    Ended(Ended),
    /// All that it started has ended too.
    Gone,
}

/// A command that runs, or has run, in a process group of its own.
#[derive(Debug)]
pub struct Supervised {
    group: Pid,
    family: Family,
    children: unix::Signal,
    ended: Option<Ended>,
    /// The one that controls our session.
    terminal: Option<File>,
    has_terminal: bool,
}

impl Supervised {
    /// Starts what is to be run by way of `launcher`: a program that calls
    /// [`super::become_program`]. To be called by a thread that lives as long as
    /// the process, because the command is sent SIGTERM when that ends.
    ///
    /// Errors: there is no room for a process. Panics outside of a runtime.
    pub fn start(launcher: &mut Command) -> io::Result<Self> {
        let children = unix::signal(SignalKind::child())?;
        // Whoever of the family loses its parent comes to us.
        set_child_subreaper(Some(getpid()))?;
        let mut family = Family::before_start();
        let group = Pid::from_child(&launcher.process_group(0).spawn()?);
        family.begin(group);
        Ok(Self {
            group,
            family,
            children,
            ended: None,
            terminal: File::open("/dev/tty").ok(),
            has_terminal: false,
        })
    }

    /// The next thing that it does; in the end, that it is gone. Dropping the
    /// future loses nothing.
    pub async fn change(&mut self) -> Change {
        loop {
            if let Some(change) = self.reap() {
                return change;
            }
            if self.ended.is_none() {
                self.children.recv().await;
                continue;
            }
            if !self.is_alive() {
                return Change::Gone;
            }
            tokio::select! {
                _ = self.children.recv() => {}
                () = sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    /// Returns when it and all of its family have ended.
    pub async fn gone(&mut self) {
        while self.change().await != Change::Gone {}
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Whether any of its family lives.
    pub fn is_alive(&self) -> bool {
        !self.family.living().is_empty()
    }

    /// Sends its group a signal, as a terminal would.
    pub fn signal(&self, signal: Signal) {
        // Nobody may be left to hear it.
        let _ = kill_process_group(self.group, signal);
    }

    /// Asks the whole family to end; also who is stopped hears that.
    pub fn terminate(&self) {
        for process in self.family.living() {
            let _ = kill_process(process, Signal::TERM);
            let _ = kill_process(process, Signal::CONT);
        }
    }

    /// Ends whoever is left of the family by force. Somebody may be born
    /// meanwhile: to be called until [`Supervised::is_alive`] says no.
    pub fn kill(&self) {
        for process in self.family.living() {
            let _ = kill_process(process, Signal::KILL);
        }
    }

    /// Brings it to the foreground of the terminal and lets it go on, if we are
    /// there ourselves. Says whether it was.
    pub fn give_terminal(&mut self) -> bool {
        if self.foreground().is_some_and(|group| Some(group) == own_group()) && self.set_foreground(self.group) {
            self.has_terminal = true;
        }
        if self.has_terminal {
            self.signal(Signal::CONT);
        }
        self.has_terminal
    }

    /// Takes the terminal from it again. Says whether it had it.
    pub fn take_terminal(&mut self) -> bool {
        if self.has_terminal && self.foreground() == Some(self.group) {
            own_group().map(|group| self.set_foreground(group));
        }
        std::mem::take(&mut self.has_terminal)
    }

    fn foreground(&self) -> Option<Pid> {
        self.terminal.as_ref().and_then(|terminal| tcgetpgrp(terminal).ok())
    }

    fn set_foreground(&self, group: Pid) -> bool {
        let Some(terminal) = &self.terminal else {
            return false;
        };
        // Who is in the background is stopped for that unless it does not hear of it.
        let mut blocked = SigSet::empty();
        blocked.add(NixSignal::SIGTTOU);
        let before = blocked.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK);
        let is_set = tcsetpgrp(terminal, group).is_ok();
        if let Ok(before) = before {
            let _ = before.thread_set_mask();
        }
        is_set
    }

    /// Takes note of children that have ended or were stopped: the command, and
    /// those that came to us. What matters of the command is returned.
    fn reap(&mut self) -> Option<Change> {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            if pid != self.group {
                continue;
            }
            if let Some(change) = change_of(status) {
                if let Change::Ended(ended) = change {
                    self.ended = Some(ended);
                }
                return Some(change);
            }
        }
        None
    }
}

/// `None` if it is of another PID namespace.
fn own_group() -> Option<Pid> {
    Pid::from_raw(nix::unistd::getpgrp().as_raw())
}

fn change_of(status: WaitStatus) -> Option<Change> {
    let number = |number: Option<i32>| number.and_then(|number| u8::try_from(number).ok());
    if let Some(signal) = status.stopping_signal() {
        let is = |wanted: &[Signal]| wanted.iter().any(|wanted| wanted.as_raw() == signal);
        return match () {
            () if is(&[Signal::TTIN, Signal::TTOU]) => Some(Change::WantsTerminal),
            () if is(&[Signal::TSTP]) => Some(Change::StoppedByTerminal),
            // Somebody stopped it by hand, and will let it go on.
            () => None,
        };
    }
    let exited = number(status.exit_status()).map(Ended::Exited);
    exited
        .or_else(|| number(status.terminating_signal()).map(Ended::Killed))
        .map(Change::Ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_as_a_shell_tells_it() {
        assert_eq!(Ended::Exited(0).exit_code(), 0);
        assert_eq!(Ended::Exited(255).exit_code(), 255);
        assert_eq!(Ended::Killed(9).exit_code(), 137);
        assert_eq!(Ended::Killed(64).exit_code(), 192);
    }
}
