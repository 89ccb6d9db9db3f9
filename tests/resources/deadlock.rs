//! A wait that would never end is refused at once; every other wait is not.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::together_fairness::Random;
use super::{
    by, connected, hold, in_line, look, one_worker, release, settle, since, together, together_in_line, with_timeout,
    with_ttl,
};
use crate::support::{Answer, Client, Server};

/// "At once", on a busy machine; far below every wait here.
const AT_ONCE: Duration = Duration::from_secs(2);

fn acquire(server: &Server, name: &str, key: &str) {
    let answer = server.client().put(name, &by(key));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn assert_deadlock(answer: &Answer, cycle: &[&str]) {
    let cycle = json!(cycle);
    let expected = format!("{{\"Error\":\"Deadlock detected.\",\"cycle\":{cycle}}}");
    assert_eq!((answer.status, answer.body.as_str()), (409, expected.as_str()));
    assert_eq!(answer.header("Fencing-Token"), None);
}

fn free(server: &Server, name: &str, key: &str) {
    assert_eq!(server.client().delete(name, key).status, 204, "{name} by {key}");
}

#[test]
pub(super) fn two_who_wait_for_each_other_are_told_at_once() {
    let server = one_worker();
    acquire(&server, "a", "x");
    acquire(&server, "b", "y");
    let mut waiter = in_line(&server, "b", &with_timeout("x", 60));

    let asked = Instant::now();
    let refused = server.client().put("a", &with_timeout("y", 60));

    assert_deadlock(&refused, &["a", "b"]);
    assert!(since(asked, refused.received) < AT_ONCE);
    assert_eq!(look(&server, "a")["waiters"], json!(0));
    assert_eq!(
        server.client().put("a", &by("y")).status,
        400,
        "who does not wait is only refused"
    );
    free(&server, "b", "y");
    assert_eq!(waiter.answer().status, 200, "the other goes on");
}

#[test]
pub(super) fn a_circle_of_three_is_told_whoever_closes_it() {
    let server = one_worker();
    for (name, key) in [("a", "x"), ("b", "y"), ("c", "z")] {
        acquire(&server, name, key);
    }
    let _x = in_line(&server, "b", &with_timeout("x", 60));
    let _y = in_line(&server, "c", &with_timeout("y", 60));

    let refused = server.client().put("a", &with_timeout("z", 60));

    assert_deadlock(&refused, &["a", "b", "c"]);
    assert_deadlock(&server.client().put("b", &with_timeout("z", 60)), &["b", "c"]);
}

#[test]
pub(super) fn requests_for_several_close_circles_too() {
    let server = one_worker();
    let mut client = server.client();
    acquire(&server, "a", "x");
    acquire(&server, "b", "y");
    acquire(&server, "c", "z");
    let _x = together_in_line(&server, &["free", "b"], "x", "b");

    let crossing = client.request("POST", "/locks/", &together(&["c", "a"], "y", ", \"timeout\": 60"));
    assert_deadlock(&crossing, &["a", "b"]);
    assert_deadlock(&client.put("a", &with_timeout("y", 60)), &["a", "b"]);
    let _y = together_in_line(&server, &["free", "c"], "y", "c");
    let around = client.request("POST", "/locks/", &together(&["a", "other"], "z", ", \"timeout\": 60"));
    assert_deadlock(&around, &["a", "b", "c"]);
    let plain = client.request("POST", "/locks/", &together(&["a", "other"], "z", ""));
    assert_eq!(plain.status, 400, "who does not wait is only refused");
    assert_eq!(look(&server, "a")["waiters"], json!(0));
    assert_eq!(client.put("other", &by("k")).status, 200, "nothing was taken");
}

#[test]
pub(super) fn a_circle_by_way_of_what_somebody_only_looks_on_at_is_told() {
    let server = one_worker();
    for (name, key) in [("a", "x"), ("b", "y"), ("c", "z")] {
        acquire(&server, name, key);
    }
    // It stands in the line for one of them only, whichever that is.
    let _x = together_in_line(&server, &["b", "c"], "x", "b");

    assert_deadlock(&server.client().put("a", &with_timeout("y", 60)), &["a", "b"]);
    assert_deadlock(&server.client().put("a", &with_timeout("z", 60)), &["a", "c"]);
}

#[test]
pub(super) fn whoever_wants_several_of_which_it_holds_one_waits_for_itself() {
    let server = one_worker();
    let mut client = server.client();
    acquire(&server, "a", "x");
    acquire(&server, "b", "y");

    for names in [["a", "b"], ["b", "a"], ["free", "a"]] {
        let refused = client.request("POST", "/locks/", &together(&names, "x", ", \"timeout\": 60"));
        assert_deadlock(&refused, &["a"]);
    }
}

#[test]
pub(super) fn whoever_waits_for_its_own_lock_times_out_as_in_the_original() {
    let server = one_worker();
    acquire(&server, "r", "k");

    let answer = server.client().put("r", &with_timeout("k", 1));
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (408, r#"{"Error":"Request timed out."}"#)
    );
    let mut waiter = in_line(&server, "r", &with_timeout("k", 60));
    free(&server, "r", "k");
    assert_eq!(
        waiter.answer().status,
        200,
        "another thread of the same process released it"
    );
}

#[test]
pub(super) fn a_long_chain_without_a_circle_waits() {
    let server = one_worker();
    let count = 50;
    for number in 0..count {
        acquire(&server, &format!("r{number}"), &format!("k{number}"));
    }
    let mut waiters: Vec<_> = (1..count)
        .map(|number| {
            in_line(
                &server,
                &format!("r{}", number - 1),
                &with_timeout(&format!("k{number}"), 60),
            )
        })
        .collect();

    let cycle: Vec<_> = std::iter::once(format!("r{}", count - 1))
        .chain((0..count - 1).rev().map(|n| format!("r{n}")))
        .collect();
    let closing = server.client().put(&format!("r{}", count - 1), &with_timeout("k0", 60));
    assert_deadlock(&closing, &cycle.iter().map(String::as_str).collect::<Vec<_>>());
    free(&server, "r0", "k0");
    assert_eq!(waiters[0].answer().status, 200);
    for (number, waiter) in waiters.iter_mut().enumerate().skip(1) {
        free(&server, &format!("r{number}"), &format!("k{number}"));
        assert_eq!(waiter.answer().status, 200, "{number}");
    }
}

#[test]
pub(super) fn a_circle_that_was_dissolved_is_none() {
    let server = one_worker();
    acquire(&server, "a", "x");
    acquire(&server, "b", "y");
    let mut client = server.client();

    let gone = in_line(&server, "b", &with_timeout("x", 60));
    drop(gone);
    settle(&server, "b");
    let mut waiter = in_line(&server, "a", &with_timeout("y", 60));
    free(&server, "a", "x");
    assert_eq!(waiter.answer().status, 200, "x had left");

    // Now y holds both. x waits for b, and y is not held up by anybody.
    let _x = in_line(&server, "b", &with_timeout("x", 60));
    free(&server, "a", "y");
    acquire(&server, "a", "z");
    let mut y = in_line(&server, "a", &with_timeout("y", 60));
    let late = client.put("a", &with_timeout("x", 1));
    assert_eq!(late.status, 408, "z waits for nobody");
    free(&server, "a", "z");
    assert_eq!(y.answer().status, 200);
}

#[test]
pub(super) fn a_lock_that_has_expired_closes_no_circle() {
    let server = one_worker();
    let held = server.client().put("a", &with_ttl("x", 1));
    acquire(&server, "b", "y");
    let _x = in_line(&server, "b", &with_timeout("x", 60));
    thread::sleep(Duration::from_secs(1).saturating_sub(held.received.elapsed()));

    let answer = server.client().put("a", &with_timeout("y", 60));

    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
pub(super) fn a_hand_over_that_closes_no_circle_is_seen_by_the_next_question() {
    let server = one_worker();
    hold(&server, "a");
    acquire(&server, "b", "y");
    let mut x = in_line(&server, "a", &with_timeout("x", 60));
    let mut other_x = in_line(&server, "b", &with_timeout("x", 60));
    release(&server, "a");
    assert_eq!(x.answer().status, 200);

    // The one who holds it now is not the one who held it when the wait for it began.
    assert_deadlock(&server.client().put("a", &with_timeout("y", 60)), &["a", "b"]);
    free(&server, "b", "y");
    assert_eq!(other_x.answer().status, 200);
}

#[test]
pub(super) fn a_circle_by_way_of_what_is_kept_for_somebody_does_not_hang() {
    let server = one_worker();
    hold(&server, "a");
    acquire(&server, "b", "y");
    acquire(&server, "d", "z");
    let mut x = together_in_line(&server, &["a", "b"], "x", "a");
    release(&server, "a");
    // "a" is kept for x, who waits for y, who waits for z; but not for ever.
    let mut y = in_line(&server, "d", &with_timeout("y", 60));

    let answer = server.client().put("a", &with_timeout("z", 30));

    assert_eq!(answer.status, 200, "{}", answer.body);
    free(&server, "a", "z");
    free(&server, "d", "z");
    assert_eq!(y.answer().status, 200);
    free(&server, "b", "y");
    assert_eq!(x.answer().status, 200);
}

#[test]
pub(super) fn a_circle_that_a_hand_over_closes_between_bundles_does_not_hang() {
    let server = one_worker();
    acquire(&server, "e", "w");
    acquire(&server, "f", "k0");
    let mut k1 = together_in_line(&server, &["e", "f"], "k1", "e");
    let mut k0 = together_in_line(&server, &["e", "d"], "k0", "e");

    // "e" is kept for k1, who waits for k0, who waits for "e".
    free(&server, "e", "w");

    assert_eq!(k0.answer().status, 200);
    for name in ["d", "e", "f"] {
        free(&server, name, "k0");
    }
    assert_eq!(k1.answer().status, 200);
}

/// What the test knows to be true, because it does one thing after another.
#[derive(Default)]
struct Known {
    /// By resource.
    holders: BTreeMap<String, String>,
    /// By key: what it waits for, and the connection by which it does.
    waits: BTreeMap<String, (Vec<String>, Client)>,
}

impl Known {
    /// Whether `key` would wait for itself if it waited for these.
    fn would_wait_for_itself(&self, key: &str, names: &[String]) -> bool {
        let mut seen = Vec::new();
        let mut names: Vec<_> = names.iter().collect();
        while let Some(name) = names.pop() {
            match self.holders.get(name) {
                Some(holder) if holder == key => return true,
                Some(holder) if !seen.contains(holder) => {
                    seen.push(holder.clone());
                    names.extend(self.waits.get(holder).iter().flat_map(|(names, _)| names));
                }
                _ => {}
            }
        }
        false
    }

    /// Whether each of the names is held by one who waits for the next, and the
    /// last by `key`.
    fn is_circle(&self, key: &str, asked: &[String], cycle: &[String]) -> bool {
        let waits_for =
            |holder: &str, name: &String| self.waits.get(holder).is_some_and(|(names, _)| names.contains(name));
        let steps = cycle.iter().zip(&cycle[1..]);
        let holder = |name| self.holders.get(name).map(String::as_str).unwrap_or_default();
        asked.contains(&cycle[0])
            && steps.into_iter().all(|(name, next)| waits_for(holder(name), next))
            && holder(cycle.last().expect("it is not empty")) == key
    }

    /// Takes the answers that must have come, since somebody released `name`.
    fn note_grants(&mut self, server: &Server) {
        let page = server.client().get("/resources/?locked=true").json();
        let rows = page["results"].as_array().expect("a list").iter();
        // Whoever waits gives its key as the label.
        let rows = rows.filter_map(|row| Some((row["name"].as_str()?, row["label"].as_str()?)));
        for (name, key) in rows {
            if self.holders.get(name).map(String::as_str) == Some(key) {
                continue;
            }
            let (names, mut client) = self
                .waits
                .remove(key)
                .unwrap_or_else(|| panic!("{key} did not want {name}"));
            let answer = client.answer();
            assert_eq!(answer.status, 200, "{}", answer.body);
            for name in names {
                assert_eq!(
                    self.holders.insert(name.clone(), key.to_owned()),
                    None,
                    "{name} was held"
                );
            }
            // The rows were read before it was known that these belong together.
            return self.note_grants(server);
        }
    }
}

#[test]
pub(super) fn in_random_histories_a_deadlock_is_told_if_and_only_if_there_is_one() {
    let server = one_worker();
    acquire(&server, "settled", "nobody");
    let mut random = Random::seeded(11);
    let mut known = Known::default();
    known.holders.insert("settled".to_owned(), "nobody".to_owned());
    let (mut deadlocks, mut waits) = (0, 0);
    for step in 0..1000 {
        let key = format!("k{}", random.below(5));
        if known.waits.contains_key(&key) {
            continue;
        }
        let held: Vec<_> = known
            .holders
            .iter()
            .filter(|(_, holder)| **holder == key)
            .map(|(name, _)| name.clone())
            .collect();
        if !held.is_empty() && random.below(2) == 0 {
            let name = &held[random.below(held.len())];
            free(&server, name, &key);
            known.holders.remove(name);
            settle(&server, "settled");
            known.note_grants(&server);
            continue;
        }
        let count = 1;
        let mut names: Vec<_> = random.names(count).into_iter().map(str::to_owned).collect();
        // Of its own lock a single request is told nothing.
        names.retain(|name| !held.contains(name));
        let expected = known.would_wait_for_itself(&key, &names);
        let mut client = connected(&server);
        match names.as_slice() {
            [] => continue,
            [name] => {
                let body = format!(r#"{{"locked_by": "{key}", "timeout": 60, "label": "{key}"}}"#);
                client.send_put(name, &body);
            }
            _ => {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                client.send(
                    "POST",
                    "/locks/",
                    &together(&names, &key, &format!(", \"timeout\": 60, \"label\": \"{key}\"")),
                );
            }
        }
        settle(&server, "settled");
        let waiting = names.iter().map(|name| {
            let answer = server.client().get(&format!("/resources/{name}/"));
            if answer.status == 200 {
                answer.json()["waiters"].as_i64().expect("a number")
            } else {
                0
            }
        });
        let known_to_wait = |name: &String| known.waits.values().filter(|(names, _)| names.contains(name)).count();
        let before: Vec<_> = names.iter().map(known_to_wait).collect();
        let waits_now = waiting
            .zip(before)
            .any(|(now, before)| now > i64::try_from(before).expect("few"));
        if waits_now {
            assert!(
                !expected,
                "{step}: {key} waits for itself, for {names:?}: {:?}",
                known.holders
            );
            known.waits.insert(key, (names, client));
            waits += 1;
            continue;
        }
        let answer = client.answer();
        match answer.status {
            200 => {
                for name in names {
                    assert_eq!(known.holders.insert(name, key.clone()), None, "{step}");
                }
            }
            status => {
                assert_eq!(status, 409, "{}", answer.body);
                let cycle = answer.json()["cycle"].as_array().cloned().expect("a list");
                let cycle: Vec<_> = cycle
                    .iter()
                    .map(|name| name.as_str().expect("text").to_owned())
                    .collect();
                assert!(
                    expected && known.is_circle(&key, &names, &cycle),
                    "{step}: {key} {names:?}: {cycle:?}"
                );
                deadlocks += 1;
            }
        }
    }
    assert!(deadlocks > 10 && waits > 25, "{deadlocks} deadlocks, {waits} waits");
}
