//! The recorded cases of the original's wire format, against a real server.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use crate::replicas::Replicas;
use crate::support::{Server, Spread, on_postgres};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance");

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
            &["--with", "list", "--jobs", "16"],
            "19 passed, 0 failed",
        );
    }
}

fn run_all_cases(address: SocketAddr) {
    let cases = std::fs::read_to_string(format!("{HERE}/cases.jsonl")).expect("it is there");
    let groups = cases.lines().map(|case| {
        let case: Value = serde_json::from_str(case).expect("JSON");
        case["group"].as_str().expect("a group").to_owned()
    });
    let groups: BTreeSet<_> = groups.collect();
    // Those use the same few keys for a resource each: side by side they may close a circle, which is 409.
    let (alone, together): (Vec<_>, Vec<_>) = groups.iter().partition(|group| *group == "concurrency");
    for (groups, jobs, expected) in [
        (together, "16", "382 passed, 0 failed"),
        (alone, "1", "8 passed, 0 failed"),
    ] {
        let mut options = vec!["--skip-decision", "python-json-messages", "--jobs", jobs];
        options.extend(groups.iter().flat_map(|group| ["--group", group.as_str()]));
        run_cases(address, "cases.jsonl", &options, expected);
    }
}

fn run_cases(address: SocketAddr, cases: &str, options: &[&str], expected: &str) {
    let output = Command::new("python3")
        .arg(format!("{HERE}/conformance.py"))
        .args(["--base", &format!("http://{address}")])
        .args(options)
        .arg(format!("{HERE}/{cases}"))
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
