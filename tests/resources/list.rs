//! `GET /resources/`: pages of what there is.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{by, hold, in_line, look, one_worker, rounds, settle, together_in_line, with_timeout, with_ttl};
use crate::support::{Client, Server};

fn list(client: &mut Client, query: &str) -> Value {
    let answer = client.get(&format!("/resources/{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    answer.json()
}

/// The names on a page, with blanks between them.
fn names(client: &mut Client, query: &str) -> String {
    let page = list(client, query);
    let results = page["results"].as_array().expect("a list");
    let names: Vec<_> = results
        .iter()
        .map(|result| result["name"].as_str().expect("text"))
        .collect();
    names.join(" ")
}

#[test]
pub(super) fn an_empty_table_is_one_empty_page() {
    let server = Server::start();
    let mut client = server.client();

    for query in ["", "?page=1", "?page=last", "?locked=true", "?search=x"] {
        let answer = client.get(&format!("/resources/{query}"));
        let empty = r#"{"count":0,"next":null,"previous":null,"results":[]}"#;
        assert_eq!((answer.status, answer.body.as_str()), (200, empty), "{query}");
    }
    assert_eq!(client.get("/resources/?page=2").status, 404);
}

#[test]
pub(super) fn each_is_shown_as_it_is_by_itself() {
    let server = one_worker();
    let mut client = server.client();
    hold(&server, "a");
    assert_eq!(
        client
            .put("b", r#"{"locked_by": "k", "ttl": 600, "label": "é ☂"}"#)
            .status,
        200
    );
    assert_eq!(client.put("c", &by("k")).status, 200);
    assert_eq!(client.delete("c", "k").status, 204);
    let _single = in_line(&server, "a", &with_timeout("w", 60));
    let _several = together_in_line(&server, &["b", "a", "c"], "v", "b");

    let page = list(&mut client, "");

    assert_eq!(page["count"], json!(3));
    for (listed, name) in page["results"].as_array().expect("a list").iter().zip(["a", "b", "c"]) {
        let (mut listed, mut alone) = (listed.clone(), look(&server, name));
        for shown in [&mut listed, &mut alone] {
            let left = shown["expires_in"].take();
            assert!(left.is_null() || (left.as_f64().expect("a number") - 600.0).abs() < 30.0);
        }
        assert_eq!(listed, alone);
    }
    let waiters = page["results"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|shown| shown["waiters"].clone());
    assert!(waiters.eq([json!(2), json!(1), json!(1)]));
}

#[test]
pub(super) fn filters_narrow_and_orderings_order() {
    let server = Server::start();
    let mut client = server.client();
    for (name, body) in [
        ("db-1", r#"{"locked_by": "k", "ttl": 300, "label": "Nightly backup"}"#),
        ("db-2", r#"{"locked_by": "k", "label": "migration"}"#),
        ("DB-3", r#"{"locked_by": "k", "ttl": 100}"#),
        ("d%25", r#"{"locked_by": "k", "ttl": 200, "label": "100% sure_thing"}"#),
        ("d_x", r#"{"locked_by": "k"}"#),
        ("%C3%A9t%C3%A9", r#"{"locked_by": "k", "label": "summer"}"#),
    ] {
        assert_eq!(client.put(name, body).status, 200, "{name}");
    }
    assert_eq!(client.delete("d_x", "k").status, 204);

    for (query, expected) in [
        ("", "DB-3 d% d_x db-1 db-2 été"),
        ("?ordering=name", "DB-3 d% d_x db-1 db-2 été"),
        ("?ordering=-name", "été db-2 db-1 d_x d% DB-3"),
        ("?prefix=db-", "db-1 db-2"),
        ("?prefix=d%25", "d%"),
        ("?prefix=d_", "d_x"),
        ("?prefix=D", "DB-3"),
        ("?prefix=%C3%A9", "été"),
        ("?prefix=", "DB-3 d% d_x db-1 db-2 été"),
        ("?prefix=k", ""),
        ("?locked=true", "DB-3 d% db-1 db-2 été"),
        ("?locked=false", "d_x"),
        ("?locked=1&prefix=d", "d% db-1 db-2"),
        ("?locked=", "DB-3 d% d_x db-1 db-2 été"),
        ("?search=db", "DB-3 db-1 db-2"),
        ("?search=BACKUP", "db-1"),
        ("?search=backup+nightly", "db-1"),
        ("?search=db+backup", "db-1"),
        ("?search=100%25", "d%"),
        ("?search=e_t", "d%"),
        ("?search=%25", "d%"),
        ("?search=k", "db-1"),
        ("?ordering=-ttl&locked=true&search=d", "db-1 d% DB-3 db-2"),
        ("?ordering=ttl,-name&prefix=d", "d% db-1 db-2 d_x"),
        ("?ordering=fencing_token", "db-1 db-2 DB-3 d% d_x été"),
        ("?ordering=-acquired_at&locked=true", "été d% DB-3 db-2 db-1"),
        ("?ordering=expires_at&prefix=db&locked=true", "db-1 db-2"),
        ("?ordering=name,name,-name", "DB-3 d% d_x db-1 db-2 été"),
        ("?ordering=", "DB-3 d% d_x db-1 db-2 été"),
        ("?unknown=x&PREFIX=db", "DB-3 d% d_x db-1 db-2 été"),
    ] {
        let page = list(&mut client, query);
        let got = names(&mut client, query);
        assert_eq!(
            page["count"],
            json!(expected.split_whitespace().count()),
            "{query}: {got}"
        );
        assert_eq!(got, expected, "{query}");
    }
}

#[test]
pub(super) fn an_expired_lock_is_not_listed_as_locked_before_any_sweep() {
    let server = Server::start();
    let mut client = server.client();
    hold(&server, "held");
    let held = client.put("expired", &with_ttl("k", 1));
    assert_eq!(names(&mut client, "?locked=true"), "expired held");
    thread::sleep(Duration::from_secs(1).saturating_sub(held.received.elapsed()));

    assert_eq!(names(&mut client, "?locked=true"), "held");
    let free = list(&mut client, "?locked=false");
    assert_eq!(free["results"][0], look(&server, "expired"));
}

#[test]
pub(super) fn parameters_that_are_wrong_are_told_in_the_frameworks_words() {
    let server = Server::start();
    hold(&server, "r");
    let mut client = server.client();
    let long = "n".repeat(101);
    for (query, expected) in [
        ("locked=maybe", json!({"locked": ["Must be a valid boolean."]})),
        ("prefix=%00", json!({"prefix": ["Null characters are not allowed."]})),
        (
            &format!("prefix={long}"),
            json!({"prefix": ["Ensure this field has no more than 100 characters."]}),
        ),
        ("search=%00", json!({"search": ["Null characters are not allowed."]})),
        (
            &format!("search={}", "s".repeat(301)),
            json!({"search": ["Ensure this field has no more than 300 characters."]}),
        ),
        (
            "search=1+2+3+4+5+6+7+8+9+10+11",
            json!({"search": ["Ensure this field has no more than 10 words."]}),
        ),
        (
            "ordering=locked_by",
            json!({"ordering": ["\"locked_by\" is not a valid choice."]}),
        ),
        (
            "ordering=name,size",
            json!({"ordering": ["\"size\" is not a valid choice."]}),
        ),
        (
            "ordering=--name",
            json!({"ordering": ["\"--name\" is not a valid choice."]}),
        ),
        ("page_size=x", json!({"page_size": ["A valid integer is required."]})),
        (
            "page_size=0",
            json!({"page_size": ["Ensure this value is greater than or equal to 1."]}),
        ),
        (
            "page_size=1001&page=7",
            json!({"page_size": ["Ensure this value is less than or equal to 1000."]}),
        ),
        (
            "locked=x&ordering=y&page_size=z",
            json!({
                "locked": ["Must be a valid boolean."],
                "ordering": ["\"y\" is not a valid choice."],
                "page_size": ["A valid integer is required."],
            }),
        ),
    ] {
        let answer = client.get(&format!("/resources/?{query}"));
        assert_eq!((answer.status, answer.json()), (400, expected), "{query}");
        assert_eq!(client.head(&format!("/resources/?{query}"), &[]).status, 400);
    }
}

#[test]
pub(super) fn links_lead_through_all_pages_and_back() {
    let server = Server::start();
    let mut client = server.client();
    let all: Vec<_> = (0..25).map(|number| format!("r{number:02}")).collect();
    for name in &all {
        assert_eq!(client.put(name, &by("k")).status, 200);
    }
    let url = |query: &str| json!(format!("http://localhost/resources/{query}"));

    let (mut seen, mut back) = (Vec::new(), Vec::new());
    let mut next = json!("http://localhost/resources/?page_size=7&prefix=r&page=1&x=a+b");
    while let Some(path) = next
        .as_str()
        .and_then(|link| link.strip_prefix("http://localhost/resources/"))
    {
        let page = list(&mut client, path);
        assert_eq!(page["count"], json!(25));
        seen.extend(names(&mut client, path).split(' ').map(str::to_owned));
        back.push(page["previous"].clone());
        next = page["next"].clone();
    }

    assert_eq!(seen, all);
    let first = url("?page_size=7&prefix=r&x=a+b");
    let others = [2, 3].map(|page| url(&format!("?page={page}&page_size=7&prefix=r&x=a+b")));
    assert_eq!(back, [&[Value::Null, first], &others[..]].concat());
    let default = list(&mut client, "");
    assert_eq!(
        (default["results"].as_array().map(Vec::len), &default["next"]),
        (Some(10), &url("?page=2"))
    );
    assert_eq!(names(&mut client, "?page=last&page_size=10"), "r20 r21 r22 r23 r24");
    assert_eq!(names(&mut client, "?page_size=1000").len(), 25 * 4 - 1);
    for page in ["0", "-1", "x", "1.0", "4", "99999999999999999999999"] {
        let answer = client.get(&format!("/resources/?page={page}"));
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (404, r#"{"detail":"Invalid page."}"#),
            "{page}"
        );
    }
    assert_eq!(client.get("/resources?page=3").status, 200, "the slash is optional");
}

#[test]
pub(super) fn head_and_options_are_those_of_a_list() {
    let server = Server::start();
    hold(&server, "r");
    let mut client = server.client();

    let get = client.get("/resources/");
    let head = client.head("/resources/", &[]);
    let options = client.request("OPTIONS", "/resources/", "");
    let post = client.request("POST", "/resources/", &by("k"));

    assert_eq!(
        (head.status, head.header("Content-Length")),
        (200, get.header("Content-Length"))
    );
    assert_eq!(get.header("Allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(options.json()["name"], json!("Resource List"));
    assert_eq!(
        (post.status, post.header("Allow")),
        (405, Some("GET, PATCH, DELETE, HEAD, OPTIONS"))
    );
}

#[test]
pub(super) fn a_list_shows_what_was_answered_before_it_was_asked_for() {
    let server = Server::start();
    let mut client = server.client();
    for round in 0..rounds(&server, 100) {
        let name = format!("r{round}");
        let token = client.put(&name, &by("k")).fencing_token();
        let page = list(&mut server.client(), &format!("?prefix={name}&locked=true"));
        assert_eq!(page["results"][0]["fencing_token"], json!(token), "{round}");
        assert_eq!(client.delete(&name, "k").status, 204);
        assert_eq!(
            names(&mut client, &format!("?prefix={name}&locked=true")),
            "",
            "{round}"
        );
    }
    settle_nothing(&server);
}

/// Nobody is in line after all that.
fn settle_nothing(server: &Server) {
    hold(server, "last");
    settle(server, "last");
    assert_eq!(look(server, "last")["waiters"], json!(0));
}
