//! PostgreSQL, or the way to it, keeps its connections and says nothing: a disk
//! that hangs, a machine without memory, a pooler that is stuck.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::faults::lost_commit::Setup;
use crate::faults::postgres::{HEAL_WAIT_MAX, under_load};
use crate::faults::{acquire, assert_unavailable, body};
use crate::support::eventually;

/// "Within 5 s" of the promises, as a test on a busy machine can hold it.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(6);

#[test]
fn while_nothing_comes_from_the_database_requests_are_503_and_not_kept() {
    let setup = Setup::new();

    under_load(&setup.server, |seen| {
        setup.proxy.stop();
        for _ in 0..2 {
            let mut client = setup.server.client();
            let asked = Instant::now();
            let answer = client.put("while-it-is-silent", &body("k", ""));
            let waited = asked.elapsed();
            assert_unavailable(&answer);
            assert!(waited < ANSWER_WAIT_MAX, "answered after {waited:?}");
        }
        setup.proxy.resume();
        seen.works_again();
    });

    let log = setup.server.log();
    assert_eq!(log.matches("ending its session").count(), 1, "{log}");
    assert_eq!(log.matches("cannot end the session").count(), 1, "{log}");
}

#[test]
fn what_was_asked_while_the_database_was_silent_is_granted_to_nobody_or_given_back() {
    let setup = Setup::new();
    let mut client = setup.server.client();
    acquire(&mut client, "held", "k");

    setup.proxy.stop();
    let mut asking: Vec<_> = (0..3).map(|_| setup.server.client()).collect();
    for (i, client) in asking.iter_mut().enumerate() {
        client.send_put(&format!("r{i}"), &body("k", ""));
    }
    let mut releasing = setup.server.client();
    releasing.send("DELETE", "/resources/held/", &body("k", ""));
    for client in asking.iter_mut().chain([&mut releasing]) {
        assert_unavailable(&client.answer());
    }
    setup.proxy.resume();

    for name in ["r0", "r1", "r2"] {
        eventually("it is free", HEAL_WAIT_MAX, || {
            client.put(name, &body("next", "")).status == 200
        });
    }
    // The release was done or not.
    eventually("it can be released again", HEAL_WAIT_MAX, || {
        let again = client.delete("held", "k");
        again.status == 204 || again.body.contains("is not acquired")
    });
}

#[test]
fn a_server_is_stopped_all_the_same() {
    let mut setup = Setup::new();
    let mut client = setup.server.client();
    acquire(&mut client, "held", "k");
    setup.proxy.stop();
    client.send("DELETE", "/resources/held/", &body("k", ""));
    // Its answer comes after the only worker has read the request before it.
    assert_eq!(setup.server.client().request("GET", "/nowhere/", "").status, 404);

    setup.server.signal(Signal::TERM);

    let status = setup.server.wait(ANSWER_WAIT_MAX).expect("it ends");
    assert_eq!(status.code(), Some(1), "it cannot say that all went well");
    assert!(
        setup
            .server
            .log()
            .contains("stopped without the database's last answer"),
        "{}",
        setup.server.log()
    );
}
