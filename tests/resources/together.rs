//! `POST /locks/`: several resources, all or none.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    by, connected, hold, in_line, look, one_worker, release, rounds, settle, since, together, together_in_line, tokens,
    with_timeout, with_ttl,
};
use crate::support::{Answer, Client, Server, eventually};

/// How late a promise of milliseconds may be kept once, on a busy machine.
const SLACK: Duration = Duration::from_millis(1500);

/// "At once", on a busy machine; far below every wait here.
const AT_ONCE: Duration = Duration::from_secs(2);

const LOCKED: &str = r#"{"Error":"Resource is locked."}"#;

fn post(client: &mut Client, body: &str) -> Answer {
    client.request("POST", "/locks/", body)
}

/// Who holds what, as the table says.
fn held(server: &Server) -> Vec<String> {
    server.select("SELECT name, locked_by FROM resources WHERE locked_by IS NOT NULL ORDER BY name")
}

#[test]
pub(super) fn all_are_acquired_in_the_order_asked_for_with_rising_tokens() {
    let server = Server::start();
    let before = hold(&server, "other");

    let body = together(&["c", "a", "b b", "é"], "k", ", \"ttl\": 60, \"label\": \"all\"");
    let answer = post(&mut server.client(), &body);

    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("Allow"), Some("POST, OPTIONS"));
    let expected = format!(
        "{{\"Success\":\"Resources are acquired.\",\"resources\":[{}]}}",
        [("c", 1), ("a", 2), ("b b", 3), ("é", 4)]
            .map(|(name, later)| format!("{{\"name\":\"{name}\",\"fencing_token\":{}}}", before + later))
            .join(",")
    );
    assert_eq!(answer.body, expected);
    for (name, token) in ["c", "a", "b%20b", "%C3%A9"].into_iter().zip(tokens(&answer)) {
        let shown = look(&server, name);
        let fields = ["locked", "ttl", "label", "fencing_token"].map(|field| shown[field].clone());
        assert_eq!(fields, [json!(true), json!(60), json!("all"), json!(token)]);
    }
}

#[test]
pub(super) fn if_one_is_held_none_is_taken() {
    let server = Server::start();
    let mut client = server.client();
    hold(&server, "held");
    assert_eq!(client.put("expiring", &with_ttl("other", 600)).status, 200);
    let before = server.select("SELECT * FROM resources ORDER BY name");

    for names in [
        &["held"][..],
        &["a", "held"],
        &["held", "a"],
        &["a", "expiring", "b"],
        &["held", "expiring"],
    ] {
        for key in ["k", "holder"] {
            let refused = post(&mut client, &together(names, key, ""));
            assert_eq!((refused.status, refused.body.as_str()), (400, LOCKED), "{names:?}");
        }
    }

    assert_eq!(
        server.select("SELECT * FROM resources ORDER BY name"),
        before,
        "no row is new"
    );
    for name in ["a", "b"] {
        assert_eq!(client.put(name, &by("other")).status, 200, "{name}");
    }
}

#[test]
pub(super) fn each_is_released_and_renewed_by_itself() {
    let server = Server::start();
    let mut client = server.client();
    let granted = tokens(&post(&mut client, &together(&["a", "b", "c"], "k", ", \"ttl\": 600")));

    assert_eq!(client.delete("a", "k").status, 204);
    let wrong = format!(r#"{{"locked_by": "k", "fencing_token": {}}}"#, granted[2]);
    assert_eq!(
        client.request("DELETE", "/resources/b/", &wrong).status,
        400,
        "each has its own token"
    );
    let right = format!(r#"{{"locked_by": "k", "fencing_token": {}}}"#, granted[1]);
    assert_eq!(client.request("PATCH", "/resources/b/", &right).status, 200);

    assert_eq!(held(&server), ["b|k", "c|k"]);
}

#[test]
pub(super) fn a_wait_ends_with_all_or_with_408_and_none() {
    let server = one_worker();
    hold(&server, "a");
    assert_eq!(server.client().put("b", &by("other")).status, 200);
    let mut waiter = together_in_line(&server, &["c", "a", "b"], "k", "a");
    let asked = Instant::now();
    let late = post(&mut server.client(), &together(&["d", "b"], "late", ", \"timeout\": 1"));
    assert_eq!(
        (late.status, late.body.as_str()),
        (408, r#"{"Error":"Request timed out."}"#)
    );
    let took = since(asked, late.received);
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(1) + SLACK,
        "{took:?}"
    );

    release(&server, "a");
    assert_eq!(held(&server), ["b|other"], "not yet, and nothing is held meanwhile");
    assert_eq!(server.client().delete("b", "other").status, 204);

    assert_eq!(tokens(&waiter.answer()).len(), 3);
    assert_eq!(held(&server), ["a|k", "b|k", "c|k"]);
}

#[test]
pub(super) fn whoever_waits_for_something_held_is_in_nobodys_way() {
    let server = one_worker();
    hold(&server, "held");
    let mut client = server.client();
    let mut waiter = together_in_line(&server, &["free", "held"], "k", "held");

    for round in 0..20 {
        assert_eq!(client.put("free", &by("other")).status, 200, "{round}");
        let mut behind = in_line(&server, "free", &with_timeout("behind", 60));
        assert_eq!(client.delete("free", "other").status, 204);
        assert_eq!(behind.answer().status, 200, "{round}");
        assert_eq!(client.delete("free", "behind").status, 204);
        let both = post(&mut client, &together(&["free", "third"], "both", ""));
        assert_eq!(both.status, 200, "{round}");
        for name in ["free", "third"] {
            assert_eq!(client.delete(name, "both").status, 204);
        }
    }

    release(&server, "held");
    assert_eq!(waiter.answer().status, 200);
}

#[test]
pub(super) fn one_name_is_as_a_put() {
    let server = one_worker();
    let token = hold(&server, "r");
    let mut first = in_line(&server, "r", &with_timeout("first", 60));
    let mut second = together_in_line(&server, &["r"], "second", "r");
    let mut third = in_line(&server, "r", &with_timeout("third", 60));

    release(&server, "r");

    assert_eq!(first.answer().fencing_token(), token + 1);
    assert_eq!(server.client().delete("r", "first").status, 204);
    assert_eq!(tokens(&second.answer()), [token + 2]);
    assert_eq!(server.client().delete("r", "second").status, 204);
    assert_eq!(third.answer().fencing_token(), token + 3);
}

#[test]
pub(super) fn an_expiry_completes_what_is_wanted_at_that_instant() {
    let server = one_worker();
    let mut client = server.client();
    let sent = Instant::now();
    let first = client.put("a", &with_ttl("x", 1));
    assert_eq!(client.put("b", &with_ttl("y", 2)).status, 200);
    let last_end = Instant::now() + Duration::from_secs(2);
    assert_eq!(first.status, 200);
    let mut waiter = connected(&server);
    waiter.send(
        "POST",
        "/locks/",
        &together(&["b", "a"], "k", ", \"timeout\": 60, \"ttl\": 5"),
    );

    let answer = waiter.answer();

    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(since(sent, answer.received) >= Duration::from_secs(2));
    assert!(since(last_end, answer.received) < SLACK);
    assert_eq!(look(&server, "a")["expires_at"], look(&server, "b")["expires_at"]);
}

#[test]
pub(super) fn whoever_leaves_frees_what_was_kept_for_it() {
    let server = one_worker();
    let mut client = server.client();
    for (round, leaves) in [true, false].into_iter().enumerate() {
        let names = ["a", "b"].map(|name| format!("{name}{round}"));
        let names = [names[0].as_str(), names[1].as_str()];
        hold(&server, names[0]);
        assert_eq!(client.put(names[1], &by("other")).status, 200);
        let mut several = connected(&server);
        let timeout = if leaves { 60 } else { 1 };
        several.send(
            "POST",
            "/locks/",
            &together(&names, "k", &format!(", \"timeout\": {timeout}")),
        );
        settle(&server, names[0]);
        let mut behind = in_line(&server, names[0], &with_timeout("behind", 60));
        // From here on the first is kept, and the second still missing.
        release(&server, names[0]);
        assert_eq!(
            client.put(names[0], &by("plain")).status,
            400,
            "it is kept for who is first"
        );

        let asked = Instant::now();
        if leaves {
            drop(several);
        } else {
            assert_eq!(several.answer().status, 408);
        }

        assert_eq!(behind.answer().status, 200);
        assert!(asked.elapsed() < AT_ONCE + Duration::from_secs(1));
        assert_eq!(look(&server, names[1])["waiters"], json!(0));
        assert_eq!(client.delete(names[1], "other").status, 204);
        assert_eq!(
            client.put(names[1], &by("next")).status,
            200,
            "nothing is kept there either"
        );
    }
}

#[test]
pub(super) fn whoever_leaves_as_it_is_granted_gives_back_all() {
    let server = Server::start();
    let mut releaser = connected(&server);
    for round in 0..rounds(&server, 100) {
        let names = ["a", "b", "c"].map(|name| format!("{name}{round}"));
        let names = names.each_ref().map(String::as_str);
        assert_eq!(releaser.put(names[0], &by("holder")).status, 200);
        let mut leaver = connected(&server);
        leaver.send("POST", "/locks/", &together(&names, "leaver", ", \"timeout\": 60"));
        eventually("it stands in line", AT_ONCE, || look(&server, names[0])["waiters"] == 1);

        releaser.send("DELETE", &format!("/resources/{}/", names[0]), &by("holder"));
        let until = Instant::now() + Duration::from_micros(u64::from(round % 20) * 50);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        leaver.stream().shutdown(std::net::Shutdown::Write).expect("it is open");
        let told = leaver.try_answer();
        assert_eq!(releaser.answer().status, 204);

        if let Ok(answer) = told {
            assert_eq!(answer.status, 200);
            for name in names {
                assert_eq!(
                    releaser.delete(name, "leaver").status,
                    204,
                    "{name}: who was told holds it"
                );
            }
        } else {
            for name in names {
                eventually("it is free", AT_ONCE, || releaser.put(name, &by("next")).status == 200);
            }
        }
    }
}

#[test]
pub(super) fn the_longest_list_is_acquired_waited_for_and_released() {
    let server = one_worker();
    let names: Vec<_> = (0..64).map(|number| format!("r{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    hold(&server, "r63");
    let mut waiter = together_in_line(&server, &names, "k", "r63");

    release(&server, "r63");

    let granted = tokens(&waiter.answer());
    assert!(granted.is_sorted() && granted.len() == 64);
    let released = server.client().request("DELETE", "/resources/", &by("k"));
    assert_eq!(released.body, r#"{"released":64}"#);
    assert_eq!(post(&mut server.client(), &together(&names, "k", "")).status, 200);
}

#[test]
pub(super) fn lists_that_are_wrong_are_told_in_the_frameworks_words() {
    let server = Server::start();
    let mut client = server.client();
    let many: Vec<_> = (0..65).map(|number| format!("r{number}")).collect();
    let long = "n".repeat(101);
    let blank = json!(["This field may not be blank."]);

    for (list, expected) in [
        (json!([]), json!(["This list may not be empty."])),
        (json!(null), json!(["This field may not be null."])),
        (json!("a"), json!(["Expected a list of items but got type \"str\"."])),
        (json!(1), json!(["Expected a list of items but got type \"int\"."])),
        (
            json!({"a": 1}),
            json!(["Expected a list of items but got type \"dict\"."]),
        ),
        (json!(many), json!(["Ensure this field has no more than 64 elements."])),
        (
            json!(["a", "b", "a"]),
            json!(["This list has the same name twice: 'a'."]),
        ),
        (
            json!(["a", 1, 1.0, "1"]),
            json!(["This list has the same name twice: '1'."]),
        ),
        (json!(["a\u{0}"]), json!({"0": ["Null characters are not allowed."]})),
        (json!(["", "a", ""]), json!({"0": blank, "2": blank})),
        (
            json!([null, ["a"], true]),
            json!({
                "0": ["This field may not be null."], "1": ["Not a valid string."], "2": ["Not a valid string."],
            }),
        ),
        (
            json!([long]),
            json!({"0": ["Ensure this field has no more than 100 characters."]}),
        ),
    ] {
        let body = json!({"resources": list, "locked_by": "k"}).to_string();
        let answer = post(&mut client, &body);
        assert_eq!(
            (answer.status, answer.json()),
            (400, json!({"resources": expected})),
            "{body}"
        );
    }
    let nothing = post(&mut client, "{}");
    assert_eq!(
        nothing.body,
        r#"{"resources":["This field is required."],"locked_by":["This field is required."]}"#
    );
    assert_eq!(server.select("SELECT name FROM resources"), [""; 0]);
}

#[test]
pub(super) fn names_are_taken_exactly_as_in_a_path() {
    let server = Server::start();
    let mut client = server.client();

    let names = [" a ", "a", "A", "..", "%41", "\n", "☂"];
    assert_eq!(post(&mut client, &together(&names, "k", "")).status, 200);

    for path in ["%20a%20", "a", "A", "..", "%2541", "%0A", "%E2%98%82"] {
        assert_eq!(client.put(path, &by("other")).status, 400, "{path}");
        assert_eq!(client.delete(path, "k").status, 204, "{path}");
    }
}

#[test]
pub(super) fn forms_may_name_a_resource_several_times_over() {
    let server = Server::start();
    let form = "resources=a&locked_by=k&resources=b+c&ttl=60";

    let answer = server
        .client()
        .request_as(("POST", "/locks/"), "application/x-www-form-urlencoded", form);

    assert_eq!(tokens(&answer).len(), 2);
    assert_eq!(held(&server), ["a|k", "b c|k"]);
}

#[test]
pub(super) fn all_of_a_killed_servers_grant_is_there_or_nothing() {
    let mut server = Server::start();
    for round in 0..5 {
        let mut client = server.client();
        let names: Vec<_> = (0..20).map(|number| format!("r{round}-{number}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        client.send("POST", "/locks/", &together(&names, "k", ""));
        thread::sleep(Duration::from_micros(500 * round));

        server = server.kill_and_restart();

        let rows = server.select(&format!(
            "SELECT count(*) FROM resources WHERE name LIKE 'r{round}-%' AND locked_by = 'k'"
        ));
        let answered = client.try_answer().is_ok_and(|answer| answer.status == 200);
        assert!(rows == ["20"] || (rows == ["0"] && !answered), "{round}: {rows:?}");
    }
}
