//! Acquire/release pairs on PostgreSQL, beside actix answering constants and
//! pgbench running the same transaction.

use crate::NAMES;
use crate::load::Load;
use crate::postgres::{Cluster, PGBENCH_CLIENTS, free_all};
use crate::rounds::{Figures, ROUND_LENGTH, alternate, print_head, print_row};
use crate::servers::{Kind, ServerProcess};

/// Who is measured, with the URL of its database.
enum Contestant {
    Server(Kind, String),
    Pgbench(String),
}

/// Prints rates, latencies, and the ratios that matter.
pub fn run(cluster: &Cluster, connection_counts: &[usize]) {
    let mut contestants = vec![
        Contestant::Server(Kind::Cls, cluster.database(Kind::Cls, NAMES)),
        Contestant::Server(Kind::Constants, String::new()),
        Contestant::Pgbench(cluster.database(Kind::Cls, NAMES + 1)),
    ];
    contestants.extend(Kind::beside().map(|kind| Contestant::Server(kind, cluster.database(kind, NAMES))));
    print_head(
        &format!("Acquire/release pairs over {NAMES} names on PostgreSQL, its own processor time counted in"),
        "connections",
    );
    let mut results = Vec::new();
    for &connections in connection_counts {
        let figures = alternate(&contestants, |contestant| match contestant {
            Contestant::Server(kind, url) => measure(*kind, url, cluster, connections),
            Contestant::Pgbench(url) => cluster.pgbench(url),
        });
        for (contestant, figures) in contestants.iter().zip(&figures) {
            match contestant {
                Contestant::Server(kind, _) => print_row(kind.title(), &connections.to_string(), figures),
                Contestant::Pgbench(_) => print_row(
                    "(e) pgbench, a transaction an acquire",
                    &PGBENCH_CLIENTS.to_string(),
                    figures,
                ),
            }
        }
        results.push((connections, figures));
    }
    println!();
    for (connections, figures) in results {
        let [ours, ceiling, pgbench, ..] = &figures[..] else {
            unreachable!("three at least are measured");
        };
        println!(
            "- at {connections}: (a)/(b) {:.2} (asked: 0.60 at 256), (a)/(e) {:.1} (asked: 4 at 256), p99/p50 {:.1}",
            ours.rate / ceiling.rate,
            ours.rate / pgbench.rate,
            ours.p99_ms / ours.p50_ms,
        );
        if let Some(other) = figures.get(3) {
            println!("- at {connections}: (a)/(d) {:.2}", ours.rate / other.rate);
        }
    }
    println!();
}

fn measure(kind: Kind, url: &str, cluster: &Cluster, connections: usize) -> Figures {
    let on_database = kind != Kind::Constants;
    if on_database {
        free_all(url);
    }
    let server = ServerProcess::start_on(kind, url);
    let load = Load {
        address: server.address(),
        connections,
        names: NAMES,
        every: 1,
        strict: true,
    };
    let of_database = || if on_database { cluster.processor_seconds() } else { 0.0 };
    load.run(ROUND_LENGTH, || server.processor_seconds() + of_database())
        .into()
}
