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

fn run_all_cases(address: SocketAddr) {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance");

    let output = Command::new("python3")
        .arg(format!("{here}/conformance.py"))
        .args(["--base", &format!("http://{address}"), "--jobs", "16"])
        .args(["--skip-decision", "python-json-messages"])
        .arg(format!("{here}/cases.jsonl"))
        .output()
        .expect("python3 is installed");

    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{report}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        report.contains("390 passed, 0 failed"),
        "some cases were left out:\n{report}"
    );
}
