//! What operators copy from `docs/`: held against what a server shows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::Scrape;
use super::metrics::promtool;
use crate::support::{Server, on_postgres};

/// Prometheus's own.
const OF_PROMETHEUS: [&str; 1] = ["process_start_time_seconds"];

const DASHBOARD: &str = "docs/grafana/central-locking-system.json";
const ALERTS: &str = "docs/prometheus/alerts.yml";

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(path(file)).expect("it is there")
}

/// The names of metrics in a text.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("cls_") || OF_PROMETHEUS.contains(word))
        .collect()
}

#[test]
fn every_metric_of_dashboard_and_alerts_exists_and_the_dashboard_has_all() {
    on_postgres(|| {
        let scrape = Scrape::of(&Server::start());
        let (dashboard, alerts) = (read(DASHBOARD), read(ALERTS));
        let known: BTreeSet<_> = scrape.sample_names().collect();

        let (shown, watched) = (named(&dashboard), named(&alerts));
        assert!(!watched.is_empty());
        for name in shown.union(&watched) {
            assert!(known.contains(name), "there is no {name}");
        }
        for name in scrape.names() {
            let is_shown = shown.iter().any(|sample| sample.strip_prefix(name).is_some());
            assert!(is_shown, "{name} is on no panel");
        }
    });
}

#[test]
fn each_panel_of_the_dashboard_is_well_formed() {
    let dashboard: serde_json::Value = serde_json::from_str(&read(DASHBOARD)).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("a list");
    let ids: BTreeSet<_> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().expect("a number"))
        .collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        let targets = panel["targets"].as_array().into_iter().flatten();
        for target in targets {
            let expression = target["expr"].as_str().expect("text");
            // In place of what Grafana fills in.
            let expression = expression.replace("$__rate_interval", "5m").replace("$instance", ".*");
            let rules = format!("groups: [{{name: a, rules: [{{record: a, expr: {expression:?}}}]}}]");
            let directory = tempfile::tempdir().expect("a temporary directory");
            let file = directory.path().join("rules.yml");
            fs::write(&file, rules).expect("writable");
            let said = promtool(&["check", "rules", &file.display().to_string()], "");
            assert!(said.contains("SUCCESS: 1 rules found"), "{expression}: {said}");
        }
    }
}

#[test]
fn promtool_accepts_alert_rules_and_configuration() {
    let rules = promtool(&["check", "rules", &path(ALERTS).display().to_string()], "");
    let configuration = path("docs/prometheus/prometheus.yml").display().to_string();
    let configuration = promtool(&["check", "config", "--syntax-only", &configuration], "");

    assert!(rules.contains("SUCCESS"), "{rules}");
    assert!(configuration.contains("SUCCESS"), "{configuration}");
}

#[test]
fn each_alert_is_raised_by_what_it_is_for() {
    let cases = read("tests/operating/alerts.yml");
    let names = read(ALERTS);
    let names = names.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));

    let said = promtool(
        &[
            "test",
            "rules",
            &path("tests/operating/alerts.yml").display().to_string(),
        ],
        "",
    );

    assert!(said.contains("SUCCESS"), "{said}");
    for name in names {
        assert!(cases.contains(&format!("alertname=\"{name}\"")), "{name} is not tried");
    }
}
