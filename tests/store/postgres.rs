//! The claims on PostgreSQL, and what only PostgreSQL can be asked.

use std::thread;
use std::time::Duration;

use central_locking_system::db::{Askers, DatabaseUrl, Kept, PostgresStore, Store, StoreError};
use central_locking_system::lock::{NewLabel, Operation, WaitingLines};

use super::recorder::{assert_golden, some_batches, statements_of};
use super::{Backend, acquire, acquire_by_request, grant, load, name, release, renew, run, run_in_line, suite, vacate};
use crate::support::{Cluster, PostgresDatabase, eventually};

/// How long something may take that others have to notice first.
const SOON: Duration = Duration::from_secs(5);

pub(super) struct Postgres {
    pub(super) database: PostgresDatabase,
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

/// What two servers ask for that share a line of two.
fn a_shared_line(backend: &Postgres, store: &mut PostgresStore) {
    let mut elsewhere = backend.open();
    let (mut here, mut there) = (WaitingLines::default(), WaitingLines::default());
    run(store, &[("line", acquire("k", None))]);
    run_in_line(store, &mut here, &[("line", acquire("first", None))]);
    run_in_line(&mut elsewhere, &mut there, &[("line", acquire("second", None))]);
    run_in_line(&mut elsewhere, &mut there, &[("line", release("k"))]);
    run_in_line(store, &mut here, &[("line", Operation::Expire)]);
    run_in_line(store, &mut here, &[("line", release("first"))]);
    run_in_line(
        &mut elsewhere,
        &mut there,
        &[("line", acquire_by_request("third", "3"))],
    );
    vacate(&mut elsewhere, &mut there, "line");
    run_in_line(store, &mut here, &[("line", acquire_by_request("third", "3"))]);
    run_in_line(store, &mut here, &[("line", release("second"))]);
    run_in_line(store, &mut here, &[("line", release("third"))]);
}

/// More than one row, with and without events.
fn two_rows(store: &mut PostgresStore) {
    let both = |operation: fn() -> Operation| ["b", "c"].map(|name| (name, operation()));
    run(store, &both(|| acquire("k", Some(60))));
    // The first is recorded, the second not.
    run(store, &both(|| renew("k", 90, NewLabel::Kept)));
    run(store, &both(|| renew("k", 90, NewLabel::Kept)));
}

#[test]
fn the_hot_statements_are_these() {
    let (_, asked) = statements_of::<Postgres>(|backend, store| {
        some_batches(backend, store);
        two_rows(store);
        // Only the statements of batches: not how the other server starts.
        a_shared_line(backend, store);
    });

    let batches: Vec<_> = asked.statements.into_iter().filter(|sql| !is_of_a_start(sql)).collect();
    assert_golden(&batches, include_str!("hot_statements.postgres.sql"));
}

/// Whether a store asks this when it is opened.
fn is_of_a_start(sql: &str) -> bool {
    let beginnings = [
        "SET ",
        "SELECT current_setting",
        "SELECT set_config",
        "SELECT pg_try",
        "SELECT EXISTS (SELECT FROM token_timeline",
        "SELECT setval('lock_event_ids'",
        "INSERT INTO \"replicas\"",
    ];
    beginnings.iter().any(|beginning| sql.starts_with(beginning))
}

#[test]
fn each_hot_statement_is_prepared_once() {
    let (_, asked) = statements_of::<Postgres>(|backend, store| {
        some_batches(backend, store);
        some_batches(backend, store);
        let mut line = WaitingLines::default();
        for _ in 0..2 {
            run(store, &[("line", acquire("k", None))]);
            run_in_line(store, &mut line, &[("line", acquire("next", None))]);
            run_in_line(store, &mut line, &[("line", release("k"))]);
            run_in_line(store, &mut line, &[("line", release("next"))]);
        }
    });

    let kept: Vec<_> = asked.kept.iter().filter_map(|sql| sql.lines().next()).collect();
    assert_eq!(
        kept,
        [
            "WITH locked AS MATERIALIZED (",
            "INSERT INTO resources (name, fencing_token)",
            "SELECT number, living.id, place, believed_until_us - $1",
            "WITH recorded AS (",
            "UPDATE resources",
            "WITH recorded AS (",
            "SELECT now_us, number,",
            "SELECT client, count(*)",
            "INSERT INTO waiters (name, replica, place, wait_until_us, request)",
            "UPDATE resources",
            "DELETE FROM waiters",
        ]
    );
}

/// The types of the parameters of the golden statements that read a table, in
/// the order in which they stand there.
const PARAMETER_TYPES: [&str; 15] = [
    "text[], bigint, bigint, bigint, bigint, bigint",
    "text[], bigint",
    "bigint, bigint, text[]",
    "bigint, text[], bigint, bigint, bigint, bigint, bigint[], bigint, bigint, bigint, text[], bigint, bigint, bigint, bigint[]",
    "text[], text[], bigint, bigint",
    "bigint, bigint, text[], bigint",
    "bigint, text[]",
    "text[], bigint[]",
    "text[], bigint[], bigint",
    "bigint, bigint, bigint, text, text, bigint, bigint, bigint, text, text, text, text, text, bigint, text, text, text, text, text, text, text, text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint",
    "bigint, bigint, bigint, text, text, bigint, bigint, bigint, text, text, text, text, text, bigint, bigint, bigint, text, text, bigint, bigint, bigint, text, text, text, text, text, bigint, text, text, text, text, text, text, text, text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint",
    "bigint, text, text, text, text, text, text, text, text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint",
    "bigint[], bigint[], bigint[], text[], text[], bigint[], bigint[], bigint[], text[], text[], text[], text[], text[], bigint[], text[], bigint[], text[], text[], text[], text[], text[], text[], text[], text[], bigint[], bigint[], bigint[], bigint[], bigint[], bigint[], bigint[]",
    "bigint[], text[], bigint[], text[], text[], text[], text[], text[], text[], text[], text[], bigint[], bigint[], bigint[], bigint[], bigint[], bigint[], bigint[]",
    "bigint, bigint[]",
];

#[test]
fn each_hot_statement_uses_an_index() {
    let backend = Postgres::new();
    let golden = include_str!("hot_statements.postgres.sql");
    let reading = golden.trim().split(";\n\n").filter(|sql| {
        ["WITH", "SELECT c", "SELECT n", "DELETE", "UPDATE"]
            .iter()
            .any(|verb| sql.starts_with(verb))
    });
    // As the server sets it for itself.
    let mut session = backend.database.session();
    session.sql("SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off");
    session.sql("SET plan_cache_mode = force_generic_plan");

    for (number, (sql, types)) in reading.zip(PARAMETER_TYPES).enumerate() {
        let nulls = vec!["NULL"; types.split(", ").count()].join(", ");
        session.sql(&format!("PREPARE s{number} ({types}) AS {sql}"));
        let plan = session.sql(&format!("EXPLAIN EXECUTE s{number} ({nulls})")).join("\n");

        assert!(plan.contains("Index") || plan.contains("Tid Scan"), "{sql}\n{plan}");
        for table in ["resources", "waiters"] {
            assert!(!plan.contains(&format!("Seq Scan on {table}")), "{sql}\n{plan}");
        }
    }
}

#[test]
fn a_batch_on_rows_that_are_there_takes_four_round_trips() {
    let (_, asked) = statements_of::<Postgres>(|backend, store| {
        some_batches(backend, store);
        run(store, &[("a", acquire("k", None))]);
    });

    let last = &asked.statements[asked.statements.len() - 4..];
    let verbs: Vec<_> = last.iter().filter_map(|sql| sql.split_whitespace().next()).collect();
    assert_eq!(verbs, ["BEGIN", "WITH", "WITH", "COMMIT"]);
    assert!(
        last[2].starts_with("WITH recorded AS (\nINSERT INTO lock_events"),
        "{}",
        last[2]
    );
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

    some_batches(&backend, &mut store);
    run(&mut store, &[("r1", acquire("k", Some(1))), ("r2", acquire("k", None))]);
    store.expired(10, Duration::ZERO).expect("it works");
    while store.prune(1000, 1).expect("it works") == 0 {}
    // The counts are sent when the session ends.
    drop(store);

    let scanned = |counts: &str| counts.split('|').next().map(str::to_owned);
    eventually("the reads are counted", SOON, || counted().ends_with("|t"));
    assert_eq!(scanned(&counted()), scanned(&before));
}

#[test]
fn no_more_events_go_than_are_too_many_while_the_statistics_are_late() {
    let backend = Postgres::new();
    backend.sql(
        "INSERT INTO lock_events (id, at_us, event, resource, fencing_token)
         SELECT n, clock_us(), 'acquired', 'r', n FROM generate_series(1, 5000) AS n",
    );
    let counted = "SELECT pg_stat_get_live_tuples('lock_events'::regclass)";
    eventually("the events are counted", SOON, || backend.sql(counted) == ["5000"]);
    let mut store = backend.open();
    let kept = Kept {
        events_max: Some(1000),
        age_max: None,
    };

    // One after the other, as the server does: the counts are sent once a second.
    while store.prune_events(2000, kept).expect("it works") == 2000 {}

    let left: i64 = backend.sql("SELECT count(*) FROM lock_events")[0]
        .parse()
        .expect("a number");
    assert!((1000..=3000).contains(&left), "{left}");
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
        backend.database.until_a_server_waits_for_a_row();
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
        backend.database.until_a_server_waits_for_a_row();
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

    let refused = store.transaction(&[name("r")], Askers::default(), &mut |_, _| {
        panic!("the row is not ours")
    });
    other.sql("ROLLBACK");

    assert!(
        matches!(&refused, Err(StoreError::Refused(reason)) if reason.contains("lock timeout")),
        "{refused:?}"
    );
    eventually("it works again", SOON, || {
        store
            .transaction(&[name("r")], Askers::default(), &mut |_, _| {})
            .is_ok()
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
        backend.database.until_a_server_waits_for_a_row();
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

#[test]
fn of_two_that_find_a_new_timeline_one_sets_the_tokens_ahead() {
    let backend = Postgres::new();
    let granted = grant(&mut backend.open(), "r").as_i64();
    backend.sql("UPDATE token_timeline SET timeline = 'another'");
    let mut other = backend.database.session();
    other.sql("BEGIN");
    other.sql("LOCK TABLE token_timeline IN EXCLUSIVE MODE");

    let second = thread::scope(|scope| {
        let opening = scope.spawn(|| grant(&mut backend.open(), "s").as_i64());
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'token_timeline'::regclass";
        eventually("the store waits", SOON, || backend.sql(waiting) == ["1"]);
        other.sql("UPDATE token_timeline SET timeline = wal_timeline()");
        other.sql("COMMIT");
        opening.join().expect("it goes on")
    });

    assert!((granted..granted + 100_000).contains(&second), "{granted}, {second}");
}

#[test]
fn on_a_new_timeline_and_without_a_record_of_one_tokens_go_on_far_ahead_once() {
    for lost in [
        "UPDATE token_timeline SET timeline = 'another'",
        "DELETE FROM token_timeline",
    ] {
        let backend = Postgres::new();
        let before = grant(&mut backend.open(), "a").as_i64();
        backend.sql(lost);

        let after = grant(&mut backend.open(), "b").as_i64();
        let again = grant(&mut backend.open(), "c").as_i64();

        assert!(after > before + (1 << 36), "{before}, {after}");
        assert!((after..after + 100_000).contains(&again), "{after}, {again}");
        assert_eq!(
            backend.sql("SELECT timeline = wal_timeline() FROM token_timeline"),
            ["t"]
        );
    }
}
