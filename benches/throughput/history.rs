//! What it costs to record what happens.

use crate::NAMES;
use crate::load::Load;
use crate::postgres::{Cluster, free_all};
use crate::rounds::{Figures, ROUND_LENGTH, alternate, print_head, print_row};
use crate::servers::{Kind, ServerProcess};

/// Connections, if none are chosen.
const CONNECTIONS: usize = 256;

const MODES: [&str; 2] = ["off", "on"];

/// Prints rates and latencies without and with a history on both databases, and
/// the ratios.
pub fn run(cluster: &Cluster, connections: Option<usize>) {
    let connections = connections.unwrap_or(CONNECTIONS);
    compare("SQLite", connections, |mode| {
        let server = ServerProcess::start_with(Kind::Cls, &[("HISTORY", mode)]);
        measure(&server, connections, || 0.0)
    });
    let url = cluster.database(Kind::Cls, NAMES);
    compare("PostgreSQL, its own processor time counted in", connections, |mode| {
        free_all(&url);
        let server = ServerProcess::start_with(Kind::Cls, &[("HISTORY", mode), ("DATABASE_URL", &url)]);
        measure(&server, connections, || cluster.processor_seconds())
    });
}

fn compare(database: &str, connections: usize, measure: impl Fn(&str) -> Figures) {
    print_head(
        &format!("Acquire/release pairs over {NAMES} names on {database}"),
        "connections",
    );
    let figures = alternate(&MODES, |mode| measure(mode));
    for (mode, figures) in MODES.iter().zip(&figures) {
        print_row(&format!("HISTORY={mode}"), &connections.to_string(), figures);
    }
    println!(
        "\n- at {connections}: on/off {:.2} (asked: 0.85), processor time {:.2}\n",
        figures[1].rate / figures[0].rate,
        figures[1].processor_us / figures[0].processor_us
    );
}

fn measure(server: &ServerProcess, connections: usize, of_database: impl Fn() -> f64) -> Figures {
    let load = Load {
        address: server.address(),
        connections,
        names: NAMES,
        every: 1,
        strict: true,
    };
    load.run(ROUND_LENGTH, || server.processor_seconds() + of_database())
        .into()
}
