//! Lines that several stores on one database share.

use std::time::{Duration, Instant};

use central_locking_system::db::{Announcement, Askers, PostgresStore, Standing, Store, StoreError};
use central_locking_system::lock::{
    Acquire, Batch, LockedBy, Operation, Outcome, Place, RequestId, Rules, WaitingLines,
};

use super::postgres::Postgres;
use super::{Backend, Somebody, acquire, acquire_by_request, grant, name, release, run, run_in_line, vacate};
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
            .transaction(&[name("r")], Askers::default(), &mut |now, rows| {
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

/// Has the database's clock go ahead by so many seconds.
fn set_clock(backend: &Postgres, seconds: i64) {
    let us = seconds * 1_000_000;
    backend.sql(&format!(
        "CREATE OR REPLACE FUNCTION clock_us() RETURNS BIGINT LANGUAGE sql VOLATILE
         RETURN (extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT + ({us})"
    ));
}

#[test]
fn where_the_clock_is_set_back_to_before_the_database_started_nobody_is_believed_until_then() {
    let backend = Postgres::new();
    let (mut a, mut b) = (Server::on(&backend), Server::on(&backend));
    grant(&mut a.store, "r");
    b.asks(acquire("first", None));

    set_clock(&backend, -3600);
    assert_eq!(b.store.beat(false), Ok(Standing::Doubted));
    assert_eq!(a.store.beat(false), Ok(Standing::Doubted));
    run(&mut a.store, &[("r", release("k"))]);
    let asked = run(&mut a.store, &[("r", acquire("x", None))]);
    assert_eq!(asked, [Outcome::Locked], "it may give a sign of life yet");

    // Which it does not.
    set_clock(&backend, -3597);
    let granted = run(&mut a.store, &[("r", acquire("x", None))]);
    assert!(matches!(granted[..], [Outcome::Acquired(_)]), "{granted:?}");
}

#[test]
fn where_the_clock_is_set_back_nothing_counts_again_when_it_passes_there_once_more() {
    let backend = Postgres::new();
    let (mut a, mut b) = (Server::on(&backend), Server::on(&backend));
    let mut lives = backend.open();
    grant(&mut a.store, "r");
    assert_eq!(a.asks(acquire_by_request("first", "1")), Outcome::Locked);
    vacate(&mut a.store, &mut a.line, "r");
    assert_eq!(b.asks(acquire("second", None)), Outcome::Locked);

    set_clock(&backend, -30);
    assert_eq!(lives.beat(false), Ok(Standing::Doubted));
    // Not those who were heard before that only.
    let heard = "SELECT count(*) FROM replicas WHERE seen_us > clock_us() - 2000000";
    assert_eq!(backend.sql(heard), ["1"]);
    let kept = "SELECT vacant_until_us BETWEEN clock_us() + 1 AND clock_us() + 3000000 FROM waiters WHERE replica = 0";
    assert_eq!(backend.sql(kept), ["t"]);

    set_clock(&backend, 0);
    run(&mut lives, &[("r", release("k"))]);
    let granted = run(&mut lives, &[("r", acquire("x", None))]);
    assert!(matches!(granted[..], [Outcome::Acquired(_)]), "{granted:?}");
    assert_eq!(
        a.store.beat(false),
        Ok(Standing::Doubted),
        "and whoever lives finds out"
    );
}

#[test]
fn whoever_was_in_doubt_finds_out_also_where_the_clock_is_set_back_twice() {
    let backend = Postgres::new();
    let (mut a, mut b) = (backend.open(), backend.open());
    assert_eq!(b.beat(false), Ok(Standing::Known));

    set_clock(&backend, -30);
    assert_eq!(a.beat(false), Ok(Standing::Doubted));
    set_clock(&backend, -32);

    assert_eq!(b.beat(false), Ok(Standing::Doubted));
    assert_eq!(b.beat(false), Ok(Standing::Known));
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
    let refused = store.look(&[name("r")], Askers::default(), &mut |_, _| {
        panic!("the row is not ours")
    });
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
    set_clock(&backend, 61);
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

/// Somebody waits at a server that stops, behind nobody and before `second`; the
/// resource is free then.
fn vacant_and_free() -> (Postgres, Server, Server) {
    let backend = Postgres::new();
    let (mut a, mut b) = (Server::on(&backend), Server::on(&backend));
    grant(&mut a.store, "r");
    assert_eq!(a.asks(acquire_by_request("first", "1")), Outcome::Locked);
    assert_eq!(b.asks(acquire("second", None)), Outcome::Locked);
    vacate(&mut a.store, &mut a.line, "r");
    a.store.leave().expect("it leaves");
    b.asks(release("k"));
    assert_eq!(b.waiting(), 1, "the place before it is kept");
    (backend, a, b)
}

#[test]
fn whoever_comes_back_to_a_vacant_place_is_granted_what_was_kept_free() {
    let (backend, _, mut b) = vacant_and_free();
    assert_eq!(
        run(&mut b.store, &[("r", acquire("overtaker", None))]),
        [Outcome::Locked]
    );
    let other_body = Operation::Acquire(Acquire {
        request: RequestId::new("1", None, [Some("another")]),
        ..Acquire::by(LockedBy::new("first").expect("well formed"))
    });
    assert_eq!(b.asks(other_body), Outcome::Locked, "that is another request");

    let granted = b.asks(acquire_by_request("first", "1"));

    assert!(matches!(granted, Outcome::Acquired(_)), "{granted:?}");
    b.asks(release("first"));
    assert_eq!(backend.sql("SELECT locked_by FROM resources"), ["second"]);
    assert_eq!(backend.sql("SELECT count(*) FROM waiters WHERE replica = 0"), ["0"]);
}

#[test]
fn a_vacant_place_is_kept_for_three_seconds_and_then_for_nobody() {
    let (backend, _, mut b) = vacant_and_free();
    let has_waiters = "SELECT has_waiters FROM resources";

    backend.sql("UPDATE waiters SET vacant_until_us = vacant_until_us - 2900000 WHERE replica = 0");
    b.asks(Operation::Expire);
    let until = "SELECT vacant_until_us BETWEEN clock_us() - 2900000 AND clock_us() + 3000000 \
                 FROM waiters WHERE replica = 0";
    assert_eq!(backend.sql(until), ["t"]);
    backend.sql("UPDATE waiters SET vacant_until_us = clock_us() WHERE replica = 0");
    b.asks(Operation::Expire);
    assert_eq!(backend.sql("SELECT locked_by FROM resources"), ["second"]);

    b.asks(release("second"));
    b.asks(Operation::Expire);
    assert_eq!(
        backend.sql(has_waiters),
        ["f"],
        "who does not come back waits for nothing"
    );
    backend.sql("UPDATE replicas SET seen_us = clock_us()");
    backend.open().beat(false).expect("it works");
    assert_eq!(backend.sql("SELECT count(*) FROM waiters"), ["0"]);
}

#[test]
fn a_place_that_is_kept_into_the_far_future_is_kept_for_nobody() {
    let (backend, _, mut b) = vacant_and_free();

    // Left by somebody before the clock was set back.
    backend.sql("UPDATE waiters SET vacant_until_us = clock_us() + 30000000 WHERE replica = 0");
    b.asks(Operation::Expire);

    assert_eq!(backend.sql("SELECT locked_by FROM resources"), ["second"]);
}

#[test]
fn whoever_goes_elsewhere_while_its_server_lives_takes_the_place_along() {
    let backend = Postgres::new();
    let (mut a, mut b, mut c) = (Server::on(&backend), Server::on(&backend), Server::on(&backend));
    let mut ear = a.store.listen().expect("there may be others");
    assert_eq!(ear.hear(Duration::ZERO), [Announcement::Anything]);
    grant(&mut b.store, "r");
    a.asks(acquire_by_request("first", "1"));
    c.asks(acquire("second", None));

    assert_eq!(b.asks(acquire_by_request("first", "1")), Outcome::Locked);

    let stands = "SELECT replica = (SELECT min(id) + 1 FROM replicas), request IS NOT NULL FROM waiters ORDER BY place";
    assert_eq!(backend.sql(stands), ["t|t", "f|f"]);
    let mut heard = Vec::new();
    eventually("its server is told", SOON, || {
        heard = ear.hear(Duration::ZERO);
        !heard.is_empty()
    });
    let place = backend.sql("SELECT min(place) FROM waiters").remove(0);
    let place = Place::new(place.parse().expect("a number"));
    assert_eq!(heard, [Announcement::Moved(name("r"), place)]);
    // It sees that in the table before it believes it.
    let mut superseded = 0;
    let request = RequestId::new("1", None, [Some("first")]).expect("well formed");
    let askers = Askers {
        requests: &[(0, request)],
        ..Askers::default()
    };
    let Server { store, line } = &mut a;
    store
        .transaction(&[name("r")], askers, &mut |now, rows| {
            let mut batch = Batch::new(now, Rules::default(), rows, line);
            batch.let_go(0, place);
            superseded = batch.superseded.len();
        })
        .expect("it commits");
    assert_eq!((superseded, a.waiting()), (1, 0));
    assert_eq!(backend.sql(stands), ["t|t", "f|f"]);

    c.asks(release("k"));
    assert_eq!(c.waiting(), 1, "it is not its turn");
    b.asks(Operation::Expire);
    assert_eq!(backend.sql("SELECT locked_by FROM resources"), ["first"]);
}

#[test]
fn a_server_that_has_a_new_number_takes_nobody_for_gone_whom_it_knew_by_the_old_one() {
    let backend = Postgres::new();
    let mut a = Server::on(&backend);
    grant(&mut a.store, "r");
    a.asks(acquire_by_request("first", "1"));
    backend.sql("DELETE FROM replicas");
    let mut kept = backend.database.session();
    kept.sql("BEGIN");
    kept.sql("SELECT place FROM waiters FOR UPDATE");
    assert_eq!(a.store.beat(false), Ok(Standing::Forgotten));
    kept.sql("COMMIT");
    assert_eq!(backend.sql("SELECT count(*) FROM waiters"), ["1"]);

    let request = RequestId::new("1", None, [Some("first")]).expect("well formed");
    let askers = Askers {
        requests: &[(0, request)],
        ..Askers::default()
    };
    let Server { store, line } = &mut a;
    store
        .transaction(&[name("r")], askers, &mut |now, rows| {
            Batch::new(now, Rules::default(), rows, line).restate(0);
        })
        .expect("it commits");

    assert_eq!(a.waiting(), 1);
}
