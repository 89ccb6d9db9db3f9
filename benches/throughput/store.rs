//! The store alone: what a transaction costs by the number of its operations.

use std::time::Instant;

use central_locking_system::db::{Askers, Database, DatabaseUrl, IfMissing, Step, Store, Target};
use central_locking_system::lock::{
    Acquire, Batch, LockedBy, Operation, Release, ResourceName, Rules, StillWaits, WaitingLines,
};

use crate::servers::fresh_directory;

const OPERATIONS: usize = 200_000;
const NAMES: usize = 10_000;

struct Nobody;

impl StillWaits for Nobody {
    fn still_waits(&self) -> bool {
        false
    }
}

/// Prints microseconds an operation, commit included, for some sizes of batch.
pub fn run() {
    println!("The store alone, acquire and release in turn:\n");
    println!("| operations a transaction | µs a transaction | µs an operation |");
    println!("| ---: | ---: | ---: |");
    for batch in [1, 32, 128, 512] {
        let operations = OPERATIONS.min(batch * 4000);
        let seconds = measure(batch, operations);
        let transactions = (operations / batch) as f64;
        println!(
            "| {batch} | {:.0} | {:.2} |",
            seconds * 1e6 / transactions,
            seconds * 1e6 / operations as f64
        );
    }
    println!();
}

fn measure(batch: usize, operations: usize) -> f64 {
    let directory = fresh_directory();
    let url = format!("sqlite://{}", directory.path().join("db.sqlite3").display());
    let url = DatabaseUrl::parse(&url).expect("a file");
    let mut database = Database::open(&url, IfMissing::Create).expect("it can be made");
    let mut migrations = database.migrations().expect("readable");
    for (_, name) in migrations.plan(&Target::Latest).expect("all are known") {
        migrations.run(Step::Apply, &name).expect("it applies");
    }
    let mut store = database.into_store().expect("it opens");
    let names: Vec<_> = (0..NAMES)
        // Spread over the table as unrelated clients would be.
        .map(|number| ResourceName::new(&format!("bench-{:06}", number * 7919 % NAMES)).expect("well formed"))
        .collect();
    let key = LockedBy::new("key-000000").expect("well formed");
    let acquire = Operation::Acquire(Acquire::by(key.clone()));
    let release = Operation::Release(Release::by(Some(key)));
    let mut lines = WaitingLines::<Nobody>::default();
    let started = Instant::now();
    for transaction in 0..operations / batch {
        let pair = transaction / 2;
        let chosen: Vec<_> = (0..batch).map(|n| names[(pair * batch + n) % NAMES].clone()).collect();
        let operation = if transaction % 2 == 0 { &acquire } else { &release };
        store
            .transaction(&chosen, Askers::default(), &mut |now, rows| {
                let mut batch = Batch::new(now, Rules::default(), rows, &mut lines);
                for row in 0..chosen.len() {
                    assert!(batch.apply(row, operation).is_change());
                }
            })
            .expect("it commits");
    }
    started.elapsed().as_secs_f64()
}
