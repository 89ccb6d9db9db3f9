//! What a store asks its database, statement by statement.

use std::cell::RefCell;

use central_locking_system::db::{History, Store};
use central_locking_system::lock::{Label, NewLabel};
use diesel::connection::{Instrumentation, InstrumentationEvent, set_default_instrumentation};

use super::{Backend, acquire, locks_of, name, release, renew, run};

/// What a store's connection was asked.
pub(super) struct Asked {
    pub(super) statements: Vec<String>,
    /// Those that were prepared to be kept.
    pub(super) kept: Vec<String>,
}

thread_local! {
    /// What the connections of this thread, and so of this test, were asked.
    static STATEMENTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static KEPT: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Recorder;

impl Instrumentation for Recorder {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match event {
            InstrumentationEvent::StartQuery { query, .. } => {
                let query = query.to_string();
                let text = query.split("-- binds:").next().unwrap_or_default().trim().to_owned();
                STATEMENTS.with_borrow_mut(|statements| statements.push(text));
            }
            InstrumentationEvent::CacheQuery { sql, .. } => {
                KEPT.with_borrow_mut(|kept| kept.push(sql.trim().to_owned()))
            }
            _ => {}
        }
    }
}

/// The statements of `work` on an open store.
pub(super) fn statements_of<B: Backend>(work: impl FnOnce(&B, &mut B::Store)) -> (B, Asked) {
    set_default_instrumentation(|| Some(Box::new(Recorder))).expect("no other thread panicked");
    let backend = B::new();
    let mut store = backend.open();
    STATEMENTS.take();
    KEPT.take();
    work(&backend, &mut store);
    let asked = Asked {
        statements: STATEMENTS.take(),
        kept: KEPT.take(),
    };
    (backend, asked)
}

/// Batches that make a row and change it, and count the locks of a client.
pub(super) fn some_batches<B: Backend>(_: &B, store: &mut B::Store) {
    store.record(History::On);
    run(store, &[("a", acquire("k", Some(60)))]);
    // The first is recorded, the second not.
    run(store, &[("a", renew("k", 90, NewLabel::Kept))]);
    run(store, &[("a", renew("k", 90, NewLabel::Kept))]);
    run(store, &[("a", release("k"))]);
    // Of that lock nothing is left in the columns that few use.
    run(store, &[("a", acquire("k", Some(60)))]);
    run(store, &[("a", release("k"))]);
    store.read(&[name("a")]).expect("it is read");
    locks_of(store, &["token 7"]);
}

/// So much that some of what is recorded is written together.
pub(super) fn a_large_batch<S: Store>(store: &mut S) {
    let names = ["b", "c", "d", "e", "f", "g", "h", "i", "j"];
    run(store, &names.map(|name| (name, acquire("k", None))));
    let label = || NewLabel::Set(Label::new("why"));
    run(store, &names.map(|name| (name, renew("k", 60, label()))));
}

/// Each statement is in the golden copy, and each of that was asked.
pub(super) fn assert_golden(statements: &[String], golden: &str) {
    let golden: Vec<_> = golden.trim().trim_end_matches(';').split(";\n\n").collect();
    for statement in statements {
        assert!(
            golden.contains(&statement.as_str()),
            "not in the golden copy: {statement}"
        );
    }
    for statement in golden {
        assert!(
            statements.iter().any(|ran| ran == statement),
            "it never ran: {statement}"
        );
    }
}
