//! The claims on PostgreSQL, and what only PostgreSQL can be asked.

use std::thread;
use std::time::Duration;

use central_locking_system::db::{DatabaseUrl, PostgresStore, Store, StoreError};

use super::recorder::{assert_golden, statements_of, two_batches};
use super::{Backend, acquire, grant, load, name, release, run, suite};
use crate::support::{Cluster, PostgresDatabase, eventually};

/// How long something may take that others have to notice first.
const SOON: Duration = Duration::from_secs(5);

struct Postgres {
    database: PostgresDatabase,
}

impl Postgres {
    fn try_open(&self) -> Result<PostgresStore, StoreError> {
        match DatabaseUrl::parse(&self.database.url).expect("it is well formed") {
            DatabaseUrl::Postgres(url) => PostgresStore::open(url),
            DatabaseUrl::Sqlite(_) => panic!("not an SQLite file"),
        }
    }
}

impl Backend for Postgres {
    type Store = PostgresStore;

    fn new() -> Self {
        let database = Cluster::shared().database();
        Self { database }
    }

    fn open(&self) -> PostgresStore {
        self.try_open().expect("it opens")
    }

    fn sql(&self, statement: &str) -> Vec<String> {
        self.database.sql(statement)
    }

    fn put_counter_back(&self) {
        self.sql("SELECT setval('fencing_tokens', 1, FALSE)");
    }
}

every_claim_on!(Postgres);

#[test]
fn the_hot_statements_are_these() {
    let (_, asked) = statements_of::<Postgres>(two_batches);

    assert_golden(&asked.statements, include_str!("hot_statements.postgres.sql"));
}

#[test]
fn each_hot_statement_is_prepared_once() {
    let (_, asked) = statements_of::<Postgres>(|backend, store| {
        two_batches(backend, store);
        two_batches(backend, store);
    });

    let kept: Vec<_> = asked.kept.iter().filter_map(|sql| sql.split(' ').next()).collect();
    assert_eq!(kept, ["WITH", "INSERT", "UPDATE"], "{:#?}", asked.kept);
}

#[test]
fn a_batch_on_rows_that_are_there_takes_four_round_trips() {
    let (_, asked) = statements_of::<Postgres>(|backend, store| {
        two_batches(backend, store);
        run(store, &[("a", acquire("k", None))]);
    });

    let last = &asked.statements[asked.statements.len() - 4..];
    let verbs: Vec<_> = last.iter().filter_map(|sql| sql.split_whitespace().next()).collect();
    assert_eq!(verbs, ["BEGIN", "WITH", "UPDATE", "COMMIT"]);
}

#[test]
fn no_statement_reads_a_row_in_vain() {
    let backend = Postgres::new();
    // Nobody has told the planner how many rows there are.
    backend.sql(
        "INSERT INTO resources (name, fencing_token, released_at_us)
         SELECT 'r' || n, 0, clock_us() FROM generate_series(1, 20000) AS n",
    );
    backend.sql("UPDATE resources SET released_at_us = 1 WHERE name = 'r77'");
    let reads = "SELECT seq_tup_read, idx_scan > 0 FROM pg_stat_user_tables WHERE relname = 'resources'";
    let counted = || backend.sql(reads).remove(0);
    eventually("all reads so far are counted", SOON, || counted() != "0|f");
    let before = counted();
    let mut store = backend.open();

    two_batches(&backend, &mut store);
    run(&mut store, &[("r1", acquire("k", Some(1))), ("r2", acquire("k", None))]);
    store.expired(10).expect("it works");
    while store.prune(1000, 1).expect("it works") == 0 {}
    // The counts are sent when the session ends.
    drop(store);

    let scanned = |counts: &str| counts.split('|').next().map(str::to_owned);
    eventually("the reads are counted", SOON, || counted().ends_with("|t"));
    assert_eq!(scanned(&counted()), scanned(&before));
}

#[test]
fn time_and_tokens_are_from_after_a_wait_for_a_row() {
    let backend = Postgres::new();
    let mut store = backend.open();
    grant(&mut store, "r");
    let mut other = backend.database.session();
    other.sql("BEGIN");
    other.sql("UPDATE resources SET expires_at_us = 1 WHERE name = 'r'");

    let (now, granted) = thread::scope(|scope| {
        let granting = scope.spawn(|| {
            let (now, _) = load(&mut store, &["r"]);
            (now, grant(&mut store, "r"))
        });
        let waiting = "SELECT count(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        eventually("the store waits", SOON, || backend.sql(waiting) == ["1"]);
        let taken = other.sql("SELECT nextval('fencing_tokens'), clock_us()").remove(0);
        other.sql("COMMIT");
        let (token, clock_us) = taken.split_once('|').expect("two columns");
        let (now, granted) = granting.join().expect("it gets the row");
        let number = |text: &str| text.parse::<i64>().expect("a number");
        (now.as_us() - number(clock_us), granted.as_i64() - number(token))
    });

    assert!(now > 0, "the clock was read {now} us too early");
    assert!(granted > 0, "the token is {granted} below one that was taken before it");
}

#[test]
fn a_row_that_was_rewritten_while_it_was_waited_for_is_written_where_it_is() {
    let backend = Postgres::new();
    let mut store = backend.open();
    grant(&mut store, "r");
    let mut other = backend.database.session();
    other.sql("BEGIN");
    other.sql("UPDATE resources SET expires_at_us = 1 WHERE name = 'r'");

    let granted = thread::scope(|scope| {
        let granting = scope.spawn(|| grant(&mut store, "r"));
        let waiting = "SELECT count(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        eventually("the store waits", SOON, || backend.sql(waiting) == ["1"]);
        other.sql("COMMIT");
        granting.join().expect("it gets the row")
    });

    let written = backend.sql("SELECT fencing_token FROM resources WHERE name = 'r'");
    assert_eq!(written, [granted.as_i64().to_string()]);
}

#[test]
fn a_row_that_somebody_else_keeps_locked_is_given_up() {
    let backend = Postgres::new();
    let mut store = backend.open();
    grant(&mut store, "r");
    let mut other = backend.database.session();
    other.sql("BEGIN");
    other.sql("SELECT id FROM resources FOR UPDATE");

    let refused = store.transaction(&[name("r")], &mut |_, _| panic!("the row is not ours"));
    other.sql("ROLLBACK");

    assert!(
        matches!(&refused, Err(StoreError::Failed(reason)) if reason.contains("lock timeout")),
        "{refused:?}"
    );
    eventually("it works again", SOON, || {
        store.transaction(&[name("r")], &mut |_, _| {}).is_ok()
    });
}

#[test]
fn two_that_lock_the_same_rows_in_the_order_of_names_never_wait_for_each_other() {
    let backend = Postgres::new();
    let mut store = backend.open();
    let mut other = backend.database.session();
    grant(&mut store, "b");
    other.sql("BEGIN");
    other.sql("INSERT INTO resources (name, fencing_token) VALUES ('a', 0)");

    thread::scope(|scope| {
        // The row of a is not there for the store, and b is.
        let releasing = scope.spawn(|| run(&mut store, &[("b", release("k")), ("a", release("k"))]));
        let waiting = "SELECT count(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        eventually("the store waits for a", SOON, || backend.sql(waiting) == ["1"]);
        other.sql("SELECT id FROM resources WHERE name = 'b' FOR UPDATE");
        other.sql("COMMIT");
        releasing.join().expect("no deadlock");
    });

    assert_eq!(
        backend.sql("SELECT name, locked_by FROM resources ORDER BY name"),
        ["b|"],
        "what was never granted is gone"
    );
}

#[test]
fn a_database_has_one_store() {
    let backend = Postgres::new();
    let mut first = backend.open();

    let second = backend.try_open().err().expect("it is refused").to_string();
    grant(&mut first, "r");
    drop(first);

    let owner = format!("is in use by cls runserver (pid {})", std::process::id());
    assert!(second.contains(&owner), "{second}");
    grant(&mut backend.open(), "s");
}

#[test]
fn a_store_that_lost_its_session_decides_nothing_before_it_owns_the_database_again() {
    let backend = Postgres::new();
    let mut store = backend.open();
    grant(&mut store, "r");
    let mut usurper = backend.database.session();

    let owner = backend
        .sql(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
              AND application_name LIKE 'cls %'",
        )
        .remove(0);
    usurper.sql(&format!(
        "SELECT pg_terminate_backend({owner}), pg_advisory_lock({})",
        0x434C_5376_0000_0001_i64
    ));
    let never = &mut |_: central_locking_system::clock::Timestamp, _: &mut central_locking_system::lock::Rows| {
        panic!("another session owns the database")
    };
    assert!(store.transaction(&[name("r")], never).is_err(), "the session is gone");
    eventually("it says who has the database", SOON, || {
        let refused = store.transaction(&[name("r")], never);
        matches!(refused, Err(StoreError::Failed(reason)) if reason.contains("is in use by psql"))
    });

    drop(usurper);
    eventually("it owns the database again", SOON, || {
        store.transaction(&[name("r")], &mut |_, _| {}).is_ok()
    });
}

#[test]
fn defaults_of_the_database_do_not_weaken_a_session() {
    let backend = Postgres::new();
    let database = &backend.database.name;
    backend.sql(&format!("ALTER DATABASE {database} SET synchronous_commit = off"));
    backend.sql(&format!(
        "ALTER DATABASE {database} SET default_transaction_isolation = serializable"
    ));
    backend.sql(&format!(
        "ALTER DATABASE {database} SET default_transaction_read_only = on"
    ));

    let mut store = backend.open();
    grant(&mut store, "r");
}
