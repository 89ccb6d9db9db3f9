//! What is shown on a terminal to who waits.

use std::convert::Infallible;
use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Wish;
use crate::client::{Api, Method, Question, path_of};
use crate::management::shown::printable;

/// Before that nobody is told of a wait.
const SHOWN_AFTER: Duration = Duration::from_millis(700);

const TICK: Duration = Duration::from_secs(1);

/// Ticks from one look to the next.
const LOOK_EVERY: u64 = 2;

/// Clears the line when the wait is over, however that comes.
struct Line;

impl Line {
    fn show(&self, text: &str) {
        // The cursor to the first column, and what was there away.
        let _ = write!(stderr(), "\r\x1b[K{text}");
        let _ = stderr().flush();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.show("");
    }
}

/// Shows for whom we wait and for how long, until it is dropped. Does nothing if
/// nobody `waits`, or stderr is no terminal.
pub(super) async fn show_who_is_waited_for(api: &Api, wish: &Wish, waits: bool) -> Infallible {
    if !waits || !stderr().is_terminal() {
        return std::future::pending().await;
    }
    let began = Instant::now();
    sleep(SHOWN_AFTER).await;
    let line = Line;
    let mut queue = Queue::default();
    for tick in 0_u64.. {
        if tick % LOOK_EVERY == 0 {
            // Of several the first that is held.
            for name in &wish.names {
                let seen = api.ask(&Question::new(Method::GET, path_of(name)), TICK * 2).await;
                if let Some(seen) = seen.ok().filter(|seen| seen.body["locked"] == true) {
                    queue.see(name, &seen.body);
                    break;
                }
            }
        }
        line.show(&queue.told(&wish.shown(), began.elapsed()));
        sleep(TICK).await;
    }
    std::future::pending().await
}

/// What is known of the line that we stand in.
#[derive(Debug, Default)]
struct Queue {
    name: String,
    holder: Option<String>,
    fencing_token: Option<i64>,
    ahead: Option<i64>,
}

impl Queue {
    /// Takes note of what is seen of a resource. Where we stand is not: we came
    /// last, and each grant since was to somebody before us.
    fn see(&mut self, name: &str, seen: &Value) {
        let others = seen["waiters"].as_i64().map(|waiters| (waiters - 1).max(0));
        let token = seen["fencing_token"].as_i64();
        let served = i64::from(self.fencing_token.is_some() && self.fencing_token != token);
        self.ahead = match self.ahead.filter(|_| self.name == name) {
            Some(ahead) => Some((ahead - served).max(0).min(others.unwrap_or(ahead))),
            None => others,
        };
        name.clone_into(&mut self.name);
        self.fencing_token = token;
        let text = |key: &str| seen[key].as_str().map(printable).filter(|text| !text.is_empty());
        self.holder = match (text("owner"), text("label")) {
            (Some(owner), Some(label)) => Some(format!("{owner} ({label})")),
            (owner, label) => owner.or(label),
        };
    }

    fn told(&self, names: &str, waited: Duration) -> String {
        let name = if self.name.is_empty() { names } else { &self.name };
        let mut told = format!("waiting for {}", printable(name));
        if let Some(holder) = &self.holder {
            told += &format!(", held by {holder}");
        }
        if let Some(ahead) = self.ahead {
            told += &format!(", {ahead} ahead");
        }
        let seconds = waited.as_secs();
        told + &format!(", {:02}:{:02}", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(token: i64, waiters: i64, owner: Value, label: Value) -> Value {
        json!({"locked": true, "fencing_token": token, "waiters": waiters, "owner": owner, "label": label})
    }

    #[test]
    fn the_line_says_who_holds_it_and_how_many_come_first() {
        let mut queue = Queue::default();
        assert_eq!(queue.told("a, b", Duration::from_secs(61)), "waiting for a, b, 01:01");

        queue.see("deploy/prod", &seen(1, 4, json!("alice@ci"), json!("release 7")));
        let told = queue.told("", Duration::from_secs(12));
        assert_eq!(
            told,
            "waiting for deploy/prod, held by alice@ci (release 7), 3 ahead, 00:12"
        );

        // Two came behind us, and the first was served.
        queue.see("deploy/prod", &seen(2, 5, json!(null), json!("x\u{1b}[2J")));
        let told = queue.told("", Duration::from_secs(13));
        assert_eq!(told, "waiting for deploy/prod, held by x\u{fffd}[2J, 2 ahead, 00:13");

        // Somebody before us left.
        queue.see("deploy/prod", &seen(2, 1, json!(null), json!(null)));
        assert_eq!(
            queue.told("", Duration::ZERO),
            "waiting for deploy/prod, 0 ahead, 00:00"
        );
    }
}
