//! DRAIN_SECONDS: a server that is about to stop says so, and goes on serving.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Scrape, WAIT_MAX, by, in_line};
use crate::support::{Server, eventually};

fn is_ready(server: &Server) -> bool {
    server.client().get("/readyz/").status == 200
}

/// Sends the first signal and returns when the server says that it drains.
fn drain(server: &Server, signal: Signal) {
    assert!(is_ready(server));
    server.signal(signal);
    eventually("it is not ready", WAIT_MAX, || !is_ready(server));
}

#[test]
fn while_it_drains_everything_but_readiness_is_as_before_until_a_second_signal() {
    let mut server = Server::start_with(&[("DRAIN_SECONDS", "3600")]);
    assert_eq!(server.client().put("a", &by("some-key", "")).status, 200);
    let mut waiter = in_line(&server, "a", &by("next-key", ", \"timeout\": 600"), 1);

    drain(&server, Signal::TERM);

    let answer = server.client().get("/readyz/");
    let said = "{\"ready\":false,\"failed\":\"draining\",\"reason\":\"the server is being stopped\"}";
    assert_eq!((answer.status, answer.body.as_str()), (503, said));
    assert_eq!(server.client().get("/healthz/").status, 200);
    assert_eq!(Scrape::of(&server).value("cls_draining"), 1.0);
    assert_eq!(server.client().put("b", &by("some-key", "")).status, 200);
    assert_eq!(server.client().delete("a", "some-key").status, 204);
    assert_eq!(waiter.answer().status, 200);
    let mut last = in_line(&server, "a", &by("last-key", ", \"timeout\": 600"), 1);
    assert!(server.log().contains("SIGTERM: serving for 3600 more seconds"));

    server.signal(Signal::INT);

    assert_eq!(last.answer().status, 503);
    let status = server.wait(Duration::from_secs(5)).expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert!(server.log().contains("SIGINT: stopping"), "{}", server.log());
}

#[test]
fn it_stops_by_itself_when_the_time_is_over() {
    let mut server = Server::start_with(&[("DRAIN_SECONDS", "1")]);
    let asked = Instant::now();

    drain(&server, Signal::INT);
    assert_eq!(server.client().put("a", &by("some-key", "")).status, 200);
    let status = server.wait(WAIT_MAX).expect("it ends");

    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(asked.elapsed() >= Duration::from_secs(1), "{:?}", asked.elapsed());
}
