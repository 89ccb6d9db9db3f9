//! Several resources at once, while others at other servers want some of them.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::{Replicas, SOON, by, granted_within};
use crate::resources::together_fairness::{Ledger, work};
use crate::support::{Client, eventually};

#[test]
fn random_sets_at_two_servers_never_hang_and_never_share() {
    let replicas = Replicas::start(2);
    let ledger = Ledger::default();
    let until = Instant::now() + Duration::from_secs(4);

    thread::scope(|scope| {
        for worker in 0..8 {
            let (mut client, ledger) = (replicas.client(worker % 2), &ledger);
            scope.spawn(move || work(&mut client, ledger, u64::try_from(worker).expect("few"), until));
        }
    });

    let grants = ledger.grants.load(Ordering::Relaxed);
    assert!(grants > 50, "{grants}");
    let held = "SELECT count(*) FROM resources WHERE locked_by IS NOT NULL";
    assert_eq!(replicas.database.sql(held), ["0"]);
    eventually("nobody is in line any more", SOON, || {
        replicas.database.sql("SELECT count(*) FROM waiters") == ["0"]
    });
}

#[test]
fn whoever_wants_several_is_served_when_another_server_releases_the_last_of_them() {
    let replicas = Replicas::start(2);
    for name in ["a", "b"] {
        replicas.hold(1, name);
    }
    let mut both = replicas.client(0);
    both.send(
        "POST",
        "/locks/",
        r#"{"resources": ["a", "b", "c"], "locked_by": "both", "timeout": 60}"#,
    );
    eventually("it stands in line", SOON, || {
        replicas.waiting("a") + replicas.waiting("b") == 1
    });

    for name in ["b", "a"] {
        replicas.release(1, name, "holder");
    }

    let answer = both.answer();
    assert_eq!(answer.status, 200, "{}", answer.body);
    for name in ["a", "b", "c"] {
        assert_eq!(replicas.client(1).put(name, &by("other")).status, 400, "{name}");
    }
}

/// Somebody at the first server for whom "a" is kept, because it wants "b" too,
/// and somebody behind it at the other.
fn something_is_kept(replicas: &Replicas) -> (Client, Client) {
    for name in ["a", "b"] {
        replicas.hold(1, name);
    }
    let mut both = replicas.client(0);
    both.send(
        "POST",
        "/locks/",
        r#"{"resources": ["a", "b"], "locked_by": "both", "timeout": 60}"#,
    );
    eventually("it stands in line", SOON, || replicas.waiting("a") == 1);
    let behind = replicas.in_line(1, "a", "behind");
    replicas.release(1, "a", "holder");
    eventually("it stands in the other line too", SOON, || replicas.waiting("b") == 1);
    (both, behind)
}

#[test]
fn what_is_kept_for_somebody_at_one_server_is_kept_at_the_other() {
    let replicas = Replicas::start(2);
    let (mut both, mut behind) = something_is_kept(&replicas);
    assert_eq!(replicas.client(1).put("a", &by("plain")).status, 400);
    replicas.release(1, "b", "holder");

    assert_eq!(both.answer().status, 200);
    for name in ["a", "b"] {
        replicas.release(0, name, "both");
    }
    granted_within(&mut behind, SOON);
}

#[test]
fn whoever_leaves_keeps_nothing_from_those_at_another_server() {
    let replicas = Replicas::start(2);
    let (both, mut behind) = something_is_kept(&replicas);

    drop(both);

    granted_within(&mut behind, Duration::from_secs(2));
    eventually("nobody is in line any more", SOON, || {
        replicas.database.sql("SELECT count(*) FROM waiters") == ["0"]
    });
}
