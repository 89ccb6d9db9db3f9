//! PostgreSQL is there and refuses: what it cannot do is answered 503, logged
//! once with its reason, and done again as soon as it can be.

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::faults::disk_full::{acquire_until_unavailable, fill, make_room};
use crate::faults::postgres::HEAL_WAIT_MAX;
use crate::faults::{
    Tmpfs, acquire, assert_refused, assert_unavailable, body, directory, failures_logged, is_held, must_run,
};
use crate::support::{Client, Cls, Cluster, PostgresDatabase, Server, eventually};

/// A server on a database, with its log in a directory of its own.
struct Setup {
    server: Server,
    database: PostgresDatabase,
    directory: TempDir,
}

impl Setup {
    fn new() -> Self {
        let database = Cluster::with_password().database();
        let url = database.url.clone();
        Self::by(database, &url)
    }

    /// The server reaches the database by another URL.
    fn by(database: PostgresDatabase, url: &str) -> Self {
        let directory = directory();
        Self {
            server: cls(&directory, url).start(),
            database,
            directory,
        }
    }

    fn cls(&self, url: &str) -> Cls {
        cls(&self.directory, url)
    }

    fn assert_logged_once(&self, reason: &str) {
        let log = self.server.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(reason)).collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert_eq!(failures_logged(&self.server), 1, "{log}");
    }

    fn assert_heals(&self) {
        let mut client = self.server.client();
        eventually("it works again", HEAL_WAIT_MAX, || {
            let answer = client.put("heals", &body("k", ""));
            if answer.status != 200 {
                assert_unavailable(&answer);
            }
            answer.status == 200
        });
    }
}

/// One worker reads in the order of arrival.
fn cls(directory: &TempDir, url: &str) -> Cls {
    let cls = Cls::in_directory(directory.path()).with("WORKERS", "1");
    cls.with("DATABASE_URL", url)
}

/// A client whose connection the worker has.
fn known_client(server: &Server) -> Client {
    let mut client = server.client();
    assert_eq!(client.request("GET", "/nowhere/", "").status, 404);
    client
}

#[test]
fn a_row_that_is_locked_for_long_is_503_within_five_seconds() {
    let setup = Setup::new();
    let mut client = setup.server.client();
    acquire(&mut client, "r", "k");
    let mut other = setup.database.session();
    other.sql("BEGIN");
    other.sql("SELECT id FROM resources FOR UPDATE");

    for _ in 0..20 {
        let asked = Instant::now();
        let answer = client.delete("r", "k");
        assert_unavailable(&answer);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
    other.sql("COMMIT");

    setup.assert_heals();
    setup.assert_logged_once("lock timeout");
    assert_eq!(client.delete("r", "k").status, 204);
}

#[test]
fn in_a_deadlock_the_requests_are_503_and_the_other_session_goes_on() {
    let setup = Setup::new();
    let mut client = setup.server.client();
    for name in ["a", "b", "z"] {
        acquire(&mut client, name, "k");
    }
    let mut other = setup.database.session();
    let mut first = setup.database.session();
    // The server is to be the one that finds it.
    other.sql("SET deadlock_timeout = '15s'");
    for (session, name) in [(&mut other, "b"), (&mut first, "z")] {
        session.sql("BEGIN");
        session.sql(&format!("SELECT id FROM resources WHERE name = '{name}' FOR UPDATE"));
    }
    let mut releasing: Vec<_> = ["z", "a", "b"]
        .iter()
        .map(|name| (*name, known_client(&setup.server)))
        .collect();
    let mut release = |place: usize| {
        let (name, client) = &mut releasing[place];
        client.send("DELETE", &format!("/resources/{name}/"), &body("k", ""));
    };

    // The next batch is made of what comes while this one waits.
    release(0);
    setup.database.until_a_server_waits_for_a_row();
    release(1);
    release(2);
    known_client(&setup.server);
    first.sql("COMMIT");
    assert_eq!(releasing[0].1.answer().status, 204);
    setup.database.until_a_server_waits_for_a_row();
    let row = other.sql("SELECT name FROM resources WHERE name = 'a' FOR UPDATE");
    other.sql("COMMIT");

    assert_eq!(row, ["a"]);
    for (_, client) in &mut releasing[1..] {
        assert_unavailable(&client.answer());
    }
    setup.assert_heals();
    setup.assert_logged_once("deadlock detected");
    for name in ["a", "b"] {
        assert_eq!(client.delete(name, "k").status, 204, "{name} was not released");
    }
}

#[test]
fn while_there_is_no_connection_left_requests_are_503_and_the_log_says_so() {
    let database = Cluster::with_password().database();
    // An ordinary role: no limit holds for a superuser.
    let role = format!("role_{}", database.name);
    database.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'pass@word'"));
    database.sql(&format!(
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}"
    ));
    let url = database.url.replace("//cls:", &format!("//{role}:"));
    let setup = Setup::by(database, &url);
    let mut client = setup.server.client();
    acquire(&mut client, "held", "k");

    let limit = |connections: i32| {
        let statement = format!("ALTER ROLE {role} CONNECTION LIMIT {connections}");
        setup.database.sql(&statement);
    };
    limit(0);
    assert!(setup.database.terminate_sessions() > 0);
    let reason = format!("too many connections for role \"{role}\"");
    eventually("the log says why", HEAL_WAIT_MAX, || {
        assert_unavailable(&client.put("r", &body("k", "")));
        setup.server.log().contains(&reason)
    });
    for _ in 0..200 {
        assert_unavailable(&client.put("r", &body("k", "")));
    }
    let refused = setup.cls(&url).run(&["check"]);
    limit(-1);

    assert_refused(&refused, &reason);
    assert_refused(
        &refused,
        "; end some of the others, or raise the limit of connections there",
    );
    setup.assert_heals();
    setup.assert_logged_once(&reason);
    assert!(is_held(&mut client, "held"));
    drop(setup.server);
    setup.database.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn while_no_host_can_be_written_to_requests_are_503_and_the_log_says_so() {
    let database = Cluster::with_password().database();
    let url = format!("{}?target_session_attrs=read-write", database.url);
    let setup = Setup::by(database, &url);
    let mut client = setup.server.client();
    acquire(&mut client, "held", "k");
    let read_only = |value: &str| {
        let name = &setup.database.name;
        setup.database.sql(&format!(
            "ALTER DATABASE {name} SET default_transaction_read_only = {value}"
        ));
    };

    read_only("on");
    assert!(setup.database.terminate_sessions() > 0);
    eventually("the log says why", HEAL_WAIT_MAX, || {
        assert_unavailable(&client.put("r", &body("k", "")));
        setup.server.log().contains("session is read-only")
    });
    let refused = setup.cls(&url).run(&["check"]);
    must_run(
        "psql",
        &[
            "-X",
            "-d",
            &setup.database.url,
            "-c",
            "SET default_transaction_read_only = off",
            "-c",
            &format!(
                "ALTER DATABASE {} RESET default_transaction_read_only",
                setup.database.name
            ),
        ],
    );

    assert_refused(
        &refused,
        "; name the primary or all hosts in DATABASE_URL, or make the database writable",
    );
    setup.assert_heals();
    setup.assert_logged_once("session is read-only");
    assert!(is_held(&mut client, "held"));
}

#[test]
fn on_a_full_disk_of_postgresql_nothing_is_granted_and_the_cause_is_logged_once() {
    let cluster = Cluster::of_its_own();
    let disk = Tmpfs::mount("24m");
    let space = disk.file("space");
    std::fs::create_dir(&space).expect("there is room");
    let owner = Command::new("chown").arg("postgres").arg(&space).status();
    assert!(owner.is_ok_and(|status| status.success()));
    let database = cluster.database();
    cluster.sql(
        "postgres",
        &format!("CREATE TABLESPACE small LOCATION '{}'", space.display()),
    );
    cluster.sql(
        "postgres",
        &format!("ALTER DATABASE {} SET TABLESPACE small", database.name),
    );
    let url = database.url.clone();
    let setup = Setup::by(database, &url);
    let mut client = setup.server.client();
    acquire(&mut client, "held", "k");
    fill(&disk);

    let (first, granted) = acquire_until_unavailable(&mut client, "before-");
    let answers: Vec<_> = (0..100)
        .map(|i| client.put(&format!("full-{i}"), &body("k", "")))
        .collect();

    assert_unavailable(&first);
    for answer in &answers {
        assert_unavailable(answer);
    }
    setup.assert_logged_once("No space left on device");
    make_room(&disk);
    setup.assert_heals();
    for i in 0..granted {
        assert!(
            is_held(&mut client, &format!("before-{i}")),
            "was granted before the disk was full"
        );
    }
    for i in 0..answers.len() {
        assert!(!is_held(&mut client, &format!("full-{i}")), "was answered 503");
    }
    assert!(is_held(&mut client, "held"));
}

#[test]
fn where_no_room_is_left_for_the_log_postgresql_ends_and_nothing_that_was_answered_is_lost() {
    let disk = Tmpfs::mount("96m");
    let mut cluster = Cluster::of_its_own();
    cluster.move_log_to(&disk.file(""));
    let database = cluster.database();
    let url = database.url.clone();
    let setup = Setup::by(database, &url);
    let mut client = setup.server.client();
    acquire(&mut client, "held", "k");
    fill(&disk);
    // Room for two segments of the log.
    let ballast = File::options()
        .write(true)
        .open(disk.file("ballast"))
        .expect("it is there");
    let length = ballast.metadata().expect("it is there").len();
    ballast.set_len(length - (40 << 20)).expect("it can be made shorter");

    let mut granted = 0;
    let first = loop {
        // Each leaves the rest of a segment unused.
        let switched = cluster.try_sql(&setup.database.name, "SELECT pg_switch_wal()");
        let answer = client.put(&format!("before-{granted}"), &body("k", ""));
        if switched.is_err() || answer.status != 200 {
            break answer;
        }
        granted += 1;
    };
    let while_down = client.put("full", &body("k", ""));
    make_room(&disk);
    cluster.recover();

    for answer in [&first, &while_down] {
        assert_unavailable(answer);
    }
    setup.assert_heals();
    assert!(granted > 0, "a test of nothing");
    for i in 0..granted {
        assert!(
            is_held(&mut client, &format!("before-{i}")),
            "was granted before there was no room"
        );
    }
    assert!(!is_held(&mut client, "full"), "was answered 503");
    assert!(is_held(&mut client, "held"));
    assert_eq!(failures_logged(&setup.server), 1, "{}", setup.server.log());
}
