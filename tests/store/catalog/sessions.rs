//! What becomes of its sessions.

use super::*;

#[test]
fn a_row_that_is_there_for_waiters_only_is_not_listed() {
    let backend = Postgres::new();
    put_free(&backend, &["granted", "awaited"]);
    backend.sql("UPDATE resources SET fencing_token = 0, has_waiters = TRUE WHERE name = 'awaited'");

    let page = backend.catalog(&backend.open()).list(&everything()).expect("it works");

    assert_eq!((page.count, names(&page)), (1, vec!["granted"]));
}

#[test]
fn whoever_waits_at_a_living_server_is_counted() {
    let backend = Postgres::new();
    let mut store = backend.open();
    let mut elsewhere = backend.open();
    let (mut here, mut there) = (WaitingLines::default(), WaitingLines::default());
    grant(&mut store, "r");
    grant(&mut store, "nobody waits for this");
    run_in_line(&mut store, &mut here, &[("r", acquire("first", None))]);
    run_in_line(&mut elsewhere, &mut there, &[("r", acquire("second", None))]);
    backend.sql("INSERT INTO waiters SELECT name, 999, place, wait_until_us FROM waiters");
    backend.sql("INSERT INTO waiters SELECT name, replica, place + 9000, 1 FROM waiters");
    // As far as the database knows both have just given a sign of life.
    backend.sql("UPDATE replicas SET seen_us = clock_us() + 60000000");
    let catalog = backend.catalog(&store);
    let counted = || {
        let page = catalog.list(&everything()).expect("it works");
        page.rows.iter().map(|row| row.waiters).collect::<Vec<_>>()
    };

    assert_eq!(counted(), [0, 2]);
    backend.sql("UPDATE replicas SET seen_us = clock_us() - 2000001 WHERE id = (SELECT max(id) FROM replicas)");
    assert_eq!(counted(), [0, 1]);
}

const SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity \
                        WHERE datname = current_database() AND application_name LIKE 'cls catalog (pid %)'";

#[test]
fn there_is_no_session_before_the_first_query_and_none_in_a_transaction_after_it() {
    let backend = Postgres::new();
    let catalog = catalog_at(&backend.database.url);
    assert_eq!(backend.sql(SESSIONS), ["0"]);

    catalog.list(&everything()).expect("it works");
    catalog.list(&everything()).expect("it works");

    assert_eq!(backend.sql(SESSIONS), ["1"]);
    assert_eq!(backend.sql(&format!("{SESSIONS} AND state = 'idle'")), ["1"]);
}

#[test]
fn more_queries_than_sessions_take_turns() {
    let backend = Postgres::new();
    put_free(&backend, &["r"]);
    let catalog = catalog_at(&backend.database.url);

    let askers: Vec<_> = (0..8)
        .map(|_| {
            let catalog = catalog.clone();
            thread::spawn(move || catalog.list(&everything()).map(|page| page.count))
        })
        .collect();

    for asker in askers {
        assert_eq!(asker.join().expect("it does not panic"), Ok(1));
    }
    let sessions: usize = backend.sql(SESSIONS)[0].parse().expect("a number");
    assert!((1..=2).contains(&sessions), "{sessions}");
}

#[test]
fn a_list_works_after_its_sessions_were_ended() {
    let backend = Postgres::new();
    let catalog = catalog_at(&backend.database.url);
    catalog.list(&everything()).expect("it works");

    assert!(backend.database.terminate_sessions() > 0);

    assert_eq!(catalog.list(&everything()).expect("it works again").count, 0);
}

#[test]
fn a_list_fails_while_postgresql_is_down_and_works_after() {
    let mut cluster = Cluster::of_its_own();
    let database = cluster.database();
    let catalog = catalog_at(&database.url);
    catalog.list(&everything()).expect("it works");

    cluster.crash();
    let failure = catalog.list(&everything());
    cluster.run();

    assert!(
        matches!(&failure, Err(StoreError::Failed(reason)) if reason.contains("cannot connect")),
        "{failure:?}"
    );
    eventually("it works again", SOON, || catalog.list(&everything()).is_ok());
}

#[test]
fn a_list_waits_for_no_row_that_is_locked() {
    let backend = Postgres::new();
    put_free(&backend, &["r"]);
    let mut other: PsqlSession = backend.database.session();
    other.sql("BEGIN");
    other.sql("UPDATE resources SET fencing_token = fencing_token + 1");

    let page = catalog_at(&backend.database.url).list(&everything()).expect("it works");

    assert_eq!(page.rows[0].fencing_token.as_i64(), 1, "as it was committed");
}

#[test]
fn a_list_is_ended_that_postgresql_cannot_answer() {
    let backend = Postgres::new();
    let mut other: PsqlSession = backend.database.session();
    other.sql("BEGIN");
    other.sql("LOCK TABLE resources");

    let failure = catalog_at(&backend.database.url).list(&everything());

    assert!(
        matches!(&failure, Err(StoreError::Failed(reason)) if reason.contains("timeout")),
        "{failure:?}"
    );
}
