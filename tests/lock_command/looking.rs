//! `cls status`, `watch`, `renew` and `release`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;

use serde_json::Value;

use super::{SOON, cls, code, hold, is_held, look, release, stderr, stdout};
use crate::support::Server;

#[test]
fn what_is_held_is_shown_to_people_and_to_programs() {
    let server = Server::start();
    let run = |arguments: &[&str]| cls(&server).run(&[&["status"], arguments].concat());
    assert_eq!(stdout(&run(&["--json"])), "[]\n");
    let body =
        r#"{"resources": ["deploy/prod", "deploy/test", "x"], "locked_by": "k", "ttl": 600, "label": "release 7"}"#;
    assert_eq!(server.client().request("POST", "/locks/", body).status, 200);
    assert_eq!(server.client().delete("x", "k").status, 204);

    let table = stdout(&run(&[]));
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(
        lines[0].starts_with("NAME         HELD BY  LABEL      SINCE"),
        "{table}"
    );
    assert!(lines[1].starts_with("deploy/prod  -        release 7  "), "{table}");
    assert!(
        lines[1].contains("  in 9 min ") || lines[1].contains("  in 10 min "),
        "{table}"
    );

    let names = |arguments: &[&str]| {
        let listed: Value = serde_json::from_str(&stdout(&run(arguments))).expect("JSON");
        let listed = listed.as_array().expect("a list").iter();
        listed
            .map(|one| one["name"].as_str().expect("a name").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&["--json"]), ["deploy/prod", "deploy/test"]);
    assert_eq!(names(&["--json", "--all"]), ["deploy/prod", "deploy/test", "x"]);
    assert_eq!(names(&["--json", "deploy/p"]), ["deploy/prod"]);
    assert_eq!(names(&["--json", "nothing"]), Vec::<String>::new());
}

#[test]
fn more_than_a_page_is_shown_whole() {
    let server = Server::start();
    for first in (0..1088).step_by(64) {
        let names: Vec<_> = (first..first + 64).map(|number| format!("r{number:04}")).collect();
        let body = serde_json::json!({"resources": names, "locked_by": "k"}).to_string();
        assert_eq!(server.client().request("POST", "/locks/", &body).status, 200);
    }
    let listed = cls(&server).run(&["status"]);
    assert_eq!(stdout(&listed).lines().count(), 1089);
}

#[test]
fn a_lock_is_renewed_and_released_by_who_knows_its_key() {
    let server = Server::start();
    let token = hold(&server, "r").to_string();
    let run = |arguments: &[&str]| {
        let output = cls(&server).run(arguments);
        (code(&output), stdout(&output), stderr(&output))
    };

    assert_eq!(
        run(&["renew", "r", "--key", "holder", "--ttl", "60"]),
        (0, String::new(), String::new())
    );
    assert_eq!(look(&server, "r")["ttl"], 60);
    let (code, shown, _) = run(&["renew", "r", "--key", "holder", "--fencing-token", &token, "--json"]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((code, &shown["ttl"], &shown["locked"]), (0, &60.into(), &true.into()));
    for (arguments, expected, said) in [
        (&["renew", "r", "--key", "other"][..], 76, "r: Invalid renew request."),
        (
            &["renew", "free", "--key", "holder"],
            76,
            "free: Resource is not acquired.",
        ),
        (&["renew", "r", "--key", "holder", "--ttl", "0"], 64, "0 is not in 1"),
        (&["renew", "r"], 64, "--key"),
        (&["release", "r", "--key", "other"], 76, "r: Invalid unlock request."),
        (
            &["release", "r", "--key", "holder", "--fencing-token", "0"],
            76,
            "r: Invalid unlock request.",
        ),
        (&["release", "r", "--key", "holder"], 0, ""),
        (&["release", "r", "--key", "holder"], 76, "r: Resource is not acquired."),
        (
            &[
                "release",
                "r",
                "--key",
                "holder",
                "--url",
                "http://127.0.0.1:1",
                "--retry",
                "0",
            ],
            69,
            "cannot reach",
        ),
    ] {
        let (code, _, told) = run(arguments);
        assert_eq!(code, expected, "{arguments:?}: {told}");
        assert!(told.contains(said), "{arguments:?}: {told}");
    }
    assert!(!is_held(&server, "r"));
}

#[test]
fn each_change_of_a_watched_resource_is_a_line() {
    let server = Server::start();
    let mut command = cls(&server).command(&["watch", "r", "--json"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("cls can be run");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let (sender, told) = channel();
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let seen: Value = serde_json::from_str(&line).expect("JSON");
            let _ = sender.send((seen["locked"] == true, seen["fencing_token"].as_i64()));
        }
    });
    // Nobody has ever acquired it. Whether it looks before that or after, it tells of this one.
    let mut token = hold(&server, "r");
    assert_eq!(told.recv_timeout(SOON), Ok((true, Some(token))));
    for _ in 0..3 {
        release(&server, "r");
        assert_eq!(told.recv_timeout(SOON), Ok((false, Some(token))));
        token = hold(&server, "r");
        assert_eq!(told.recv_timeout(SOON), Ok((true, Some(token))));
    }
    child.kill().expect("it runs");
    child.wait().expect("a child of ours");
}
