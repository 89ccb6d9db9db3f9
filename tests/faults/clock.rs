//! The wall clock jumps. Time itself is what is tested, so this test sleeps.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::faults::{acquire, body, directory, is_held};
use crate::support::{Client, Cls, eventually};

/// The library that fakes the wall clock of a process, as Debian installs it.
fn libfaketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("a directory");
    let candidates = folders.filter_map(Result::ok);
    let mut candidates = candidates.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    candidates.find(|path| path.exists()).expect("libfaketime is installed")
}

/// What a process needs to see the wall clock that `file` says.
fn fake_clock(file: &Path) -> [(&'static str, String); 4] {
    [
        ("LD_PRELOAD", libfaketime().display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

#[test]
fn a_jump_of_the_wall_clock_changes_no_lease() {
    for jump in ["+3600", "-3600"] {
        let directory = directory();
        let clock = directory.path().join("clock");
        std::fs::write(&clock, "+0").expect("it can be written");
        let mut cls = Cls::in_directory(directory.path());
        for (name, value) in fake_clock(&clock) {
            cls = cls.with(name, &value);
        }
        let server = cls.start();
        let mut client = server.client();
        let asked = Instant::now();
        assert_eq!(client.put("short", &body("k", ", \"ttl\": 2")).status, 200);
        let granted = Instant::now();
        assert_eq!(client.put("long", &body("k", ", \"ttl\": 600")).status, 200);
        acquire(&mut client, "for-ever", "k");

        std::fs::write(&clock, jump).expect("it can be written");

        let mut ended = asked;
        while asked.elapsed() < Duration::from_secs(4) && is_held(&mut client, "short") {
            ended = Instant::now();
            sleep(Duration::from_millis(10));
        }
        let ttl = Duration::from_secs(2);
        assert!(
            ended - asked >= ttl - Duration::from_millis(100),
            "{jump}: free after {:?}",
            ended - asked
        );
        assert!(
            ended - granted < ttl + Duration::from_millis(500),
            "{jump}: held for {:?}",
            ended - granted
        );
        for name in ["long", "for-ever"] {
            assert!(is_held(&mut client, name), "{jump}: {name}");
        }

        // People's clocks have jumped too; what they read follows with the next sweep.
        let read = |query: &str| {
            let mut sqlite3 = Command::new("sqlite3");
            sqlite3.arg(server.database()).arg(query).envs(fake_clock(&clock));
            let output = sqlite3.output().expect("sqlite3 is installed");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        eventually("the view is true again", Duration::from_secs(3), || {
            let left: f64 = read("SELECT seconds_left FROM held_locks WHERE name = 'long'")
                .parse()
                .unwrap_or(0.0);
            (590.0..600.0).contains(&left)
        });
        assert_eq!(read("SELECT count(*) FROM held_locks"), "3");
        let offset_s: f64 = read("SELECT clock_offset_us / -1000000.0 FROM server_state")
            .parse()
            .expect("a number");
        assert!(
            (offset_s - jump.parse::<f64>().expect("a number")).abs() < 1.0,
            "{jump}: {offset_s}"
        );
        drop(client);
        drop(server);

        // A start is where the wall clock is believed again, but never back in time.
        let server = cls.start();
        let mut client = server.client();
        assert!(is_held(&mut client, "for-ever"));
        assert_eq!(is_held(&mut client, "long"), jump == "-3600", "{jump}");
    }
}

#[test]
fn a_break_from_the_command_line_goes_by_the_servers_clock() {
    let holds = |client: &mut Client, name: &str| client.get(&format!("/resources/{name}/")).json()["locked"] == true;
    for jump in ["+3600", "-3600"] {
        let directory = directory();
        let clock = directory.path().join("clock");
        std::fs::write(&clock, "+0").expect("it can be written");
        // So long that nothing tidies an expired lock.
        let mut cls = Cls::in_directory(directory.path()).with("LOCK_DELAY", "7200");
        for (name, value) in fake_clock(&clock) {
            cls = cls.with(name, &value);
        }
        let server = cls.start();
        let mut client = server.client();
        for (name, ttl) in [("held", 600), ("kept", 600), ("expired", 1)] {
            let body = body("k", &format!(", \"ttl\": {ttl}"));
            assert_eq!(client.put(name, &body).status, 200);
        }
        eventually("it expires", Duration::from_secs(3), || !holds(&mut client, "expired"));
        std::fs::write(&clock, jump).expect("it can be written");
        eventually("it is written down", Duration::from_secs(3), || {
            let offset = server.select("SELECT abs(clock_offset_us) > 3500000000 FROM server_state");
            offset == ["1"]
        });

        let break_it = |name: &str| cls.run(&["break", name, "--reason", "its host is gone"]).status.code();
        assert_eq!(break_it("held"), Some(0), "{jump}");
        assert!(!holds(&mut client, "held"), "{jump}: it is free at once");
        assert_eq!(break_it("expired"), Some(1), "{jump}");
        assert!(holds(&mut client, "kept"), "{jump}: its end is where it was");
        drop(client);
        drop(server);

        // The next server will go by the wall clock, by which a lock may be over.
        assert_eq!(break_it("kept") == Some(0), jump == "-3600", "{jump}");
    }
}
