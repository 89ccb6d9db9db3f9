//! Several resources by one request, beside as many requests for one each.

use crate::load::{Step, drive, request, request_to};
use crate::rounds::{Figures, ROUND_LENGTH, alternate, print_head, print_row};
use crate::servers::{Kind, ServerProcess};

/// Resources of a request.
const TOGETHER: usize = 8;

/// Sets of so many that each connection goes through.
const SETS: usize = 5;

/// Prints rates, and how the time for a set compares.
pub fn run(connection_counts: &[usize]) {
    let ways = [true, false];
    print_head(
        &format!("Sets of {TOGETHER} resources, acquired and released one by one, on SQLite"),
        "connections",
    );
    let mut results = Vec::new();
    for &connections in connection_counts {
        let figures = alternate(&ways, |together| measure(*together, connections));
        let titles = ["POST /locks/, then DELETE each", "PUT each, then DELETE each"];
        for (title, figures) in titles.iter().zip(&figures) {
            print_row(title, &connections.to_string(), figures);
        }
        results.push((connections, figures));
    }
    println!();
    for (connections, figures) in results {
        let sets = |figures: &Figures, steps: usize| figures.rate / steps as f64;
        let (together, single) = (sets(&figures[0], TOGETHER + 1), sets(&figures[1], 2 * TOGETHER));
        // A DELETE costs what a PUT costs; what is left is the POST.
        let single_seconds = 0.5 / single;
        let together_seconds = 1.0 / together - single_seconds;
        println!(
            "- at {connections}: {together:.0} sets/s together, {single:.0} one by one; without the releases the rate \
             is {:.1} times that of single acquisitions (asked: 0.5)",
            single_seconds / together_seconds
        );
    }
    println!();
}

fn measure(together: bool, connections: usize) -> Figures {
    let server = ServerProcess::start(Kind::Cls);
    let script = |connection: usize| (0..SETS).flat_map(|set| steps(together, connection, set)).collect();
    let scripts: Vec<_> = (0..connections).map(script).collect();
    drive(server.address(), &scripts, true, ROUND_LENGTH, || {
        server.processor_seconds()
    })
    .into()
}

fn steps(together: bool, connection: usize, set: usize) -> Vec<Step> {
    let names: Vec<_> = (0..TOGETHER)
        .map(|n| format!("set-{connection:04}-{set}-{n}"))
        .collect();
    let key = format!("\"locked_by\":\"key-{connection:06}\"");
    let each = |method, status| {
        let step = |name: &String| Step {
            request: request(method, name, &format!("{{{key}}}")),
            status,
        };
        names.iter().map(step).collect::<Vec<_>>()
    };
    let mut steps = if together {
        let body = format!("{{\"resources\":{names:?},{key}}}");
        vec![Step {
            request: request_to("POST", "/locks/", &body),
            status: 200,
        }]
    } else {
        each("PUT", 200)
    };
    steps.extend(each("DELETE", 204));
    steps
}
