//! What it costs to ask for tokens.

use std::time::Duration;

use crate::NAMES;
use crate::load::{Step, drive, request, with_header};
use crate::rounds::{Figures, ROUND_LENGTH, alternate, print_head, print_row};
use crate::servers::{Kind, ServerProcess};

/// Connections, if none are chosen.
const CONNECTIONS: usize = 256;

/// Prints rates and latencies of both modes, and the ratio.
pub fn run(connections: Option<usize>) {
    let connections = connections.unwrap_or(CONNECTIONS);
    print_head(
        &format!("Acquire/release pairs over {NAMES} names on SQLite"),
        "connections",
    );
    let modes = ["off", "required"];
    let figures = alternate(&modes, |mode| measure(mode, connections));
    for (mode, figures) in modes.iter().zip(&figures) {
        print_row(&format!("AUTH={mode}"), &connections.to_string(), figures);
    }
    let [open, guarded] = &figures[..] else {
        unreachable!("two are measured");
    };
    println!(
        "\n- at {connections}: required/off {:.2} (asked: 0.95)\n",
        guarded.rate / open.rate
    );
}

fn measure(mode: &str, connections: usize) -> Figures {
    let server = ServerProcess::start_with(Kind::Cls, &[("AUTH", mode)]);
    let header = (mode == "required").then(|| {
        let header = format!("Authorization: Token {}", server.token());
        // The server looks at the table once a second.
        std::thread::sleep(Duration::from_secs(2));
        header
    });
    let step = |method, number: usize, status| {
        let (name, body) = (
            format!("bench-{number:06}"),
            format!("{{\"locked_by\":\"key-{number:06}\"}}"),
        );
        let request = request(method, &name, &body);
        let request = match &header {
            None => request,
            Some(header) => with_header(&request, header),
        };
        Step { request, status }
    };
    let names_each = NAMES / connections;
    let script = |connection: usize| {
        let numbers = connection * names_each..(connection + 1) * names_each;
        numbers
            .flat_map(|number| [step("PUT", number, 200), step("DELETE", number, 204)])
            .collect()
    };
    let scripts: Vec<Vec<Step>> = (0..connections).map(script).collect();
    drive(server.address(), &scripts, true, ROUND_LENGTH, || {
        server.processor_seconds()
    })
    .into()
}
