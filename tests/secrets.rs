//! Keys, tokens and passwords are in no log, no answer and no metric: planted
//! in everything that is sent, and looked for in everything that comes out.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::{Client, Cls, Cluster, PostgresDatabase, Server, eventually};

/// In every secret, so that a part of one is found too.
const MARK: &str = "planted";

const KEY: &str = "planted-key-7c1f";
const IDEMPOTENCY_KEY: &str = "planted-idempotency-key-19aa";
const TOKEN: &str = "planted-token-03be";
/// `name:planted-basic-55d0`, which does not have the mark.
const BASIC: &str = "bmFtZTpwbGFudGVkLWJhc2ljLTU1ZDA=";

/// How long an answer, or a line of the log, may take.
const WAIT_MAX: Duration = Duration::from_secs(20);

const PATHS: [&str; 12] = [
    "/resources/",
    "/resources/a/",
    "/resources/held/",
    "/resources/a/acquire/",
    "/resources/held/renew/",
    "/resources/a/release/",
    "/resources/a/check/",
    "/resources/a/nothing/",
    "/locks/",
    "/schema/",
    "/metrics",
    "/",
];

const METHODS: [&str; 7] = ["GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE"];

/// Bodies with the key where it belongs, and where it does not.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let json = "application/json";
    let form = "application/x-www-form-urlencoded";
    let multipart = "multipart/form-data; boundary=b";
    let long = KEY.repeat(10);
    let part =
        |disposition: &str| format!("--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{KEY}\r\n--b--\r\n");
    [
        (
            json,
            format!("{{\"locked_by\": \"{KEY}\", \"resources\": [\"a\", \"b\"], \"ttl\": 1}}"),
        ),
        (
            json,
            format!("{{\"locked_by\": \"{KEY}\", \"ttl\": \"x\", \"timeout\": -1, \"label\": []}}"),
        ),
        (json, format!("{{\"locked_by\": \"{long}\", \"fencing_token\": \"x\"}}")),
        (json, format!("{{\"locked_by\": \"{KEY}\\u0000\", \"resources\": 1}}")),
        (json, format!("{{\"locked_by\": \"{KEY}\\ud800\", \"resources\": []}}")),
        (json, format!("{{\"locked_by\": [\"{KEY}\"], \"resources\": null}}")),
        (
            json,
            format!("{{\"locked_by\": {{\"{KEY}\": 1}}, \"ttl\": \"{KEY}\", \"timeout\": \"{KEY}\"}}"),
        ),
        (json, format!("{{\"fencing_token\": \"{KEY}\", \"{KEY}\": 1}}")),
        (json, format!("\"{KEY}\"")),
        (json, format!("[\"{KEY}\"]")),
        (json, format!("{{\"locked_by\": \"{KEY}\"")),
        (json, format!("{{\"locked_by\": \"{KEY}\\x\"}}")),
        (json, format!("{{\"locked_by\": {KEY}}}")),
        (
            "application/json; charset=utf-16",
            format!("{{\"locked_by\": \"{KEY}\"}}!"),
        ),
        (form, format!("locked_by={KEY}&ttl={KEY}&resources=a&resources=b")),
        (multipart, part("name=\"locked_by\"")),
        (multipart, part("name=\"locked_by\"; filename=\"f\"")),
        (multipart, part("broken")),
        ("multipart/form-data", part("name=\"locked_by\"")),
        ("text/plain", KEY.to_owned()),
    ]
    .map(|(content_type, body)| (content_type, body.into_bytes()))
    .into_iter()
    .chain([(json, [b"{\"locked_by\": \"", KEY.as_bytes(), b"\xff\"}"].concat())])
    .collect()
}

/// Heads that no view sees.
fn broken_heads() -> Vec<String> {
    let secrets =
        format!("Connection: close\r\nAuthorization: Token {TOKEN}\r\nIdempotency-Key: {IDEMPOTENCY_KEY}\r\n");
    let many: String = (0..200).map(|number| format!("X-{number}: {TOKEN}\r\n")).collect();
    vec![
        format!("PUT /resources/a/ HTTP/1.1\r\n{secrets}Content-Length: x\r\n\r\n"),
        format!("PUT /resources/a/ HTTP/1.1\r\nHost: t\r\nHost: t\r\n{secrets}\r\n"),
        format!("PUT /resources/a/ HTTP/1.1\r\nHost: t\r\n{secrets}Transfer-Encoding: chunked\r\n\r\nz\r\n{KEY}\r\n"),
        format!("PUT /resources/a/ HTTP/1.1\r\nHost: t\r\n{secrets}{many}\r\n"),
        format!("PUT /resources/a/ HTTP/9.9\r\nHost: t\r\n{secrets}\r\n"),
        format!("PUT /resources/a/ HTTP/1.1\r\nHost: t\r\n{secrets}no header {TOKEN}\r\n\r\n"),
        format!("GET /resources/ HTTP/1.1\r\nHost: {{}}\r\n{secrets}\r\n"),
    ]
}

/// All that came out: answers here, the log at the end.
struct Outcome(String);

impl Outcome {
    fn note(&mut self, answered: &[u8]) {
        self.0.push_str(&String::from_utf8_lossy(answered));
        self.0.push('\n');
    }

    fn require_secrecy(&self, password: &str) {
        for secret in [MARK, BASIC, password] {
            let line = self.0.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret}: {line:?}");
        }
    }
}

/// Sends everything to everything, each on a connection of its own, until the
/// server closes it.
fn ask_everything(server: &Server, outcome: &mut Outcome) -> usize {
    let mut answers = 0;
    for path in PATHS {
        for method in METHODS {
            for (at, (content_type, body)) in bodies().into_iter().enumerate() {
                let authorization = match at % 3 {
                    0 => format!("Authorization: Token {TOKEN}\r\n"),
                    1 => format!("Authorization: Basic {BASIC}\r\n"),
                    _ => format!("Authorization: {TOKEN}\r\n"),
                };
                let head = format!(
                    "{method} {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{authorization}\
                     Idempotency-Key: {IDEMPOTENCY_KEY}-{answers}\r\nCookie: {TOKEN}\r\nPrefer: return=representation\r\n\
                     Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let answered = exchange(server, &[head.as_bytes(), &body].concat());
                assert!(answered.starts_with(b"HTTP/1.1 "), "{method} {path}");
                answers += 1;
                outcome.note(&answered);
            }
        }
    }
    for head in broken_heads() {
        outcome.note(&exchange(server, head.as_bytes()));
    }
    answers
}

/// What comes back until the server closes the connection.
fn exchange(server: &Server, request: &[u8]) -> Vec<u8> {
    let mut client = server.client();
    client.send_raw(request);
    client.rest(WAIT_MAX)
}

/// A wait that times out, one that is a deadlock, and a key that is reused.
fn wait_in_vain(server: &Server, outcome: &mut Outcome) {
    let other = "planted-other-key";
    let by = |key: &str, timeout: u32| format!("{{\"locked_by\": \"{key}\", \"timeout\": {timeout}}}");
    let note = |client: &mut Client, method: &str, path: &str, body: &str, outcome: &mut Outcome| {
        let answer = client.request_with((method, path), &[("Idempotency-Key", IDEMPOTENCY_KEY)], body);
        outcome.note(format!("{answer:?}").as_bytes());
        answer.status
    };
    let mut client = server.client();
    let mut waiter = server.client();
    assert_eq!(client.put("one", &by(KEY, 0)).status, 200);
    assert_eq!(client.put("two", &by(other, 0)).status, 200);
    waiter.send_put("two", &by(KEY, 20));
    eventually("it waits", WAIT_MAX, || {
        client.get("/resources/two/").json()["waiters"] == 1
    });

    let deadlock = note(&mut client, "PUT", "/resources/one/", &by(other, 20), outcome);
    let timed_out = note(&mut client, "PUT", "/resources/one/", &by("planted-third", 1), outcome);
    assert_eq!(client.delete("two", other).status, 204);
    assert_eq!(waiter.answer().status, 200);
    let granted = note(&mut client, "PUT", "/resources/three/", &by(KEY, 0), outcome);
    let reused = note(&mut client, "PUT", "/resources/three/", &by(other, 0), outcome);

    assert_eq!([deadlock, timed_out, granted, reused], [409, 408, 200, 422]);
}

fn acquire_is_unavailable(server: &Server, outcome: &mut Outcome) {
    let body = format!("{{\"locked_by\": \"{KEY}\"}}");
    let mut client = server.client();
    let answer = client.request_with(
        ("PUT", "/resources/refused/"),
        &[("Idempotency-Key", IDEMPOTENCY_KEY)],
        &body,
    );
    outcome.note(format!("{answer:?}").as_bytes());
    assert_eq!(answer.status, 503, "{}", answer.body);
}

/// A log in JSON as its fields say it: what is escaped in it would be found by
/// nobody who looks for it as it is.
fn unescaped(log: &str) -> String {
    let fields = log.lines().flat_map(|line| {
        let line: BTreeMap<String, String> = serde_json::from_str(line).expect("JSON");
        line.into_values()
    });
    fields.collect::<Vec<_>>().join("\n")
}

#[test]
fn nothing_that_is_sent_comes_out_on_sqlite() {
    require_secrecy_on_sqlite("text", str::to_owned);
}

#[test]
fn nothing_that_is_sent_comes_out_in_json() {
    require_secrecy_on_sqlite("json", unescaped);
}

fn require_secrecy_on_sqlite(log_format: &str, read: fn(&str) -> String) {
    let server = Server::start_with(&[("RUST_LOG", "trace"), ("LOG_FORMAT", log_format)]);
    let mut outcome = Outcome(String::new());

    let answers = ask_everything(&server, &mut outcome);
    wait_in_vain(&server, &mut outcome);
    server.select("CREATE TRIGGER t BEFORE UPDATE ON resources BEGIN SELECT raise(ABORT, 'no'); END");
    server.select("CREATE TRIGGER u BEFORE INSERT ON resources BEGIN SELECT raise(ABORT, 'no'); END");
    acquire_is_unavailable(&server, &mut outcome);

    assert_eq!(answers, PATHS.len() * METHODS.len() * bodies().len());
    outcome.note(server.log().as_bytes());
    outcome.note(read(&server.log()).as_bytes());
    assert!(outcome.0.contains("TRACE") && outcome.0.contains("failed: no"));
    outcome.require_secrecy(MARK);
}

/// A database, and a role of its own with a planted password.
fn with_planted_password(database: &PostgresDatabase) -> (String, String) {
    let role = format!("role_{}", database.name);
    database.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'planted@password'"));
    database.sql(&format!(
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}"
    ));
    let (_, location) = database.url.split_once('@').expect("it has a user");
    (format!("postgres://{role}:planted%40password@{location}"), role)
}

#[test]
fn nothing_that_is_sent_comes_out_on_postgres() {
    let database = Cluster::with_password().database();
    let (url, role) = with_planted_password(&database);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let cls = Cls::in_directory(directory.path())
        .with("DATABASE_URL", &url)
        .with("RUST_LOG", "trace");
    let server = cls.start();
    let mut outcome = Outcome(String::new());

    ask_everything(&server, &mut outcome);
    wait_in_vain(&server, &mut outcome);
    // PostgreSQL shows the row that it refuses in the detail of its error.
    database.sql("ALTER TABLE resources ADD CONSTRAINT no_keys CHECK (locked_by IS NULL) NOT VALID");
    acquire_is_unavailable(&server, &mut outcome);
    database.sql(&format!("ALTER ROLE {role} PASSWORD 'another'"));
    database.terminate_sessions();
    eventually("the log says why", WAIT_MAX, || {
        acquire_is_unavailable(&server, &mut outcome);
        server.log().contains("password authentication failed")
    });
    let check = cls.run(&["check"]);
    outcome.note(&[check.stdout, check.stderr].concat());

    outcome.note(server.log().as_bytes());
    assert!(outcome.0.contains("TRACE") && outcome.0.contains("no_keys"));
    outcome.require_secrecy("planted%40password");
    drop(server);
    database.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn what_cannot_be_read_from_dot_env_is_not_repeated() {
    for line in [
        "DATABASE_URL=\"postgres://u:planted@h/d\0\"",
        "DATABASE_URL=postgres://u:planted @h/d",
        "DATABASE_URL='postgres://u:planted@h/d",
        "=planted",
        "RUST_LOG=info\nDATABASE_URL=planted://h",
    ] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join(".env"), line).expect("writable");

        let output = Cls::in_directory(directory.path()).run(&["check"]);

        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.lines().count() == 1 && !said.contains(MARK), "{said}");
    }
}
