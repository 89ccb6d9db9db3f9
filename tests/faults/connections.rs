//! More connections than there is room for.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::faults::{AT_ONCE, acquire, cpu_ticks, directory, rss_mib};
use crate::support::{Client, Cls, Server, eventually};

#[test]
fn with_no_descriptors_left_it_neither_spins_nor_breaks() {
    let directory = directory();
    let server = Cls::in_directory(directory.path())
        .under(&["sh", "-c", "ulimit -n 256; exec \"$0\" \"$@\""])
        .start();
    let mut held = server.client();
    acquire(&mut held, "held", "k");

    // What it has room for is served and stays open; what is beyond is answered 503, or waits in the backlog.
    let mut clients: Vec<_> = (0..400).map(|_| server.client()).collect();
    for client in &mut clients {
        client
            .stream()
            .set_read_timeout(Some(Duration::from_millis(500)))
            .expect("a positive timeout");
        client.send("GET", "/nowhere/", "");
    }
    let answers: Vec<_> = clients
        .iter_mut()
        .map(|client| client.try_answer().map(|answer| answer.status).ok())
        .collect();
    let count = |status| answers.iter().filter(|answer| **answer == status).count();
    let (served, refused) = (count(Some(404)), count(Some(503)));
    assert_eq!(served + refused + count(None), 400, "{answers:?}");
    assert!(served >= 150, "{served} served, {refused} refused");
    assert!(served <= 192, "{served} served, {refused} refused");

    // A second of real time is what is measured.
    let before = cpu_ticks(server.pid());
    std::thread::sleep(Duration::from_secs(1));
    let ticks = cpu_ticks(server.pid()) - before;
    assert!(ticks <= 20, "busy for {} ms of a second", ticks * 10);
    assert_eq!(held.delete("held", "k").status, 204, "who was served before is served");

    drop(clients);
    eventually("it is back to normal", Duration::from_secs(3), || {
        let mut client = server.client();
        client.request("GET", "/nowhere/", "").status == 404
    });
    acquire(&mut server.client(), "again", "k");
}

#[test]
fn those_who_wait_leave_connections_to_those_who_release() {
    let directory = directory();
    let server = Cls::in_directory(directory.path())
        .under(&["sh", "-c", "ulimit -n 256; exec \"$0\" \"$@\""])
        .start();
    let mut holder = server.client();
    acquire(&mut holder, "held", "k");
    drop(holder);

    let mut waiters: Vec<_> = (0..300).map(|_| server.client()).collect();
    for waiter in &mut waiters {
        waiter.send_put("held", "{\"locked_by\": \"w\", \"timeout\": 60}");
    }
    eventually("there is room for a release", Duration::from_secs(10), || {
        Client::try_connect(server.address)
            .and_then(|mut client| client.try_request("DELETE", "/resources/held/", "{\"locked_by\": \"k\"}"))
            .is_ok_and(|answer| answer.status == 204)
    });
}

#[test]
fn with_ten_thousand_idle_connections_others_are_answered_within_a_second() {
    const IDLE: usize = 10_000;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )
    .expect("a limit may be raised to its maximum");
    let room = limit
        .maximum
        .and_then(|files| usize::try_from(files).ok())
        .unwrap_or(usize::MAX);
    assert!(
        room >= IDLE + 2000,
        "the hard limit of open files is {room}; this test needs {}",
        IDLE + 2000
    );
    let server = Server::start();
    let before = rss_mib(server.pid());

    let mut idle: Vec<Client> = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let mut client = server.client();
        // Only after an answer a connection is idle; before, it is a head that does not come.
        client.send("GET", "/nowhere/", "");
        idle.push(client);
    }
    for client in &mut idle {
        assert_eq!(client.answer().status, 404);
    }

    let mut slowest = Duration::ZERO;
    for i in 0..50 {
        let asked = Instant::now();
        acquire(&mut server.client(), &format!("a{i}"), "k");
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < AT_ONCE, "{slowest:?}");
    let used = rss_mib(server.pid()) - before;
    assert!(used < 300, "{used} MiB for {IDLE} connections");
    let still_open = idle.iter().filter(|client| is_open(client)).count();
    assert_eq!(still_open, IDLE);
}

/// Whether the other side has not closed.
fn is_open(client: &Client) -> bool {
    let stream = client.stream();
    stream.set_nonblocking(true).expect("a socket");
    let mut byte = [0];
    let peeked = stream.peek(&mut byte);
    stream.set_nonblocking(false).expect("a socket");
    matches!(peeked, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
}
