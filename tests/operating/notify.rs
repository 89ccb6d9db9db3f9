//! What the service manager is told: sd_notify(3).

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

use super::WAIT_MAX;
use crate::support::Cls;

/// A service manager that listens.
struct Manager {
    socket: UnixDatagram,
    directory: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a new name");
        socket.set_read_timeout(Some(WAIT_MAX)).expect("a positive timeout");
        Self { socket, directory }
    }

    fn cls(&self) -> Cls {
        let path = self.directory.path();
        let socket = path.join("notify").display().to_string();
        Cls::in_directory(path).with("NOTIFY_SOCKET", &socket)
    }

    /// The lines of the next message.
    fn hear(&self) -> Vec<String> {
        let mut message = [0; 512];
        let length = self.socket.recv(&mut message).expect("it is told");
        let text = String::from_utf8_lossy(&message[..length]);
        text.lines().map(str::to_owned).collect()
    }
}

fn monotonic_us() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

#[test]
fn the_manager_is_told_of_the_start_a_reload_and_the_stop() {
    let manager = Manager::new();
    let mut server = manager.cls().with("DRAIN_SECONDS", "600").start();
    assert_eq!(manager.hear(), ["READY=1"]);

    let before = monotonic_us();
    server.signal(Signal::HUP);
    let reloading = manager.hear();
    assert_eq!(manager.hear(), ["READY=1"]);
    server.signal(Signal::TERM);
    let stopping = manager.hear();
    server.signal(Signal::TERM);

    assert_eq!(reloading[0], "RELOADING=1");
    let at = reloading[1].strip_prefix("MONOTONIC_USEC=").expect("it says when");
    let at: i64 = at.parse().expect("a number");
    assert!((before..=monotonic_us()).contains(&at), "{at}");
    assert_eq!(stopping, ["STOPPING=1", "EXTEND_TIMEOUT_USEC=604500000"]);
    assert!(server.wait(WAIT_MAX).expect("it ends").success());
}

#[test]
fn a_reload_that_fails_is_over_too() {
    let manager = Manager::new();
    let server = manager.cls().start();
    assert_eq!(manager.hear(), ["READY=1"]);
    std::fs::write(manager.directory.path().join(".env"), "WORKERS=none\n").expect("writable");

    server.signal(Signal::HUP);

    assert_eq!(manager.hear()[0], "RELOADING=1");
    assert_eq!(manager.hear(), ["READY=1"]);
}

#[test]
fn a_manager_that_does_not_listen_is_served_without() {
    let manager = Manager::new();
    let cls = manager.cls();
    drop(manager.socket);
    std::fs::remove_file(manager.directory.path().join("notify")).expect("it was there");

    let server = cls.start();

    assert_eq!(server.client().get("/healthz/").status, 200);
    crate::support::eventually("the log says so", Duration::from_secs(5), || {
        server.log().contains("the service manager was not told")
    });
}
