//! The benchmark report: this server beside others that give locks, measured in
//! one run. `benches/report/run` starts it.
//!
//! `--quick` measures each thing once and briefly; `--from FILE` makes the report
//! of figures that are there. Either writes `docs/benchmarks.md` and its plots,
//! and the first `docs/benchmarks/figures.json` too.
//!
//! [`page`] makes the report of the figures, and stands on nothing else. Here is
//! what measures: every system is a process of its own on a fresh directory, takes
//! turns with the others, and is asked by one thread, whatever its protocol.

mod clients;
#[path = "../throughput/disk.rs"]
mod disk;
mod hand_over;
#[path = "../throughput/handover.rs"]
#[allow(dead_code, reason = "the other benchmark prints what it measures")]
mod handover;
#[path = "../throughput/load.rs"]
#[allow(dead_code, reason = "the other benchmark has more loads")]
mod load;
mod machine;
mod memory;
mod page;
#[path = "../throughput/postgres.rs"]
#[allow(dead_code, reason = "the other benchmark runs pgbench in its own way")]
mod postgres;
#[path = "../../tests/support/postgres_server.rs"]
#[allow(dead_code, reason = "tests restart servers too")]
mod postgres_server;
mod redis;
mod redis_line;
#[path = "../throughput/rivals.rs"]
mod rivals;
mod rivals_started;
#[path = "../throughput/rounds.rs"]
#[allow(dead_code, reason = "rounds are longer here, and not printed")]
mod rounds;
#[path = "../throughput/servers.rs"]
#[allow(dead_code, reason = "the other benchmark asks for more of them")]
mod servers;
mod stage;
mod take_over;
mod throughput;

use std::any::Any;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use page::figures::{self, Failed, Figures, HandOver, Machine, Run, System, TakeOver, Throughput};
use stage::{Stage, Started};
use tikv_jemallocator::Jemalloc;

/// As the server has it, so that what answers constants has no worse.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Names that are acquired and released.
const NAMES: usize = 10_000;

const CONNECTIONS: [usize; 3] = [1, 32, 256];
const WAITERS: [usize; 3] = [1, 100, 5_000];
const WAITERS_QUICK: [usize; 3] = [1, 100, 1_000];

/// Each waiter of an advisory lock is a process of PostgreSQL.
const ADVISORY_WAITERS_MAX: usize = 100;

const FIGURES: &str = "docs/benchmarks/figures.json";

/// Who acquires and releases.
const PAIRS: [System; 12] = [
    System::Sqlite,
    System::Postgres,
    System::Replicas,
    System::Constants,
    System::RedisAlways,
    System::RedisEverysec,
    System::EtcdLock,
    System::EtcdTransaction,
    System::EtcdJson,
    System::Zookeeper,
    System::Advisory,
    System::Naive,
];

/// Who hands over.
const LINES: [System; 8] = [
    System::Sqlite,
    System::Postgres,
    System::Replicas,
    System::RedisAlways,
    System::RedisSignal,
    System::EtcdLock,
    System::Zookeeper,
    System::Advisory,
];

/// Whose locks are taken over.
const EXPIRING: [System; 7] = [
    System::Sqlite,
    System::Postgres,
    System::Replicas,
    System::RedisAlways,
    System::EtcdLock,
    System::Zookeeper,
    System::Advisory,
];

/// Whose memory is looked at.
const KEEPING: [System; 5] = [
    System::Sqlite,
    System::Postgres,
    System::RedisAlways,
    System::EtcdLock,
    System::Zookeeper,
];

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", kind, directory] => rivals::serve(kind, Path::new(directory)),
        ["--from", file] => {
            let figures = fs::read_to_string(file).expect("a file of figures");
            write(&serde_json::from_str(&figures).expect("figures of this version"));
        }
        [] | ["--quick"] => {
            let figures = measure(words == ["--quick"]);
            let text = serde_json::to_string_pretty(&figures).expect("plain figures");
            fs::create_dir_all("docs/benchmarks").expect("the directory can be made");
            fs::write(FIGURES, text + "\n").expect("the figures can be written");
            write(&figures);
        }
        _ => panic!("--quick, --from FILE or nothing is wanted, not {words:?}"),
    }
}

fn write(figures: &Figures) {
    for (path, content) in page::render(figures) {
        fs::create_dir_all(Path::new(&path).parent().expect("it is below docs")).expect("the directory can be made");
        fs::write(&path, content).expect("the report can be written");
        println!("{path}");
    }
}

fn measure(quick: bool) -> Figures {
    let started_at = Instant::now();
    let machine = machine::describe();
    let stage = Stage::set();
    let run = Run {
        date: chrono::Utc::now().format("%Y-%m-%d").to_string(),
        quick,
        minutes: 0.0,
        throughput_rounds: if quick { 1 } else { 3 },
        throughput_seconds: if quick { 1.5 } else { 3.0 },
        hand_over_rounds: if quick { 1 } else { 2 },
        take_over_locks: 10,
        take_over_rounds: if quick { 2 } else { 6 },
        held: 100_000,
        waiting: 10_000,
    };
    let mut figures = Figures {
        versions: machine::versions(&stage.postgres_version()),
        run,
        machine,
        throughput: Vec::new(),
        hand_over: Vec::new(),
        take_over: Vec::new(),
        memory: Vec::new(),
        failed: Vec::new(),
    };
    pairs(&stage, &mut figures);
    lines(&stage, &mut figures);
    expiries(&stage, &mut figures);
    memory(&stage, &mut figures);
    figures.run.minutes = started_at.elapsed().as_secs_f64() / 60.0;
    figures
}

fn begin_round(machine: &mut Machine, what: &str, round: usize) {
    machine.busy_with_others.push(machine::busy());
    machine.fsync_ms.push(disk::fsync_ms());
    eprintln!("{what}, round {}", round + 1);
}

fn pairs(stage: &Stage, figures: &mut Figures) {
    let seconds = figures.run.throughput_seconds;
    for round in 0..figures.run.throughput_rounds {
        begin_round(&mut figures.machine, "acquire and release", round);
        for (connections, system) in each(&CONNECTIONS, &PAIRS) {
            let what = format!("acquire and release, {connections} at a time");
            let measured = on_started(stage, system, &what, &mut figures.failed, |started| {
                throughput::measure(stage, started, system, connections, seconds)
            });
            let of = |row: &&mut Throughput| row.system == system && row.connections == connections;
            match (measured, figures.throughput.iter_mut().find(of)) {
                (None, _) => {}
                (Some(measured), Some(row)) => row.rounds.push(measured),
                (Some(measured), None) => figures.throughput.push(Throughput {
                    system,
                    connections,
                    rounds: vec![measured],
                }),
            }
        }
    }
}

fn lines(stage: &Stage, figures: &mut Figures) {
    let numbers = if figures.run.quick { WAITERS_QUICK } else { WAITERS };
    for round in 0..figures.run.hand_over_rounds {
        begin_round(&mut figures.machine, "hand-over", round);
        for (waiters, system) in each(&numbers, &LINES) {
            if system == System::Advisory && waiters > ADVISORY_WAITERS_MAX {
                continue;
            }
            let what = format!("hand-over, {waiters} in line");
            let measured = on_started(stage, system, &what, &mut figures.failed, |started| {
                hand_over::measure(stage, started, system, waiters)
            });
            let of = |row: &&mut HandOver| row.system == system && row.waiters == waiters;
            match (measured, figures.hand_over.iter_mut().find(of)) {
                (None, _) => {}
                (Some(measured), Some(row)) => row.rounds.push(measured),
                (Some(measured), None) => figures.hand_over.push(HandOver {
                    system,
                    waiters,
                    rounds: vec![measured],
                }),
            }
        }
    }
}

fn expiries(stage: &Stage, figures: &mut Figures) {
    let locks = figures.run.take_over_locks;
    for round in 0..figures.run.take_over_rounds {
        begin_round(&mut figures.machine, "take-over", round);
        for system in EXPIRING {
            let measured = on_started(stage, system, "take-over", &mut figures.failed, |started| {
                take_over::measure(stage, started, system, locks)
            });
            match (measured, figures.take_over.iter_mut().find(|row| row.system == system)) {
                (None, _) => {}
                (Some(measured), Some(row)) => row.after_ms.extend(measured),
                (Some(measured), None) => figures.take_over.push(TakeOver {
                    system,
                    after_ms: measured,
                }),
            }
        }
    }
}

fn memory(stage: &Stage, figures: &mut Figures) {
    begin_round(&mut figures.machine, "memory", 0);
    let (held, waiting) = (figures.run.held, figures.run.waiting);
    for system in KEEPING {
        let measured = attempt(system, "memory", &mut figures.failed, || {
            memory::measure(stage, system, held, waiting)
        });
        figures.memory.extend(measured);
    }
}

/// All systems with the first number, then all with the next.
fn each(numbers: &[usize], systems: &[System]) -> Vec<(usize, System)> {
    let with = |number: &usize| systems.iter().map(|system| (*number, *system)).collect::<Vec<_>>();
    numbers.iter().flat_map(with).collect()
}

/// What was measured on one that is started for it, so that it finds nothing of
/// the one before.
fn on_started<T>(
    stage: &Stage,
    system: System,
    what: &str,
    failed: &mut Vec<Failed>,
    measure: impl FnOnce(&Started) -> Result<T, String>,
) -> Option<T> {
    attempt(system, what, failed, || measure(&stage.start(system)?))
}

/// What was measured. What fails is said in the report, in place of a figure.
fn attempt<T>(
    system: System,
    what: &str,
    failed: &mut Vec<Failed>,
    measure: impl FnOnce() -> Result<T, String>,
) -> Option<T> {
    let begun = Instant::now();
    let measured = catch_unwind(AssertUnwindSafe(measure)).unwrap_or_else(|panic| Err(said_by(&*panic)));
    eprintln!("  {system:?}: {what}: {:.1} s", begun.elapsed().as_secs_f64());
    measured
        .map_err(|why| {
            eprintln!("  {system:?}: {what}: {why}");
            let what = what.to_owned();
            failed.push(Failed { system, what, why });
        })
        .ok()
}

fn said_by(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it ended without a word").to_owned()
}
