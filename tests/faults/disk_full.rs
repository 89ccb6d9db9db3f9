//! No room: the disk is full, or the file may not grow.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use crate::faults::{Tmpfs, acquire, assert_unavailable, body, directory, failures_logged, is_held, on, start_on};
use crate::support::{Answer, Client, eventually};

/// Fills what is left of a file system.
pub(super) fn fill(disk: &Tmpfs) {
    let mut ballast = ballast(disk);
    for size in [65536, 4096] {
        while ballast.write_all(&vec![0; size]).is_ok() {}
    }
}

fn ballast(disk: &Tmpfs) -> File {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    options.open(disk.file("ballast")).expect("it can be opened")
}

pub(super) fn make_room(disk: &Tmpfs) {
    ballast(disk).set_len(0).expect("it can be emptied");
}

/// Acquires new names until one fails, which gives that answer and how many
/// were granted before.
pub(super) fn acquire_until_unavailable(client: &mut Client, prefix: &str) -> (Answer, usize) {
    for i in 0..20_000 {
        let answer = client.put(&format!("{prefix}{i}"), &body("k", ""));
        if answer.status != 200 {
            return (answer, i);
        }
    }
    panic!("there is always room");
}

#[test]
fn on_a_full_disk_nothing_is_granted_and_the_cause_is_logged_once() {
    let disk = Tmpfs::mount("8m");
    let logs = directory();
    let server = start_on(&disk.file("db.sqlite3"), &logs);
    let mut client = server.client();
    acquire(&mut client, "held", "k");
    fill(&disk);

    let (first, granted) = acquire_until_unavailable(&mut client, "before-");
    // Closing the database may have written its log back and freed that.
    fill(&disk);
    // Some in a row, then some between the sweeps of the table, which only read: those must not take it for cured.
    let answers: Vec<_> = (0..120)
        .map(|i| {
            sleep(Duration::from_millis(if i < 100 { 0 } else { 120 }));
            client.put(&format!("full-{i}"), &body("k", ""))
        })
        .collect();
    let release = client.delete("held", "k");

    assert_unavailable(&first);
    for answer in answers.iter().chain([&release]) {
        assert_unavailable(answer);
    }
    assert_eq!(client.request("GET", "/nowhere/", "").status, 404, "the rest goes on");
    for path in ["/resources/held/", "/resources/?prefix=held"] {
        let shown = client.request("GET", path, "");
        assert_eq!(shown.status, 200, "{path}: {}", shown.body);
        assert!(shown.body.contains("\"locked\":true"), "{path}: {}", shown.body);
    }
    assert_eq!(failures_logged(&server), 1, "{}", server.log());
    make_room(&disk);
    let mut probe = server.client();
    eventually("it works again by itself", Duration::from_secs(3), || {
        probe.put("works", &body("k", "")).status == 200
    });
    for i in 0..granted {
        assert!(
            is_held(&mut client, &format!("before-{i}")),
            "was granted before the disk was full"
        );
    }
    for i in 0..answers.len() {
        assert!(!is_held(&mut client, &format!("full-{i}")), "was answered 503");
    }
    assert!(server.log().contains("the database works again"), "{}", server.log());
}

#[test]
fn who_waits_while_the_disk_is_full_keeps_the_place() {
    let disk = Tmpfs::mount("8m");
    let logs = directory();
    // One worker reads in the order of arrival.
    let server = on(&disk.file("db.sqlite3"), &logs).with("WORKERS", "1").start();
    let mut client = server.client();
    acquire(&mut client, "held", "k");
    let mut waiters: Vec<_> = (0..5)
        .map(|i| {
            let mut waiter = server.client();
            // A connection that the worker does not know yet would be read later.
            assert_eq!(waiter.request("OPTIONS", "/resources/held/", "").status, 200);
            waiter.send_put("held", &body(&format!("waiter-{i}"), ", \"timeout\": 60"));
            // Its answer comes after the waiter before it is in line.
            acquire(&mut client, &format!("after-{i}"), "k");
            waiter
        })
        .collect();

    fill(&disk);
    acquire_until_unavailable(&mut client, "before-");
    fill(&disk);
    assert_unavailable(&client.delete("held", "k"));
    make_room(&disk);

    let mut holder = "k".to_owned();
    for (i, waiter) in waiters.iter_mut().enumerate() {
        eventually("it is released", Duration::from_secs(3), || {
            let answer = client.delete("held", &holder);
            // The release that was answered 503 may have happened; then its line was served.
            answer.status == 204 || answer.status == 400
        });
        assert_eq!(waiter.answer().status, 200);
        holder = format!("waiter-{i}");
    }
}

#[test]
fn a_limit_on_the_size_of_files_does_not_kill_the_server() {
    let data = directory();
    let logs = directory();
    // Blocks of 512 bytes; the system sends SIGXFSZ to whoever writes beyond.
    let limited = on(&data.path().join("db.sqlite3"), &logs).under(&["sh", "-c", "ulimit -f 512; exec \"$0\" \"$@\""]);
    let server = limited.start();
    let mut client = server.client();

    let (first, granted) = acquire_until_unavailable(&mut client, "a");

    assert_unavailable(&first);
    assert!(granted > 10);
    eventually("it goes on as far as it can", Duration::from_secs(3), || {
        client.delete("a0", "k").status == 204
    });
    for i in 1..granted {
        assert!(is_held(&mut client, &format!("a{i}")));
    }
}
