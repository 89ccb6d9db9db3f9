//! `clients/python`: what it tests itself, on both databases, and its types.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use crate::support::Cluster;

/// Each file of tests as a test on both databases.
macro_rules! run_on_both {
    ($($file:ident)*) => {
        const FILES: &[&str] = &[$(stringify!($file)),*];

        mod on_sqlite {
            $(
                #[test]
                fn $file() {
                    super::run(stringify!($file), None);
                }
            )*
        }

        mod on_postgres {
            $(
                #[test]
                fn $file() {
                    let database = super::Cluster::shared().database();
                    super::run(stringify!($file), Some(&database.url));
                }
            )*
        }
    };
}

run_on_both! {
    test_async
    test_lock
    test_lost
    test_lost_answers
    test_processes
    test_readme
    test_servers
    test_waiting
}

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients/python")
}

fn run(file: &str, database_url: Option<&str>) {
    // What sends SIGINT is not to be started where that is ignored, as a job of a shell without job control is.
    let mut python = Command::new("env");
    python.args(["--default-signal", "python3"]);
    python
        .args(["-m", "unittest", &format!("tests.{file}")])
        .current_dir(here())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("CLS_BINARY", env!("CARGO_BIN_EXE_cls"))
        .env_remove("DATABASE_URL")
        .envs(database_url.map(|url| ("DATABASE_URL", url)));

    let output = python.output().expect("python3 is installed");

    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}");
    assert!(
        !report.contains("Ran 0 tests") && !report.contains("skipped"),
        "{report}"
    );
}

#[test]
fn no_file_of_tests_is_left_out() {
    let entries = std::fs::read_dir(here().join("tests")).expect("a folder");
    let names = entries.filter_map(|entry| entry.expect("an entry").file_name().into_string().ok());
    let files: BTreeSet<_> = names
        .filter_map(|name| name.strip_suffix(".py").map(str::to_owned))
        .filter(|name| name.starts_with("test_"))
        .collect();

    assert_eq!(files, FILES.iter().map(ToString::to_string).collect());
}

#[test]
fn its_types_are_right() {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/mypy/bin/mypy");
    assert!(program.exists(), "mypy is missing; tests/run installs it");

    let output = Command::new(program)
        .args(["--cache-dir", "/dev/null"])
        .current_dir(here())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("it can be run");

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
