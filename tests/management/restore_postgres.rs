//! What `cls restore` says on PostgreSQL, done.

use serde_json::json;

use super::{Desk, text};
use crate::support::{Cls, Cluster};

const KEY: &str = r#"{"locked_by": "k"}"#;

/// README's statement, which the refusal repeats.
fn statement_of(line: &str) -> String {
    let at = line.find("SELECT setval").expect("it says which");
    let readme = include_str!("../../README.md");
    let statement = line[at..].to_owned();
    assert!(readme.contains(&statement), "README says another: {statement}");
    statement
}

#[test]
fn on_postgres_the_statement_that_is_named_keeps_tokens_from_being_granted_twice() {
    let (original, restored) = (
        Cluster::with_password().database(),
        Cluster::with_password().empty_database(),
    );
    let desk = Desk::new();
    let cls = |url: &str| {
        Cls::in_directory(desk.path())
            .with("CONNECTIONS_MAX", "16")
            .with("DATABASE_URL", url)
    };
    let line = desk.refuses(&cls(&restored.url), &["restore", "copy"], 1);
    let server = cls(&original.url).start();
    assert_eq!(server.client().put("before", KEY).status, 200);
    let dump = desk.path().join("dump.sql").display().to_string();
    let tool = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program)
            .args(arguments)
            .output()
            .expect("it is installed");
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    tool("pg_dump", &["--file", &dump, "--dbname", &original.url]);
    // More than are in the block of tokens that the sequence is at in the dump.
    let mut client = server.client();
    let mut last = 0;
    for round in 0..60 {
        let names: Vec<_> = (0..64).map(|number| format!("after-{round}-{number}")).collect();
        let body = json!({"resources": names, "locked_by": "k"}).to_string();
        let granted = client.request("POST", "/locks/", &body).json();
        last = granted["resources"][63]["fencing_token"].as_i64().expect("a token");
    }
    drop(client);
    drop(server);

    tool(
        "psql",
        &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", &dump, "-d", &restored.url],
    );
    restored.sql(&statement_of(&line));

    let server = cls(&restored.url).start();
    let token = server.client().put("over", KEY).fencing_token();
    assert!(token > last, "{token} {last}");
    assert_eq!(server.client().delete("before", "k").status, 204);
}
