//! The recorded cases of the original's wire format, against a real server.

use std::net::SocketAddr;
use std::process::Command;

use crate::replicas::Replicas;
use crate::support::{Server, Spread, on_postgres};

#[test]
fn all_recorded_cases_pass_on_postgres() {
    on_postgres(all_recorded_cases_pass);
}

#[test]
fn all_recorded_cases_pass_with_requests_spread_over_three_servers() {
    let replicas = Replicas::start(3);
    let spread = Spread::over(replicas.addresses());

    run_all_cases(spread.address);

    assert!(spread.connections() > 390, "{} connections", spread.connections());
}

#[test]
fn all_recorded_cases_pass() {
    run_all_cases(Server::start().address);
}

#[test]
fn the_list_passes_its_cases_on_postgres() {
    on_postgres(the_list_passes_its_cases);
}

#[test]
fn the_list_passes_its_cases() {
    let server = Server::start();

    // Twice, because the first cases see an empty table only once.
    for _ in 0..2 {
        run_cases(
            server.address,
            "extra.jsonl",
            &["--with", "list"],
            "19 passed, 0 failed",
        );
    }
}

fn run_all_cases(address: SocketAddr) {
    let without_messages = ["--skip-decision", "python-json-messages"];
    run_cases(address, "cases.jsonl", &without_messages, "390 passed, 0 failed");
}

fn run_cases(address: SocketAddr, cases: &str, options: &[&str], expected: &str) {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance");

    let output = Command::new("python3")
        .arg(format!("{here}/conformance.py"))
        .args(["--base", &format!("http://{address}"), "--jobs", "16"])
        .args(options)
        .arg(format!("{here}/{cases}"))
        .output()
        .expect("python3 is installed");

    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{report}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(report.contains(expected), "some cases were left out:\n{report}");
}
