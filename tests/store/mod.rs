//! One suite of claims about a store, run on every backend.

/// Each claim of the suite as a test on one backend. The only list of them, so
/// that no backend is left out.
macro_rules! every_claim_on {
    ($backend:ty) => {
        every_claim_on! { $backend:
            a_name_without_a_row_was_never_acquired_and_gets_no_row
            what_was_committed_is_the_same_after_reopening
            rows_come_in_the_order_in_which_they_were_asked_for
            a_renewal_is_written
            two_renewals_in_one_batch_are_both_written
            only_what_changed_is_written
            a_refusal_beside_a_grant_leaves_no_row
            names_and_keys_are_kept_byte_by_byte
            tokens_go_on_after_reopening_and_after_pruning
            a_counter_that_was_put_back_is_not_believed
            expired_locks_are_found_the_oldest_first
            only_rows_that_were_free_for_long_are_pruned
            pruning_goes_round_in_small_steps
            what_another_connection_changed_is_seen_by_the_next_transaction
            nothing_is_left_of_a_lock_that_was_freed_by_hand
            a_row_that_was_pruned_is_made_again
            the_locks_that_a_client_holds_are_counted
        }
    };
    ($backend:ty: $($claim:ident)*) => {
        $(
            #[test]
            fn $claim() {
                suite::$claim::<$backend>();
            }
        )*
    };
}

mod catalog;
mod postgres;
mod postgres_lines;
mod recorder;
mod sqlite;
mod suite;

use std::time::Duration;

use central_locking_system::clock::Timestamp;
use central_locking_system::db::{Askers, Store};
use central_locking_system::lock::{
    Acquire, Batch, ClientName, FencingToken, LockedBy, NewLabel, Operation, Outcome, Release, Renew, RequestId,
    Resource, ResourceName, Rows, Rules, StillWaits, Ttl, WaitingLines,
};

/// A migrated database of its own, and two ways to it.
trait Backend {
    type Store: Store;

    fn new() -> Self;

    /// A store on it, as after a restart.
    fn open(&self) -> Self::Store;

    /// Runs SQL beside the store; answers with one string a row, its columns
    /// separated by bars.
    fn sql(&self, statement: &str) -> Vec<String>;

    /// Makes the source of tokens forget that it gave any.
    fn put_counter_back(&self);
}

/// Somebody who waits for ever.
struct Somebody;

impl StillWaits for Somebody {
    fn still_waits(&self) -> bool {
        true
    }
}

fn name(text: &str) -> ResourceName {
    ResourceName::new(text).expect("well formed")
}

fn acquire(locked_by: &str, ttl_seconds: Option<i64>) -> Operation {
    Operation::Acquire(Acquire {
        ttl: ttl_seconds.map(|seconds| Ttl::from_seconds(seconds).expect("in range")),
        ..Acquire::by(LockedBy::new(locked_by).expect("well formed"))
    })
}

/// One that may be sent again.
fn acquire_by_request(locked_by: &str, request: &str) -> Operation {
    Operation::Acquire(Acquire {
        request: RequestId::new(request, None, [Some(locked_by)]),
        ..Acquire::by(LockedBy::new(locked_by).expect("well formed"))
    })
}

/// The store that has those in `lines` stops: they are sent away from `text`.
fn vacate<S: Store>(store: &mut S, lines: &mut WaitingLines<Somebody>, text: &str) {
    drop(lines.take_all());
    let mut vacate = |now, rows: &mut Rows| Batch::new(now, Rules::default(), rows, lines).vacate(0);
    store
        .transaction(&[name(text)], Askers::default(), &mut vacate)
        .expect("it commits");
}

fn release(locked_by: &str) -> Operation {
    Operation::Release(Release::by(LockedBy::new(locked_by)))
}

fn renew(locked_by: &str, ttl_seconds: i64, label: NewLabel) -> Operation {
    Operation::Renew(Renew {
        locked_by: LockedBy::new(locked_by).expect("well formed"),
        ttl: Ttl::from_seconds(ttl_seconds),
        label,
        fencing_token: None,
        address: None,
    })
}

/// One transaction: each operation on its own resource.
fn run<S: Store>(store: &mut S, operations: &[(&str, Operation)]) -> Vec<Outcome> {
    let mut nobody = WaitingLines::<Somebody>::default();
    decide_in_one(store, operations, |now, rows, row, operation| {
        Batch::new(now, Rules::default(), rows, &mut nobody).apply(row, operation)
    })
}

/// The same with lines; whoever is refused goes in line for a minute.
fn run_in_line<S: Store>(
    store: &mut S,
    lines: &mut WaitingLines<Somebody>,
    operations: &[(&str, Operation)],
) -> Vec<Outcome> {
    decide_in_one(store, operations, |now, rows, row, operation| {
        let mut batch = Batch::new(now, Rules::default(), rows, lines);
        let outcome = batch.apply(row, operation);
        if let (Outcome::Locked, Operation::Acquire(acquire)) = (&outcome, operation) {
            batch.join(&[row], 0, acquire.clone(), now + Duration::from_secs(60), Somebody);
        }
        outcome
    })
}

fn decide_in_one<S: Store>(
    store: &mut S,
    operations: &[(&str, Operation)],
    mut decide: impl FnMut(Timestamp, &mut Rows, usize, &Operation) -> Outcome,
) -> Vec<Outcome> {
    let names: Vec<_> = operations.iter().map(|(text, _)| name(text)).collect();
    let mut outcomes = Vec::new();
    let mut decide_all = |now, rows: &mut Rows| {
        let operations = operations.iter().enumerate();
        outcomes = operations
            .map(|(row, (_, operation))| decide(now, rows, row, operation))
            .collect();
    };
    let request = |(row, (_, operation)): (usize, &(&str, Operation))| match operation {
        Operation::Acquire(acquire) => acquire.request.clone().map(|request| (row, request)),
        _ => None,
    };
    let requests: Vec<_> = operations.iter().enumerate().filter_map(request).collect();
    let askers = Askers {
        requests: &requests,
        ..Askers::default()
    };
    store.transaction(&names, askers, &mut decide_all).expect("it commits");
    outcomes
}

/// How many locks each of these clients holds.
fn locks_of<S: Store>(store: &mut S, clients: &[&str]) -> Vec<usize> {
    let clients: Vec<_> = clients.iter().map(|text| ClientName::new(text)).collect();
    let mut counts = Vec::new();
    let mut count = |_, rows: &mut Rows| counts = clients.iter().map(|client| rows.locks_of(client)).collect();
    store
        .transaction(
            &[name("a")],
            Askers {
                clients: &clients,
                ..Askers::default()
            },
            &mut count,
        )
        .expect("it commits");
    counts
}

/// The token of one grant.
fn grant<S: Store>(store: &mut S, text: &str) -> FencingToken {
    match run(store, &[(text, acquire("k", None))]).remove(0) {
        Outcome::Acquired(grant) => grant.fencing_token,
        refused => panic!("{text} is not free: {refused:?}"),
    }
}

/// What the store says these resources are, and what time it is.
fn load<S: Store>(store: &mut S, names: &[&str]) -> (Timestamp, Vec<Resource>) {
    let names: Vec<_> = names.iter().map(|text| name(text)).collect();
    let mut loaded = None;
    let mut decide = |now, rows: &mut Rows| {
        loaded = Some((now, (0..names.len()).map(|row| rows.resource(row).clone()).collect()));
    };
    store
        .transaction(&names, Askers::default(), &mut decide)
        .expect("it commits");
    loaded.expect("the store calls it once")
}
