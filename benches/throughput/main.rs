//! What the server reaches beside the two things that bound it: actix
//! answering constants, and one transaction a request.
//!
//! `cargo bench` runs everything and prints tables in Markdown; words after
//! `--` choose parts: `pairs` (with numbers of connections, if not all),
//! `handover`, `memory`, `store`. Each server is a process of
//! its own, on loopback and on a fresh directory below the working directory
//! (so that the disk is the one you mean); the load generator is one thread
//! that drives all connections. Figures of one run compare; figures of two
//! runs on a shared machine do not.

mod handover;
mod load;
mod rivals;
mod servers;
mod store;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use load::{Load, Measured};
use servers::{Kind, ServerProcess};
use tikv_jemallocator::Jemalloc;

/// As the server has it, so that the rivals have no worse.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const ROUNDS: usize = 3;
const ROUND_LENGTH: Duration = Duration::from_secs(4);
const CONNECTIONS: [usize; 3] = [1, 32, 256];
const NAMES: usize = 10_000;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    if let [serve, kind, directory] = &arguments[..]
        && serve == "serve"
    {
        return rivals::serve(kind, Path::new(directory));
    }
    let wanted = |part: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == part);
    describe_machine();
    let chosen: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    if wanted("pairs") {
        pairs(if chosen.is_empty() { &CONNECTIONS } else { &chosen });
    }
    if wanted("handover") {
        handover::run();
    }
    if wanted("memory") {
        memory();
    }
    if wanted("store") {
        store::run();
    }
}

fn describe_machine() {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores of {model}; load generator and server share them.\n");
}

/// Acquire/release pairs: rates, latencies, and the ratios that matter.
fn pairs(connection_counts: &[usize]) {
    println!(
        "Acquire/release pairs over {NAMES} names, median of {ROUNDS} rounds of {} s:\n",
        ROUND_LENGTH.as_secs()
    );
    println!("| server | connections | operations/s | p50 ms | p99 ms | processor µs/operation |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let mut results = Vec::new();
    let fsync_ms = fsync_ms();
    for &connections in connection_counts {
        let mut rounds: Vec<(Kind, Vec<Measured>)> =
            Kind::chosen().into_iter().map(|kind| (kind, Vec::new())).collect();
        for _ in 0..ROUNDS {
            for (kind, measured) in &mut rounds {
                let server = ServerProcess::start(*kind);
                let load = Load {
                    address: server.address(),
                    connections,
                    names: NAMES,
                    strict: *kind != Kind::PerRequest,
                };
                measured.push(load.run(ROUND_LENGTH, || server.processor_seconds()));
            }
        }
        for (kind, mut measured) in rounds {
            measured.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
            let median = measured.swap_remove(measured.len() / 2);
            println!(
                "| {} | {connections} | {:.0} | {:.2} | {:.2} | {:.1} |",
                kind.title(),
                median.rate(),
                median.quantile_ms(0.5),
                median.quantile_ms(0.99),
                median.processor_us()
            );
            if median.errors > 0 {
                println!(
                    "|   of these failed | {connections} | {:.0} | | | |",
                    median.errors_per_second()
                );
            }
            results.push((kind, connections, median));
        }
    }
    println!();
    for &connections in connection_counts {
        let of = |kind: Kind| {
            let found = results.iter().find(|(k, c, _)| *k == kind && *c == connections);
            &found.expect("it was measured").2
        };
        let (ours, ceiling, rival) = (of(Kind::Cls), of(Kind::Constants), of(Kind::PerRequest));
        println!(
            "- at {connections}: (a)/(b) {:.2}, (a)/(c) {:.1}, p99/p50 {:.1}, p50 {:.2} times one fsync of {fsync_ms:.2} ms",
            ours.rate() / ceiling.rate(),
            ours.rate() / rival.rate(),
            ours.quantile_ms(0.99) / ours.quantile_ms(0.5),
            ours.quantile_ms(0.5) / fsync_ms,
        );
        if let Some((.., other)) = results.iter().find(|(k, c, _)| *k == Kind::Beside && *c == connections) {
            println!("- at {connections}: (a)/(d) {:.2}", ours.rate() / other.rate());
        }
    }
    println!();
}

/// The median of writing and syncing 4 KiB within a file, on the disk the
/// servers use.
fn fsync_ms() -> f64 {
    let directory = servers::fresh_directory();
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(directory.path().join("fsync"))
        .expect("a file can be made here");
    file.write_all_at(&[1; 1 << 20], 0)
        .and_then(|()| file.sync_all())
        .expect("the disk takes a megabyte");
    let mut times: Vec<_> = (0..500)
        .map(|number| {
            let started = Instant::now();
            file.write_all_at(&[2; 4096], number % 256 * 4096)
                .and_then(|()| file.sync_data())
                .expect("the disk syncs");
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Resident memory with many locks held and nothing else going on.
fn memory() {
    const HELD: usize = 100_000;
    let server = ServerProcess::start(Kind::Cls);
    let before = server.resident_kib();
    load::hold(server.address(), HELD);
    println!(
        "Resident memory: {:.1} MiB after start, {:.1} MiB with {HELD} locks held.\n",
        before as f64 / 1024.0,
        server.resident_kib() as f64 / 1024.0
    );
}
