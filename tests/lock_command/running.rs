//! What a command gets, and what is told of its end.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use super::{SOON, cls, code, hold, is_alive, is_held, lock, look, script, start, stderr, stdout, written};
use crate::access::token;
use crate::support::{Cls, Server, eventually, on_postgres};

#[test]
fn a_command_runs_while_its_lock_is_held() {
    runs_while_its_lock_is_held();
}

#[test]
fn a_command_runs_while_its_lock_is_held_on_postgres() {
    on_postgres(runs_while_its_lock_is_held);
}

fn runs_while_its_lock_is_held() {
    let server = Server::start();
    let cls = cls(&server).with("USER", "alice");
    let mut command = cls.command(&[
        "lock",
        "deploy/prod",
        "--",
        "sh",
        "-c",
        "env | grep CLS_; cat; echo oops >&2",
    ]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("cls can be run");
    eventually("it is held", SOON, || is_held(&server, "deploy/prod"));

    let seen = look(&server, "deploy/prod");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(b"from stdin\n")
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");

    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let label = seen["label"].as_str().expect("a label");
    assert!(label.starts_with("alice@") && label.ends_with(" sh"), "{label}");
    assert_eq!(seen["ttl"], 30);
    let told = stdout(&output);
    assert!(told.contains("CLS_RESOURCE=deploy/prod\n"), "{told}");
    assert!(
        told.contains(&format!("CLS_FENCING_TOKEN={}\n", seen["fencing_token"])),
        "{told}"
    );
    assert!(told.contains("CLS_EXPIRES_AT=20"), "{told}");
    assert!(told.ends_with("from stdin\n"), "{told}");
    assert_eq!(stderr(&output), "oops\n", "nothing of ours");
    assert!(!is_held(&server, "deploy/prod"));
}

#[test]
fn the_exit_code_is_that_of_the_command_or_says_why_there_is_none() {
    let server = Server::start();
    for (command, expected) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 3"], 3),
        (&["sh", "-c", "exit 255"], 255),
        (&["sh", "-c", "kill -TERM $$"], 143),
        (&["sh", "-c", "kill -KILL $$"], 137),
        (&["/no/such/program"], 127),
        (&["no-such-program"], 127),
        (&["/etc/passwd"], 126),
    ] {
        let output = lock(&server, &[&["r", "--"], command].concat());
        assert_eq!(code(&output), expected, "{command:?}: {}", stderr(&output));
        assert!(!is_held(&server, "r"), "{command:?}");
    }
}

#[test]
fn what_was_asked_wrongly_is_told_and_nothing_runs() {
    let server = Server::start_with(&[("MAX_TTL", "60")]);
    let long = "n".repeat(101);
    for (arguments, said) in [
        (&["r"][..], "<COMMAND>"),
        (&["--", "true"], "<NAME>"),
        (&["--ttl", "0", "r", "--", "echo"], "0 is not in 1"),
        (
            &["--ttl", "61", "r", "--", "echo"],
            "ttl: Ensure this value is less than or equal to 60.",
        ),
        (&["-w", "x", "r", "--", "echo"], "a number of seconds"),
        (&["-n", "-w", "1", "r", "--", "echo"], "cannot be used with"),
        (&["-E", "256", "r", "--", "echo"], "256 is not in 0"),
        (&["..", "--", "echo"], "no path leads to such a name"),
        (&[&long, "--", "echo"], "1 to 100 characters"),
        (&["r", "r", "--", "echo"], "the same name twice"),
        (
            &["--key", "", "r", "--", "echo"],
            "locked_by: This field may not be blank.",
        ),
        (&["--url", "locks.example", "r", "--", "echo"], "is no URL of a server"),
        (
            &["--url", "http://u:hunter2@x/", "r", "--", "echo"],
            "holds a user or a password",
        ),
        (
            &["--token-file", "/no/such/file", "r", "--", "echo"],
            "cannot use /no/such/file",
        ),
        (
            &["--ca-file", "/etc/passwd", "r", "--", "echo"],
            "cannot use /etc/passwd",
        ),
    ] {
        let output = lock(&server, arguments);
        let told = stderr(&output);
        assert_eq!(code(&output), 64, "{arguments:?}: {told}");
        assert!(told.contains(said), "{arguments:?}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
        assert_eq!(stdout(&output), "", "nothing ran");
    }
    assert!(!is_held(&server, "r"));
}

#[test]
fn a_server_that_is_none_or_does_not_let_us_in_is_told_from_one_that_is_busy() {
    let server = Server::start_with(&[("AUTH", "required")]);
    let key = token(&server, &["ci", "--prefix", "ci-"]);
    let file = super::file(&server, "token");
    std::fs::write(&file, format!("{key}\n")).expect("writable");
    let file = file.display().to_string();
    let run = |url: &str, options: &[&str]| {
        let cls = cls(&server).with("CLS_URL", url);
        let output = cls.run(&[&["lock", "--retry", "0.2"], options, &["--", "true"]].concat());
        (code(&output), stderr(&output))
    };
    let url = server.base_url();

    // It looks at the tokens once a second.
    eventually("the server knows the token", SOON, || {
        run(&url, &["--token", &key, "ci-r"]).0 == 0
    });
    // An option goes before a variable, and a variable that is set to nothing is none.
    for (variables, options) in [
        (&[("CLS_TOKEN", "wrong")][..], &["--token-file", &file][..]),
        (&[("CLS_TOKEN_FILE", "/no/such/file")], &["--token", &key]),
        (&[("CLS_TOKEN", ""), ("CLS_TOKEN_FILE", &file)], &[]),
        (&[("CLS_TOKEN", &key), ("CLS_TOKEN_FILE", "")], &[]),
    ] {
        let set = |cls: Cls, (name, value): &(&str, &str)| cls.with(name, value);
        let cls = variables.iter().fold(cls(&server), set);
        let output = cls.run(&[&["lock", "ci-r"], options, &["--", "true"]].concat());
        assert_eq!(code(&output), 0, "{variables:?}: {}", stderr(&output));
    }
    for (url, options, expected, said) in [
        (
            url.as_str(),
            &["ci-r"][..],
            77,
            "Authentication credentials were not provided.",
        ),
        (&url, &["--token", "wrong", "ci-r"], 77, "Invalid token."),
        (&url, &["--token-file", &file, "r"], 77, "You do not have permission"),
        (&url, &["--token-file", &file, "ci-r"], 0, ""),
        (&url, &["--token", &key, "ci-r"], 0, ""),
        (
            "http://127.0.0.1:1",
            &["r"],
            69,
            "cannot reach http://127.0.0.1:1: Connection refused",
        ),
        ("http://no-such-host.invalid", &["r"], 69, "cannot reach"),
        (&format!("{url}/x"), &["r"], 69, "it answers 404 and no JSON"),
    ] {
        let (code, told) = run(url, options);
        assert_eq!(code, expected, "{url} {options:?}: {told}");
        assert!(told.contains(said), "{url} {options:?}: {told}");
        assert!(!told.contains(&key));
    }
}

#[test]
fn several_are_had_together_or_not_at_all() {
    let server = Server::start();
    let running = start(
        &cls(&server),
        &[
            "lock",
            "a",
            "b/c",
            "--",
            "sh",
            "-c",
            "env | grep -A1 CLS_ >got; sleep 60",
        ],
    );
    eventually("both are held", SOON, || {
        is_held(&server, "a") && is_held(&server, "b/c")
    });
    let got = super::file(&server, "got");
    eventually("the script writes", SOON, || {
        std::fs::read_to_string(&got).is_ok_and(|text| text.contains("CLS_RESOURCE=a\nb/c\n"))
    });

    let refused = lock(&server, &["-n", "x", "b/c", "--", "true"]);
    assert_eq!(code(&refused), 75);
    assert!(!is_held(&server, "x"));
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.wait().0, Some(143));
    assert!(!is_held(&server, "a") && !is_held(&server, "b/c"));
}

#[test]
fn two_runs_never_have_the_same_key_unless_it_is_given() {
    let server = Server::start();
    let keys = || server.select("SELECT locked_by FROM resources WHERE name = 'r'");
    let mut seen = Vec::new();
    for options in [&[][..], &[], &["--key", "mine"]] {
        let running = script(&server, options, "sleep 60");
        eventually("it is held", SOON, || is_held(&server, "r"));
        seen.extend(keys());
        running.signal(rustix::process::Signal::INT);
        assert_eq!(running.wait().0, Some(130));
    }
    assert!(seen[0] != seen[1] && seen[0].len() >= 32, "{seen:?}");
    assert_eq!(seen[2], "mine");
}

#[test]
fn the_lock_is_held_for_what_the_command_has_left_running() {
    let server = Server::start();
    let running = script(
        &server,
        &["--ttl", "1"],
        "(while [ ! -e done ]; do sleep 0.05; done) & echo $! >left; exit 7",
    );
    let left = written(&server, "left");
    // Longer than the ttl: it is renewed all the same.
    let renewed = || look(&server, "r")["expires_at"].as_str().map(str::to_owned);
    let first = renewed();
    eventually("it is renewed", SOON, || renewed() != first);
    assert!(is_held(&server, "r") && is_alive(&left));
    std::fs::write(super::file(&server, "done"), "").expect("writable");
    assert_eq!(running.wait().0, Some(7));
    assert!(!is_held(&server, "r"));
}

#[test]
fn it_may_be_released_while_something_is_left_running() {
    let server = Server::start();
    let output = start(
        &cls(&server),
        &[
            "lock",
            "-o",
            "r",
            "--",
            "sh",
            "-c",
            "sleep 60 </dev/null >/dev/null 2>&1 & echo $! >left",
        ],
    );
    let left = written(&server, "left");
    assert_eq!(output.wait().0, Some(0));
    assert!(!is_held(&server, "r") && is_alive(&left));
    let left = rustix::process::Pid::from_raw(left.parse().expect("a number")).expect("not zero");
    rustix::process::kill_process(left, rustix::process::Signal::KILL).expect("it runs");
}

#[test]
fn a_lock_that_is_held_for_long_is_renewed() {
    let server = Server::start();
    let token = hold(&server, "before");
    let running = script(&server, &["--ttl", "1"], "sleep 60");
    eventually("it is held", SOON, || is_held(&server, "r"));
    let seen = look(&server, "r");
    let acquired_at = seen["acquired_at"].clone();

    // Three times the ttl, by the server's time.
    let ends = |seen: &serde_json::Value| {
        chrono::DateTime::parse_from_rfc3339(seen["expires_at"].as_str().expect("a time")).expect("RFC 3339")
    };
    let goal = ends(&seen) + Duration::from_secs(2);
    eventually("it is renewed again and again", SOON, || {
        let seen = look(&server, "r");
        assert_eq!(seen["acquired_at"], acquired_at, "it was never free");
        ends(&seen) >= goal
    });
    assert!(seen["fencing_token"].as_i64() > Some(token));
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.wait().0, Some(143));
}

#[test]
fn a_command_that_cannot_be_started_leaves_no_lock() {
    let server = Server::start();
    hold(&server, "r");
    let long = "x".repeat(100_000);
    let running = start(
        &cls(&server),
        &["lock", "--ttl", "3600", "r", "--", "echo", &long, &long],
    );
    eventually("it stands in line", SOON, || super::waiters(&server, "r") == 1);
    // Of which a quarter is for arguments.
    let stack = rustix::process::Rlimit {
        current: Some(512 << 10),
        maximum: Some(512 << 10),
    };
    rustix::process::prlimit(
        Some(rustix::process::Pid::from_child(running.child())),
        rustix::process::Resource::Stack,
        stack,
    )
    .expect("it runs");
    super::release(&server, "r");
    let (code, said) = running.wait();
    assert_eq!(code, Some(126), "{said}");
    assert!(
        said.contains("cannot start the command: Argument list too long"),
        "{said}"
    );
    assert!(!is_held(&server, "r"));
}

#[test]
fn nothing_begins_when_the_lock_is_over() {
    let server = Server::start();
    let us = std::process::id().to_string();
    for (until, expected, told) in [("1", 76, ""), ("9000000000000000000", 0, "ran\n")] {
        let output = cls(&server).run(&["become", &us, until, "--", "echo", "ran"]);
        assert_eq!((code(&output), stdout(&output).as_str()), (expected, told));
    }
}

#[test]
fn it_may_be_the_first_process_whose_session_is_elsewhere() {
    let server = Server::start();
    let cls = cls(&server).under(&[
        "unshare",
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--mount-proc",
    ]);
    let output = cls.run(&["lock", "r", "--", "sh", "-c", "(sleep 0.1; echo left) & exit 4"]);
    assert_eq!(
        (code(&output), stdout(&output).as_str()),
        (4, "left\n"),
        "{}",
        stderr(&output)
    );
    assert!(!is_held(&server, "r"));
}

#[test]
fn without_room_to_keep_all_locks_nothing_runs_and_none_is_left() {
    let server = Server::start();
    let names: Vec<_> = (0..64).map(|number| format!("r{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let cls = cls(&server).under(&["sh", "-c", "ulimit -n 30; exec \"$@\"", "sh"]);

    let output = cls.run(&[&["lock", "--ttl", "3600"], &names[..], &["--", "echo", "ran"]].concat());

    assert_eq!(
        (code(&output), stdout(&output).as_str()),
        (126, ""),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("Too many open files"), "{}", stderr(&output));
    assert_eq!(server.select("SELECT name FROM held_locks"), Vec::<String>::new());
}
