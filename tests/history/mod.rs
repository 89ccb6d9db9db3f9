//! What happened, and what happens: the history of a resource, the list of
//! events, and the stream.

mod lists;
mod recorded;
mod replicas;
mod stream;

use std::time::Duration;

use serde_json::Value;

use crate::support::{Client, Server};

/// For what happens at once, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

fn by(locked_by: &str, more: &str) -> String {
    format!("{{\"locked_by\": \"{locked_by}\"{more}}}")
}

fn results(client: &mut Client, path: &str) -> Vec<Value> {
    let answer = client.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()["results"].as_array().cloned().expect("a list")
}

/// All events that follow `since`, by pages of so many.
fn all_events(client: &mut Client, since: i64, page_size: usize) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    loop {
        let since = events.last().map_or(since, id_of);
        let page = results(client, &format!("/events/?since={since}&page_size={page_size}"));
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

fn id_of(event: &Value) -> i64 {
    event["id"].as_i64().expect("a number")
}

fn text<'v>(event: &'v Value, field: &str) -> &'v str {
    event[field].as_str().unwrap_or("")
}

/// What is in the table, as the events would be told.
fn ids_in_table(server: &Server) -> Vec<i64> {
    let rows = server.select("SELECT id FROM lock_events ORDER BY id");
    rows.iter().map(|row| row.parse().expect("a number")).collect()
}
