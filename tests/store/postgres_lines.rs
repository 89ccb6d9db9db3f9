//! Lines that several stores on one database share.

use std::time::{Duration, Instant};

use central_locking_system::db::{Announcement, PostgresStore, Standing, Store, StoreError};
use central_locking_system::lock::{Operation, Outcome, WaitingLines};

use super::postgres::Postgres;
use super::{Backend, Somebody, acquire, grant, name, release, run, run_in_line};
use crate::support::{Cluster, eventually};

const SOON: Duration = Duration::from_secs(5);

/// A store and its own line.
struct Server {
    store: PostgresStore,
    line: WaitingLines<Somebody>,
}

impl Server {
    fn on(backend: &Postgres) -> Self {
        Self {
            store: backend.open(),
            line: WaitingLines::default(),
        }
    }

    fn asks(&mut self, operation: Operation) -> Outcome {
        run_in_line(&mut self.store, &mut self.line, &[("r", operation)]).remove(0)
    }

    /// How many wait here.
    fn waiting(&self) -> usize {
        self.line.waiting()
    }
}

#[test]
fn the_first_of_all_is_served_by_its_own_store_and_nobody_else_before() {
    let backend = Postgres::new();
    let (mut a, mut b) = (Server::on(&backend), Server::on(&backend));
    grant(&mut a.store, "r");
    assert_eq!(b.asks(acquire("first", None)), Outcome::Locked);
    assert_eq!(a.asks(acquire("second", None)), Outcome::Locked);

    assert_eq!(a.asks(release("k")), Outcome::Released);
    assert_eq!(a.waiting(), 1, "it is not the turn of who waits here");
    assert_eq!(
        run(&mut a.store, &[("r", acquire("overtaker", None))]),
        [Outcome::Locked]
    );
    assert_eq!(run(&mut a.store, &[("r", release("k"))]), [Outcome::NotAcquired]);

    b.asks(Operation::Expire);
    assert_eq!((a.waiting(), b.waiting()), (1, 0));
    assert_eq!(backend.sql("SELECT locked_by FROM resources"), ["first"]);
    b.asks(release("first"));
    a.asks(Operation::Expire);
    assert_eq!(backend.sql("SELECT locked_by FROM resources"), ["second"]);
    assert_eq!(backend.sql("SELECT count(*) FROM waiters"), ["0"]);
}

#[test]
fn whoever_is_silent_for_two_seconds_is_not_waited_for() {
    let backend = Postgres::new();
    // Just after its start nobody could have given a sign of life.
    let age = "SELECT now() > pg_postmaster_start_time() + INTERVAL '2 s'";
    eventually("the database has run for a while", SOON, || backend.sql(age) == ["t"]);
    let (mut a, mut b) = (Server::on(&backend), Server::on(&backend));
    grant(&mut a.store, "r");
    b.asks(acquire("first", None));
    a.asks(release("k"));

    backend.sql("UPDATE replicas SET seen_us = clock_us() - 1800000");
    assert_eq!(run(&mut a.store, &[("r", acquire("x", None))]), [Outcome::Locked]);
    backend.sql("UPDATE replicas SET seen_us = clock_us() - 2000000");
    let granted = run(&mut a.store, &[("r", acquire("x", None))]);

    assert!(matches!(granted[..], [Outcome::Acquired(_)]), "{granted:?}");
}

#[test]
fn whoever_was_cut_off_itself_gives_the_others_time_to_come_back() {
    let backend = Postgres::new();
    let (mut a, mut b) = (Server::on(&backend), Server::on(&backend));
    grant(&mut a.store, "r");
    b.asks(acquire("first", None));
    a.asks(release("k"));

    let cluster = Cluster::shared();
    let allow = |allowed: bool| {
        let database = &backend.database.name;
        cluster.sql(
            "postgres",
            &format!("ALTER DATABASE {database} ALLOW_CONNECTIONS {allowed}"),
        );
    };
    allow(false);
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ";
    cluster.sql("postgres", &format!("{ended}'{}'", backend.database.name));
    let cut_off = Instant::now();
    eventually("it is cut off for longer than others are silent", SOON, || {
        assert!(a.store.beat(false).is_err());
        cut_off.elapsed() > Duration::from_millis(1200)
    });
    allow(true);
    backend.sql("UPDATE replicas SET seen_us = clock_us() - 3000000");
    let mut outcome = None;
    eventually("it works again", SOON, || {
        outcome = a
            .store
            .transaction(&[name("r")], &[], &mut |now, rows| {
                assert!(rows.resource(0).is_free_at(now));
                assert!(rows.ahead(0).is_some(), "the other may be back in a moment");
            })
            .ok();
        outcome.is_some()
    });
}

#[test]
fn a_sign_of_life_from_the_future_is_none() {
    let backend = Postgres::new();
    let (mut a, mut b) = (Server::on(&backend), Server::on(&backend));
    grant(&mut a.store, "r");
    b.asks(acquire("first", None));
    run(&mut a.store, &[("r", release("k"))]);

    // Left by somebody who died before the clock was set back.
    backend.sql("UPDATE replicas SET seen_us = clock_us() + 30000000");

    let granted = run(&mut a.store, &[("r", acquire("x", None))]);
    assert!(matches!(granted[..], [Outcome::Acquired(_)]), "{granted:?}");
    assert_eq!(
        b.store.beat(false),
        Ok(Standing::Doubted),
        "and whoever lives finds out"
    );
}

#[test]
fn whoever_was_not_heard_for_two_seconds_finds_out() {
    let backend = Postgres::new();
    let mut store = backend.open();
    assert_eq!(store.beat(false), Ok(Standing::Known));

    backend.sql("UPDATE replicas SET seen_us = clock_us() - 2000000");
    assert_eq!(store.beat(false), Ok(Standing::Doubted));
    assert_eq!(store.beat(false), Ok(Standing::Known));

    backend.database.terminate_sessions();
    eventually("it has connected again", SOON, || {
        store.beat(false) == Ok(Standing::Doubted)
    });
    assert_eq!(store.beat(false), Ok(Standing::Known));
}

#[test]
fn while_a_row_is_locked_a_look_gives_up_at_once_and_the_session_is_kept() {
    let backend = Postgres::new();
    let mut store = backend.open();
    grant(&mut store, "r");
    let sessions = "SELECT count(*), sum(pid) FROM pg_stat_activity \
                    WHERE datname = current_database() AND application_name LIKE 'cls runserver%'";
    let before = backend.sql(sessions);
    let mut other = backend.database.session();
    other.sql("BEGIN");
    other.sql("SELECT id FROM resources FOR UPDATE");

    let asked = Instant::now();
    let refused = store.look(&[name("r")], &mut |_, _| panic!("the row is not ours"));
    let waited = asked.elapsed();

    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    assert!(waited < Duration::from_secs(1), "after {waited:?}");
    grant(&mut store, "another");
    assert_eq!(backend.sql(sessions), before);
}

#[test]
fn a_row_that_somebody_deleted_forgets_nobody_who_waits() {
    let backend = Postgres::new();
    let (mut a, mut b) = (Server::on(&backend), Server::on(&backend));
    grant(&mut a.store, "r");
    b.asks(acquire("first", None));

    backend.sql("DELETE FROM resources");

    assert_eq!(run(&mut a.store, &[("r", acquire("x", None))]), [Outcome::Locked]);
    b.asks(Operation::Expire);
    assert_eq!(backend.sql("SELECT locked_by FROM resources"), ["first"]);
}

#[test]
fn the_server_of_the_first_in_line_is_told_and_the_others_when_to_look() {
    let backend = Postgres::new();
    let (mut a, mut b, mut c) = (Server::on(&backend), Server::on(&backend), Server::on(&backend));
    let mut ears = [&mut b, &mut c].map(|server| server.store.listen().expect("there may be others"));
    for ear in &mut ears {
        assert_eq!(
            ear.hear(Duration::ZERO),
            [Announcement::Anything],
            "it begins to listen"
        );
    }
    let mut hear = |ear: usize| {
        let mut heard = Vec::new();
        eventually("it hears something", SOON, || {
            heard = ears[ear].hear(Duration::ZERO);
            !heard.is_empty()
        });
        heard
    };
    grant(&mut a.store, "r");
    b.asks(acquire("first", Some(60)));
    c.asks(acquire("second", None));

    a.asks(release("k"));
    assert_eq!(hear(0), [Announcement::Free(name("r"))]);
    assert_eq!(hear(1), [Announcement::Promised(name("r"))]);

    b.asks(Operation::Expire);
    assert_eq!(hear(1), [Announcement::Ends(name("r"), Duration::from_secs(60))]);
    a.store.beat(true).expect("it calls");
    assert_eq!(hear(1), [Announcement::Call]);
}

#[test]
fn a_server_that_leaves_or_is_silent_for_long_is_not_in_the_tables_any_more() {
    let backend = Postgres::new();
    let (mut a, mut b) = (Server::on(&backend), Server::on(&backend));
    grant(&mut a.store, "r");
    a.asks(acquire("first", None));
    b.asks(acquire("second", None));
    assert_eq!(a.store.beat(false), Ok(Standing::Known));
    assert_eq!(b.store.beat(false), Ok(Standing::Known));

    a.store.leave().expect("it leaves");
    let left = "SELECT (SELECT count(*) FROM replicas), (SELECT count(*) FROM waiters)";
    assert_eq!(backend.sql(left), ["1|1"]);

    assert_eq!(a.store.beat(false), Ok(Standing::Forgotten));
    assert_eq!(a.store.beat(false), Ok(Standing::Known));
    assert_eq!(backend.sql(left), ["2|1"]);

    let mut later = backend.open();
    backend.sql(
        "CREATE OR REPLACE FUNCTION clock_us() RETURNS BIGINT LANGUAGE sql VOLATILE
         RETURN (extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT + 61000000",
    );
    backend.sql("UPDATE replicas SET seen_us = clock_us() WHERE id > (SELECT min(id) FROM replicas)");
    assert_eq!(later.beat(false), Ok(Standing::Known));
    assert_eq!(backend.sql(left), ["2|0"]);
}

#[test]
fn no_server_takes_the_number_of_another_for_its_own() {
    let backend = Postgres::new();
    let (mut a, mut b) = (backend.open(), backend.open());

    backend.sql("TRUNCATE replicas RESTART IDENTITY");
    // It gets the number that the other had.
    assert_eq!(b.beat(false), Ok(Standing::Forgotten));
    assert_eq!(a.beat(false), Ok(Standing::Forgotten));

    assert_eq!(backend.sql("SELECT count(*) FROM replicas"), ["2"]);
    assert_eq!(a.beat(false), Ok(Standing::Known));
    assert_eq!(b.beat(false), Ok(Standing::Known));
    a.leave().expect("it leaves");
    assert_eq!(b.beat(false), Ok(Standing::Known));
}
