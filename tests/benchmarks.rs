//! The benchmark report says what its figures say.

#[path = "../benches/report/page/mod.rs"]
mod page;

use std::fs;
use std::path::Path;

use page::figures::{Figures, HandOver, HandOverRound, System, TakeOver, Throughput, ThroughputRound};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn committed_figures() -> Figures {
    let text = fs::read_to_string(root().join("docs/benchmarks/figures.json")).expect("the figures are there");
    serde_json::from_str(&text).expect("they are figures of this version")
}

/// Figures of this server and of one rival.
fn two(our_rate: f64, our_hand_over_ms: f64, our_take_over_ms: f64) -> Figures {
    let rate = |system, rate| Throughput {
        system,
        connections: 256,
        rounds: vec![ThroughputRound {
            rate,
            p50_ms: 1.0,
            p99_ms: 2.0,
            server_us: 10.0,
            generator_us: None,
        }],
    };
    let hand_over = |system, ms| HandOver {
        system,
        waiters: 100,
        rounds: vec![HandOverRound {
            hand_overs: 200,
            p50_ms: ms,
            p99_ms: ms,
        }],
    };
    let take_over = |system, ms| TakeOver {
        system,
        after_ms: vec![ms],
    };
    let mut figures = committed_figures();
    figures.machine.fsync_ms = vec![0.5];
    figures.throughput = vec![rate(System::Sqlite, our_rate), rate(System::RedisAlways, 1_000.0)];
    figures.hand_over = vec![
        hand_over(System::Sqlite, our_hand_over_ms),
        hand_over(System::RedisSignal, 2.0),
    ];
    figures.take_over = vec![
        take_over(System::Sqlite, our_take_over_ms),
        take_over(System::RedisAlways, 25.0),
    ];
    figures.memory.clear();
    figures.failed.clear();
    figures
}

fn report(figures: &Figures) -> String {
    let (_, report) = page::render(figures).swap_remove(0);
    report
}

/// The rows of what is asked, which end with whether it is met.
fn verdicts(report: &str) -> Vec<&str> {
    let (_, rest) = report.split_once("## What is asked of it").expect("a section");
    let (section, _) = rest.split_once("\n## ").expect("another section");
    let rows = section.lines().filter(|line| line.contains("**"));
    rows.map(|row| row.rsplit("**").nth(1).expect("a verdict")).collect()
}

#[test]
fn report_is_what_its_committed_figures_make() {
    for (path, content) in page::render(&committed_figures()) {
        let committed = fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));

        assert!(
            committed == content,
            "{path} is not what the figures make: benches/report/run --from docs/benchmarks/figures.json"
        );
    }
}

#[test]
fn report_of_better_figures_says_met_and_behind_nobody() {
    let report = report(&two(1_001.0, 1.5, 20.0));

    assert_eq!(verdicts(&report), ["met", "met", "met"]);
    assert!(report.contains("- From 256 connections cls on SQLite (1001 operations/s) is behind nobody."));
    assert!(report.contains("- To 100 waiters, at the median, cls on SQLite (1.50 ms) is behind nobody."));
    assert!(report.contains("- At the median cls on SQLite (20.0 ms after the expiry) is behind nobody."));
    assert!(!report.contains("Why they can be ahead"));
}

#[test]
fn report_of_worse_figures_says_not_met_and_behind_whom() {
    let report = report(&two(999.0, 2.1, 25.1));

    assert_eq!(verdicts(&report), ["not met", "not met", "not met"]);
    assert!(report.contains("cls on SQLite (999 operations/s) is behind Redis, always (1000)."));
    assert!(report.contains("- Redis, always: one thread appends"));
    assert!(report.contains("cls on SQLite (2.10 ms) is behind Redis, always, BLPOP (2.00)."));
    assert!(report.contains("cls on SQLite (25.1 ms after the expiry) is behind Redis, always (25.0)."));
}

#[test]
fn report_counts_its_slowest_against_a_target() {
    let mut figures = two(1_001.0, 1.5, 20.0);
    figures.hand_over[0].rounds[0].p99_ms = 1.6;
    figures.take_over[0].after_ms = vec![1.0, 1.0, 20.1];

    let report = report(&figures);

    assert_eq!(
        verdicts(&report),
        ["met", "met at the median only", "met at the median only"]
    );
}
