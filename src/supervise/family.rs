//! Which processes belong to a command: its group, and whatever it has started
//! that is still in our session.
//!
//! A process that has made a session of its own is a daemon by its own will, and
//! not of the family any more.

use std::collections::HashSet;
use std::fs;

use nix::unistd::getsid;
use rustix::process::{Pid, getpid};

/// A line of `/proc/PID/stat`, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
    is_alive: bool,
}

/// What a command has started.
#[derive(Debug)]
pub(super) struct Family {
    group: i32,
    session: i32,
    us: i32,
    /// Children of this process from before it was what it is.
    strangers: HashSet<i32>,
}

impl Family {
    /// Of a command that is not started yet: whoever descends from us now is none
    /// of it.
    pub(super) fn before_start() -> Self {
        let us = getpid().as_raw_nonzero().get();
        let processes = read_all();
        let children = processes.iter().filter(|process| process.parent == us);
        Self {
            group: 0,
            // Zero if it is of another PID namespace, as `/proc` says too.
            session: getsid(None).map_or(0, |session| session.as_raw()),
            us,
            strangers: children.map(|process| process.pid).collect(),
        }
    }

    /// The command was started, in this group.
    pub(super) fn begin(&mut self, group: Pid) {
        self.group = group.as_raw_nonzero().get();
    }

    /// The living ones among the processes of the group and those that descend
    /// from us.
    ///
    /// Whoever lost its parent is a child of ours then: we are their subreaper.
    pub(super) fn living(&self) -> Vec<Pid> {
        let living = self.of(&read_all());
        living.into_iter().filter_map(Pid::from_raw).collect()
    }

    fn of(&self, processes: &[Process]) -> Vec<i32> {
        let mut descendants = HashSet::from([self.us]);
        let mut descends = |process: &&Process| {
            let is_child = descendants.contains(&process.parent) && !self.strangers.contains(&process.pid);
            is_child && descendants.insert(process.pid)
        };
        // A parent may come after its child, so until nothing is found any more.
        while processes.iter().filter(&mut descends).count() > 0 {}
        let is_of_it = |process: &&Process| {
            let is_ours = descendants.contains(&process.pid) && process.session == self.session;
            process.is_alive && process.pid != self.us && (process.group == self.group || is_ours)
        };
        processes.iter().filter(is_of_it).map(|process| process.pid).collect()
    }
}

fn read_all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    // One that ends meanwhile is not there any more.
    let stats = numbers.filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok());
    stats.filter_map(|stat| parse(&stat)).collect()
}

/// The name of the program stands in brackets and may hold anything.
fn parse(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(' ')?;
    let mut fields = rest.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let mut number = || fields.next()?.parse().ok();
    Some(Process {
        pid: pid.parse().ok()?,
        parent: number()?,
        group: number()?,
        session: number()?,
        is_alive: !["Z", "X", "x"].contains(&state),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whatever_the_program_is_called() {
        let expected = Process {
            pid: 7,
            parent: 5,
            group: 6,
            session: 4,
            is_alive: true,
        };
        assert_eq!(parse("7 (sh) S 5 6 4 0 -1 4194304"), Some(expected));
        assert_eq!(parse("7 (a) Z 1 2 (b) c) R 5 6 4 0"), Some(expected));
        let dead = Process {
            is_alive: false,
            ..expected
        };
        assert_eq!(parse("7 (sh) Z 5 6 4 0"), Some(dead));
        for broken in ["", "7", "7 (sh)", "7 (sh) S 5 6", "x (sh) S 5 6 4"] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn the_family_is_the_group_and_what_descends_from_us_in_our_session() {
        let process = |pid, parent, group, session, is_alive| Process {
            pid,
            parent,
            group,
            session,
            is_alive,
        };
        let processes = [
            process(13, 12, 13, 1, true),  // a job of a shell below the command
            process(1, 0, 1, 1, true),     // whoever started us
            process(10, 1, 10, 1, true),   // us
            process(11, 1, 10, 1, true),   // another of our pipeline
            process(12, 10, 12, 1, true),  // the command
            process(14, 12, 12, 1, false), // dead
            process(15, 10, 15, 15, true), // a daemon
            process(17, 10, 10, 1, true),  // was there before
            process(18, 17, 10, 1, true),  // and has started that one
            process(16, 1, 12, 1, true),   // of the group, by whatever way
        ];
        let family = Family {
            group: 12,
            session: 1,
            us: 10,
            strangers: HashSet::from([17]),
        };
        assert_eq!(family.of(&processes), [13, 12, 16]);
    }

    #[test]
    fn this_process_is_among_all() {
        let us = getpid().as_raw_nonzero().get();
        assert!(read_all().iter().any(|process| process.pid == us && process.is_alive));
    }
}
