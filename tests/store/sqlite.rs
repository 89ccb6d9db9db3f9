//! The claims on SQLite, and what only SQLite can be asked: which statements
//! run hot, and that they look at no row in vain.

use std::cell::RefCell;
use std::fs;
use std::process::Command;

use diesel::connection::{Instrumentation, InstrumentationEvent, set_default_instrumentation};
use tempfile::TempDir;

use central_locking_system::db::{Database, DatabaseUrl, IfMissing, SqliteStore, Store, Target};

use super::{Backend, acquire, release, run, suite};

struct Sqlite {
    directory: TempDir,
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
}

macro_rules! on_sqlite {
    ($($claim:ident)*) => {
        $(
            #[test]
            fn $claim() {
                suite::$claim::<Sqlite>();
            }
        )*
    };
}

on_sqlite! {
    a_name_without_a_row_was_never_acquired_and_gets_no_row
    what_was_committed_is_the_same_after_reopening
    rows_come_in_the_order_in_which_they_were_asked_for
    only_what_changed_is_written
    names_and_keys_are_kept_byte_by_byte
    tokens_go_on_after_reopening_and_after_pruning
    a_counter_that_was_put_back_is_not_believed
    time_is_never_before_the_latest_grant
    a_clock_that_is_ahead_is_written_down_for_readers
    expired_locks_are_found_the_oldest_first
    only_rows_that_were_free_for_long_are_pruned
    pruning_goes_round_in_small_steps
    what_another_connection_changed_is_seen_by_the_next_transaction
    a_row_that_was_pruned_is_made_again
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

thread_local! {
    /// What the connections of this thread, and so of this test, were asked.
    static STATEMENTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// Which of them were prepared to be kept.
    static KEPT: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Recorder;

impl Instrumentation for Recorder {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match event {
            InstrumentationEvent::StartQuery { query, .. } => {
                let query = query.to_string();
                let text = query.split("-- binds:").next().unwrap_or_default().trim().to_owned();
                STATEMENTS.with_borrow_mut(|statements| statements.push(text));
            }
            InstrumentationEvent::CacheQuery { sql, .. } => {
                KEPT.with_borrow_mut(|kept| kept.push(sql.trim().to_owned()))
            }
            _ => {}
        }
    }
}

/// The statements of `work` on an open store.
fn statements_of(work: impl FnOnce(&Sqlite, &mut SqliteStore)) -> (Sqlite, Vec<String>) {
    set_default_instrumentation(|| Some(Box::new(Recorder))).expect("no other thread panicked");
    let backend = Sqlite::new();
    let mut store = backend.open();
    STATEMENTS.take();
    KEPT.take();
    work(&backend, &mut store);
    (backend, STATEMENTS.take())
}

/// One batch that makes a row and one that changes it.
fn two_batches(_: &Sqlite, store: &mut SqliteStore) {
    run(store, &[("a", acquire("k", Some(60)))]);
    run(store, &[("a", release("k"))]);
}

#[test]
fn the_hot_statements_are_these() {
    let (_, statements) = statements_of(two_batches);

    let golden = include_str!("hot_statements.sqlite.sql");
    let golden: Vec<_> = golden.trim().trim_end_matches(';').split(";\n\n").collect();
    for statement in &statements {
        assert!(
            golden.contains(&statement.as_str()),
            "not in the golden copy: {statement}"
        );
    }
    for statement in golden {
        assert!(
            statements.iter().any(|ran| ran == statement),
            "it never ran: {statement}"
        );
    }
}

#[test]
fn each_hot_statement_is_prepared_once() {
    let (_, mut statements) = statements_of(|backend, store| {
        two_batches(backend, store);
        two_batches(backend, store);
    });
    statements.retain(|statement| !["BEGIN IMMEDIATE", "COMMIT"].contains(&statement.as_str()));
    statements.sort();
    statements.dedup();

    let mut kept: Vec<_> = KEPT.take().into_iter().filter(|sql| statements.contains(sql)).collect();
    kept.sort();

    assert_eq!(
        kept.len(),
        6,
        "PRAGMA, two kinds of SELECT, INSERT, two UPDATEs: {statements:#?}"
    );
    assert_eq!(kept, statements);
}

#[test]
fn a_row_in_use_is_read_once() {
    let (_, statements) = statements_of(|backend, store| {
        for _ in 0..5 {
            two_batches(backend, store);
        }
    });

    let reads = statements
        .iter()
        .filter(|statement| statement.contains("`resources`.`name` = ?"));
    assert_eq!(reads.count(), 2, "before it is there, and after");
}

#[test]
fn no_statement_reads_a_row_in_vain() {
    let (backend, statements) = statements_of(|backend, store| {
        two_batches(backend, store);
        backend.sql("UPDATE resources SET released_at_us = 1 WHERE name = 'a'");
        store.expired(10).expect("it works");
        assert_eq!(store.prune(10, 1), Ok(1));
    });

    let (mut by_name, mut by_id, mut by_expiry) = (0, 0, 0);
    for statement in statements.iter().filter(|statement| statement.contains("resources")) {
        let plan = backend.sql(&format!("EXPLAIN QUERY PLAN {statement}")).join("\n");
        assert!(!plan.contains("SCAN"), "{statement}\n{plan}");
        by_name += usize::from(plan.contains("INDEX sqlite_autoindex_resources_1 (name"));
        by_id += usize::from(plan.contains("INTEGER PRIMARY KEY (rowid=?)"));
        by_expiry += usize::from(plan.contains("INDEX resources_expires_at (expires_at_us<?)"));
    }
    assert_eq!(
        (by_name, by_id, by_expiry),
        (4, 1, 1),
        "two loads and two looks of pruning; one update; one for what expired"
    );
}
