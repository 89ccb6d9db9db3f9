//! The claims.

use std::time::Duration;

use central_locking_system::db::{Askers, Store};
use central_locking_system::lock::{
    Acquire, Batch, ClientName, Label, NewLabel, Operation, Outcome, Resource, Rules, WaitingLines,
};

use super::{Backend, Somebody, acquire, grant, load, locks_of, name, release, renew, run};

pub(super) fn a_name_without_a_row_was_never_acquired_and_gets_no_row<B: Backend>() {
    let backend = B::new();
    let mut store = backend.open();

    let (_, loaded) = load(&mut store, &["unseen"]);
    let refused = run(&mut store, &[("unseen", release("k")), ("other", Operation::Expire)]);

    assert_eq!(loaded, [Resource::unseen(name("unseen"))]);
    assert_eq!(refused, [Outcome::NotAcquired, Outcome::NotAcquired]);
    assert_eq!(backend.sql("SELECT count(*) FROM resources"), ["0"]);
}

pub(super) fn what_was_committed_is_the_same_after_reopening<B: Backend>() {
    let backend = B::new();
    let mut store = backend.open();
    let names = ["with ttl", "without", "released"];
    run(
        &mut store,
        &[
            (names[0], acquire("a", Some(3600))),
            (names[1], acquire("b", None)),
            (names[2], acquire("c", Some(2_147_483_647))),
        ],
    );
    run(&mut store, &[(names[2], release("c"))]);
    let (_, before) = load(&mut store, &names);
    drop(store);

    let (now, after) = load(&mut backend.open(), &names);

    assert_eq!(after, before);
    assert_eq!(
        after.iter().map(|row| row.is_free_at(now)).collect::<Vec<_>>(),
        [false, false, true]
    );
    let lock = after[0].lock.as_ref().expect("it is held");
    assert_eq!(lock.expires_at, Some(lock.acquired_at + Duration::from_secs(3600)));
}

pub(super) fn rows_come_in_the_order_in_which_they_were_asked_for<B: Backend>() {
    let backend = B::new();
    let mut store = backend.open();
    for text in ["b", "a", "c"] {
        grant(&mut store, text);
    }

    let (_, loaded) = load(&mut store, &["c", "new", "a", "b"]);

    let names: Vec<_> = loaded.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["c", "new", "a", "b"]);
}

pub(super) fn only_what_changed_is_written<B: Backend>() {
    let backend = B::new();
    let mut store = backend.open();
    grant(&mut store, "held");
    let row = "SELECT * FROM resources WHERE name = 'held'";
    let before = backend.sql(row);

    let outcomes = run(&mut store, &[("held", acquire("x", None)), ("new", acquire("y", None))]);

    assert_eq!(outcomes[0], Outcome::Locked);
    assert_eq!(backend.sql(row), before);
    assert_eq!(
        backend.sql("SELECT name, locked_by FROM resources ORDER BY name"),
        ["held|k", "new|y"]
    );
}

pub(super) fn a_renewal_is_written<B: Backend>() {
    let backend = B::new();
    let mut store = backend.open();
    grant(&mut store, "held");
    let row = "SELECT locked_by, ttl, (expires_at_us - acquired_at_us) / 60000000, label FROM resources";

    for (ttl, label, expected) in [
        (600, NewLabel::Kept, "k|600|10|"),
        (1200, NewLabel::Set(Label::new("why")), "k|1200|20|why"),
        (1800, NewLabel::Kept, "k|1800|30|why"),
        (2400, NewLabel::Set(None), "k|2400|40|"),
    ] {
        let outcomes = run(&mut store, &[("held", renew("k", ttl, label))]);
        assert!(matches!(outcomes[..], [Outcome::Renewed(_)]));
        assert_eq!(backend.sql(row), [expected]);
    }
}

pub(super) fn two_renewals_in_one_batch_are_both_written<B: Backend>() {
    let backend = B::new();
    let mut store = backend.open();
    grant(&mut store, "held");
    let label = NewLabel::Set(Label::new("why"));

    let twice = [renew("k", 600, label), renew("k", 1200, NewLabel::Kept)];
    store
        .transaction(&[name("held")], Askers::default(), &mut |now, rows| {
            let mut nobody = WaitingLines::<Somebody>::default();
            let mut batch = Batch::new(now, Rules::default(), rows, &mut nobody);
            for renew in &twice {
                batch.apply(0, renew);
            }
        })
        .expect("it commits");

    assert_eq!(backend.sql("SELECT ttl, label FROM resources"), ["1200|why"]);
}

pub(super) fn a_refusal_beside_a_grant_leaves_no_row<B: Backend>() {
    let backend = B::new();
    let mut store = backend.open();
    grant(&mut store, "held");

    let outcomes = run(
        &mut store,
        &[
            ("never seen", release("k")),
            ("new", acquire("k", None)),
            ("held", release("x")),
        ],
    );

    assert!(matches!(
        outcomes[..],
        [Outcome::NotAcquired, Outcome::Acquired(_), Outcome::InvalidUnlock]
    ));
    assert_eq!(backend.sql("SELECT name FROM resources ORDER BY name"), ["held", "new"]);
}

pub(super) fn names_and_keys_are_kept_byte_by_byte<B: Backend>() {
    let backend = B::new();
    let mut store = backend.open();
    let texts = [
        "a",
        "A",
        "a ",
        " a",
        "é",
        "e\u{301}",
        "'; DROP TABLE resources; --",
        "\n",
        "🔒",
        "%_",
        "a\\",
    ];

    for text in texts {
        assert!(
            matches!(run(&mut store, &[(text, acquire(text, None))])[0], Outcome::Acquired(_)),
            "{text:?}"
        );
    }
    for text in texts {
        let wrong = texts.iter().find(|other| **other != text).expect("there are several");
        assert_eq!(
            run(&mut store, &[(text, release(wrong))]),
            [Outcome::InvalidUnlock],
            "{text:?}"
        );
        assert_eq!(
            run(&mut store, &[(text, release(text))]),
            [Outcome::Released],
            "{text:?}"
        );
    }
}

pub(super) fn tokens_go_on_after_reopening_and_after_pruning<B: Backend>() {
    let backend = B::new();
    let mut store = backend.open();
    let first = grant(&mut store, "a");
    run(&mut store, &[("a", release("k"))]);
    backend.sql("UPDATE resources SET released_at_us = 1");
    assert_eq!(store.prune(10, 1), Ok(1));
    let second = grant(&mut store, "a");
    drop(store);

    let third = grant(&mut backend.open(), "b");

    assert!(first < second && second < third, "{first} {second} {third}");
}

pub(super) fn a_counter_that_was_put_back_is_not_believed<B: Backend>() {
    let backend = B::new();
    let mut store = backend.open();
    let before = grant(&mut store, "a");
    backend.put_counter_back();

    assert!(grant(&mut store, "b") > before);
}

pub(super) fn expired_locks_are_found_the_oldest_first<B: Backend>() {
    let backend = B::new();
    let mut store = backend.open();
    for (text, ttl) in [
        ("old", Some(1)),
        ("older", Some(1)),
        ("oldest", Some(1)),
        ("young", Some(3600)),
        ("ever", None),
    ] {
        run(&mut store, &[(text, acquire("k", ttl))]);
    }
    for (text, at_us) in [("old", 30), ("older", 20), ("oldest", 10)] {
        backend.sql(&format!(
            "UPDATE resources SET expires_at_us = {at_us} WHERE name = '{text}'"
        ));
    }

    assert_eq!(
        store.expired(2, Duration::ZERO),
        Ok(vec![name("oldest"), name("older")])
    );
    assert_eq!(
        store.expired(10, Duration::ZERO),
        Ok(vec![name("oldest"), name("older"), name("old")])
    );
    assert_eq!(run(&mut store, &[("older", Operation::Expire)]), [Outcome::Released]);
    assert_eq!(store.expired(10, Duration::ZERO), Ok(vec![name("oldest"), name("old")]));
}

pub(super) fn only_rows_that_were_free_for_long_are_pruned<B: Backend>() {
    let backend = B::new();
    let mut store = backend.open();
    for text in ["free for long", "free since today", "held", "expired"] {
        grant(&mut store, text);
    }
    run(
        &mut store,
        &[("free for long", release("k")), ("free since today", release("k"))],
    );
    backend.sql("UPDATE resources SET released_at_us = 1 WHERE name = 'free for long'");
    backend.sql("UPDATE resources SET acquired_at_us = 1 WHERE name = 'held'");
    backend.sql("UPDATE resources SET ttl = 1, acquired_at_us = 1, expires_at_us = 2 WHERE name = 'expired'");

    assert_eq!(store.prune(100, 36_500), Ok(0), "so many days are not over");
    assert_eq!(store.prune(100, 1), Ok(1));

    let left = backend.sql("SELECT name FROM resources ORDER BY name");
    assert_eq!(left, ["expired", "free since today", "held"]);
}

pub(super) fn pruning_goes_round_in_small_steps<B: Backend>() {
    let backend = B::new();
    let mut store = backend.open();
    for text in ["a", "b", "c", "d", "e"] {
        grant(&mut store, text);
        run(&mut store, &[(text, release("k"))]);
    }
    backend.sql("UPDATE resources SET released_at_us = 1 WHERE name IN ('a', 'd', 'e')");

    let steps: Vec<_> = (0..3).map(|_| store.prune(2, 1).expect("it works")).collect();
    backend.sql("UPDATE resources SET released_at_us = 1");
    let next_round: usize = (0..2).map(|_| store.prune(2, 1).expect("it works")).sum();

    assert_eq!(steps, [1, 1, 1], "a of a and b; d of c and d; e");
    assert_eq!(next_round, 2);
    assert_eq!(backend.sql("SELECT count(*) FROM resources"), ["0"]);
}

pub(super) fn what_another_connection_changed_is_seen_by_the_next_transaction<B: Backend>() {
    let backend = B::new();
    let mut store = backend.open();
    let first = grant(&mut store, "r");
    assert_eq!(run(&mut store, &[("r", acquire("x", None))]), [Outcome::Locked]);

    backend.sql("UPDATE resources SET locked_by = 'other' WHERE name = 'r'");
    assert_eq!(run(&mut store, &[("r", release("k"))]), [Outcome::InvalidUnlock]);
    assert_eq!(run(&mut store, &[("r", release("other"))]), [Outcome::Released]);
    backend.sql("DELETE FROM resources");
    assert_eq!(run(&mut store, &[("r", release("other"))]), [Outcome::NotAcquired]);

    assert!(grant(&mut store, "r") > first);
    assert_eq!(backend.sql("SELECT name, locked_by FROM resources"), ["r|k"]);
}

pub(super) fn nothing_is_left_of_a_lock_that_was_freed_by_hand<B: Backend>() {
    let backend = B::new();
    let mut store = backend.open();
    grant(&mut store, "r");
    backend.sql(
        "UPDATE resources
            SET locked_by = NULL, acquired_at_us = NULL, label = 'left', info = 'left', renewals = 2",
    );
    // So that the store has it in hand.
    load(&mut store, &["r"]);

    grant(&mut store, "r");
    run(&mut store, &[("r", release("k"))]);
    grant(&mut store, "r");

    let left = backend.sql("SELECT locked_by, label, info, renewals FROM resources");
    assert_eq!(left, ["k|||"]);
}

pub(super) fn a_row_that_was_pruned_is_made_again<B: Backend>() {
    let backend = B::new();
    let mut store = backend.open();
    let first = grant(&mut store, "r");
    run(&mut store, &[("r", release("k"))]);
    backend.sql("UPDATE resources SET released_at_us = 1");
    // So that the store has it in hand.
    load(&mut store, &["r"]);

    assert_eq!(store.prune(10, 1), Ok(1));

    assert!(grant(&mut store, "r") > first);
    assert_eq!(backend.sql("SELECT count(*) FROM resources"), ["1"]);
}

pub(super) fn the_locks_that_a_client_holds_are_counted<B: Backend>() {
    let backend = B::new();
    let mut store = backend.open();
    let acquire_as = |client: &str, ttl| match acquire("k", ttl) {
        Operation::Acquire(acquire) => Operation::Acquire(Acquire {
            client: Some(ClientName::new(client)),
            ..acquire
        }),
        other => panic!("it acquires: {other:?}"),
    };
    run(
        &mut store,
        &[
            ("a", acquire_as("token 7", None)),
            ("b", acquire_as("token 7", Some(3600))),
            ("c", acquire_as("token 7", Some(3600))),
            ("d", acquire_as("2001:db8::/64", None)),
            ("e", acquire("k", None)),
        ],
    );
    run(&mut store, &[("b", renew("k", 600, NewLabel::Kept))]);
    let clients = ["token 7", "nobody", "2001:db8::/64"];
    let counts = |store: &mut B::Store| locks_of(store, &clients);
    assert_eq!(counts(&mut store), [3, 0, 1]);
    let mut store = backend.open();
    assert_eq!(counts(&mut store), [3, 0, 1], "after reopening");

    backend.sql("UPDATE resources SET expires_at_us = 1 WHERE name = 'b'");
    assert_eq!(counts(&mut store), [2, 0, 1], "one has expired and was not cleared");
    backend.sql("UPDATE resources SET locked_by = NULL, acquired_at_us = NULL WHERE name = 'c'");
    assert_eq!(counts(&mut store), [1, 0, 1], "one was freed by hand");
    run(&mut store, &[("a", release("k"))]);
    run(&mut store, &[("b", Operation::Expire), ("c", acquire("k", None))]);

    assert_eq!(counts(&mut store), [0, 0, 1]);
    let left = backend.sql("SELECT name FROM resources WHERE client IS NOT NULL");
    assert_eq!(left, ["d"], "the index has no others");
}
