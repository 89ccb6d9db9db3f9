//! The claims on SQLite, and what only SQLite can be asked: which statements
//! run hot, and that they look at no row in vain.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use central_locking_system::clock::Timestamp;
use central_locking_system::db::{Database, DatabaseUrl, IfMissing, SqliteStore, Store, Target};

use super::recorder::{a_large_batch, assert_golden, some_batches, statements_of};
use super::{Backend, acquire, load, release, run, suite};

pub(super) struct Sqlite {
    directory: TempDir,
}

impl Sqlite {
    /// The file.
    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("db")
    }
}

impl Backend for Sqlite {
    type Store = SqliteStore;

    fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let url = format!("sqlite://{}", directory.path().join("db").display());
        let url = DatabaseUrl::parse(&url).expect("it is well formed");
        let mut database = Database::open(&url, IfMissing::Create).expect("it is made");
        let mut migrations = database.migrations().expect("they are known");
        for (step, name) in migrations.plan(&Target::Latest).expect("there is one") {
            migrations.run(step, &name).expect("it runs");
        }
        Self { directory }
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open(self.directory.path().join("db")).expect("it opens")
    }

    fn sql(&self, statement: &str) -> Vec<String> {
        let output = Command::new("sqlite3")
            .arg(self.directory.path().join("db"))
            .arg(statement)
            .output()
            .expect("sqlite3 is installed");
        assert!(
            output.status.success(),
            "{statement}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let rows = String::from_utf8(output.stdout).expect("rows are text");
        rows.lines().map(str::to_owned).collect()
    }

    fn put_counter_back(&self) {
        self.sql("UPDATE server_state SET fencing_token = 0");
    }
}

every_claim_on!(Sqlite);

#[test]
fn time_is_never_before_the_latest_grant() {
    let backend = Sqlite::new();
    let (early, _) = load(&mut backend.open(), &[]);
    let ahead = early + Duration::from_secs(3600);
    backend.sql(&format!("UPDATE server_state SET clock_us = {}", ahead.as_us()));

    let mut store = backend.open();
    let (first, _) = load(&mut store, &[]);
    let (second, _) = load(&mut store, &[]);

    assert!(first >= ahead && second >= first);
}

#[test]
fn a_clock_that_is_ahead_is_written_down_for_readers() {
    let backend = Sqlite::new();
    let ahead = Timestamp::wall_clock() + Duration::from_secs(3600);
    backend.sql(&format!("UPDATE server_state SET clock_us = {}", ahead.as_us()));
    let mut store = backend.open();
    run(&mut store, &[("r", acquire("k", Some(60)))]);

    store.beat(false).expect("it is written");

    let offset = backend.sql("SELECT clock_offset_us > 3590000000 AND clock_offset_us < 3610000000 FROM server_state");
    assert_eq!(offset, ["1"]);
    assert_eq!(
        backend.sql("SELECT seconds_left > 30 AND seconds_left <= 60 FROM held_locks"),
        ["1"]
    );
}

#[test]
fn a_transaction_that_changes_nothing_writes_nothing() {
    let backend = Sqlite::new();
    let mut store = backend.open();
    run(&mut store, &[("held", acquire("k", None))]);
    let written = || fs::read(backend.directory.path().join("db-wal")).expect("the log of writes");
    let before = written();

    run(&mut store, &[("held", acquire("x", None)), ("free", release("x"))]);
    assert!(written() == before, "a refusal was written");
    run(&mut store, &[("held", release("k"))]);
    assert!(written() != before, "a release was not");
}

#[test]
fn the_hot_statements_are_these() {
    let (_, asked) = statements_of::<Sqlite>(|backend, store| {
        some_batches(backend, store);
        a_large_batch(store);
    });

    assert_golden(&asked.statements, include_str!("hot_statements.sqlite.sql"));
}

#[test]
fn each_hot_statement_is_prepared_once() {
    let (_, asked) = statements_of::<Sqlite>(|backend, store| {
        for _ in 0..2 {
            some_batches(backend, store);
            a_large_batch(store);
        }
    });
    let mut statements = asked.statements;
    statements.retain(|statement| !["BEGIN IMMEDIATE", "COMMIT"].contains(&statement.as_str()));
    statements.sort();
    statements.dedup();

    let mut kept: Vec<_> = asked.kept.into_iter().filter(|sql| statements.contains(sql)).collect();
    kept.sort();

    assert_eq!(
        kept.len(),
        14,
        "PRAGMA, four kinds of SELECT, five INSERTs, four UPDATEs: {statements:#?}"
    );
    assert_eq!(kept, statements);
}

#[test]
fn a_row_in_use_is_read_once() {
    let (_, asked) = statements_of::<Sqlite>(|backend, store| {
        for _ in 0..5 {
            some_batches(backend, store);
        }
    });

    let reads = asked
        .statements
        .iter()
        .filter(|statement| statement.contains("`resources`.`name` = ?"));
    assert_eq!(reads.count(), 2, "before it is there, and after");
}

#[test]
fn no_statement_reads_a_row_in_vain() {
    let (backend, asked) = statements_of::<Sqlite>(|backend, store| {
        some_batches(backend, store);
        backend.sql("UPDATE resources SET released_at_us = 1 WHERE name = 'a'");
        store.expired(10, Duration::ZERO).expect("it works");
        assert_eq!(store.prune(10, 1), Ok(1));
    });

    let (mut by_name, mut by_id, mut by_ids, mut by_expiry, mut by_client) = (0, 0, 0, 0, 0);
    for statement in asked
        .statements
        .iter()
        .filter(|statement| statement.contains("resources"))
    {
        let plan = backend.sql(&format!("EXPLAIN QUERY PLAN {statement}")).join("\n");
        assert!(!plan.contains("SCAN"), "{statement}\n{plan}");
        by_name += usize::from(plan.contains("INDEX sqlite_autoindex_resources_1 (name"));
        by_id += usize::from(plan.contains("INTEGER PRIMARY KEY (rowid=?)"));
        by_ids += usize::from(plan.contains("INTEGER PRIMARY KEY (rowid>?"));
        by_client += usize::from(plan.contains("COVERING INDEX resources_client (client=?)"));
        by_expiry += usize::from(plan.contains("INDEX resources_expires_at (expires_at_us<?)"));
    }
    assert_eq!(
        (by_name, by_id, by_ids, by_expiry, by_client),
        (2, 5, 2, 1, 1),
        "two loads; five updates; two looks of pruning; one for what expired, one for a client"
    );
}
