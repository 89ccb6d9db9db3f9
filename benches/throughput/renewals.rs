//! Renewals: each connection has a lock of its own and keeps it.

use crate::load::{Step, drive, hold, request};
use crate::postgres::{Cluster, free_all};
use crate::rounds::{Figures, ROUND_LENGTH, alternate, print_head, print_row};
use crate::servers::{Kind, ServerProcess};

/// Prints rates and latencies on both databases, beside actix answering as much.
pub fn run(cluster: &Cluster, connection_counts: &[usize]) {
    let url = cluster.database(Kind::Cls, 0);
    let mut contestants = vec![
        (Kind::Cls, "(a) cls on SQLite", None),
        (Kind::Constants, Kind::Constants.title(), None),
        (
            Kind::Cls,
            "(f) cls on PostgreSQL, its processor time counted in",
            Some(&url),
        ),
    ];
    contestants.extend(Kind::beside().map(|kind| (kind, kind.title(), None)));
    print_head("Renewals, each connection of its own lock", "connections");
    let mut results = Vec::new();
    for &connections in connection_counts {
        let figures = alternate(&contestants, |(kind, _, url)| match url {
            None => measure(&ServerProcess::start(*kind), *kind, connections, || 0.0),
            Some(url) => {
                free_all(url);
                let server = ServerProcess::start_on(*kind, url);
                measure(&server, *kind, connections, || cluster.processor_seconds())
            }
        });
        for ((_, title, _), figures) in contestants.iter().zip(&figures) {
            print_row(title, &connections.to_string(), figures);
        }
        results.push((connections, figures));
    }
    println!();
    for (connections, figures) in results {
        let [sqlite, ceiling, postgres, beside @ ..] = &figures[..] else {
            unreachable!("three are measured at least");
        };
        println!(
            "- at {connections}: (a)/(b) {:.2} (asked: 0.80 at 256), (f)/(b) {:.2}",
            sqlite.rate / ceiling.rate,
            postgres.rate / ceiling.rate
        );
        for other in beside {
            println!("- at {connections}: (a)/(d) {:.2}", sqlite.rate / other.rate);
        }
    }
    println!();
}

fn measure(server: &ServerProcess, kind: Kind, connections: usize, beside: impl Fn() -> f64) -> Figures {
    if kind != Kind::Constants {
        hold(server.address(), connections);
    }
    let renewal = |number: usize| Step {
        request: request(
            "PATCH",
            &format!("held-{number:06}"),
            &format!("{{\"locked_by\":\"key-{number:06}\"}}"),
        ),
        status: 200,
    };
    let scripts: Vec<_> = (0..connections).map(|number| vec![renewal(number)]).collect();
    let processor_seconds = || server.processor_seconds() + beside();
    drive(server.address(), &scripts, true, ROUND_LENGTH, processor_seconds).into()
}
