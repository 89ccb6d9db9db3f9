//! The recorded cases of the original's wire format, against a real server.

use std::process::Command;

use crate::support::{Server, on_postgres};

#[test]
fn all_recorded_cases_pass_on_postgres() {
    on_postgres(all_recorded_cases_pass);
}

#[test]
fn all_recorded_cases_pass() {
    let server = Server::start();
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance");

    let output = Command::new("python3")
        .arg(format!("{here}/conformance.py"))
        .args(["--base", &server.base_url(), "--jobs", "16"])
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
