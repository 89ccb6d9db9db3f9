//! A disk that fails: each call in turn, once, a few times or until it is mended.

use std::time::{Duration, Instant};

use crate::crash::chance::Chance;
use crate::crash::facts::Facts;
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

fn must_lose_nothing(shim: &Shim, facts: &Facts, points: usize) {
    let tried = find_loss(&shim.log(), &answers(facts), points, |directory, point| {
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
    must_lose_nothing(&shim, &worker.into_facts(), count(150));
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
    must_lose_nothing(&shim, &worker.into_facts(), count(60));
}

#[test]
fn a_server_killed_while_nothing_can_be_synced_leaves_nothing_that_a_later_power_loss_takes_away() {
    let shim = Shim::new();
    let mut facts = Facts::default();
    let mut server = shim.cls().start();

    for round in 0..count(8) {
        let mut worker = Worker::connect(&shim, server.address, &format!("k{round}"), seed() + round as u64);
        worker.go_on(STEPS);
        shim.fail(Fault {
            calls: call::SYNC,
            places: place::LOG,
            pass: round as i64 % 3,
            error: EIO,
            times: LASTING,
        });
        worker.go_on(STEPS);
        server.kill();
        shim.call_off();
        server = shim.cls().start();
        let mut after = Worker::connect(&shim, server.address, &format!("l{round}"), seed() + round as u64);
        after.go_on(STEPS);
        facts.add(worker.into_facts());
        facts.add(after.into_facts());
    }

    server.kill();
    must_lose_nothing(&shim, &facts, count(100));
}

#[test]
fn a_first_start_on_a_failing_disk_is_refused_or_as_good_as_any() {
    const CALLS: i64 = call::WRITE | call::SYNC | call::READ | call::CREATE | call::UNLINK | call::RESIZE;
    /// As many as there are in a start, and some commits.
    const PASSES: usize = 500;
    let mut chance = Chance::of(seed());
    let mut refused = 0;
    let rounds = count(20).min(PASSES * 2);
    for _ in 0..rounds {
        let shim = Shim::new();
        let fault = match chance.one_in(3) {
            true => Fault {
                calls: call::SYNC,
                places: place::DIRECTORY,
                pass: chance.among(0..24) as i64,
                error: EIO,
                times: LASTING,
            },
            false => Fault {
                calls: CALLS,
                places: place::ANY,
                pass: chance.among(0..PASSES) as i64,
                error: [EIO, ENOSPC][chance.among(0..2)],
                times: [1, 3, LASTING][chance.among(0..3)],
            },
        };
        shim.fail(fault);
        let started = shim.cls().try_start(&["runserver", "127.0.0.1:0"]);
        let mut facts = Facts::default();
        match started {
            Ok(server) => facts.add(Worker::connect(&shim, server.address, "a", seed()).work(STEPS)),
            Err(said) => {
                refused += 1;
                let last = said.lines().last().unwrap_or_default();
                assert!(last.starts_with("cls: "), "{fault:?}: {said}");
            }
        }
        shim.call_off();
        let server = shim.cls().try_start(&["runserver", "127.0.0.1:0"]);
        let server = server.unwrap_or_else(|said| panic!("not started after {fault:?}: {said}"));
        facts.add(Worker::connect(&shim, server.address, "b", seed()).work(STEPS));
        drop(server);
        must_lose_nothing(&shim, &facts, 6);
    }
    assert!((1..rounds).contains(&refused), "{refused} of {rounds} were refused");
}

#[test]
fn a_directory_that_cannot_be_synced_is_not_served_from() {
    let shim = Shim::new();
    assert!(shim.cls().run(&["migrate"]).status.success());
    shim.fail(Fault {
        calls: call::SYNC,
        places: place::DIRECTORY,
        pass: 0,
        error: EIO,
        times: LASTING,
    });

    let said = shim
        .cls()
        .try_start(&["runserver", "127.0.0.1:0"])
        .map(|server| server.address);

    let said = said.expect_err("a log without a name would be lost");
    assert!(said.contains("cannot sync the directory"), "{said}");
    shim.call_off();
    let server = shim.cls().start();
    assert!(Worker::connect(&shim, server.address, "a", seed()).is_served());
}
