//! `GET /resources/{name}/?wait=…`: to be told when something happens.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::{by, connected, hold, in_line, look, one_worker, release, settle, since, with_timeout, with_ttl};
use crate::support::{Client, Server, eventually};

/// How late a watcher may be told on a busy machine.
const SLACK: Duration = Duration::from_millis(1500);

/// "At once", on a busy machine; far below every wait here.
const AT_ONCE: Duration = Duration::from_secs(2);

fn watching(server: &Server, name: &str, query: &str, headers: &[(&str, &str)]) -> Client {
    let mut watcher = connected(server);
    watcher.send_with(("GET", &format!("/resources/{name}/?{query}")), headers, "");
    // A later request, read by the same worker, was decided after the watcher's look.
    look(server, name);
    watcher
}

#[test]
pub(super) fn who_knows_of_another_grant_is_answered_at_once() {
    let server = Server::start();
    let token = hold(&server, "r");
    let mut client = server.client();

    let asked = Instant::now();
    for other in [0, token - 1, token + 1, i64::MAX] {
        let answer = client.get(&format!("/resources/r/?wait=60&fencing_token={other}"));
        assert_eq!(answer.json()["fencing_token"], json!(token), "{other}");
    }
    release(&server, "r");
    let free = client.get(&format!("/resources/r/?wait=60&fencing_token={token}"));

    assert_eq!(free.json()["locked"], json!(false));
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
}

#[test]
pub(super) fn a_release_and_a_new_grant_are_told() {
    let server = one_worker();
    for regranted in [false, true] {
        let name = format!("r{regranted}");
        let token = hold(&server, &name);
        let waiter = regranted.then(|| in_line(&server, &name, &with_timeout("waiter", 60)));
        let tag = server.client().get(&format!("/resources/{name}/"));
        let tag = tag.header("ETag").expect("a tag");
        let watchers = [
            watching(&server, &name, &format!("wait=60&fencing_token={token}"), &[]),
            watching(&server, &name, "wait=60", &[]),
            watching(&server, &name, "wait=60", &[("If-None-Match", tag)]),
        ];

        let asked = Instant::now();
        release(&server, &name);

        for mut watcher in watchers {
            let answer = watcher.answer();
            assert_eq!(answer.status, 200);
            let expected = json!(token + i64::from(regranted));
            assert_eq!(answer.json()["fencing_token"], expected, "{}", answer.body);
            assert_eq!(answer.json()["locked"], json!(regranted));
            assert!(since(asked, answer.received) < AT_ONCE);
        }
        drop(waiter);
    }
}

#[test]
pub(super) fn the_first_grant_ever_is_told() {
    let server = one_worker();
    let mut watcher = connected(&server);
    watcher.send("GET", "/resources/new/?wait=60", "");
    assert_eq!(server.client().get("/resources/new/").status, 404);

    let token = hold(&server, "new");

    assert_eq!(watcher.answer().json()["fencing_token"], json!(token));
}

#[test]
pub(super) fn a_renewal_is_told_to_who_asked_for_any_news_and_not_to_who_named_a_token() {
    let server = one_worker();
    let token = server.client().put("r", &with_ttl("holder", 600)).fencing_token();
    let tag = server.client().get("/resources/r/");
    let mut of_token = watching(&server, "r", &format!("wait=60&fencing_token={token}"), &[]);
    let mut of_any = watching(&server, "r", "wait=60", &[]);
    let mut of_tag = watching(
        &server,
        "r",
        "wait=60",
        &[("If-None-Match", tag.header("ETag").expect("a tag"))],
    );

    let renewed = server
        .client()
        .request("PATCH", "/resources/r/", r#"{"locked_by": "holder", "label": "l"}"#);
    assert_eq!(renewed.status, 200);

    assert_eq!(of_any.answer().json()["label"], json!("l"));
    assert_eq!(of_tag.answer().json()["label"], json!("l"));
    release(&server, "r");
    assert_eq!(
        of_token.answer().json()["locked"],
        json!(false),
        "the grant stood until then"
    );
}

#[test]
pub(super) fn an_expiry_is_told_at_that_instant() {
    let server = Server::start();
    let mut client = server.client();
    let sent = Instant::now();
    let held = client.put("r", &with_ttl("holder", 1));
    let token = held.fencing_token();
    let watchers: Vec<_> = ["wait=60".to_owned(), format!("wait=60&fencing_token={token}")]
        .into_iter()
        .map(|query| {
            let mut watcher = server.client();
            watcher.send("GET", &format!("/resources/r/?{query}"), "");
            watcher
        })
        .collect();

    for mut watcher in watchers {
        let answer = watcher.answer();
        assert_eq!(answer.json()["locked"], json!(false));
        assert!(
            since(sent, answer.received) >= Duration::from_secs(1),
            "it was not free before"
        );
        assert!(since(held.received, answer.received) < Duration::from_secs(1) + SLACK);
    }
}

#[test]
pub(super) fn a_watch_ends_with_its_wait() {
    let server = Server::start();
    let token = hold(&server, "r");
    let tag = server.client().get("/resources/r/");
    let tag = tag.header("ETag").expect("a tag");

    let known = [("If-None-Match", tag)];
    thread::scope(|scope| {
        for (query, headers, status) in [
            (String::new(), &[][..], 200),
            (format!("&fencing_token={token}"), &[], 200),
            (String::new(), &known, 304),
            (format!("&fencing_token={token}"), &known, 304),
        ] {
            let mut client = server.client();
            scope.spawn(move || {
                let asked = Instant::now();
                let path = format!("/resources/r/?wait=1{query}");
                let answer = client.request_with(("GET", &path), headers, "");
                assert_eq!(answer.status, status, "{path} {headers:?}");
                let took = since(asked, answer.received);
                assert!(
                    took >= Duration::from_secs(1) && took < Duration::from_secs(1) + SLACK,
                    "{took:?}"
                );
            });
        }
    });
}

#[test]
pub(super) fn a_tag_that_is_out_of_date_is_told_at_once() {
    let server = one_worker();
    hold(&server, "r");
    let tag = server.client().get("/resources/r/");
    let _waiter = in_line(&server, "r", &with_timeout("waiter", 60));

    let asked = Instant::now();
    let headers = [("If-None-Match", tag.header("ETag").expect("a tag"))];
    let answer = server
        .client()
        .request_with(("GET", "/resources/r/?wait=60"), &headers, "");

    assert_eq!(answer.json()["waiters"], json!(1));
    assert!(asked.elapsed() < AT_ONCE);
}

#[test]
pub(super) fn parameters_that_are_wrong_are_told_in_the_frameworks_words() {
    let server = Server::start();
    hold(&server, "r");
    let mut client = server.client();

    let integer = "A valid integer is required.";
    for (query, expected) in [
        ("wait=x", json!({"wait": [integer]})),
        ("wait=1.5", json!({"wait": [integer]})),
        (
            "wait=-1",
            json!({"wait": ["Ensure this value is greater than or equal to 0."]}),
        ),
        (
            "wait=2147483648",
            json!({"wait": ["Ensure this value is less than or equal to 2147483647."]}),
        ),
        ("fencing_token=x", json!({"fencing_token": [integer]})),
        (
            "wait=60&fencing_token=-1",
            json!({"fencing_token": ["Ensure this value is greater than or equal to 0."]}),
        ),
        (
            "wait=60&fencing_token=9223372036854775808",
            json!({"fencing_token": ["Ensure this value is less than or equal to 9223372036854775807."]}),
        ),
        (
            "wait=x&fencing_token=y",
            json!({"wait": [integer], "fencing_token": [integer]}),
        ),
        ("wait=60&wait=%00", json!({"wait": [integer]})),
    ] {
        let answer = client.get(&format!("/resources/r/?{query}"));
        assert_eq!((answer.status, answer.json()), (400, expected), "{query}");
    }
    assert_eq!(client.get("/resources/r/?wait=&fencing_token=").status, 200);
    assert_eq!(client.get("/resources/r/?WAIT=x&other=y").status, 200);
}

#[test]
pub(super) fn a_hundred_who_watch_are_all_told_of_one_release() {
    let server = one_worker();
    let token = hold(&server, "r");
    let mut watchers: Vec<_> = (0..100)
        .map(|_| {
            let mut watcher = connected(&server);
            watcher.send("GET", &format!("/resources/r/?wait=60&fencing_token={token}"), "");
            watcher
        })
        .collect();
    look(&server, "r");

    let asked = Instant::now();
    release(&server, "r");

    for watcher in &mut watchers {
        assert_eq!(watcher.answer().json()["locked"], json!(false));
    }
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
}

#[test]
pub(super) fn who_hangs_up_leaves_no_watch_behind() {
    let server = Server::start_with(&[("WORKERS", "1"), ("WAITERS_MAX", "1")]);
    hold(&server, "r");
    let watcher = watching(&server, "r", "wait=60", &[]);
    let refused = server.client().get("/resources/r/?wait=60");
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_eq!(
        server.client().get("/resources/r/").status,
        200,
        "who does not wait needs no room"
    );

    drop(watcher);

    let mut next = None;
    eventually("there is room again", Duration::from_secs(5), || {
        let mut watcher = connected(&server);
        watcher.send("GET", "/resources/r/?wait=60", "");
        look(&server, "r");
        let is_refused = watcher.is_closed_within(Duration::from_millis(50));
        next = Some(watcher);
        !is_refused
    });
    release(&server, "r");
    assert_eq!(next.expect("it watches").answer().status, 200);
}

#[test]
pub(super) fn a_watcher_takes_no_place_in_line_and_holds_nothing() {
    let server = one_worker();
    let token = hold(&server, "r");
    let _watchers: Vec<_> = (0..5).map(|_| watching(&server, "r", "wait=60", &[])).collect();
    assert_eq!(look(&server, "r")["waiters"], json!(0));

    let mut waiter = in_line(&server, "r", &with_timeout("waiter", 60));
    release(&server, "r");

    assert_eq!(waiter.answer().fencing_token(), token + 1);
    settle(&server, "r");
}

#[test]
pub(super) fn sigterm_answers_who_watches_with_what_is() {
    let mut server = one_worker();
    let token = hold(&server, "r");
    let mut watchers: Vec<_> = (0..10).map(|_| watching(&server, "r", "wait=600", &[])).collect();

    server.signal(Signal::TERM);

    for watcher in &mut watchers {
        let answer = watcher.answer();
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.json()["fencing_token"], json!(token));
    }
    let status = server.wait(Duration::from_secs(5)).expect("it ends in time");
    assert_eq!(status.code(), Some(0), "{}", server.log());
}

#[test]
pub(super) fn who_watches_forever_changing_resources_misses_no_grant() {
    let server = Server::start();
    let mut watcher = server.client();
    hold(&server, "r");
    let last = thread::scope(|scope| {
        let changer = scope.spawn(|| {
            let mut client = server.client();
            let mut token = 0;
            for _ in 0..100 {
                assert_eq!(client.delete("r", "holder").status, 204);
                token = client.put("r", &by("holder")).fencing_token();
            }
            token
        });
        let mut seen = 0;
        while !changer.is_finished() {
            let answer = watcher.get(&format!("/resources/r/?wait=1&fencing_token={seen}"));
            let token = answer.json()["fencing_token"].as_i64().expect("a number");
            assert!(token >= seen, "it never goes back");
            seen = token;
        }
        let token = changer.join().expect("it ends");
        assert_eq!(look(&server, "r")["fencing_token"], json!(token));
        token
    });
    assert!(last > 100);
}
