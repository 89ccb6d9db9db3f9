//! What the server reaches beside the things that bound it: actix answering
//! constants, one transaction a request, and pgbench.
//!
//! `cargo bench` runs everything and prints tables in Markdown; words after
//! `--` choose parts, and numbers how many:
//!
//! | part | what it measures |
//! | --- | --- |
//! | `pairs` | acquire and release on SQLite, by connections |
//! | `postgres` | the same on PostgreSQL, beside pgbench |
//! | `rows` | what a million rows in the table cost, on both |
//! | `list` | pages of a million rows, on both |
//! | `renewals` | each connection keeps a lock, on both |
//! | `together` | eight resources by one request, beside eight requests |
//! | `bulk` | everything that a key holds, renewed and released at once, on both |
//! | `handover` | from one waiter to the next |
//! | `replicas` | the same from one replica to another, by waiters |
//! | `flood` | what a client feels of another one that floods the server |
//! | `history` | what it costs to record what happens, on both |
//! | `auth` | acquire and release without and with tokens |
//! | `tls` | acquire and release on kept connections, without and with TLS |
//! | `memory` | the server's, idle and with many locks held |
//! | `store` | the SQLite store without HTTP |
//!
//! Each server is a process of its own, on loopback and on a fresh directory
//! below the working directory (so that the disk is the one you mean), and so
//! is PostgreSQL, started from the programs that are installed and set as it
//! comes; the load generator is one thread that drives all connections. Figures
//! of one run compare; figures of two runs on a shared machine do not. `BESIDE`
//! names another build of `cls` to run in the same rounds.

mod auth;
mod beside_pgbench;
mod bulk;
#[path = "../../tests/support/certificates.rs"]
#[allow(dead_code, reason = "tests make certificates of more kinds")]
mod certificates;
mod disk;
mod flood;
mod handover;
mod history;
mod list;
mod load;
mod pairs;
mod postgres;
#[path = "../../tests/support/postgres_server.rs"]
mod postgres_server;
mod renewals;
mod rivals;
mod rounds;
mod rows;
mod servers;
mod store;
mod tls;
mod together;

use std::path::Path;

use postgres::Cluster;
use servers::{Kind, ServerProcess};
use tikv_jemallocator::Jemalloc;

/// As the server has it, so that the rivals have no worse.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Numbers of connections, if none are chosen.
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
    let connections = if chosen.is_empty() { &CONNECTIONS } else { &chosen[..] };
    let parts = ["postgres", "rows", "list", "renewals", "bulk", "replicas", "history"];
    let cluster = parts.into_iter().any(wanted).then(Cluster::start);
    let cluster = || cluster.as_ref().expect("it was started for these parts");
    if wanted("pairs") {
        pairs::run(connections);
    }
    if wanted("postgres") {
        beside_pgbench::run(cluster(), connections);
    }
    if wanted("rows") {
        rows::run(cluster());
    }
    if wanted("list") {
        list::run(cluster());
    }
    if wanted("renewals") {
        renewals::run(cluster(), connections);
    }
    if wanted("together") {
        together::run(connections);
    }
    if wanted("bulk") {
        bulk::run(cluster());
    }
    if wanted("handover") {
        handover::run();
    }
    if wanted("replicas") {
        handover::run_on_replicas(cluster(), chosen.first().copied());
    }
    if wanted("flood") {
        flood::run(connections);
    }
    if wanted("history") {
        history::run(cluster(), chosen.first().copied());
    }
    if wanted("auth") {
        auth::run(chosen.first().copied());
    }
    if wanted("tls") {
        tls::run(chosen.first().copied());
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
