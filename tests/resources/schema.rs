//! The document at `/schema/`, held against what a real server does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{by, with_timeout, with_ttl};
use crate::support::{Answer, Server, on_postgres};

/// The methods that a document can describe.
const METHODS: [&str; 7] = ["GET", "PUT", "POST", "PATCH", "DELETE", "TRACE", "LINK"];

/// The headers of answers that belong to the contract.
const HEADERS: [&str; 5] = ["Allow", "ETag", "Fencing-Token", "Preference-Applied", "Retry-After"];

/// A request, and the operation that it is of.
struct Sent<'r> {
    method: &'r str,
    /// As the document has it.
    template: &'r str,
    /// What stands for the name, and the query.
    name: &'r str,
    query: &'r str,
    headers: &'r [(&'r str, &'r str)],
    body: &'r str,
}

impl Default for Sent<'_> {
    fn default() -> Self {
        Self {
            method: "PUT",
            template: "/resources/{name}/",
            name: "a",
            query: "",
            headers: &[("Content-Type", "application/json")],
            body: "",
        }
    }
}

impl Sent<'_> {
    fn to(&self, server: &Server) -> Answer {
        let path = self.template.replace("{name}", self.name).replace("{id}", self.name);
        let mut request = format!("{} {path}{} HTTP/1.1\r\n", self.method, self.query);
        let length = self.body.len().to_string();
        for (name, value) in [("Host", "localhost"), ("Content-Length", &length)]
            .iter()
            .chain(self.headers)
        {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut client = server.client();
        client.send_raw(format!("{request}\r\n{}", self.body).as_bytes());
        client.answer()
    }
}

/// The document of a server, made strict: what a type does not name is wrong.
struct Document(Value);

impl Document {
    fn of(server: &Server) -> Self {
        let answer = server.client().request("GET", "/schema/", "");
        assert_eq!(answer.status, 200);
        let mut document: Value = serde_json::from_str(&answer.body).expect("it is JSON");
        // What is part of others by allOf cannot be.
        for name in [
            "Representation",
            "Acquired",
            "Detail",
            "PaginatedResponse",
            "Validity",
            "NotHeld",
            "LockInfo",
            "Health",
            "Ready",
            "NotReady",
            "WaiterShown",
            "TokenPage",
            "WaiterPage",
        ] {
            document["components"]["schemas"][name]["additionalProperties"] = json!(false);
        }
        Self(document)
    }

    /// Each operation's path and method.
    fn operations(&self) -> BTreeMap<&str, BTreeSet<String>> {
        let paths = self.0["paths"].as_object().expect("an object").iter();
        paths
            .map(|(path, item)| {
                let methods = item.as_object().expect("an object").keys();
                (path.as_str(), methods.map(|method| method.to_uppercase()).collect())
            })
            .collect()
    }

    fn resolve<'d>(&'d self, value: &'d Value) -> &'d Value {
        match value["$ref"].as_str() {
            None => value,
            Some(reference) => self.0.pointer(&reference[1..]).expect("it refers to itself"),
        }
    }

    /// What is wrong with an answer to an operation; nothing if it is described.
    fn problem(&self, method: &str, template: &str, answer: &Answer) -> Option<String> {
        let operation = &self.0["paths"][template][method.to_lowercase()];
        let response = self.resolve(&operation["responses"][answer.status.to_string()]);
        if response.is_null() {
            return Some(format!("{} is not described", answer.status));
        }
        for name in HEADERS {
            if answer.header(name).is_some() && response["headers"][name].is_null() {
                return Some(format!("{name} is not described for {}", answer.status));
            }
        }
        let media_type = match (answer.header("Content-Type"), answer.body.is_empty()) {
            (None, true) => {
                return response["content"]
                    .as_object()
                    .map(|_| "a body was promised".to_owned());
            }
            (Some(media_type), false) => media_type.split(';').next().expect("one piece at least"),
            _ => return Some("a type without a body, or a body without one".to_owned()),
        };
        let Some(content) = response["content"].get(media_type) else {
            return Some(format!("{media_type} is not described for {}", answer.status));
        };
        if media_type != "application/json" {
            return None;
        }
        let body: Value = serde_json::from_str(&answer.body).expect("it is JSON");
        self.violation(&content["schema"], &body)
    }

    fn violation(&self, schema: &Value, body: &Value) -> Option<String> {
        let mut schema = schema.clone();
        schema["components"] = self.0["components"].clone();
        schema["unevaluatedProperties"] = json!(false);
        let validator = jsonschema::draft202012::new(&schema).expect("it is a schema");
        let error = validator.iter_errors(body).next()?;
        Some(format!("{error}: {body}"))
    }
}

#[test]
fn each_operation_is_served_and_no_other() {
    let server = Server::start();
    let document = Document::of(&server);
    let template_of = |path: &str| path.replace("/resources/", "/resource/");

    for (path, methods) in document.operations() {
        let has_get = methods.contains("GET");
        let mut allowed = methods.clone();
        allowed.insert("OPTIONS".to_owned());
        // Those that no document can describe.
        allowed.extend(
            path.starts_with("/terraform/")
                .then_some(["LOCK", "UNLOCK"])
                .into_iter()
                .flatten()
                .map(str::to_owned),
        );
        allowed.extend(has_get.then(|| "HEAD".to_owned()));
        let without_slash = path.trim_end_matches('/').to_owned();
        let mut spellings = vec![path.to_owned(), without_slash];
        if path.contains("{name}") {
            spellings.push(template_of(path));
        }
        for template in &spellings {
            for method in METHODS {
                let sent = Sent {
                    method,
                    template,
                    body: "{}",
                    ..Sent::default()
                };
                let answer = sent.to(&server);
                let is_described = methods.contains(method);
                assert_eq!(
                    answer.status != 405,
                    is_described,
                    "{method} {template}: {}",
                    answer.status
                );
                if !is_described {
                    let names = answer.header("Allow").expect("405 has it").split(", ");
                    let names: BTreeSet<String> = names.map(str::to_owned).collect();
                    assert_eq!(names, allowed, "{method} {template}");
                }
            }
            let options = server.client().request("OPTIONS", template, "");
            assert_eq!(options.status, 200, "OPTIONS {template}");
        }
    }
}

#[test]
fn no_path_is_left_out() {
    let server = Server::start();
    let document = Document::of(&server);
    let described: Vec<&str> = document.operations().into_keys().collect();

    let source = include_str!("../../src/resources/urls.rs");
    let routes = source.lines().filter_map(|line| line.trim().strip_prefix("/// `/"));
    let routes: BTreeSet<&str> = routes.filter_map(|route| route.strip_suffix('`')).collect();

    assert_eq!(routes.len(), 14, "{routes:?}");
    for route in routes {
        let prefix = route.split("{action}").next().expect("one piece at least");
        let found = described.iter().filter(|path| path[1..].starts_with(prefix));
        assert!(found.count() > 0, "/{route} is not described");
    }
}

#[test]
fn what_is_answered_is_described_on_postgres() {
    on_postgres(what_is_answered_is_described);
}

#[test]
fn what_is_answered_is_described() {
    let server = Server::start_with(&[("WAITERS_PER_RESOURCE_MAX", "0")]);
    let document = Document::of(&server);
    let json = ("Content-Type", "application/json");
    let prefer = ("Prefer", "return=representation");
    let key = ("Idempotency-Key", "k");
    let large = format!("{{\"x\": \"{}\"}}", "x".repeat(1 << 20));
    let fields = "a&".repeat(1001);
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let (mine, longer) = (by("key"), with_ttl("key", 60));
    let waiting = with_timeout("other", 1);
    let locks = |names: &str| format!("{{\"resources\": [{names}], \"locked_by\": \"key\"}}");
    let (pair, none) = (locks("\"p\", \"q\""), locks(""));
    let twice = locks("\"p\", 5, null");
    let long = "x".repeat(101);
    const LIST: &str = "/resources/";
    const ONE: &str = "/resources/{name}/";
    const LOCKS: &str = "/locks/";
    const STATE: &str = "/terraform/{name}/";

    let mut seen: BTreeMap<(String, &str), BTreeSet<u16>> = BTreeMap::new();
    let mut hold = |sent: Sent<'_>, template: &'static str, status: u16| {
        let answer = sent.to(&server);
        let what = format!(
            "{} {template} {} {}",
            sent.method,
            sent.query,
            sent.body.get(..99).unwrap_or(sent.body)
        );
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
        let problem = document.problem(sent.method, template, &answer);
        assert_eq!(problem, None, "{what}: {}", answer.body);
        seen.entry((sent.method.to_owned(), template))
            .or_default()
            .insert(status);
        answer
    };
    let mut ask = |template: &'static str, method, query, headers: &[(&str, &str)], body: &str, status| {
        let sent = Sent {
            method,
            template,
            query,
            headers,
            body,
            ..Sent::default()
        };
        hold(sent, template, status)
    };

    ask(ONE, "GET", "", &[], "", 404);
    ask(ONE, "DELETE", "", &[json], &mine, 400);
    ask(ONE, "PATCH", "", &[json], &mine, 400);
    ask(ONE, "PUT", "", &[json, key], &mine, 200);
    ask(ONE, "PUT", "", &[json, key], &mine, 200);
    ask(ONE, "PUT", "", &[json, key], &longer, 422);
    ask(ONE, "PUT", "", &[json], &mine, 400);
    ask(ONE, "PUT", "", &[json, prefer], &mine, 400);
    ask(ONE, "PUT", "", &[json], &waiting, 429);
    ask(ONE, "PUT", "", &[json], "{\"ttl\": 0}", 400);
    ask(ONE, "PUT", "", &[json], "{", 400);
    ask(ONE, "PUT", "", &form, &fields, 400);
    ask(ONE, "PUT", "", &[json], &large, 413);
    ask(ONE, "PUT", "", &[("Content-Type", "text/plain")], "x", 415);
    ask(ONE, "PUT", "", &[json, ("Accept", "text/html")], &mine, 406);
    ask(ONE, "PUT", "?format=xml", &[json], &mine, 404);
    let shown = ask(ONE, "GET", "", &[], "", 200);
    let tag = shown.header("ETag").expect("it has a tag").to_owned();
    ask(ONE, "GET", "", &[("If-None-Match", &tag)], "", 304);
    ask(ONE, "GET", "?wait=x", &[], "", 400);
    ask(ONE, "PATCH", "", &[json], &longer, 200);
    ask(ONE, "PATCH", "", &[json], "[]", 400);
    ask(
        "/resources/{name}/check/",
        "POST",
        "",
        &[json],
        "{\"fencing_token\": 1}",
        200,
    );
    ask(
        "/resources/{name}/check/",
        "POST",
        "",
        &[json],
        "{\"fencing_token\": 0}",
        409,
    );
    ask("/resources/{name}/check/", "POST", "", &[json], "{}", 400);
    ask("/resources/{name}/renew/", "POST", "", &[json], &mine, 200);
    ask("/resources/{name}/acquire/", "POST", "", &[json], &mine, 400);
    ask("/resources/{name}/release/", "POST", "", &[json], "{}", 400);
    ask("/resources/{name}/release/", "POST", "", &[json], &mine, 204);
    ask("/resources/{name}/release/", "POST", "", &[json], &mine, 400);
    ask("/resources/{name}/acquire/", "POST", "", &[json, prefer], &longer, 200);
    let reason = "{\"reason\": \"gone\"}";
    ask("/resources/{name}/break/", "POST", "", &[json], "{}", 400);
    ask("/resources/{name}/break/", "POST", "", &[json], reason, 200);
    ask("/resources/{name}/break/", "POST", "", &[json], reason, 400);
    ask("/resources/{name}/release/", "POST", "", &[json], &mine, 400);
    ask("/resources/{name}/renew/", "POST", "", &[json, prefer], &mine, 400);
    ask("/resources/{name}/acquire/", "POST", "", &[json], &longer, 200);
    const EVENTS: &str = "/events/";
    const HISTORY: &str = "/resources/{name}/history/";
    ask(HISTORY, "GET", "", &[], "", 200);
    ask(HISTORY, "GET", "?page=99", &[], "", 404);
    ask(HISTORY, "GET", "?page_size=0", &[], "", 400);
    ask(EVENTS, "GET", "?ordering=-id", &[], "", 200);
    ask(EVENTS, "GET", "?page=99", &[], "", 404);
    ask(EVENTS, "GET", "?since=x&event=x", &[], "", 400);
    // Its 200 does not end; tests of the stream read it.
    ask("/events/stream/", "GET", "?since=x", &[], "", 400);
    ask(LIST, "GET", "", &[], "", 200);
    ask(LIST, "GET", "?page=9", &[], "", 404);
    ask(LIST, "GET", "?page_size=0&ordering=x", &[], "", 400);
    ask(LIST, "PATCH", "", &[json], &longer, 200);
    ask(LIST, "PATCH", "", &[json], "{}", 400);
    ask(LIST, "DELETE", "", &[json], &mine, 200);
    ask(LIST, "DELETE", "", &[json], "{}", 400);
    ask(LOCKS, "POST", "", &[json, key], &pair, 200);
    ask(LOCKS, "POST", "", &[json], &pair, 400);
    ask(LOCKS, "POST", "", &[json], &none, 400);
    ask(LOCKS, "POST", "", &[json], &twice, 400);
    let info = |id: &str| format!("{{\"ID\": \"{id}\", \"Who\": \"me@host\"}}");
    let (one, two) = (info("one"), info("two"));
    ask(STATE, "DELETE", "", &[json], &one, 409);
    ask(STATE, "POST", "?ttl=60", &[json], &one, 200);
    ask(STATE, "PUT", "?timeout=1", &[json], &two, 429);
    ask(STATE, "PUT", "", &[json], &two, 423);
    ask(STATE, "PUT", "", &[json], "{}", 400);
    ask(STATE, "PUT", "?ttl=x", &[json], &two, 400);
    ask(STATE, "PUT", "", &[json], "{\"ID\": \"i\", \"Who\": []}", 400);
    ask(STATE, "DELETE", "", &[json], &two, 423);
    ask(STATE, "DELETE", "", &[json], "{}", 400);
    ask(STATE, "DELETE", "", &[], "", 200);
    ask(STATE, "DELETE", "", &[json], &one, 409);
    const WAITERS: &str = "/resources/{name}/waiters/";
    ask(WAITERS, "GET", "", &[], "", 200);
    ask(WAITERS, "GET", "?page=2", &[], "", 404);
    ask(WAITERS, "GET", "?page_size=0", &[], "", 400);
    // What they answer to an administrator is held against the document below.
    ask("/tokens/", "GET", "", &[], "", 403);
    ask("/tokens/", "POST", "", &[json], "{\"name\": \"ci\"}", 403);
    ask("/tokens/{id}/", "DELETE", "", &[], "", 403);
    ask("/schema/", "GET", "", &[], "", 200);
    ask("/schema/", "GET", "?format=yaml", &[], "", 200);
    ask("/schema/", "GET", "", &[("Accept", "application/yaml")], "", 200);
    ask("/schema/", "GET", "?format=xml", &[], "", 404);
    for template in ["/metrics/", "/healthz/", "/readyz/"] {
        ask(template, "GET", "?format=xml", &[("Accept", "text/html")], "", 200);
    }
    for name in ["a%2Fb", &long] {
        let status = if name == long { 400 } else { 404 };
        hold(
            Sent {
                name,
                body: &mine,
                ..Sent::default()
            },
            ONE,
            status,
        );
    }

    let operations = document.operations();
    let missed = operations.iter().flat_map(|(path, methods)| {
        let seen = &seen;
        methods
            .iter()
            .filter(move |method| !seen.contains_key(&((*method).clone(), *path)))
    });
    assert_eq!(missed.count(), 0, "an operation was not asked: {seen:?}");
}

#[test]
fn what_an_administrator_is_answered_is_described() {
    let server = crate::access::guarded();
    let key = crate::access::token(&server, &["root", "--can", "acquire,read,admin"]);
    let authorization = format!("Token {key}");
    let document = Document(
        server
            .client()
            .request_with(("GET", "/schema/"), &[("Authorization", &authorization)], "")
            .json(),
    );
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];

    for (method, template, query, body, status) in [
        ("GET", "/tokens/", "", "", 200),
        ("GET", "/tokens/", "?page=2", "", 404),
        ("GET", "/tokens/", "?page_size=x", "", 400),
        (
            "POST",
            "/tokens/",
            "",
            r#"{"name": "ci", "verbs": ["read"], "expires_in": 60}"#,
            201,
        ),
        ("POST", "/tokens/", "", r#"{"verbs": "read"}"#, 400),
        ("POST", "/tokens/", "", r#"{"name": "ci", "verbs": ["break"]}"#, 403),
        ("DELETE", "/tokens/{id}/", "", "", 204),
    ] {
        let sent = Sent {
            method,
            template,
            name: "2",
            query,
            headers: &headers,
            body,
        };
        let answer = sent.to(&server);
        assert_eq!(answer.status, status, "{method} {template}{query}: {}", answer.body);
        assert_eq!(document.problem(method, template, &answer), None, "{}", answer.body);
    }
}

#[test]
fn waits_are_described() {
    let server = Server::start();
    let document = Document::of(&server);
    let mut first = server.client();
    let mut second = server.client();
    let held = first.put("a", &by("one"));
    assert_eq!(held.status, 200);
    assert_eq!(second.put("b", &by("two")).status, 200);

    let timed_out = server.client().put("a", &with_timeout("three", 1));
    first.send_put("b", &with_timeout("one", 10));
    crate::support::eventually("it waits", std::time::Duration::from_secs(5), || {
        let shown = server.client().request("GET", "/resources/b/", "");
        shown.body.contains("\"waiters\":1")
    });
    let deadlock = second.put("a", &with_timeout("two", 10));

    assert_eq!((timed_out.status, deadlock.status), (408, 409), "{}", deadlock.body);
    for answer in [&timed_out, &deadlock] {
        assert_eq!(document.problem("PUT", "/resources/{name}/", answer), None);
    }
}

#[test]
fn an_answer_that_is_not_described_is_found() {
    let server = Server::start();
    let document = Document::of(&server);
    let mut answer = server.client().put("a", &by("one"));
    let problem = |answer: &Answer| document.problem("PUT", "/resources/{name}/", answer);
    assert_eq!(problem(&answer), None);

    answer.body = "{\"Success\":\"Resource is acquired.\",\"more\":1}".to_owned();
    assert!(problem(&answer).is_some_and(|problem| problem.contains("more")));
    answer.body = "{\"Success\":5}".to_owned();
    assert!(problem(&answer).is_some());
    answer.status = 201;
    assert!(problem(&answer).is_some_and(|problem| problem.contains("201")));
}

#[test]
fn all_written_forms_say_the_same() {
    let server = Server::start();
    let ask = |query: &str, accept: &str| {
        let headers = [("Accept", accept)];
        let sent = Sent {
            method: "GET",
            template: "/schema/",
            query,
            headers: &headers,
            ..Sent::default()
        };
        let answer = sent.to(&server);
        (answer.header("Content-Type").map(str::to_owned), answer.body)
    };

    let (json_type, compact) = ask("", "*/*");
    let (openapi_type, openapi) = ask("", "application/vnd.oai.openapi+json");
    let (yaml_type, yaml) = ask("?format=yaml", "*/*");
    let (_, indented) = ask("", "application/json; indent=4");

    assert_eq!(json_type.as_deref(), Some("application/json"));
    assert_eq!(openapi_type.as_deref(), Some("application/vnd.oai.openapi+json"));
    assert_eq!(yaml_type.as_deref(), Some("application/yaml"));
    assert_eq!(compact, openapi);
    let parsed = |text: &str| serde_json::from_str::<Value>(text).expect("it is JSON");
    assert_eq!(parsed(&compact), parsed(&indented));
    assert_eq!(parsed(&compact)["openapi"], "3.1.0");
    assert!(yaml.starts_with("openapi: 3.1.0\n"), "{}", &yaml[..40]);
    for id in parsed(&compact)["paths"].as_object().expect("an object").values() {
        for operation in id.as_object().expect("an object").values() {
            let id = operation["operationId"].as_str().expect("each has one");
            assert!(yaml.contains(&format!("operationId: {id}\n")), "{id}");
        }
    }
}
