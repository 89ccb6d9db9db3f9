//! Acquire/release pairs on SQLite, beside the two things that bound them.

use crate::NAMES;
use crate::disk::fsync_ms;
use crate::load::Load;
use crate::rounds::{Figures, ROUND_LENGTH, alternate, print_head, print_row};
use crate::servers::{Kind, ServerProcess};

/// Prints rates, latencies, and the ratios that matter.
pub fn run(connection_counts: &[usize]) {
    print_head(
        &format!("Acquire/release pairs over {NAMES} names on SQLite"),
        "connections",
    );
    let fsync_ms = fsync_ms();
    let mut kinds = vec![Kind::Cls, Kind::Constants, Kind::PerRequest];
    kinds.extend(Kind::beside());
    let mut results = Vec::new();
    for &connections in connection_counts {
        let figures = alternate(&kinds, |kind| measure(*kind, connections));
        for (kind, figures) in kinds.iter().zip(&figures) {
            print_row(kind.title(), &connections.to_string(), figures);
        }
        results.push((connections, figures));
    }
    println!();
    for (connections, figures) in results {
        let [ours, ceiling, rival, ..] = &figures[..] else {
            unreachable!("three at least are measured");
        };
        println!(
            "- at {connections}: (a)/(b) {:.2}, (a)/(c) {:.1}, p99/p50 {:.1}, p50 {:.2} times one fsync of {fsync_ms:.2} ms",
            ours.rate / ceiling.rate,
            ours.rate / rival.rate,
            ours.p99_ms / ours.p50_ms,
            ours.p50_ms / fsync_ms,
        );
        if let Some(other) = figures.get(3) {
            println!("- at {connections}: (a)/(d) {:.2}", ours.rate / other.rate);
        }
    }
    println!();
}

fn measure(kind: Kind, connections: usize) -> Figures {
    let server = ServerProcess::start(kind);
    let load = Load {
        address: server.address(),
        connections,
        names: NAMES,
        every: 1,
        strict: kind != Kind::PerRequest,
    };
    load.run(ROUND_LENGTH, || server.processor_seconds()).into()
}
