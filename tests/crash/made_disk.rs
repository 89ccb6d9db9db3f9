//! That a disk which is made from a log loses what it may lose, and no more.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel::sqlite::SqliteConnection;
use tempfile::TempDir;

use crate::crash::chance::Chance;
use crate::crash::disk::{Disk, Kept};
use crate::crash::points::{Point, find_loss};
use crate::crash::recording::{Data, Event};
use crate::crash::shim::Shim;

/// SQLite's own shell behind the library.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    fn start(shim: &Shim) -> Self {
        let mut command = shim.command("sqlite3");
        command
            .arg(shim.database())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("sqlite3 is installed");
        Self {
            input: child.stdin.take().expect("a pipe"),
            output: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
        }
    }

    /// Returns when the statements are done.
    fn run(&mut self, statements: &str) {
        writeln!(self.input, "{statements};\nSELECT 'done';").expect("it reads");
        let mut line = String::new();
        while line.trim() != "done" {
            line.clear();
            assert!(self.output.read_line(&mut line).expect("it writes") > 0, "{statements}");
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It has nothing to say any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Inserts row by row, each taken for done when the shell says so.
fn insert(synchronous: &str) -> Result<(), String> {
    const ROWS: i64 = 20;
    let shim = Shim::new();
    let mut shell = Shell::start(&shim);
    shell.run(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; CREATE TABLE t (n INTEGER)"
    ));
    let inserted = (0..ROWS).map(|row| {
        shell.run(&format!("INSERT INTO t VALUES ({row})"));
        shim.position()
    });
    let inserted: Vec<u64> = inserted.collect();
    let check = |directory: &Path, point: &Point| {
        let must_be = inserted.iter().filter(|at| **at <= point.position).count() as i64;
        let database = directory.join("db.sqlite3").display().to_string();
        let mut conn = SqliteConnection::establish(&database).map_err(|e| e.to_string())?;
        let count = sql::<BigInt>("SELECT count(*) FROM t")
            .get_result::<i64>(&mut conn)
            .unwrap_or(0);
        match count < must_be {
            true => Err(format!("{count} rows of {must_be}")),
            false => Ok(()),
        }
    };
    find_loss(&shim.log(), &inserted, 120, check).map(drop)
}

#[test]
fn who_answers_before_it_has_synced_is_caught() {
    for (synchronous, loses) in [("OFF", true), ("NORMAL", true), ("FULL", false)] {
        let lost = insert(synchronous);
        assert_eq!(lost.is_err(), loses, "{synchronous}: {lost:?}");
    }
}

const NAME: &str = "a";

fn made(events: &[Event<'_>], kept: Kept) -> Option<String> {
    let mut disk = Disk::default();
    disk.apply(&Event::Create { name: NAME, file: 1 });
    for event in events {
        disk.apply(event);
    }
    let directory = TempDir::new().expect("a temporary directory");
    disk.after(kept, &mut Chance::of(1)).write(directory.path());
    std::fs::read_to_string(directory.path().join(NAME)).ok()
}

fn write(text: &str) -> Event<'_> {
    Event::Write {
        file: 1,
        offset: 0,
        data: Data::Bytes(text.as_bytes()),
    }
}

const SYNC: Event<'_> = Event::Sync { file: 1, is_done: true };
const FAILED_SYNC: Event<'_> = Event::Sync {
    file: 1,
    is_done: false,
};

fn sync_directory<'l>() -> Event<'l> {
    Event::SyncDirectory {
        listing: vec![(NAME, 1)],
        is_done: true,
    }
}

#[test]
fn what_was_synced_stays_and_what_was_not_may_go() {
    let events = [sync_directory(), write("one"), SYNC, write("two")];

    assert_eq!(made(&events, Kept::Nothing).as_deref(), Some("one"));
    assert_eq!(made(&events, Kept::Everything).as_deref(), Some("two"));
}

#[test]
fn a_name_goes_with_its_directory_and_not_with_its_file() {
    assert_eq!(made(&[write("one"), SYNC], Kept::Nothing), None);
    assert_eq!(
        made(&[write("one"), sync_directory()], Kept::Nothing).as_deref(),
        Some("")
    );
}

#[test]
fn a_sync_after_one_that_failed_makes_up_for_nothing() {
    let events = [sync_directory(), write("one"), FAILED_SYNC, SYNC];
    let written_again = [sync_directory(), write("one"), FAILED_SYNC, write("one"), SYNC];

    assert_eq!(made(&events, Kept::Nothing).as_deref(), Some(""));
    assert_eq!(made(&written_again, Kept::Nothing).as_deref(), Some("one"));
}

#[test]
fn of_two_sectors_one_may_be_there() {
    let text = "x".repeat(1024);
    let events = [sync_directory(), write(&text)];

    let torn = made(&events, Kept::Torn).expect("it has a name");

    let present = torn
        .as_bytes()
        .chunks(512)
        .filter(|sector| sector.iter().all(|byte| *byte == b'x'));
    assert_eq!(present.count(), 1, "by the seed of this test");
}
