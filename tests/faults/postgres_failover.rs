//! The primary is gone and a standby takes its place.

use crate::faults::postgres::{HEAL_WAIT_MAX, under_load};
use crate::faults::{acquire, assert_unavailable, body, directory, failures_logged, must_run};
use crate::support::{Cls, Cluster, eventually};

#[test]
fn what_was_answered_survives_a_fail_over_to_a_synchronous_standby() {
    let mut primary = Cluster::of_its_own();
    let database = primary.database();
    let standby = primary.standby("standby");
    primary.set("synchronous_standby_names", "standby");
    let directory = directory();
    let url = primary.url_with(&standby, &database.name);
    let cls = Cls::in_directory(directory.path()).with("DATABASE_URL", &url);
    let server = cls.start();
    let before = acquire(&mut server.client(), "before", "k");

    under_load(&server, |seen| {
        primary.cut_off(&standby);
        // Committed on the primary alone by now, and so not answered.
        let waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        eventually("a commit waits for the standby", HEAL_WAIT_MAX, || {
            database.sql(waits) == ["1"]
        });
        primary.crash();
        standby.promote();
        seen.works_again();
    });

    let mut client = server.client();
    assert_eq!(client.delete("before", "k").status, 204);
    assert!(acquire(&mut client, "before", "k") > before, "tokens rise");
    for command in [
        &["check"][..],
        &["migrate"],
        &["migrate", "--check"],
        &["showmigrations"],
        &["dbshell", "--", "-c", "SELECT * FROM held_locks"],
    ] {
        let output = cls.run(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{command:?}: {said}");
    }
    drop(server);
    assert_eq!(cls.start().client().delete("before", "k").status, 204);
}

#[test]
fn tokens_rise_over_a_fail_over_that_lost_the_latest_of_them() {
    let mut primary = Cluster::of_its_own();
    let database = primary.database();
    let standby = primary.standby("standby");
    let directory = directory();
    let url = primary.url_with(&standby, &database.name);
    let cls = Cls::in_directory(directory.path()).with("DATABASE_URL", &url);
    let server = cls.start();
    let mut client = server.client();
    acquire(&mut client, "kept", "k");
    eventually("the standby has it", HEAL_WAIT_MAX, || {
        standby.sql(&database.name, "SELECT name FROM held_locks") == ["kept"]
    });

    primary.cut_off(&standby);
    // As many steps as PostgreSQL logs ahead are not lost; other servers have taken these.
    database.sql("SELECT max(nextval('fencing_tokens')) FROM generate_series(1, 100)");
    let mut highest = 0;
    for _ in 0..2000 {
        highest = highest.max(acquire(&mut client, "lost", "k"));
        assert_eq!(client.delete("lost", "k").status, 204);
    }
    acquire(&mut client, "lost", "k");
    drop(server);
    primary.crash();
    standby.promote();
    let left = standby
        .sql(&database.name, "SELECT last_value FROM fencing_tokens")
        .remove(0);
    let server = cls.start();
    let mut client = server.client();
    let first = acquire(&mut client, "lost", "k");
    assert_eq!(client.delete("kept", "k").status, 204);
    let second = acquire(&mut client, "kept", "k");

    assert!(left.parse::<i64>().expect("a number") < highest, "a test of nothing");
    assert!(highest < first && first < second, "{highest}, {first}, {second}");
    assert!(server.log().contains("fencing tokens go on after"), "{}", server.log());
    drop(server);
    let third = acquire(&mut cls.start().client(), "other", "k");
    assert!(
        third - second < 100_000,
        "once a promotion, and not at each start: {third}"
    );
}

#[test]
fn a_commit_whose_wait_for_a_standby_is_cancelled_is_not_taken_for_one_that_has_it() {
    let cluster = Cluster::of_its_own();
    let database = cluster.database();
    let directory = directory();
    let cls = Cls::in_directory(directory.path()).with("DATABASE_URL", &database.url);
    let server = cls.start();
    let mut client = server.client();

    for name in ["r1", "r2", "r3"] {
        cluster.set("synchronous_standby_names", "nobody");
        client.send_put(name, &body("k", ""));
        let waits = "FROM pg_stat_activity WHERE wait_event = 'SyncRep' \
                     AND query = 'COMMIT' AND clock_timestamp() - query_start > INTERVAL '1.2 s'";
        eventually("the commit waits for a standby", HEAL_WAIT_MAX, || {
            database.sql(&format!("SELECT pg_cancel_backend(pid) {waits}")) == ["t"]
        });
        assert_unavailable(&client.answer());
        cluster.set("synchronous_standby_names", "");

        eventually("it is given back", HEAL_WAIT_MAX, || {
            client.put(name, &body("next", "")).status == 200
        });
    }
}

#[test]
fn a_standby_that_was_slow_for_a_moment_is_only_waited_for() {
    let primary = Cluster::of_its_own();
    let database = primary.database();
    let standby = primary.standby("standby");
    primary.set("synchronous_standby_names", "standby");
    let directory = directory();
    let cls = Cls::in_directory(directory.path()).with("DATABASE_URL", &database.url);
    let server = cls.start();
    let mut client = server.client();

    let receiver = standby
        .sql("postgres", "SELECT pid FROM pg_stat_wal_receiver")
        .remove(0);
    must_run("kill", &["-STOP", &receiver]);
    client.send_put("r", &body("k", ""));
    let waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' \
                 AND query = 'COMMIT' AND clock_timestamp() - query_start > INTERVAL '1.2 s'";
    eventually("the commit waits for a standby", HEAL_WAIT_MAX, || {
        database.sql(waits) == ["1"]
    });
    must_run("kill", &["-CONT", &receiver]);

    let answer = client.answer();
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(failures_logged(&server), 0, "{}", server.log());
}
