//! One server on SQLite.

use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use super::clients::Arena;
use super::link::Link;
use super::trial::judge;
use crate::support::Server;

#[test]
fn on_sqlite_the_history_is_linearizable_while_nothing_breaks() {
    let server = Server::start();

    judge("sqlite", Arena::new(vec![server.address]), |_| {
        sleep(Duration::from_secs(1));
    });
}

#[test]
fn on_sqlite_it_is_linearizable_while_the_server_is_killed_again_and_again() {
    let mut server = Some(Server::start());
    let arena = Arena::new(vec![server.as_ref().expect("it runs").address]);

    judge("sqlite kill", arena, |arena| {
        sleep(Duration::from_millis(300));
        server = server.take().map(Server::kill_and_restart);
        arena.move_to(server.iter().map(|server| server.address).collect());
    });
}

#[test]
fn on_sqlite_it_is_linearizable_while_the_server_is_stopped_for_longer_than_leases_last() {
    let server = Server::start();
    let pauses = [50, 1100, 2300, 400].map(Duration::from_millis);
    let mut pauses = pauses.iter().cycle();

    judge("sqlite pause", Arena::new(vec![server.address]), |_| {
        sleep(Duration::from_millis(200));
        server.signal(Signal::STOP);
        sleep(*pauses.next().expect("they never end"));
        server.signal(Signal::CONT);
    });
}

#[test]
fn on_sqlite_it_is_linearizable_while_the_network_is_slow_silent_and_cut() {
    let server = Server::start();
    let link = Link::to(server.address);

    judge("sqlite network", Arena::new(vec![link.address, server.address]), |_| {
        link.delay(Duration::from_millis(40));
        sleep(Duration::from_millis(500));
        link.hold_back(true);
        sleep(Duration::from_millis(1200));
        link.hold_back(false);
        sleep(Duration::from_millis(200));
        link.cut();
        link.delay(Duration::ZERO);
    });
}
