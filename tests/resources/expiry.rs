//! `ttl`: a lower bound, tight above, whether or not anything swept the row.

use std::thread;
use std::time::{Duration, Instant};

use super::{STAGGER, by, connected, hold, since, typical, with_ttl};
use crate::support::{Server, eventually};

#[test]
pub(super) fn a_lock_is_never_free_before_its_ttl_and_free_soon_after() {
    let server = Server::start();
    let ttl = Duration::from_secs(1);
    let watchers: Vec<_> = (0..9)
        .map(|number| {
            let mut client = connected(&server);
            thread::spawn(move || {
                let name = format!("r{number}");
                thread::sleep(STAGGER * number);
                let sent = Instant::now();
                let held = client.put(&name, &with_ttl("holder", 1));
                thread::sleep(Duration::from_millis(900));
                let free = loop {
                    let answer = client.put(&name, &by("next"));
                    match answer.status {
                        200 => break answer.received,
                        status => assert_eq!(status, 400),
                    }
                };
                (since(sent, free), since(held.received, free))
            })
        })
        .collect();
    let mut late = Vec::new();
    for watcher in watchers {
        let (since_sent, since_held) = watcher.join().expect("a watcher ends");
        assert!(since_sent >= ttl, "free after {since_sent:?}");
        late.push(since_held.saturating_sub(ttl));
    }

    assert!(typical(late.clone()) < Duration::from_millis(100), "{late:?}");
}

#[test]
pub(super) fn an_expired_lock_cannot_be_released_and_its_holder_is_nobody() {
    let server = Server::start();
    let mut client = server.client();
    let held = client.put("r", &with_ttl("holder", 1));
    thread::sleep(Duration::from_secs(1).saturating_sub(held.received.elapsed()));

    let answer = client.delete("r", "holder");

    assert_eq!(
        (answer.status, answer.body.as_str()),
        (400, r#"{"Error":"Resource is not acquired."}"#)
    );
}

#[test]
pub(super) fn the_view_tells_the_truth_before_a_sweep_and_the_table_after_it() {
    let server = Server::start();
    hold(&server, "for ever".replace(' ', "-").as_str());
    let held = server.client().put("r", &with_ttl("holder", 1));
    let in_view = "SELECT name, CAST(seconds_left > 0 AND seconds_left <= 1 AS INTEGER) FROM held_locks ORDER BY name";
    assert_eq!(server.select(in_view), ["for-ever|", "r|1"]);

    thread::sleep(Duration::from_secs(1).saturating_sub(held.received.elapsed()));

    assert_eq!(server.select(in_view), ["for-ever|"], "swept or not");
    let cleared = "SELECT CAST(locked_by IS NULL AND expires_at_us IS NULL AS INTEGER), fencing_token \
                   FROM resources WHERE name = 'r'";
    let expected = [format!("1|{}", held.fencing_token())];
    eventually("a sweep clears the row", Duration::from_secs(3), || {
        server.select(cleared) == expected
    });
}

#[test]
pub(super) fn a_sweep_frees_no_lock_that_holds() {
    let server = Server::start();
    let mut client = server.client();
    let token = client.put("long", &with_ttl("holder", 3600)).fencing_token();
    client.put("short", &with_ttl("holder", 1));

    let swept = "SELECT count(*) FROM resources WHERE name = 'short' AND locked_by IS NULL";
    eventually("a sweep clears the other", Duration::from_secs(5), || {
        server.select(swept) == ["1"]
    });

    let row = "SELECT locked_by, fencing_token FROM resources WHERE name = 'long'";
    assert_eq!(server.select(row), [format!("holder|{token}")]);
    assert_eq!(client.put("long", &by("other")).status, 400);
}

#[test]
pub(super) fn the_longest_ttl_and_timeout_are_accepted() {
    let server = Server::start();
    let mut client = server.client();

    let longest = r#"{"locked_by": "holder", "ttl": 2147483647, "timeout": 2147483647}"#;

    assert_eq!(client.put("r", longest).status, 200);
    assert_eq!(client.put("r", &by("other")).status, 400);
    let ttl = "SELECT ttl, (expires_at_us - acquired_at_us) / 1000000 FROM resources";
    assert_eq!(server.select(ttl), ["2147483647|2147483647"]);
}

#[test]
pub(super) fn a_lock_whose_ttl_ended_while_the_server_was_down_is_free() {
    let mut server = Server::start();
    let held = server.client().put("r", &with_ttl("holder", 1));
    server.kill();
    thread::sleep(Duration::from_secs(1).saturating_sub(held.received.elapsed()));

    let server = server.kill_and_restart();

    let next = server.client().put("r", &by("next"));
    assert!(next.fencing_token() > held.fencing_token(), "{}", next.body);
}
