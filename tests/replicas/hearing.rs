//! Announcements that are not heard.

use std::thread;
use std::time::{Duration, Instant};

use super::{Replicas, SOON, granted_within};
use crate::support::{Cluster, Proxy, eventually};

const LISTENERS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                         WHERE datname = current_database() AND application_name LIKE 'cls listener%'";

#[test]
fn a_lost_listener_is_made_again_and_what_it_missed_made_good() {
    let replicas = Replicas::start(2);
    for round in 0..10 {
        let name = format!("r{round}");
        replicas.hold(0, &name);
        let mut waiter = replicas.in_line(1, &name, "waiter");

        // The release is announced while nobody listens, or a moment before or after.
        thread::scope(|scope| {
            let releasing = scope.spawn(|| {
                replicas.release(0, &name, "holder");
            });
            replicas.database.sql(LISTENERS);
            releasing.join().expect("it is released");
        });
        let released = Instant::now();
        granted_within(&mut waiter, SOON);

        assert!(
            released.elapsed() < Duration::from_secs(2),
            "after {:?}",
            released.elapsed()
        );
    }

    let log = replicas.servers[1].log();
    assert!(log.contains("listening for other servers ended"), "{log}");
    assert!(log.contains("listening for other servers again"), "{log}");
}

#[test]
fn a_thousand_who_wait_cost_less_than_five_statements_a_second() {
    let cluster = Cluster::with_settings(&[
        "shared_preload_libraries=pg_stat_statements",
        "pg_stat_statements.track=top",
    ]);
    let database = cluster.database();
    database.sql("CREATE EXTENSION pg_stat_statements");
    let replicas = Replicas::on(database, 2);
    for number in 0..10 {
        replicas.hold(0, &format!("r{number}"));
    }
    let mut waiters = Vec::new();
    for number in 0..1000 {
        let mut waiter = replicas.client(1);
        let body = format!("{{\"locked_by\": \"k{number}\", \"timeout\": 600}}");
        waiter.send_put(&format!("r{}", number % 10), &body);
        waiters.push(waiter);
    }
    let in_line = "SELECT count(*) FROM waiters";
    eventually("all stand in line", 4 * SOON, || {
        replicas.database.sql(in_line) == ["1000"]
    });
    let asked = "SELECT calls FROM pg_stat_statements WHERE query ~ '^UPDATE replicas'";
    let beats = || {
        let calls = replicas.database.sql(asked);
        calls
            .iter()
            .map(|calls| calls.parse::<u64>().expect("a number"))
            .sum::<u64>()
    };
    replicas.database.sql("SELECT pg_stat_statements_reset()");

    // Time is measured by the signs of life, so that this needs no clock: two a second and server.
    eventually("ten seconds are over", 6 * SOON, || beats() >= 40);
    let statements = replicas
        .database
        .sql("SELECT coalesce(sum(calls), 0)::BIGINT FROM pg_stat_statements WHERE query !~ 'pg_stat_statements'");

    let statements: u64 = statements[0].parse().expect("a number");
    assert!(
        statements < 2 * 10 * 5,
        "{statements} statements in ten seconds from two servers"
    );
}

#[test]
fn a_server_that_hears_nothing_looks_by_itself_and_says_so() {
    let mut replicas = Replicas::start(1);
    let deaf = Proxy::before(&replicas.database);
    deaf.drop_notifications(true);
    replicas.add(deaf.url());
    let says = |what: &str| {
        eventually(what, 2 * SOON, || replicas.servers[1].log().contains(what));
    };

    says("announcements of other servers are not heard");
    for round in 0..3 {
        let name = format!("r{round}");
        replicas.hold(0, &name);
        let mut waiter = replicas.in_line(1, &name, "waiter");
        replicas.hands_over_within(Duration::from_secs(2), (0, &name, "holder"), &mut waiter);
    }

    deaf.drop_notifications(false);
    let mut waits = replicas.client(1);
    replicas.hold(0, "r");
    waits.send_put("r", "{\"locked_by\": \"waiter\", \"timeout\": 60}");
    says("announcements of other servers are heard again");
}
