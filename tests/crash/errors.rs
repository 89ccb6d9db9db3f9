//! A disk that fails: each call in turn, once, a few times or until it is mended.

use std::time::{Duration, Instant};

use crate::crash::chance::Chance;
use crate::crash::load::Worker;
use crate::crash::points::{count, find_loss, seed};
use crate::crash::power_loss::answers;
use crate::crash::rows::{Rows, start};
use crate::crash::shim::{EIO, ENOSPC, Fault, HALF, LASTING, Shim, call, place};
use crate::support::{Server, eventually};

/// What is asked under each fault.
const STEPS: usize = 6;
/// For how long the disk fails if it goes on failing: beyond the time after which
/// the server opens the file again.
const LASTING_FOR: Duration = Duration::from_millis(600);
/// Locks that are renewed together until the log is written back.
const LOCKS_TOGETHER: usize = 300;

/// Every kind of failure, each at every call of a commit and of what follows.
fn faults() -> Vec<Fault> {
    let kinds = [
        (call::WRITE, place::ANY, ENOSPC, 20),
        (call::WRITE, place::ANY, EIO, 20),
        (call::WRITE, place::ANY, HALF, 20),
        (call::SYNC, place::LOG, EIO, 3),
        (call::SYNC, place::ANY, EIO, 4),
        (call::READ, place::ANY, EIO, 8),
        (
            call::RESIZE | call::CREATE | call::UNLINK | call::SYNC,
            place::ANY,
            EIO,
            3,
        ),
        (
            call::WRITE | call::SYNC | call::READ | call::CREATE,
            place::ANY,
            EIO,
            24,
        ),
    ];
    let times = [1, 2, 3, 5, LASTING];
    let faults = kinds.into_iter().flat_map(|(calls, places, error, passes)| {
        let at = (0..passes).flat_map(move |pass| times.map(|times| (pass, times)));
        at.map(move |(pass, times)| Fault {
            calls,
            places,
            pass,
            error,
            times,
        })
    });
    faults.collect()
}

/// So many of them, in an order by chance.
fn some_faults(count: usize, chance: &mut Chance) -> Vec<Fault> {
    let mut all = faults();
    let count = count.min(all.len());
    for index in 0..count {
        let other = chance.among(index..all.len());
        all.swap(index, other);
    }
    all.truncate(count);
    all
}

/// Has the disk fail, mends it, and waits until it works again. Whether anything
/// failed.
fn suffer(shim: &Shim, server: &Server, worker: &mut Worker<'_>, fault: Fault) -> bool {
    let position = shim.position();
    shim.fail(fault);
    worker.go_on(STEPS);
    let until = Instant::now() + LASTING_FOR;
    while fault.times == LASTING && shim.failed() > 0 && Instant::now() < until {
        worker.go_on(1);
        if fault.error == ENOSPC
            && let Some(name) = worker.any_held().map(str::to_owned)
        {
            assert_eq!(worker.look(&name), (200, true), "{name} on a full disk");
        }
    }
    let failed = shim.failed();
    shim.call_off();
    eventually("it works again by itself", Duration::from_secs(5), || {
        worker.is_served()
    });
    let rows = Rows::read(&shim.database());
    let kept = worker.facts().require(&rows, shim.position());
    kept.unwrap_or_else(|loss| panic!("{loss}\nfrom byte {position} on, {fault:?}:\n{}", server.log()));
    failed > 0
}

fn must_lose_nothing(shim: &Shim, worker: Worker<'_>, points: usize) {
    let facts = worker.into_facts();
    let tried = find_loss(&shim.log(), &answers(&facts), count(points), |directory, point| {
        let database = directory.join("db.sqlite3");
        start(&database)?;
        facts.require(&Rows::read(&database), point.position)
    });
    tried.map(drop).unwrap_or_else(|loss| panic!("{loss}"));
}

#[test]
fn a_call_that_fails_costs_no_more_than_a_503_and_nothing_is_lost_then_or_by_a_power_loss() {
    let shim = Shim::new();
    let mut server = shim.cls().start();
    let mut worker = Worker::connect(&shim, server.address, "e", seed());
    worker.go_on(20);

    let faults = some_faults(count(40), &mut Chance::of(seed()));
    let failed = faults
        .iter()
        .filter(|fault| suffer(&shim, &server, &mut worker, **fault))
        .count();

    assert!(
        failed * 2 > faults.len(),
        "a test of little: {failed} of {}",
        faults.len()
    );
    server.kill();
    must_lose_nothing(&shim, worker, 150);
}

#[test]
fn a_log_that_cannot_be_written_back_is_kept_until_it_can() {
    let shim = Shim::new();
    let mut server = shim.cls().start();
    let mut worker = Worker::connect(&shim, server.address, "c", seed());

    for (calls, error) in [(call::WRITE, ENOSPC), (call::SYNC, EIO)] {
        let fault = Fault {
            calls,
            places: place::DATABASE,
            pass: 0,
            error,
            times: 2,
        };
        shim.fail(fault);
        worker.fill_log(LOCKS_TOGETHER, || shim.failed() > 0);
        assert!(worker.is_served(), "{fault:?}: {}", server.log());
        shim.call_off();
    }

    worker.go_on(20);
    server.kill();
    must_lose_nothing(&shim, worker, 60);
}
