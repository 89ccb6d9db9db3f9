//! Requests that are wrong, and settings that bound them.

use serde_json::json;

use super::*;

const NO_ID: &str = "The body is no LockInfo with an ID of 1 to 100 characters. State is not stored here.";

fn ask(client: &mut Client, method: &str, path: &str, body: &str) -> (u16, Value) {
    let answer = client.request_with((method, path), &HEADERS, body);
    (answer.status, answer.json())
}

#[test]
fn whoever_takes_it_for_a_place_of_state_is_told() {
    let server = Server::start();
    let mut client = server.client();
    let detail = "State is not stored here: let lock_address and unlock_address name this URL, and address one that stores \
                  state.";

    // Not 404: Terraform would take that for an empty state, and make everything anew.
    let read = client.get(PATH);
    let state = r#"{"version": 4, "terraform_version": "1.11.4", "serial": 1, "lineage": "l", "outputs": {}}"#;
    let written = ask(&mut client, "POST", "/terraform/prod/?ID=27b68d25", state);
    let patched = client.request_with(("PATCH", PATH), &HEADERS, state);

    assert_eq!((read.status, read.json()), (405, json!({"detail": detail})));
    assert_eq!(read.header("Allow"), Some("POST, PUT, DELETE, OPTIONS, LOCK, UNLOCK"));
    assert_eq!(written, (400, json!({"detail": NO_ID})));
    assert_eq!((patched.status, patched.header("Allow")), (405, read.header("Allow")));
    assert_eq!(client.head(PATH, &[]).status, 405);
    let options = client.request("OPTIONS", PATH, "");
    assert_eq!((options.status, options.header("Allow")), (200, read.header("Allow")));
}

#[test]
fn a_body_without_a_good_id_is_refused() {
    let server = Server::start();
    let mut client = server.client();
    let long = json!({"ID": "x".repeat(101)}).to_string();

    for body in [
        "{}",
        r#"{"ID": ""}"#,
        r#"{"ID": null}"#,
        r#"{"ID": []}"#,
        &long,
        r#"{"Who": "me"}"#,
    ] {
        for method in ["LOCK", "UNLOCK"] {
            assert_eq!(
                ask(&mut client, method, PATH, body),
                (400, json!({"detail": NO_ID})),
                "{method} {body}"
            );
        }
    }
    assert_eq!(ask(&mut client, "LOCK", PATH, "").0, 400);
    assert_eq!(ask(&mut client, "LOCK", PATH, "[]").0, 400);
    assert_eq!(ask(&mut client, "LOCK", PATH, "{").0, 400);
    let text = client.request_as(("LOCK", PATH), "text/plain", HOLDER);
    assert_eq!(text.status, 415);
}

#[test]
fn what_is_told_to_others_is_text_whatever_was_sent() {
    let server = Server::start();
    let mut client = server.client();
    let wrong = r#"{"ID": "i", "Who": [], "Info": {}, "Path": true}"#;
    let not_a_string = json!(["Not a valid string."]);
    let long = json!({"ID": "i", "Version": "x".repeat(201)}).to_string();
    let sparse = r#"{"ID": "sparse", "Created": "yesterday", "More": 1}"#;

    let refused = json!({"Info": not_a_string, "Who": not_a_string, "Path": not_a_string});
    assert_eq!(ask(&mut client, "LOCK", PATH, wrong), (400, refused));
    let too_long = json!({"Version": ["Ensure this field has no more than 200 characters."]});
    assert_eq!(ask(&mut client, "LOCK", PATH, &long), (400, too_long));
    assert_eq!(ask(&mut client, "LOCK", PATH, sparse).0, 200);
    let told =
        r#"{"ID":"sparse","Operation":"","Info":"","Who":"","Version":"","Created":"0001-01-01T00:00:00Z","Path":""}"#;
    assert_held_by(&lock(&mut client, HOLDER), told);
}

#[test]
fn the_query_is_held_to_the_settings() {
    let server = Server::start_with(&[("MAX_TTL", "60"), ("MAX_TIMEOUT", "5"), ("DEFAULT_TTL", "30")]);
    let mut client = server.client();

    for (query, errors) in [
        (
            "ttl=61&timeout=6",
            json!({
                "ttl": ["Ensure this value is less than or equal to 60."],
                "timeout": ["Ensure this value is less than or equal to 5."],
            }),
        ),
        (
            "ttl=0",
            json!({"ttl": ["Ensure this value is greater than or equal to 1."]}),
        ),
        ("timeout=soon", json!({"timeout": ["A valid integer is required."]})),
    ] {
        let path = format!("{PATH}?{query}");
        assert_eq!(ask(&mut client, "LOCK", &path, HOLDER), (400, errors), "{query}");
    }
    hold(&server);
    assert_eq!(look(&server)["ttl"], 30, "DEFAULT_TTL");
    assert_eq!(unlock(&mut client, HOLDER).status, 200);
    assert_eq!(
        ask(&mut client, "LOCK", "/terraform/prod/?ttl=60&timeout=0", HOLDER).0,
        200
    );
    assert_eq!(look(&server)["ttl"], 60);
}

#[test]
fn a_name_has_room_for_what_stands_before_it() {
    let server = Server::start();
    let mut client = server.client();
    let detail = "The name of a state is 1 to 90 characters, none of them U+0000.";

    for name in [&"x".repeat(91), "%00"] {
        for method in ["LOCK", "UNLOCK"] {
            let path = format!("/terraform/{name}/");
            assert_eq!(
                ask(&mut client, method, &path, HOLDER),
                (400, json!({"detail": detail})),
                "{method} {name}"
            );
        }
    }
    let longest = format!("/terraform/{}/", "x".repeat(90));
    assert_eq!(ask(&mut client, "LOCK", &longest, HOLDER).0, 200);
    assert_eq!(client.get("/terraform/a/b/").status, 404);
}

#[test]
fn a_client_waits_no_oftener_than_it_may() {
    let server = Server::start_with(&[("CLIENT_WAITERS_MAX", "0")]);
    hold(&server);

    let refused = server
        .client()
        .request_with(("LOCK", "/terraform/prod/?timeout=60"), &HEADERS, OTHER);

    // Terraform asks again after 429, as Retry-After says.
    assert_eq!((refused.status, refused.header("Retry-After")), (429, Some("1")));
}
