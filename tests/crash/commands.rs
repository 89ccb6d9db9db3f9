//! The power is lost while a command runs, or right after it.

use std::path::Path;

use crate::crash::facts::{Facts, Token};
use crate::crash::load::Worker;
use crate::crash::points::{Point, count, find_loss, seed};
use crate::crash::power_loss::answers;
use crate::crash::rows::{Rows, start};
use crate::crash::shim::Shim;

fn run(shim: &Shim, arguments: &[&str]) {
    let output = shim.cls().run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
}

/// Makes a token by the command.
pub fn make_token(shim: &Shim, name: &str) -> Token {
    let asked = shim.position();
    run(shim, &["createtoken", name]);
    Token {
        name: name.to_owned(),
        asked,
        made: shim.position(),
        revoked: None,
    }
}

/// Revokes it by the command.
pub fn revoke(shim: &Shim, token: &mut Token) {
    let asked = shim.position();
    run(shim, &["revoketoken", &token.name]);
    token.revoked = Some((asked, shim.position()));
}

/// What one client was told.
fn load(shim: &Shim, prefix: &str, steps: usize) -> Facts {
    let server = shim.cls().start();
    Worker::connect(shim, server.address, prefix, seed()).work(steps)
}

fn must_lose_nothing(
    shim: &Shim,
    answers: &[u64],
    points: usize,
    check: impl Fn(&Path, &Point) -> Result<(), String> + Sync,
) {
    let tried = find_loss(&shim.log(), answers, count(points), check);
    let tried = tried.unwrap_or_else(|loss| panic!("{loss}"));
    assert!(tried.open * 3 > tried.crashes, "hardly anything was open: {tried:?}");
}

#[test]
fn migrations_that_are_cut_off_are_completed_and_tokens_of_commands_stay() {
    let shim = Shim::new();
    run(&shim, &["migrate", "0001_resources"]);
    let mut shell = shim.command("sqlite3");
    let insert = "PRAGMA synchronous = EXTRA;
        INSERT INTO resources (name, locked_by, acquired_at_us, fencing_token) VALUES ('old', 'k', 1, 7)";
    assert!(
        shell
            .arg(shim.database())
            .arg(insert)
            .status()
            .expect("sqlite3 is installed")
            .success()
    );
    let inserted = shim.position();
    run(&shim, &["migrate"]);
    let mut first = make_token(&shim, "first");
    revoke(&shim, &mut first);
    let second = make_token(&shim, "second");
    run(&shim, &["migrate", "0006_history"]);
    run(&shim, &["migrate"]);
    let third = make_token(&shim, "third");
    let facts = Facts {
        holds: Vec::new(),
        tokens: vec![first, second, third],
    };

    must_lose_nothing(&shim, &answers(&facts), 150, |directory, point| {
        let database = directory.join("db.sqlite3");
        start(&database)?;
        let rows = Rows::read(&database);
        facts.require_tokens(&rows, point.position)?;
        let is_held = rows
            .resources
            .get("old")
            .is_some_and(|row| row.locked_by.as_deref() == Some("k"));
        match is_held || point.position < inserted {
            true => Ok(()),
            false => Err(format!("what was there before is lost: {:?}", rows.resources)),
        }
    });
}

#[test]
fn a_backup_is_complete_or_not_there_and_stays_once_it_is_said_to_be_made() {
    let shim = Shim::new();
    let server = shim.cls().start();
    let facts = Worker::connect(&shim, server.address, "a", seed()).work(60);
    let begun = shim.position();
    let copy = shim.directory().join("copy");
    run(&shim, &["backup", &copy.display().to_string()]);
    let made = shim.position();
    drop(server);

    must_lose_nothing(&shim, &[made], 60, |directory, point| {
        let database = directory.join("db.sqlite3");
        let copy = directory.join("copy");
        let is_there = copy.exists();
        if is_there {
            start(&copy).map_err(|e| format!("the copy: {e}"))?;
            let rows = Rows::read(&copy);
            facts.require(&rows, begun).map_err(|e| format!("in the copy: {e}"))?;
        } else if point.position >= made {
            return Err("the copy is gone".to_owned());
        }
        start(&database)?;
        facts.require(&Rows::read(&database), point.position)
    });
}

#[test]
fn a_restore_leaves_the_one_database_or_the_other() {
    let shim = Shim::new();
    let early = load(&shim, "a", 40);
    let copied = shim.position();
    // What is copied is what it will be when it is restored.
    run(&shim, &["backup", &shim.directory().join("copy").display().to_string()]);
    let mut facts = early.clone();
    facts.add(load(&shim, "b", 40));
    let begun = shim.position();
    run(
        &shim,
        &["restore", &shim.directory().join("copy").display().to_string()],
    );
    let restored = shim.position();

    must_lose_nothing(&shim, &[begun, restored], 150, |directory, point| {
        let database = directory.join("db.sqlite3");
        start(&database)?;
        let rows = Rows::read(&database);
        let as_before = facts.require(&rows, point.position);
        let as_copied =
            early
                .require(&rows, copied)
                .and_then(|()| match rows.highest_token > facts.highest_token(begun) {
                    true => Ok(()),
                    false => Err(format!("tokens go on after {}", rows.highest_token)),
                });
        if point.position >= restored {
            let kept = directory.join("db.sqlite3.before-restore");
            start(&kept).map_err(|e| format!("what was there before: {e}"))?;
            facts
                .require(&Rows::read(&kept), begun)
                .map_err(|e| format!("in what was there before: {e}"))?;
            return as_copied;
        }
        match (as_before, as_copied) {
            (Ok(()), _) => Ok(()),
            (_, Ok(())) if point.position >= begun => Ok(()),
            (Err(one), Err(other)) => Err(format!("neither: {one}; {other}")),
            (Err(one), Ok(())) => Err(one),
        }
    });
}
