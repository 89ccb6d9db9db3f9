//! Schemathesis, which makes requests from the document and holds the answers
//! against it.

use std::path::Path;
use std::process::Command;

use crate::support::{Server, on_postgres};

/// Checks that are left out, each because its premise does not hold here.
const EXCLUDED_CHECKS: [&str; 2] = [
    // The state decides too; `hooks.py` has a check instead.
    "positive_data_acceptance",
    // Fields are read as Django REST framework reads them; there too.
    "negative_data_rejection",
];

/// Warnings that make it fail too. Not `validation_mismatch`: requests that the
/// state refuses with 400 look like it.
const WARNINGS: &str =
    "base_url_mismatch,unresolvable_reference,unsupported_regex,missing_deserializer,method_not_allowed";

/// Requests for each operation in its random phase.
const EXAMPLES: &str = "25";

#[test]
fn schemathesis_finds_nothing() {
    run_against(&Server::start_with(&[("MAX_TIMEOUT", "1")]));
}

#[test]
fn schemathesis_finds_nothing_on_postgres() {
    on_postgres(|| run_against(&Server::start_with(&[("MAX_TIMEOUT", "1")])));
}

fn run_against(server: &Server) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = here.join("target/schemathesis/bin/schemathesis");
    assert!(program.exists(), "schemathesis is missing; tests/run installs it");
    // It reads settings from, and writes to, the directory in which it runs.
    let directory = tempfile::tempdir().expect("a temporary directory");

    let output = Command::new(program)
        .args(["run", &format!("{}/schema/", server.base_url())])
        .args(["--exclude-checks", &EXCLUDED_CHECKS.join(",")])
        // An answer that does not end.
        .args(["--exclude-path", "/events/stream/"])
        .args(["--warnings", WARNINGS])
        .args(["--generation-deterministic", "--continue-on-failure"])
        .args(["--max-examples", EXAMPLES, "--request-timeout", "10", "--no-color"])
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", here.join("tests/schemathesis"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(directory.path())
        .output()
        .expect("it can be run");

    let report = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}{complaints}");
    assert!(!report.contains("WARNINGS"), "{report}");
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
}
