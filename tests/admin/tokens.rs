//! `/tokens/`: made, listed and revoked over HTTP, within the own rights.

use serde_json::{Value, json};

use crate::access::{guarded, token};
use crate::support::{Answer, Server, eventually};
use std::time::Duration;

on_both! {
    a_token_is_made_that_is_good_and_listed
    a_token_makes_none_that_may_more
    a_token_revokes_none_that_may_more
    what_is_wrong_is_said_field_by_field
}

fn ask(server: &Server, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let authorization = format!("Token {key}");
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    server
        .client()
        .request_with((method, path), &[("Authorization", &authorization)], &body)
}

mod claims {
    use super::*;

    const NO_BODY: Value = Value::Null;

    pub(super) fn a_token_is_made_that_is_good_and_listed() {
        let server = guarded();
        let admin = token(&server, &["root", "--can", "acquire,read,admin"]);
        let wanted = json!({"name": "ci", "verbs": ["read"], "prefixes": ["ci-"], "expires_in": 3600});

        let made = ask(&server, &admin, "POST", "/tokens/", &wanted);

        assert_eq!(made.status, 201, "{}", made.body);
        let made = made.json();
        let key = made["key"].as_str().expect("a key").to_owned();
        eventually("the server knows it", Duration::from_secs(3), || {
            ask(&server, &key, "GET", "/resources/ci-1/", &NO_BODY).status == 404
        });
        assert_eq!(ask(&server, &key, "GET", "/resources/x/", &NO_BODY).status, 403);
        let list = ask(&server, &admin, "GET", "/tokens/?page_size=1", &NO_BODY).json();
        let mut shown = made.clone();
        shown.as_object_mut().expect("an object").remove("key");
        // As the table has it, a moment later.
        shown["created_at"] = list["results"][0]["created_at"].clone();
        assert_eq!((&list["count"], &list["results"]), (&json!(2), &json!([shown])));
        assert!(
            list["next"]
                .as_str()
                .is_some_and(|next| next.ends_with("/tokens/?page=2&page_size=1"))
        );
        let path = format!("/tokens/{}/", made["id"]);
        assert_eq!(ask(&server, &admin, "DELETE", &path, &NO_BODY).status, 204);
        assert_eq!(ask(&server, &admin, "DELETE", &path, &NO_BODY).status, 204);
        eventually("it is refused", Duration::from_secs(3), || {
            ask(&server, &key, "GET", "/resources/ci-1/", &NO_BODY).status == 401
        });
        let list = ask(&server, &admin, "GET", "/tokens/", &NO_BODY).json();
        assert_eq!(list["results"][0]["good"], false);
        assert!(list["results"][0]["revoked_at"].is_string());
    }

    pub(super) fn a_token_makes_none_that_may_more() {
        let server = guarded();
        let some = token(&server, &["some", "--can", "read,admin", "--prefix", "ci-"]);
        let none = token(&server, &["none", "--can", "acquire,read,break"]);
        let make = |key: &str, verbs: Value, prefixes: Value| {
            let wanted = json!({"name": "n", "verbs": verbs, "prefixes": prefixes});
            ask(&server, key, "POST", "/tokens/", &wanted).status
        };

        assert_eq!(make(&some, json!(["read"]), json!(["ci-1"])), 201);
        assert_eq!(make(&some, json!(["admin", "read"]), json!(["ci-"])), 201);
        for (verbs, prefixes) in [
            (json!(["break"]), json!(["ci-"])),
            (json!(["acquire"]), json!(["ci-"])),
            (json!(["read"]), json!([])),
            (json!(["read"]), json!(["ci"])),
            (json!(["read"]), json!(["ci-1", "x"])),
            // What is given if nothing is said may be too much.
            (json!(null), json!(["ci-"])),
        ] {
            assert_eq!(make(&some, verbs.clone(), prefixes.clone()), 403, "{verbs} {prefixes}");
        }
        assert_eq!(make(&none, json!(["read"]), json!([])), 403);
        assert_eq!(server.select("SELECT count(*) FROM tokens"), ["4"]);
    }

    pub(super) fn a_token_revokes_none_that_may_more() {
        let server = guarded();
        token(&server, &["root", "--can", "acquire,read,break,admin"]);
        token(&server, &["x", "--can", "read", "--prefix", "x-"]);
        let some = token(&server, &["some", "--can", "read,admin", "--prefix", "ci-"]);
        token(&server, &["ci", "--can", "read", "--prefix", "ci-1"]);
        let delete = |id: &str| ask(&server, &some, "DELETE", &format!("/tokens/{id}/"), &NO_BODY).status;

        let list = ask(&server, &some, "GET", "/tokens/", &NO_BODY).json();
        let listed: Vec<_> = list["results"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|it| &it["name"])
            .collect();

        assert_eq!(listed, ["ci", "some"]);
        for id in ["1", "2", "99", "x", "-1", "%20"] {
            assert_eq!(delete(id), 404, "{id}");
        }
        assert_eq!(delete("4"), 204);
        assert_eq!(
            server.select("SELECT id FROM tokens WHERE revoked_at_us IS NOT NULL"),
            ["4"]
        );
    }

    pub(super) fn what_is_wrong_is_said_field_by_field() {
        let server = guarded();
        let admin = token(&server, &["root", "--can", "acquire,read,admin"]);

        let answer = ask(
            &server,
            &admin,
            "POST",
            "/tokens/",
            &json!({"name": "", "verbs": ["x"], "prefixes": [""], "expires_in": 0}),
        );

        assert_eq!(answer.status, 400);
        assert_eq!(
            answer.json(),
            json!({
                "name": ["This field may not be blank."],
                "verbs": {"0": ["\"x\" is not a valid choice."]},
                "prefixes": {"0": ["This field may not be blank."]},
                "expires_in": ["Ensure this value is greater than or equal to 1."]
            })
        );
    }
}

#[test]
fn without_tokens_nobody_makes_one() {
    let server = Server::start();
    let mut client = server.client();

    assert_eq!(client.get("/tokens/").status, 403);
    assert_eq!(client.request("POST", "/tokens/", r#"{"name": "a"}"#).status, 403);
    assert_eq!(client.request("DELETE", "/tokens/1/", "").status, 403);
    assert!(server.select("SELECT id FROM tokens").is_empty());
}
