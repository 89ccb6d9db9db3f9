//! Terraform's LOCK in the waiting line.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::*;
use crate::support::eventually;

on_both! {
    a_wait_ends_with_the_lock_as_soon_as_it_is_free
    a_wait_in_vain_ends_with_423_at_its_deadline
    a_lock_that_is_sent_again_while_it_waits_takes_over_its_place
    a_lock_whose_answer_was_lost_is_told_again
}

/// At once, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Sends a LOCK that waits, and returns when `count` do.
fn in_line(server: &Server, info: &str, count: u64) -> Client {
    let mut waiter = server.client();
    waiter.send_with(("LOCK", "/terraform/prod/?timeout=60"), &HEADERS, info);
    eventually("it stands in line", AT_ONCE, || look(server)["waiters"] == count);
    waiter
}

mod claims {
    use super::*;

    pub(super) fn a_wait_ends_with_the_lock_as_soon_as_it_is_free() {
        let server = Server::start();
        let token = hold(&server);
        let mut waiter = in_line(&server, OTHER, 1);

        let released = unlock(&mut server.client(), HOLDER);

        let served = waiter.answer();
        assert_eq!((served.status, served.fencing_token()), (200, token + 1));
        let late = served.received.saturating_duration_since(released.received);
        assert!(late < Duration::from_secs(1), "{late:?}");
        assert_held_by(&lock(&mut server.client(), HOLDER), OTHER);
    }

    pub(super) fn a_wait_in_vain_ends_with_423_at_its_deadline() {
        let server = Server::start();
        hold(&server);
        let asked = Instant::now();

        let refused = server
            .client()
            .request_with(("LOCK", "/terraform/prod/?timeout=1"), &HEADERS, OTHER);

        assert_held_by(&refused, HOLDER);
        assert!(refused.received - asked >= Duration::from_secs(1));
        eventually("nobody waits", AT_ONCE, || look(&server)["waiters"] == 0);
    }

    pub(super) fn a_lock_that_is_sent_again_while_it_waits_takes_over_its_place() {
        let server = Server::start();
        let token = hold(&server);
        let third = HOLDER.replace(HOLDER_ID, "third");
        let mut lost = in_line(&server, OTHER, 1);
        let mut behind = in_line(&server, &third, 2);

        let mut again = server.client();
        again.send_with(("LOCK", "/terraform/prod/?timeout=60"), &HEADERS, OTHER);

        assert_eq!(lost.answer().status, 409, "there is one place");
        assert_eq!(look(&server)["waiters"], 2);
        assert_eq!(unlock(&mut server.client(), HOLDER).status, 200);
        let served = again.answer();
        assert_eq!((served.status, served.fencing_token()), (200, token + 1));
        assert_eq!(unlock(&mut server.client(), OTHER).status, 200);
        assert_eq!(behind.answer().fencing_token(), token + 2);
    }

    pub(super) fn a_lock_whose_answer_was_lost_is_told_again() {
        let server = Server::start();
        let mut latest = 0;
        for round in 0..100 {
            let mut lost = server.client();
            lost.send_with(("LOCK", PATH), &HEADERS, HOLDER);
            if round % 2 == 0 {
                lost.stream().peek(&mut [0]).expect("an answer comes");
            }
            lost.stream().shutdown(Shutdown::Both).expect("it is open");

            let mut client = server.client();
            let again = lock(&mut client, HOLDER);
            assert_eq!(again.status, 200, "{round}: {}", again.body);
            assert!(again.fencing_token() > latest, "{round}");
            latest = again.fencing_token();
            assert_eq!(look(&server)["fencing_token"], latest, "{round}: it stands");
            assert_eq!(unlock(&mut client, HOLDER).status, 200, "{round}");
        }
    }
}
