//! `CLIENT_LOCKS_MAX`: how many locks one client may hold. A client is an address
//! here; `access/tokens.rs` has those that are tokens.

use std::thread;
use std::time::Duration;

use super::retries::put as put_once;
use super::{
    Blocker, assert_unavailable, by, hold, look, release, settle, since, together, tokens, with_timeout, with_ttl,
};
use crate::hostile::connect_from;
use crate::support::{Answer, Client, Server};

/// A server with one worker, so that what is sent first is decided first.
fn at_most(locks: &str) -> Server {
    Server::start_with(&[("WORKERS", "1"), ("CLIENT_LOCKS_MAX", locks)])
}

/// The client that is bounded. Who is not said to be it is 127.0.0.1.
fn bounded(server: &Server) -> Client {
    Client::over(connect_from(2, server.address))
}

fn assert_too_many(answer: &Answer) {
    assert_unavailable(answer, 429, "this client would hold too many locks");
}

fn acquire_all(client: &mut Client, names: &[&str]) {
    for name in names {
        let answer = client.put(name, &by("k"));
        assert_eq!(answer.status, 200, "{name}: {}", answer.body);
    }
}

fn clients(server: &Server) -> Vec<String> {
    let rows = server.select("SELECT name, client FROM resources WHERE client IS NOT NULL ORDER BY name");
    rows.iter().map(|row| row.replace('|', " ")).collect()
}

#[test]
pub(super) fn one_lock_too_many_of_a_client_is_answered_429_and_others_are_not_meant() {
    let server = at_most("2");
    let mut client = bounded(&server);
    acquire_all(&mut client, &["a", "b"]);

    for body in [by("k"), with_timeout("k", 60)] {
        assert_too_many(&client.put("c", &body));
        assert_too_many(&client.request("POST", "/resources/c/acquire/", &body));
    }

    assert_too_many(&bounded(&server).put("c", &by("other")));
    assert_eq!(client.get("/resources/c/").status, 404, "it was never acquired");
    hold(&server, "c");
    assert_eq!(clients(&server), ["a 127.0.0.2", "b 127.0.0.2", "c 127.0.0.1"]);
    assert_eq!(client.put("c", &by("k")).status, 400, "as ever, for who does not wait");
    assert_too_many(&client.put("c", &with_timeout("k", 60)));
    assert_eq!(client.request("PATCH", "/resources/a/", &with_ttl("k", 60)).status, 200);
}

#[test]
pub(super) fn a_lock_that_is_over_makes_room_at_once() {
    let server = at_most("2");
    let mut client = bounded(&server);
    acquire_all(&mut client, &["a", "b"]);

    assert_eq!(client.delete("a", "k").status, 204);
    assert_eq!(clients(&server), ["b 127.0.0.2"]);
    acquire_all(&mut client, &["c"]);
    assert_too_many(&client.put("d", &by("k")));

    let why = r#"{"reason": "somebody is gone"}"#;
    assert_eq!(server.client().request("POST", "/resources/b/break/", why).status, 200);
    acquire_all(&mut client, &["d"]);
    assert_too_many(&client.put("e", &by("k")));

    assert_eq!(
        client.request("DELETE", "/resources/", &by("k")).body,
        r#"{"released":2}"#
    );
    assert_eq!(clients(&server), Vec::<String>::new());
    acquire_all(&mut client, &["e", "f"]);
    assert_too_many(&client.put("g", &by("k")));
}

#[test]
pub(super) fn an_expired_lock_does_not_count() {
    let server = at_most("1");
    let mut client = bounded(&server);
    let held = client.put("a", &with_ttl("k", 1));
    assert_eq!(held.status, 200);

    let free = loop {
        let answer = client.put("b", &by("k"));
        if answer.status == 200 {
            break answer.received;
        }
        assert_too_many(&answer);
    };

    // The answer took a moment.
    let after = since(held.received, free);
    assert!(after >= Duration::from_millis(500), "{after:?}");
    assert_too_many(&client.put("a", &by("k")));
}

#[test]
pub(super) fn of_several_names_each_counts() {
    let server = at_most("3");
    let mut client = bounded(&server);
    let mut all = |names: &[&str], more: &str| client.request("POST", "/locks/", &together(names, "k", more));

    assert_too_many(&all(&["a", "b", "c", "d"], ""));
    assert_eq!(server.select("SELECT name FROM resources"), Vec::<String>::new());
    tokens(&all(&["a", "b"], ""));
    assert_too_many(&all(&["c", "d"], ""));
    assert_too_many(&all(&["c", "d"], ", \"timeout\": 60"));
    hold(&server, "held");
    assert_eq!(all(&["held", "c"], "").status, 400, "as ever, for who does not wait");
    assert_too_many(&all(&["held", "c"], ", \"timeout\": 60"));
    tokens(&all(&["c"], ""));
    assert_eq!(clients(&server).len(), 3 + 1);
}

#[test]
pub(super) fn what_was_granted_before_is_told_again() {
    let server = at_most("1");
    let mut client = bounded(&server);
    let first = put_once(&mut client, "r", "once", &by("k"));

    assert_eq!(
        put_once(&mut client, "r", "once", &by("k")).fencing_token(),
        first.fencing_token()
    );
    assert_eq!(put_once(&mut client, "r", "once", &by("other")).status, 422);
    assert_too_many(&put_once(&mut client, "s", "once", &by("k")));
    assert_eq!(client.delete("r", "k").status, 204);

    let several = together(&["s"], "k", "");
    let headers = [("Idempotency-Key", "several")];
    let mut all = || tokens(&client.request_with(("POST", "/locks/"), &headers, &several));
    assert_eq!(all(), all());
}

#[test]
pub(super) fn who_waits_is_served_though_its_client_holds_as_many_as_it_may_by_then() {
    let server = at_most("1");
    hold(&server, "r");
    let wait = |client: &mut Client| {
        let headers = [("Idempotency-Key", "once")];
        client.send_with(("PUT", "/resources/r/"), &headers, &with_timeout("w", 60));
        settle(&server, "r");
    };
    let mut lost = bounded(&server);
    wait(&mut lost);
    let mut client = bounded(&server);
    acquire_all(&mut client, &["a"]);

    let mut again = bounded(&server);
    wait(&mut again);
    assert_eq!(lost.answer().status, 409, "its place is taken over");
    assert_too_many(&client.put("r", &with_timeout("another", 60)));
    release(&server, "r");

    assert_eq!(again.answer().status, 200);
    assert_eq!(clients(&server), ["a 127.0.0.2", "r 127.0.0.2"]);
    assert_eq!(client.delete("a", "k").status, 204);
    assert_too_many(&client.put("a", &by("k")));
    assert_eq!(client.delete("r", "w").status, 204);
    acquire_all(&mut client, &["a"]);
}

#[test]
pub(super) fn of_many_requests_at_once_no_more_are_granted() {
    const AT_ONCE: usize = 64;
    const MAX: usize = 10;
    let server = Server::start_with(&[("CLIENT_LOCKS_MAX", "10")]);
    let mut asking: Vec<_> = (0..AT_ONCE).map(|_| bounded(&server)).collect();

    // Together in a batch or two: they are queued up meanwhile.
    let blocker = Blocker::lock(&server);
    for (number, client) in asking.iter_mut().enumerate() {
        client.send_put(&format!("r{number}"), &by("k"));
    }
    let mut others = server.client();
    others.send_put("another", &by("k"));
    thread::sleep(Duration::from_millis(200));
    drop(blocker);

    let answers: Vec<_> = asking.iter_mut().map(Client::answer).collect();
    let (granted, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    for answer in refused {
        assert_too_many(answer);
    }
    assert_eq!(granted.len(), MAX);
    assert_eq!(others.answer().status, 200);
    assert_eq!(
        server.select("SELECT count(*) FROM held_locks"),
        [(MAX + 1).to_string()]
    );
}

#[test]
pub(super) fn without_a_bound_nobody_is_counted() {
    let server = Server::start();

    acquire_all(&mut bounded(&server), &["a", "b", "c"]);

    assert_eq!(clients(&server), Vec::<String>::new());
    assert_eq!(look(&server, "a")["locked"], true);
}
