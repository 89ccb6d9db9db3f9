//! Many locks, and much that happens to them.

use std::time::{Duration, Instant};

use super::{PAGE_WAIT_MAX, names};
use crate::support::{Browser, Server, eventually};

const LOCKS: u32 = 100_000;
const EVENTS: usize = 2_000;
const CLIENTS: usize = 50;

/// For how long a page may not react, at most, on a machine that others use too.
const HELD_UP_MS_MAX: f64 = 500.0;

/// How long a page of the list may take there.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(2);

#[test]
fn a_hundred_thousand_locks_and_a_burst_of_events_hold_up_nobody() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.put("first", r#"{"locked_by": "k"}"#).status, 200);
    server.select(&format!(
        "INSERT INTO resources (name, locked_by, acquired_at_us, fencing_token, label)
         WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {LOCKS})
         SELECT printf('lock-%06d', n), 'k', acquired_at_us, fencing_token, 'label ' || n
           FROM numbers, (SELECT acquired_at_us, fencing_token FROM resources)"
    ));
    let browser = Browser::start();
    let began = Instant::now();
    let list = client.get("/resources/?ordering=-name&search=lock&page_size=50");
    let first_look = began.elapsed();
    assert_eq!(list.json()["count"], LOCKS);
    assert!(first_look < ANSWER_WAIT_MAX, "{first_look:?}");
    browser.open(&format!("{}/admin/?ordering=-name&search=lock", server.base_url()));
    eventually("a page of it is there", PAGE_WAIT_MAX, || {
        names(&browser).first().is_some_and(|name| name == "lock-100000")
    });
    assert_eq!(browser.text("#place"), "1–50 of 100,000");
    eventually("it is live", PAGE_WAIT_MAX, || browser.text("#live") == "Live");
    browser.run(
        "window.tasks = []; new PerformanceObserver((list) => window.tasks.push( \
         ...list.getEntries().map((entry) => entry.duration))).observe({type: 'longtask'}); \
         window.asked = 0; const ask = window.fetch; \
         window.fetch = (...what) => { window.asked += 1; return ask(...what); };",
    );

    // By many at once, each of whom sends without waiting for answers.
    let began = Instant::now();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.client()).collect();
    for number in 0..EVENTS / 2 {
        let client = &mut clients[number % CLIENTS];
        client.send_put(&format!("lock-2{number:05}"), r#"{"locked_by": "burst"}"#);
        client.send(
            "DELETE",
            &format!("/resources/lock-2{number:05}/"),
            r#"{"locked_by": "burst"}"#,
        );
    }
    for client in &mut clients {
        for _ in 0..EVENTS / CLIENTS {
            assert!([200, 204].contains(&client.answer().status));
        }
    }
    let burst = began.elapsed();
    assert_eq!(server.client().put("lock-999999", r#"{"locked_by": "k"}"#).status, 200);
    eventually("what came last is shown", PAGE_WAIT_MAX, || {
        names(&browser).first().is_some_and(|name| name == "lock-999999")
    });

    // Rows that went are made up for by the next look.
    eventually("the page is full again", PAGE_WAIT_MAX, || names(&browser).len() == 50);

    let looks = browser.run("return window.asked").as_f64().expect("a number");
    let tasks = browser.run("return window.tasks");
    let longest = tasks
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(serde_json::Value::as_f64);
    let longest = longest.fold(0.0, f64::max);
    println!("first look {first_look:?}, {EVENTS} events in {burst:?}, {looks} looks, longest task {longest} ms");
    assert!(longest < HELD_UP_MS_MAX, "{tasks}");
    assert!(looks <= began.elapsed().as_secs_f64() + 2.0, "{looks} looks");
    assert_eq!(browser.complaints(), [""; 0]);
}
