//! Answers that do not arrive, and what their requests get when they are sent
//! again.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::retries::{AT_ONCE, delete, put, send_put};
use super::{by, connected, hold, look, one_worker, rounds, with_timeout, with_ttl};
use crate::support::{Server, eventually};

/// Sends a request and never reads its answer: hangs up when it `arrived`, or
/// at once.
fn lose_answer(server: &Server, method: &str, key: &str, body: &str, arrived: bool) {
    let mut client = connected(server);
    client.send_with((method, "/resources/r/"), &[("Idempotency-Key", key)], body);
    if arrived {
        client.stream().peek(&mut [0]).expect("an answer comes");
    }
}

#[test]
pub(super) fn an_answer_outlives_a_kill() {
    let server = Server::start();
    let first = put(&mut server.client(), "r", "once", &by("k"));
    hold(&server, "released");
    assert_eq!(
        delete(&mut server.client(), "released", "once", &by("holder")).status,
        204
    );

    let server = server.kill_and_restart();

    let mut client = server.client();
    assert_eq!(
        put(&mut client, "r", "once", &by("k")).fencing_token(),
        first.fencing_token()
    );
    assert_eq!(delete(&mut client, "released", "once", &by("holder")).status, 204);
}

#[test]
pub(super) fn a_thousand_lost_answers_leave_no_lock_behind_and_cost_no_wait() {
    let server = one_worker();
    let mut client = connected(&server);
    let mut latest = 0;
    for round in 0..rounds(&server, 1000) {
        let (acquire, release) = (format!("acquire-{round}"), format!("release-{round}"));
        let body = with_ttl("worker", 600);
        lose_answer(&server, "PUT", &acquire, &body, round % 2 == 0);
        let answer = put(&mut client, "r", &acquire, &body);
        assert_eq!(answer.status, 200, "{round}: {}", answer.body);
        assert!(answer.fencing_token() > latest, "{round}");
        latest = answer.fencing_token();

        lose_answer(&server, "DELETE", &release, &by("worker"), round % 4 < 2);
        let released = delete(&mut client, "r", &release, &by("worker"));
        assert_eq!(released.status, 204, "{round}: {}", released.body);
    }

    eventually("no lock is left behind", AT_ONCE, || {
        client.put("r", &by("next")).status == 200
    });
}

#[test]
pub(super) fn whoever_is_told_that_it_holds_the_lock_holds_it_though_the_first_left_at_the_hand_over() {
    let server = Server::start();
    let mut releaser = connected(&server);
    for round in 0..rounds(&server, 300) {
        let name = format!("r{round}");
        let body = with_timeout("worker", 30);
        assert_eq!(releaser.put(&name, &by("holder")).status, 200);
        let (mut first, mut retry) = (connected(&server), connected(&server));
        send_put(&mut first, &name, "once", &body);
        let path = format!("/resources/{name}/");

        // In every order of the three, and with more or less time between them.
        eventually("it stands in line", AT_ONCE, || look(&server, &name)["waiters"] == 1);
        let mut leave = || first.stream().shutdown(Shutdown::Write).expect("it is open");
        let mut again = || send_put(&mut retry, &name, "once", &body);
        let mut release = || releaser.send("DELETE", &path, &by("holder"));
        let spin = || {
            let until = Instant::now() + Duration::from_micros(u64::from(round / 6 % 10) * 50);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        };
        let mut steps: [&mut dyn FnMut(); 3] = [&mut leave, &mut again, &mut release];
        steps.rotate_left(round as usize % 3);
        if round / 3 % 2 == 1 {
            steps.swap(1, 2);
        }
        for step in steps {
            step();
            spin();
        }

        assert_eq!(releaser.answer().status, 204, "{round}");
        let told = retry.answer();
        assert_eq!(told.status, 200, "{round}: {}", told.body);
        let refused = server.client().put(&name, &by("other"));
        assert_eq!(refused.status, 400, "{round}: nobody else gets it");
        let shown = look(&server, &name);
        assert_eq!(shown["fencing_token"], told.fencing_token(), "{round}");
        assert_eq!(releaser.delete(&name, "worker").status, 204, "{round}");
    }
}

#[test]
pub(super) fn whoever_is_told_that_it_holds_the_lock_holds_it_though_the_first_left_at_its_grant() {
    let server = Server::start();
    for round in 0..rounds(&server, 300) {
        let name = format!("r{round}");
        let (mut first, mut retry) = (connected(&server), connected(&server));
        send_put(&mut first, &name, "once", &by("worker"));
        let until = Instant::now() + Duration::from_micros(u64::from(round % 20) * 25);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        first.stream().shutdown(Shutdown::Both).expect("it is open");

        let told = put(&mut retry, &name, "once", &by("worker"));

        assert_eq!(told.status, 200, "{round}: {}", told.body);
        for _ in 0..3 {
            assert_eq!(server.client().put(&name, &by("other")).status, 400, "{round}");
        }
        assert_eq!(look(&server, &name)["fencing_token"], told.fencing_token(), "{round}");
    }
}
