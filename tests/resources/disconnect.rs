//! Clients that leave: while they wait, as they are granted, half.

use std::io;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use super::{by, connected, hold, in_line, one_worker, release, settle, with_timeout};
use crate::support::{Client, Server, eventually};

/// A lock that nobody can receive is free within this time on a busy machine.
const FREE_WAIT_MAX: Duration = Duration::from_secs(2);

/// As `in_line`, with an answer that was sent and not read: the operating
/// system ends such a connection with RST instead of FIN.
fn in_line_unread(server: &Server, name: &str, body: &str) -> Client {
    let mut waiter = server.client();
    waiter.send("OPTIONS", "/resources/x/", "");
    waiter.stream().peek(&mut [0]).expect("an answer comes");
    waiter.send_put(name, body);
    settle(server, name);
    waiter
}

fn becomes_free(server: &Server, name: &str) {
    eventually(&format!("{name} is free"), FREE_WAIT_MAX, || {
        server.client().put(name, &by("next")).status == 200
    });
}

#[test]
pub(super) fn fifty_who_left_are_passed_over_and_the_one_behind_them_is_served_at_once() {
    let server = one_worker();
    let token = hold(&server, "r");
    let mut dead = Vec::new();
    for number in 0..50 {
        let body = with_timeout(&format!("dead{number}"), 60);
        dead.push(match number % 2 {
            0 => in_line(&server, "r", &body),
            _ => in_line_unread(&server, "r", &body),
        });
    }
    let mut living = in_line(&server, "r", &with_timeout("living", 60));

    drop(dead);
    settle(&server, "r");
    release(&server, "r");

    let answer = living.answer();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.fencing_token(), token + 1, "nobody was granted in between");
    assert_eq!(living.delete("r", "living").status, 204);
}

#[test]
pub(super) fn the_living_one_is_served_even_if_those_before_it_leave_during_the_release() {
    let server = Server::start();
    for round in 0..10 {
        let name = format!("r{round}");
        hold(&server, &name);
        let dead: Vec<_> = (0..5)
            .map(|number| {
                let mut waiter = connected(&server);
                waiter.send_put(&name, &with_timeout(&format!("dead{number}"), 60));
                waiter
            })
            .collect();
        let mut living = connected(&server);
        living.send_put(&name, &with_timeout("living", 60));

        thread::scope(|scope| {
            scope.spawn(|| release(&server, &name));
            for (number, mut leaver) in dead.into_iter().enumerate() {
                leaver.stream().shutdown(Shutdown::Write).expect("it is open");
                // Whoever was granted at that moment has read so, and can release.
                if let Ok(answer) = leaver.try_answer() {
                    let released = server.client().delete(&name, &format!("dead{number}"));
                    assert_eq!((answer.status, released.status), (200, 204), "{name}: {number}");
                }
            }
        });

        // The machine decides who of them got the lock; none of them keeps it.
        let answer = living.answer();
        assert_eq!(answer.status, 200, "{name}");
        assert_eq!(living.delete(&name, "living").status, 204, "{name}");
    }
}

#[test]
pub(super) fn whoever_leaves_as_it_is_granted_has_read_the_answer_or_gives_the_lock_back() {
    let server = Server::start();
    let mut releaser = connected(&server);
    let (mut answered, mut given_back) = (0, 0);
    // The moment of leaving is moved towards the moment of the grant.
    let mut leaves_after = Duration::from_micros(500);
    for round in 0..200 {
        let name = format!("r{round}");
        assert_eq!(releaser.put(&name, &by("holder")).status, 200);
        let mut leaver = connected(&server);
        leaver.send_put(&name, &with_timeout("leaver", 60));

        releaser.send("DELETE", &format!("/resources/{name}/"), &by("holder"));
        let until = std::time::Instant::now() + leaves_after;
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        leaver.stream().shutdown(Shutdown::Write).expect("it is open");
        let answer = leaver.try_answer();
        assert_eq!(releaser.answer().status, 204, "{name}");

        match answer {
            Ok(answer) => {
                assert_eq!(answer.status, 200, "{name}");
                assert_eq!(
                    releaser.delete(&name, "leaver").status,
                    204,
                    "{name}: who was granted holds it"
                );
                answered += 1;
                leaves_after = leaves_after.saturating_sub(Duration::from_micros(40));
            }
            Err(_) => {
                becomes_free(&server, &name);
                given_back += 1;
                leaves_after += Duration::from_micros(40);
            }
        }
    }

    assert!(
        answered > 0 && given_back > 0,
        "no race: {answered} answered, {given_back} given back"
    );
}

#[test]
pub(super) fn a_half_closed_client_counts_as_gone() {
    let server = one_worker();
    let token = hold(&server, "r");
    let mut half_closed = in_line(&server, "r", &with_timeout("half", 60));

    half_closed.stream().shutdown(Shutdown::Write).expect("it is open");
    settle(&server, "r");
    release(&server, "r");

    let next = server.client().put("r", &by("next"));
    assert_eq!((next.status, next.fencing_token()), (200, token + 1));
    let end = half_closed.try_answer().expect_err("nobody answers it");
    assert!(
        matches!(
            end.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
        ),
        "{end}"
    );
}

#[test]
pub(super) fn whoever_cannot_be_answered_any_more_does_not_keep_a_plain_lock() {
    let server = Server::start();
    for round in 0..100 {
        let name = format!("r{round}");
        let mut leaver = connected(&server);
        leaver.send_put(&name, &by("leaver"));
        leaver.stream().shutdown(Shutdown::Write).expect("it is open");

        match leaver.try_answer() {
            Ok(answer) => {
                assert_eq!(answer.status, 200, "{name}");
                assert_eq!(server.client().delete(&name, "leaver").status, 204, "{name}");
            }
            Err(_) => becomes_free(&server, &name),
        }
    }
}
