//! What is wrong with a request is told in the framework's words, on every
//! route; nothing is locked then, and nothing changed.

use serde_json::{Value, json};

use super::{hold, in_line, one_worker, release, with_timeout};
use crate::support::{Client, Server};

/// Each operation that has a body, with what it needs beside what is tested.
const OPERATIONS: [(&str, &str); 10] = [
    ("PUT", "/resources/new/"),
    ("PATCH", "/resources/held/"),
    ("DELETE", "/resources/held/"),
    ("PATCH", "/resources/"),
    ("DELETE", "/resources/"),
    ("POST", "/locks/"),
    ("POST", "/resources/new/acquire/"),
    ("POST", "/resources/held/renew/"),
    ("POST", "/resources/held/release/"),
    ("POST", "/resources/held/check/"),
];

const REQUIRED: &str = "This field is required.";
const NOT_TEXT: &str = "Not a valid string.";
const NOT_INTEGER: &str = "A valid integer is required.";

struct Unchanged {
    server: Server,
    before: Vec<String>,
    client: Client,
}

impl Unchanged {
    fn new() -> Self {
        let server = one_worker();
        let body = r#"{"locked_by": "holder", "ttl": 3600, "label": "before"}"#;
        assert_eq!(server.client().put("held", body).status, 200);
        let before = server.select("SELECT * FROM resources");
        let client = server.client();
        Self { server, before, client }
    }

    fn expect(&mut self, target: (&str, &str), body: &str, expected: &Value) {
        let answer = self.client.request(target.0, target.1, body);
        let shown = &body[..body.len().min(200)];
        assert_eq!((answer.status, &answer.json()), (400, expected), "{target:?} {shown}");
        assert_eq!(answer.header("Fencing-Token"), None);
    }
}

impl Drop for Unchanged {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.server.select("SELECT * FROM resources"), self.before);
        }
    }
}

#[test]
pub(super) fn bodies_that_are_no_objects() {
    let mut unchanged = Unchanged::new();
    for target in OPERATIONS {
        for body in [
            "{",
            "{\"locked_by\": \"holder\"",
            "{'locked_by': 1}",
            "nul",
            "{} {}",
            "[1,]",
            " ",
            "\u{feff}{}",
        ] {
            let answer = unchanged.client.request(target.0, target.1, body);
            assert_eq!(answer.status, 400, "{target:?} {body}");
            let detail = answer.json()["detail"].as_str().expect("a message").to_owned();
            assert!(detail.starts_with("JSON parse error - "), "{target:?} {body}: {detail}");
        }
        let deep = format!("{{\"locked_by\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let answer = unchanged.client.request(target.0, target.1, &deep);
        assert_eq!(answer.status, 400, "{target:?}");
        for (body, found) in [
            ("[]", "list"),
            ("\"x\"", "str"),
            ("5", "int"),
            ("1.5", "float"),
            ("true", "bool"),
        ] {
            let message = format!("Invalid data. Expected a dictionary, but got {found}.");
            unchanged.expect(target, body, &json!({"non_field_errors": [message]}));
        }
        unchanged.expect(target, "null", &json!({"non_field_errors": ["No data provided"]}));
    }
}

#[test]
pub(super) fn what_is_missing() {
    let mut unchanged = Unchanged::new();
    for target in OPERATIONS {
        for body in ["", "{}", r#"{"LOCKED_BY": "holder", "resource": ["a"]}"#] {
            let expected = match target {
                (_, "/locks/") => json!({"resources": [REQUIRED], "locked_by": [REQUIRED]}),
                (_, "/resources/held/check/") => json!({"fencing_token": [REQUIRED]}),
                _ => json!({"locked_by": [REQUIRED]}),
            };
            unchanged.expect(target, body, &expected);
        }
    }
    let token = ("POST", "/resources/held/check/");
    unchanged.expect(
        token,
        r#"{"fencing_token": null}"#,
        &json!({"fencing_token": ["This field may not be null."]}),
    );
    unchanged.expect(
        token,
        r#"{"fencing_token": ""}"#,
        &json!({"fencing_token": [NOT_INTEGER]}),
    );
}

#[test]
pub(super) fn keys_that_are_none() {
    let mut unchanged = Unchanged::new();
    let long = "k".repeat(101);
    let huge = "k".repeat(500_000);
    let too_long = "Ensure this field has no more than 100 characters.";
    for target in OPERATIONS.iter().filter(|(_, path)| !path.ends_with("check/")) {
        for (key, message) in [
            (json!(null), "This field may not be null."),
            (json!(""), "This field may not be blank."),
            (json!(" \u{3000}"), "This field may not be blank."),
            (json!(["holder"]), NOT_TEXT),
            (json!({"holder": 1}), NOT_TEXT),
            (json!(true), NOT_TEXT),
            (json!("holder\u{0}"), "Null characters are not allowed."),
            (json!(long), too_long),
            (json!(huge), too_long),
        ] {
            let body = json!({"locked_by": key, "resources": ["new"]}).to_string();
            unchanged.expect(*target, &body, &json!({"locked_by": [message]}));
        }
        let surrogate = r#"{"locked_by": "\ud800", "resources": ["new"]}"#;
        let message = "Surrogate characters are not allowed: U+D800.";
        unchanged.expect(*target, surrogate, &json!({"locked_by": [message]}));
    }
}

#[test]
pub(super) fn numbers_that_are_none_or_too_large() {
    let mut unchanged = Unchanged::new();
    let digits = "9".repeat(1001);
    let fields: [(&str, &[usize], i64, i64); 3] = [
        ("ttl", &[0, 1, 3, 5, 6, 7], 1, 2_147_483_647),
        ("timeout", &[0, 5, 6], 0, 2_147_483_647),
        ("fencing_token", &[1, 2, 7, 8, 9], 0, i64::MAX),
    ];
    for (field, operations, min, max) in fields {
        let above = format!("Ensure this value is less than or equal to {max}.");
        let below = format!("Ensure this value is greater than or equal to {min}.");
        for operation in operations {
            for (value, message) in [
                (format!("{}", min - 1), &below),
                ("-99999999999999999999999999".to_owned(), &below),
                (format!("{}", i128::from(max) + 1), &above),
                ("99999999999999999999999999".to_owned(), &above),
                ("\"9223372036854775808\"".to_owned(), &above),
                ("1e400".to_owned(), &NOT_INTEGER.to_owned()),
                ("1.5".to_owned(), &NOT_INTEGER.to_owned()),
                ("true".to_owned(), &NOT_INTEGER.to_owned()),
                ("\"x\"".to_owned(), &NOT_INTEGER.to_owned()),
                ("[5]".to_owned(), &NOT_INTEGER.to_owned()),
                ("{}".to_owned(), &NOT_INTEGER.to_owned()),
                (format!("\"{digits}\""), &"String value too large.".to_owned()),
            ] {
                let body = format!("{{\"locked_by\": \"holder\", \"resources\": [\"new\"], \"{field}\": {value}}}");
                unchanged.expect(OPERATIONS[*operation], &body, &json!({field: [message]}));
            }
        }
    }
}

#[test]
pub(super) fn labels_that_are_none_or_too_long() {
    let mut unchanged = Unchanged::new();
    let too_long = "Ensure this field has no more than 200 characters.";
    for operation in [0, 1, 5, 6, 7] {
        for (label, message) in [
            (json!(["l"]), NOT_TEXT),
            (json!({"l": 1}), NOT_TEXT),
            (json!(false), NOT_TEXT),
            (json!("l\u{0}"), "Null characters are not allowed."),
            (json!("é".repeat(201)), too_long),
            (json!("l".repeat(1_000_000)), too_long),
        ] {
            let body = json!({"locked_by": "holder", "resources": ["new"], "label": label}).to_string();
            unchanged.expect(OPERATIONS[operation], &body, &json!({"label": [message]}));
        }
    }
}

#[test]
pub(super) fn everything_that_is_wrong_is_told_at_once_in_the_order_of_the_fields() {
    let mut unchanged = Unchanged::new();
    let name = "n".repeat(101);
    let body = r#"{"label": [], "timeout": -1, "ttl": 0, "locked_by": "", "resources": [], "fencing_token": "x"}"#;
    let order = |client: &mut Client, method: &str, path: &str| {
        let answer = client.request(method, path, body);
        assert_eq!(answer.status, 400, "{}", answer.body);
        let (fields, _) = answer.body.rsplit_once("\":").expect("an object");
        let keys = fields.split("\":").filter_map(|part| part.rsplit_once('"'));
        keys.map(|(_, key)| key.to_owned()).collect::<Vec<_>>().join(" ")
    };
    let client = &mut unchanged.client;
    assert_eq!(
        order(client, "PUT", &format!("/resources/{name}/")),
        "name locked_by ttl timeout label"
    );
    assert_eq!(
        order(client, "POST", "/locks/"),
        "resources locked_by ttl timeout label"
    );
    assert_eq!(
        order(client, "PATCH", "/resources/held/"),
        "locked_by ttl label fencing_token"
    );
    assert_eq!(order(client, "DELETE", "/resources/held/"), "locked_by fencing_token");
    assert_eq!(order(client, "PATCH", "/resources/"), "locked_by ttl");
    assert_eq!(order(client, "DELETE", "/resources/"), "locked_by");
    assert_eq!(order(client, "POST", "/resources/held/check/"), "fencing_token");
}

#[test]
pub(super) fn types_of_bodies_that_are_not_read() {
    let mut unchanged = Unchanged::new();
    for target in OPERATIONS {
        for content_type in ["text/plain", "application/xml", "application/json-patch+json", "x"] {
            let answer = unchanged
                .client
                .request_as(target, content_type, r#"{"locked_by": "holder"}"#);
            let detail = format!("Unsupported media type \"{content_type}\" in request.");
            assert_eq!(
                (answer.status, answer.json()),
                (415, json!({"detail": detail})),
                "{target:?}"
            );
        }
        let broken = unchanged.client.request_as(target, "multipart/form-data", "x");
        assert_eq!(broken.status, 400, "{target:?}");
        // Its body is not read, so the connection ends with it.
        let accepted = unchanged.server.client().request_with(
            target,
            &[("Accept", "application/xml")],
            r#"{"locked_by": "holder"}"#,
        );
        assert_eq!(accepted.status, 406, "{target:?}");
    }
}

#[test]
pub(super) fn files_and_many_fields_are_no_texts() {
    let mut unchanged = Unchanged::new();
    let file = "--b\r\nContent-Disposition: form-data; name=\"label\"; filename=\"f\"\r\n\r\nx\r\n\
                --b\r\nContent-Disposition: form-data; name=\"locked_by\"\r\n\r\nholder\r\n\
                --b\r\nContent-Disposition: form-data; name=\"resources\"; filename=\"f\"\r\n\r\nx\r\n--b--\r\n";
    for (operation, expected) in [
        (0, json!({"label": [NOT_TEXT]})),
        (1, json!({"label": [NOT_TEXT]})),
        (5, json!({"resources": {"0": [NOT_TEXT]}, "label": [NOT_TEXT]})),
    ] {
        let answer = unchanged
            .client
            .request_as(OPERATIONS[operation], "multipart/form-data; boundary=b", file);
        assert_eq!((answer.status, answer.json()), (400, expected));
    }
    let many = "a=1&".repeat(1001);
    for target in OPERATIONS {
        let answer = unchanged
            .client
            .request_as(target, "application/x-www-form-urlencoded", &many);
        assert_eq!(answer.status, 400, "{target:?}");
    }
}

#[test]
pub(super) fn a_bad_request_disturbs_nobody_in_line() {
    let server = one_worker();
    hold(&server, "held");
    let mut waiter = in_line(&server, "held", &with_timeout("w", 60));
    let mut client = server.client();
    for target in OPERATIONS {
        assert_eq!(
            client.request(target.0, target.1, r#"{"locked_by": []}"#).status,
            400,
            "{target:?}"
        );
    }
    release(&server, "held");
    assert_eq!(waiter.answer().status, 200);
}
