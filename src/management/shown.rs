//! What people are shown of resources.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

const HEADS: [&str; 7] = ["NAME", "HELD BY", "LABEL", "SINCE", "EXPIRES", "WAITING", "TOKEN"];

/// Without what would move the cursor, or more.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { '\u{fffd}' } else { char })
        .collect()
}

/// A table of representations, a line each, and one above that says what they are.
pub(super) fn table(resources: &[Value], now: DateTime<Utc>) -> String {
    let mut rows = vec![HEADS.map(str::to_owned)];
    rows.extend(resources.iter().map(|resource| cells(resource, now)));
    let widths = HEADS.iter().enumerate().map(|(at, _)| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.max().unwrap_or_default()
    });
    let widths: Vec<_> = widths.collect();
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn cells(resource: &Value, now: DateTime<Utc>) -> [String; 7] {
    let text = |key: &str| resource[key].as_str().map(printable);
    let dash = || "-".to_owned();
    let is_locked = resource["locked"] == true;
    let held_by = match is_locked {
        true => text("owner").unwrap_or_else(dash),
        false => "(free)".to_owned(),
    };
    let since = text("acquired_at").and_then(|at| DateTime::parse_from_rfc3339(&at).ok());
    let since = since.map(|at| {
        let passed = now.signed_duration_since(at).to_std().unwrap_or_default();
        format!("{} ago", span(passed))
    });
    let expires = match resource["expires_in"].as_f64() {
        Some(seconds) => format!("in {}", span(Duration::try_from_secs_f64(seconds).unwrap_or_default())),
        None if is_locked => "never".to_owned(),
        None => dash(),
    };
    [
        text("name").unwrap_or_default(),
        held_by,
        text("label").unwrap_or_else(dash),
        since.unwrap_or_else(dash),
        expires,
        resource["waiters"].to_string(),
        resource["fencing_token"].to_string(),
    ]
}

/// The two largest units of a span of time.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_and_nothing_that_moves_the_cursor() {
        let now = DateTime::parse_from_rfc3339("2026-11-24T16:16:10Z")
            .expect("a time")
            .to_utc();
        let held = json!({
            "name": "deploy/prod", "locked": true, "owner": "ci", "label": "release\u{1b}[2J 7", "ttl": 60,
            "acquired_at": "2026-11-24T16:15:00.5Z", "expires_in": 59.97, "fencing_token": 12, "waiters": 3,
        });
        let free = json!({
            "name": "x", "locked": false, "owner": null, "label": null, "ttl": null, "acquired_at": null,
            "expires_in": null, "fencing_token": 1, "waiters": 0,
        });
        let for_ever = json!({
            "name": "y", "locked": true, "owner": null, "label": null, "ttl": null,
            "acquired_at": "2026-11-22T13:16:10Z", "expires_in": null, "fencing_token": 2, "waiters": 0,
        });
        assert_eq!(
            table(&[held, free, for_ever], now),
            "NAME         HELD BY  LABEL          SINCE          EXPIRES  WAITING  TOKEN\n\
             deploy/prod  ci       release\u{fffd}[2J 7  1 min 9 s ago  in 59 s  3        12\n\
             x            (free)   -              -              -        0        1\n\
             y            -        -              2 d 3 h ago    never    0        2\n"
        );
    }
}
