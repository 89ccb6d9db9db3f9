//! What is recorded of each thing that can happen.

on_both! {
    a_life_of_a_lock_is_told_from_its_grant_to_its_end
    of_a_run_of_renewals_the_first_and_the_last_are_told
    a_lock_that_expired_is_told_to_have_ended_when_it_did
    a_break_says_who_and_why
    a_refusal_by_deadlock_is_told
    a_grant_that_reached_nobody_is_told_to_be_given_back
    what_is_refused_is_not_told
    nothing_is_recorded_where_there_is_no_history
    the_table_can_be_made_again_from_what_was_recorded
    the_oldest_events_are_deleted_by_number_and_by_age
}

mod claims {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use serde_json::{Value, json};

    use crate::access::{guarded, token};
    use crate::history::{SOON, all_events, by, id_of, results, text};
    use crate::support::{Client, Server, eventually};

    const HISTORY: &str = "/resources/r/history/";

    fn ok(client: &mut Client, method: &str, path: &str, body: &str) {
        let answer = client.request(method, path, body);
        assert!(answer.status < 300, "{method} {path}: {}", answer.body);
    }

    /// Kinds, the latest first.
    fn kinds(client: &mut Client) -> Vec<String> {
        let events = results(client, HISTORY);
        events.iter().map(|event| text(event, "event").to_owned()).collect()
    }

    pub(super) fn a_life_of_a_lock_is_told_from_its_grant_to_its_end() {
        let server = Server::start();
        let mut client = server.client();
        ok(
            &mut client,
            "PUT",
            "/resources/r/",
            &by("k", r#", "ttl": 60, "label": "me""#),
        );
        ok(&mut client, "DELETE", "/resources/r/", &by("k", ""));
        ok(&mut client, "PUT", "/resources/other/", &by("k", ""));

        let told = client.get(HISTORY).json();

        assert_eq!(
            (&told["count"], &told["next"], &told["previous"]),
            (&json!(2), &Value::Null, &Value::Null)
        );
        let [released, acquired] = [&told["results"][0], &told["results"][1]];
        let token = &acquired["fencing_token"];
        for (event, kind) in [(released, "released"), (acquired, "acquired")] {
            assert_eq!(event["event"], kind);
            assert_eq!((&event["resource"], &event["label"]), (&json!("r"), &json!("me")));
            assert_eq!((&event["ttl"], &event["fencing_token"]), (&json!(60), token));
            assert_eq!(
                (&event["address"], &event["owner"]),
                (&json!("127.0.0.1"), &Value::Null)
            );
            assert_eq!(event["expires_at"], acquired["expires_at"]);
            assert_eq!(event.as_object().map(|members| members.len()), Some(12));
        }
        assert!(id_of(acquired) < id_of(released));
        assert!(text(acquired, "at") <= text(released, "at"));
        assert!(!client.get("/events/").body.contains("\"k\""), "the key is in no event");
    }

    pub(super) fn of_a_run_of_renewals_the_first_and_the_last_are_told() {
        let server = Server::start();
        let mut client = server.client();
        ok(&mut client, "PUT", "/resources/r/", &by("k", r#", "ttl": 60"#));
        for _ in 0..5 {
            ok(&mut client, "PATCH", "/resources/r/", &by("k", ""));
        }
        assert_eq!(kinds(&mut client), ["renewed", "acquired"]);

        ok(&mut client, "PATCH", "/resources/r/", &by("k", r#", "ttl": 90"#));
        assert_eq!(
            kinds(&mut client),
            ["renewed", "renewed", "renewed", "acquired"],
            "another ttl begins another run"
        );
        ok(&mut client, "PATCH", "/resources/r/", &by("k", r#", "label": "now""#));
        ok(&mut client, "DELETE", "/resources/r/", &by("k", ""));

        let events = results(&mut client, HISTORY);
        let told: Vec<_> = events
            .iter()
            .map(|event| (text(event, "event"), event["ttl"].as_i64(), text(event, "label")))
            .collect();
        let expected = [
            ("released", Some(90), "now"),
            ("renewed", Some(90), "now"),
            ("renewed", Some(90), ""),
            ("renewed", Some(60), ""),
            ("renewed", Some(60), ""),
            ("acquired", Some(60), ""),
        ];
        assert_eq!(told, expected);
        let ends: Vec<_> = events.iter().map(|event| text(event, "expires_at")).collect();
        assert!(ends.windows(2).all(|pair| pair[0] >= pair[1]), "{ends:?}");
    }

    pub(super) fn a_lock_that_expired_is_told_to_have_ended_when_it_did() {
        let server = Server::start();
        let mut client = server.client();
        ok(&mut client, "PUT", "/resources/r/", &by("k", r#", "ttl": 1"#));

        eventually("it is told", SOON, || kinds(&mut client).len() == 2);

        let events = results(&mut client, HISTORY);
        assert_eq!(text(&events[0], "event"), "expired");
        assert_eq!(events[0]["at"], events[1]["expires_at"]);
        assert_eq!(events[0]["address"], Value::Null);
        assert_eq!(events[0]["fencing_token"], events[1]["fencing_token"]);
    }

    pub(super) fn a_break_says_who_and_why() {
        let server = guarded();
        let holder = token(&server, &["ci", "--prefix", "r"]);
        let oncall = token(&server, &["oncall", "--can", "read,break"]);
        let mut client = server.client();
        let mut ask = |key: &str, method: &str, path: &str, body: &str| {
            let authorization = format!("Token {key}");
            client.request_with((method, path), &[("Authorization", &authorization)], body)
        };
        assert_eq!(ask(&holder, "PUT", "/resources/r/", &by("k", "")).status, 200);

        let broken = ask(
            &oncall,
            "POST",
            "/resources/r/break/",
            r#"{"reason": "host 7 is gone"}"#,
        );
        assert_eq!(broken.status, 200, "{}", broken.body);
        assert_eq!(ask(&holder, "PUT", "/resources/r/", &by("k", "")).status, 200);
        let here = server.cls().run(&["break", "r", "--reason", "that too"]);
        assert!(here.status.success());

        let told = ask(&oncall, "GET", HISTORY, "").json();
        let told = &told["results"];
        let who = |index: usize| {
            let event = &told[index];
            [
                text(event, "event"),
                text(event, "owner"),
                text(event, "asked_by"),
                text(event, "reason"),
            ]
        };
        assert_eq!(who(3), ["acquired", "ci", "ci", ""]);
        assert_eq!(who(2), ["broken", "ci", "oncall", "host 7 is gone"]);
        assert_eq!(told[2]["fencing_token"], told[3]["fencing_token"]);
        assert_eq!(told[2]["address"], "127.0.0.1");
        let [event, owner, asked_by, reason] = who(0);
        assert_eq!([event, owner, reason], ["broken", "ci", "that too"]);
        assert!(asked_by.starts_with("cls break (uid "), "{asked_by}");
        assert_eq!(told[0]["address"], Value::Null);
    }

    pub(super) fn a_refusal_by_deadlock_is_told() {
        let server = Server::start_with(&[("WORKERS", "1")]);
        let mut client = server.client();
        ok(&mut client, "PUT", "/resources/r/", &by("k1", ""));
        ok(&mut client, "PUT", "/resources/s/", &by("k2", ""));
        let mut waiter = server.client();
        waiter.send("PUT", "/resources/s/", &by("k1", r#", "timeout": 60"#));
        eventually("it waits", SOON, || client.get("/resources/s/").json()["waiters"] == 1);

        let refused = client.put("r", &by("k2", r#", "timeout": 60, "label": "the second""#));

        assert_eq!(refused.status, 409, "{}", refused.body);
        let told = results(&mut client, HISTORY);
        assert_eq!(text(&told[0], "event"), "deadlock");
        assert_eq!(
            (text(&told[0], "label"), text(&told[0], "reason")),
            ("the second", "r → s")
        );
        assert_eq!(
            told[0]["fencing_token"], told[1]["fencing_token"],
            "of the lock in the way"
        );
    }

    pub(super) fn a_grant_that_reached_nobody_is_told_to_be_given_back() {
        let server = Server::start_with(&[("WORKERS", "1")]);
        let mut client = server.client();
        ok(&mut client, "PUT", "/resources/r/", &by("k", ""));
        let mut gone = server.client();
        gone.send("PUT", "/resources/r/", &by("gone", r#", "timeout": 60"#));
        eventually("it waits", SOON, || client.get("/resources/r/").json()["waiters"] == 1);
        drop(gone);
        ok(&mut client, "DELETE", "/resources/r/", &by("k", ""));
        eventually("it is free", SOON, || {
            client.get("/resources/r/").json()["locked"] == false
        });

        let told = results(&mut client, HISTORY);

        // Mostly nobody was granted anything; else that was undone.
        match told.len() {
            2 => assert_eq!(kinds(&mut client), ["released", "acquired"]),
            _ => {
                assert_eq!(kinds(&mut client), ["released", "acquired", "released", "acquired"]);
                assert_eq!(text(&told[0], "reason"), "its answer reached nobody");
            }
        }
    }

    pub(super) fn what_is_refused_is_not_told() {
        let server = Server::start();
        let mut client = server.client();
        ok(&mut client, "PUT", "/resources/r/", &by("k", ""));
        for (method, path, body, status) in [
            ("PUT", "/resources/r/", by("k", ""), 400),
            ("PUT", "/resources/r/", by("other", r#", "timeout": 1"#), 408),
            ("DELETE", "/resources/r/", by("other", ""), 400),
            ("PATCH", "/resources/r/", by("other", ""), 400),
            ("PATCH", "/resources/free/", by("k", ""), 400),
            ("POST", "/resources/free/break/", r#"{"reason": "x"}"#.to_owned(), 400),
            ("PATCH", "/resources/r/", by("k", ""), 200),
        ] {
            assert_eq!(client.request(method, path, &body).status, status, "{method} {path}");
        }

        let events = all_events(&mut client, 0, 100);

        assert_eq!(
            events.len(),
            1,
            "{events:?}; renewing for ever what lasts for ever changes nothing"
        );
    }

    pub(super) fn nothing_is_recorded_where_there_is_no_history() {
        let server = Server::start_with(&[("HISTORY", "off")]);
        let mut client = server.client();
        ok(&mut client, "PUT", "/resources/r/", &by("k", ""));

        assert_eq!(client.get(HISTORY).json()["count"], 0);
        assert_eq!(
            client.get("/events/").json(),
            json!({"count": 0, "next": null, "previous": null, "results": []})
        );
        assert_eq!(server.select("SELECT count(*) FROM lock_events"), ["0"]);
    }

    /// A lock as a replay of the events has it: without a key, which no event has.
    type Held = (i64, String, Option<i64>, String);

    fn replay(events: &[Value]) -> BTreeMap<String, Held> {
        let mut held = BTreeMap::new();
        for event in events {
            let name = text(event, "resource").to_owned();
            let token = event["fencing_token"].as_i64().expect("a number");
            let (label, ttl) = (text(event, "label").to_owned(), event["ttl"].as_i64());
            match text(event, "event") {
                "acquired" => {
                    let before = held.insert(name, (token, label, ttl, text(event, "at").to_owned()));
                    assert_eq!(before, None, "{event}");
                }
                "renewed" => {
                    let lock = held.get_mut(&name).expect("it is held");
                    assert_eq!(lock.0, token, "{event}");
                    (lock.1, lock.2) = (label, ttl);
                }
                "deadlock" => {}
                _ => assert_eq!(held.remove(&name).map(|lock| lock.0), Some(token), "{event}"),
            }
        }
        held
    }

    pub(super) fn the_table_can_be_made_again_from_what_was_recorded() {
        let server = Server::start();
        let address = server.address;
        let busy = |worker: u32| {
            move || {
                let mut client = Client::connect(address);
                // The same in each run, and different in each worker.
                let mut chance = worker.wrapping_mul(2_654_435_761) | 1;
                for _ in 0..250 {
                    chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let name = format!("r{}", chance >> 8 & 7);
                    let key = format!("k{}", chance >> 16 & 3);
                    let path = format!("/resources/{name}/");
                    let reason = r#"{"reason": "it is random"}"#;
                    let timed = format!(", \"ttl\": 1, \"label\": \"{worker}\"");
                    match chance >> 20 & 15 {
                        0..=4 => drop(client.put(&name, &by(&key, ""))),
                        5..=6 => drop(client.put(&name, &by(&key, &timed))),
                        7..=9 => drop(client.request("DELETE", &path, &by(&key, ""))),
                        10..=13 => drop(client.request("PATCH", &path, &by(&key, ", \"ttl\": 60"))),
                        14 => drop(client.request("POST", &format!("{path}break/"), reason)),
                        _ => drop(client.request("DELETE", "/resources/", &by(&key, ""))),
                    }
                }
            }
        };
        let workers: Vec<_> = (1..=4).map(|worker| std::thread::spawn(busy(worker))).collect();
        workers.into_iter().for_each(|worker| worker.join().expect("it ends"));

        let mut client = server.client();
        ok(&mut client, "PUT", "/resources/left/", &by("k", r#", "ttl": 1"#));
        eventually("it expires", SOON, || {
            client.get("/resources/left/").json()["locked"] == false
        });
        let table = |client: &mut Client| -> BTreeMap<String, Held> {
            let held = results(client, "/resources/?locked=true&page_size=100");
            let lock = |row: &Value| {
                let token = row["fencing_token"].as_i64().expect("a number");
                let lock = (
                    token,
                    text(row, "label").to_owned(),
                    row["ttl"].as_i64(),
                    text(row, "acquired_at").to_owned(),
                );
                (text(row, "name").to_owned(), lock)
            };
            held.iter().map(lock).collect()
        };

        // What has expired is in the table until it is swept.
        eventually("they agree", SOON, || {
            replay(&all_events(&mut client, 0, 97)) == table(&mut client)
        });
        let events = all_events(&mut client, 0, 1000);
        assert!(events.len() > 200, "{}", events.len());
        for kind in ["acquired", "renewed", "released", "expired", "broken"] {
            assert!(
                events.iter().any(|event| event["event"] == kind),
                "{kind} did not happen"
            );
        }
        // Of each resource the history is what all events say of it.
        for name in ["r0", "r5"] {
            let mut of_name = results(&mut client, &format!("/resources/{name}/history/?page_size=1000"));
            of_name.reverse();
            let expected = events.iter().filter(|event| event["resource"] == name);
            assert!(of_name.iter().eq(expected), "{name}");
        }
    }

    pub(super) fn the_oldest_events_are_deleted_by_number_and_by_age() {
        let server = Server::start_with(&[("HISTORY_EVENTS_MAX", "20"), ("HISTORY_DAYS", "1")]);
        let mut client = server.client();
        for _ in 0..50 {
            ok(&mut client, "PUT", "/resources/r/", &by("k", ""));
            ok(&mut client, "DELETE", "/resources/r/", &by("k", ""));
        }
        let last = id_of(all_events(&mut client, 0, 1000).last().expect("there are some"));

        eventually("most are gone", Duration::from_secs(30), || {
            client.get("/events/").json()["count"]
                .as_u64()
                .is_some_and(|count| count <= 20)
        });
        let left = all_events(&mut client, 0, 1000);
        assert_eq!(left.last().map(id_of), Some(last));
        assert_eq!(
            results(&mut client, &format!("{HISTORY}?page_size=100")).len(),
            left.len()
        );

        server.select("UPDATE lock_events SET at_us = at_us - 90000000000");
        eventually("all but the latest are gone", Duration::from_secs(30), || {
            client.get("/events/").json()["count"] == 1
        });
        ok(&mut client, "PUT", "/resources/r/", &by("k", ""));
        let history = results(&mut client, HISTORY);
        assert!(id_of(&history[0]) > last);
        assert_eq!(id_of(&history[1]), last);
    }
}
