//! From the first release to this one, and back: what is held stays held.

use std::fs;
use std::process::{Command, Stdio};

use super::{Desk, migrations, text};
use crate::support::{Client, Cls, Cluster, PostgresDatabase, Server};

/// All that the first release kept of a resource.
const ROWS: &str = "SELECT name, locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token \
                    FROM resources ORDER BY fencing_token";

const HELD: &str = "SELECT name, locked_by, fencing_token FROM held_locks ORDER BY fencing_token";

/// The highest token that the first release granted.
const LAST: i64 = 17;

/// A database of the first release, with the locks of its fixture.
struct Old {
    desk: Desk,
    /// `None` is on SQLite.
    postgres: Option<PostgresDatabase>,
}

impl Old {
    fn on_sqlite() -> Self {
        let desk = Desk::new();
        let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/management/first_release/sqlite.sql");
        let loaded = Command::new("sqlite3")
            .args(["-bail", "db.sqlite3"])
            .current_dir(desk.path())
            .stdin(Stdio::from(fs::File::open(fixture).expect("it is there")))
            .status();
        assert!(loaded.expect("sqlite3 is installed").success());
        Self { desk, postgres: None }
    }

    fn on_postgres() -> Self {
        let database = Cluster::shared().empty_database();
        database.sql(include_str!("first_release/postgres.sql"));
        Self {
            desk: Desk::new(),
            postgres: Some(database),
        }
    }

    fn cls(&self) -> Cls {
        // Else the server deletes the rows of what has been free for long.
        let cls = self.desk.cls().with("PRUNE_AFTER_DAYS", "0");
        match &self.postgres {
            None => cls,
            Some(database) => cls.with("DATABASE_URL", &database.url),
        }
    }

    fn migrate(&self, target: &str) {
        let output = self.cls().run(&["migrate", target]);
        assert_eq!(
            (text(&output.stderr).as_str(), output.status.code()),
            ("", Some(0)),
            "{target}"
        );
    }

    fn rows(&self, query: &str) -> Vec<String> {
        match &self.postgres {
            None => self.desk.sql(query).lines().map(str::to_owned).collect(),
            Some(database) => database.sql(query),
        }
    }

    /// The numbers of the migrations, the first release's first.
    fn numbers() -> Vec<String> {
        let names = migrations("sqlite").into_iter();
        names
            .map(|(name, _)| name.split('_').next().expect("a number").to_owned())
            .collect()
    }
}

#[test]
fn locks_of_the_first_release_stay_held_up_and_down_each_step() {
    require_locks_up_and_down(&Old::on_sqlite());
}

#[test]
fn locks_of_the_first_release_stay_held_up_and_down_each_step_on_postgres() {
    require_locks_up_and_down(&Old::on_postgres());
}

fn require_locks_up_and_down(old: &Old) {
    let numbers = Old::numbers();
    let (rows, held) = (old.rows(ROWS), old.rows(HELD));
    assert_eq!((rows.len(), held.len()), (7, 4), "{rows:?}");
    let require_all = |number: &str| {
        assert_eq!(old.rows(ROWS), rows, "{number}");
        assert_eq!(old.rows(HELD), held, "{number}");
    };

    for number in &numbers[1..] {
        old.migrate(number);
        require_all(number);
    }
    for number in numbers.iter().rev().skip(1) {
        old.migrate(number);
        require_all(number);
    }
    old.migrate(numbers.last().expect("there are some"));

    require_all("all at once");
    require_served(&old.cls().start());
    // What this release has written is read by the first one's schema too.
    let (rows, held) = (old.rows(ROWS), old.rows(HELD));
    for number in numbers.iter().rev().skip(1) {
        old.migrate(number);
    }
    assert_eq!((old.rows(ROWS), old.rows(HELD)), (rows, held));
}

#[test]
fn a_server_of_this_release_serves_a_database_of_the_first() {
    require_served(&Old::on_sqlite().cls().start());
}

#[test]
fn a_server_of_this_release_serves_a_database_of_the_first_on_postgres() {
    let old = Old::on_postgres();
    let server = old.cls().try_start(&["runserver", "127.0.0.1:0", "--migrate"]);

    require_served(&server.unwrap_or_else(|log| panic!("{log}")));
}

/// The locks of the fixture as clients see them. Releases some.
fn require_served(server: &Server) {
    let mut client = server.client();
    let other = r#"{"locked_by": "other"}"#;
    let longest_name = format!("{}%C3%BC", "n".repeat(99));
    let longest_key = "k".repeat(100);
    let locks = [
        ("for-ever", "key-of-the-first", "null", "null", 11),
        (
            "until-2100",
            "key-of-the-second",
            "86400",
            "\"2100-01-01T00:00:00.000000Z\"",
            12,
        ),
        (
            "longest",
            &longest_key,
            "2147483647",
            "\"2094-08-07T01:40:47.000000Z\"",
            13,
        ),
        (
            &longest_name,
            r#"key \"with\" 'quotes' and é"#,
            "1000000000",
            "\"2058-03-28T00:13:20.000004Z\"",
            14,
        ),
    ];
    for (name, key, ttl, expires_at, token) in locks {
        let path = format!("/resources/{name}/");
        let shown = client.get(&path).json();
        let seen = ["locked", "ttl", "expires_at", "fencing_token"].map(|field| shown[field].to_string());
        assert_eq!(seen, ["true", ttl, expires_at, &token.to_string()], "{name}");
        assert_eq!(client.put(name, other).status, 400, "{name} is held");
        assert_eq!(
            client.request("DELETE", &path, other).status,
            400,
            "{name} is another's"
        );
        let renewed = client.request(
            "PATCH",
            &path,
            &format!("{{\"locked_by\": \"{key}\", \"fencing_token\": {token}}}"),
        );
        assert_eq!(renewed.status, 200, "{name}: {}", renewed.body);
        assert_eq!(
            client
                .request("DELETE", &path, &format!("{{\"locked_by\": \"{key}\"}}"))
                .status,
            204,
            "{name}"
        );
    }
    let mut last = LAST;
    for path in [
        "/resources/expired/",
        "/resources/free/",
        "/locks/deploy%2Fprod/",
        "/resources/for-ever/",
        "/resources/new/",
    ] {
        last = rises(&mut client, path, last);
    }
}

/// The token of a grant, which is higher than `last`.
fn rises(client: &mut Client, path: &str, last: i64) -> i64 {
    let answer = client.request("PUT", path, r#"{"locked_by": "other"}"#);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    assert!(
        answer.fencing_token() > last,
        "{path}: {} {last}",
        answer.fencing_token()
    );
    answer.fencing_token()
}
