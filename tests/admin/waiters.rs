//! `/resources/{name}/waiters/`: who waits, in order, and never with what key.

use std::time::Duration;

use serde_json::{Value, json};

use crate::access::{guarded, token};
use crate::support::{Server, eventually};

on_both! {
    the_line_is_shown_in_order
    the_line_is_for_who_may_read_it
}

fn line(server: &Server, query: &str) -> Value {
    let answer = server.client().get(&format!("/resources/a/waiters/{query}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

mod claims {
    use super::*;

    pub(super) fn the_line_is_shown_in_order() {
        let server = Server::start();
        let mut holder = server.client();
        assert_eq!(line(&server, "")["count"], 0);
        assert_eq!(holder.put("a", r#"{"locked_by": "secret-0"}"#).status, 200);
        let (mut first, mut second) = (server.client(), server.client());

        first.send_put(
            "a",
            r#"{"locked_by": "secret-1", "timeout": 100, "label": "first <b>"}"#,
        );
        eventually("it waits", Duration::from_secs(5), || line(&server, "")["count"] == 1);
        second.send_put("a", r#"{"locked_by": "secret-2", "timeout": 50}"#);
        eventually("both wait", Duration::from_secs(5), || line(&server, "")["count"] == 2);

        let shown = line(&server, "");
        assert!(!shown.to_string().contains("secret"));
        let waiters = shown["results"].as_array().expect("a list");
        let of = |field: &str| waiters.iter().map(|it| it[field].clone()).collect::<Vec<_>>();
        assert_eq!(of("position"), [json!(1), json!(2)]);
        assert_eq!(of("label"), [json!("first <b>"), json!(null)]);
        assert_eq!(of("owner"), [json!(null), json!(null)]);
        assert!(
            waiters.iter().all(|it| it["since"].as_str() < it["until"].as_str()),
            "{shown}"
        );
        assert!(of("until")[0].as_str() > of("until")[1].as_str(), "{shown}");
        let page = line(&server, "?page_size=1&page=2");
        assert_eq!(page["results"], json!([waiters[1]]));
        assert_eq!(holder.delete("a", "secret-0").status, 204);
        assert_eq!(first.answer().status, 200);
        eventually("one is left", Duration::from_secs(5), || {
            line(&server, "")["count"] == 1
        });
    }

    pub(super) fn the_line_is_for_who_may_read_it() {
        let server = guarded();
        let reader = token(&server, &["reader", "--can", "read", "--prefix", "a"]);
        let other = token(&server, &["other", "--can", "acquire"]);
        let get = |key: &str, name: &str| {
            let authorization = format!("Token {key}");
            let target = format!("/resources/{name}/waiters/");
            server
                .client()
                .request_with(("GET", &target), &[("Authorization", &authorization)], "")
                .status
        };

        assert_eq!(get(&reader, "a"), 200);
        assert_eq!(get(&reader, "b"), 403);
        assert_eq!(get(&other, "a"), 403);
    }
}
