//! The commands on a PostgreSQL database.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use super::{Desk, all_applied, all_shown, all_unapplied, failure, migrations, none_applied, plan_of_all, text};
use crate::support::{Cls, Cluster, PostgresDatabase, Server, on_postgres};

/// A directory to work in, and a database.
struct PostgresDesk {
    desk: Desk,
    database: PostgresDatabase,
}

impl PostgresDesk {
    /// With a database without tables.
    fn new() -> Self {
        Self {
            desk: Desk::new(),
            database: Cluster::with_password().empty_database(),
        }
    }

    fn migrated() -> Self {
        Self {
            desk: Desk::new(),
            database: Cluster::with_password().database(),
        }
    }

    fn cls(&self) -> Cls {
        self.desk.cls().with("DATABASE_URL", &self.database.url)
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.cls().run(arguments);
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        text(&output.stdout)
    }

    fn refuses(&self, arguments: &[&str]) -> String {
        self.desk.refuses(&self.cls(), arguments, 1)
    }

    /// What every command says that needs the database at `url`.
    fn all_refuse(&self, url: &str) -> String {
        let cls = self.desk.cls().with("DATABASE_URL", url);
        let commands = [
            &["runserver", "127.0.0.1:0"][..],
            &["runserver", "127.0.0.1:0", "--migrate"],
            &["migrate"],
            &["migrate", "--plan"],
            &["showmigrations"],
            &["check"],
        ];
        let mut lines: Vec<_> = commands
            .iter()
            .map(|arguments| self.desk.refuses(&cls, arguments, 1))
            .collect();
        lines.dedup();
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert_no_password(&lines[0]);
        lines.remove(0)
    }

    /// The URL of the database with something replaced in it.
    fn url_with(&self, from: &str, to: &str) -> String {
        assert!(self.database.url.contains(from), "{from}");
        self.database.url.replace(from, to)
    }
}

/// Neither the right password nor the wrong one, decoded or not.
#[track_caller]
fn assert_no_password(said: &str) {
    let is_said = ["@word", "40word", "ngword"].iter().any(|part| said.contains(part));
    assert!(!is_said, "the password is in it: {said}");
}

#[test]
fn a_fresh_database_gets_all_migrations_once() {
    let desk = PostgresDesk::new();

    let shown = desk.succeeds(&["showmigrations"]);
    let plan = desk.succeeds(&["migrate", "--plan"]);
    let check = desk.refuses(&["migrate", "--check"]);
    let tables = desk
        .database
        .sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'");
    let first = desk.succeeds(&["migrate"]);
    let again = desk.succeeds(&["migrate"]);

    assert_eq!(shown, all_shown(' '));
    assert_eq!(plan, plan_of_all("postgres"));
    assert_eq!(check, "there are unapplied migrations; run `cls migrate`");
    assert_eq!(tables, ["0"], "nothing was made by looking");
    let opening = "Operations to perform:\n  Apply all migrations\nRunning migrations:\n";
    assert_eq!(first, format!("{opening}{}", all_applied()));
    assert_eq!(again, format!("{opening}  No migrations to apply.\n"));
    assert_eq!(
        desk.succeeds(&["check"]),
        "System check identified no issues (0 silenced).\n"
    );
    assert_eq!(desk.succeeds(&["showmigrations"]), all_shown('X'));
}

#[test]
fn a_target_is_reached_up_and_down() {
    let desk = PostgresDesk::new();

    let up = desk.succeeds(&["migrate", "0001"]);
    desk.succeeds(&["migrate"]);
    let down = desk.succeeds(&["migrate", "zero"]);
    let unmigrated = desk.refuses(&["check"]);
    let left = desk.database.sql(
        "SELECT relname FROM pg_class JOIN pg_namespace ON relnamespace = pg_namespace.oid WHERE nspname = 'public'",
    );
    let again = desk.succeeds(&["migrate"]);

    assert!(up.ends_with("  Applying 0001_resources... OK\n"), "{up}");
    assert!(down.ends_with(&all_unapplied()), "{down}");
    assert_eq!(unmigrated, none_applied());
    assert_eq!(left, ["__diesel_schema_migrations", "__diesel_schema_migrations_pkey"]);
    assert!(again.ends_with(&all_applied()), "{again}");
}

#[test]
fn of_many_that_migrate_at_once_one_does_and_the_others_find_nothing_to_do() {
    let desk = PostgresDesk::new();

    let outputs: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..4).map(|_| scope.spawn(|| desk.cls().run(&["migrate"]))).collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("it ends"))
            .collect()
    });

    let mut applied = 0;
    for output in outputs {
        assert_eq!(text(&output.stderr), "");
        assert_eq!(output.status.code(), Some(0));
        let said = text(&output.stdout);
        let nothing = said.ends_with("  No migrations to apply.\n");
        let all = said.ends_with(&all_applied());
        assert!(nothing || all, "{said}");
        applied += usize::from(all);
    }
    assert_eq!(applied, 1);
}

#[test]
fn the_printed_sql_makes_what_a_migration_makes() {
    let migrated = PostgresDesk::migrated();
    let by_hand = PostgresDesk::new();

    let names: Vec<_> = migrations("postgres").into_iter().map(|(name, _)| name).collect();
    for name in &names {
        by_hand.database.sql(&by_hand.succeeds(&["sqlmigrate", name]));
    }

    let columns = "SELECT table_name, column_name, data_type, is_nullable, collation_name \
                   FROM information_schema.columns \
                   WHERE table_schema = 'public' AND table_name NOT LIKE '\\_\\_%' ORDER BY 1, 2";
    let made = by_hand.database.sql(columns);
    assert_eq!(made, migrated.database.sql(columns));
    let of_resources = made.iter().filter(|column| column.starts_with("resources|"));
    assert_eq!(of_resources.count(), 19);
    for name in names.iter().rev() {
        by_hand
            .database
            .sql(&by_hand.succeeds(&["sqlmigrate", name, "--backwards"]));
    }
    assert!(by_hand.database.sql(columns).is_empty());
}

#[test]
fn a_server_migrates_only_if_it_is_told_to() {
    let desk = PostgresDesk::new();

    let refused = desk.refuses(&["runserver", "127.0.0.1:0"]);
    let server = desk.cls().try_start(&["runserver", "127.0.0.1:0", "--migrate"]);

    assert_eq!(refused, none_applied());
    let server = server.expect("it starts");
    assert_eq!(server.client().put("r", r#"{"locked_by": "k"}"#).status, 200);
}

#[test]
fn a_migration_back_is_told_who_has_the_database() {
    let desk = PostgresDesk::migrated();
    let mut server = desk.cls().start();
    let second = desk.cls().start();
    let owners = [&server, &second].map(|server| format!("is in use by cls runserver (pid {}) on ", server.pid()));

    let back = failure(&desk.cls().run(&["migrate", "zero"]), 1);
    desk.succeeds(&["migrate"]);

    assert!(
        owners.iter().any(|owner| back.contains(owner)) && back.contains("stop it first"),
        "{back}"
    );
    assert_no_password(&back);
    assert_eq!(server.client().put("r", r#"{"locked_by": "k"}"#).status, 200);
    assert_no_password(&server.log());
    server.kill();
    assert_eq!(second.client().put("r", r#"{"locked_by": "k"}"#).status, 400);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let desk = PostgresDesk::new();
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("it is bound").port();
    drop(free);

    let line = desk.all_refuse(&format!("postgres://cls:pass%40word@127.0.0.1:{port}/db"));

    let opening = format!("cannot connect to postgresql://cls@127.0.0.1:{port}/db: ");
    assert!(line.starts_with(&opening), "{line}");
    assert!(line.contains("Connection refused"), "{line}");
    assert!(
        line.ends_with("; start PostgreSQL there, or correct DATABASE_URL"),
        "{line}"
    );
}

#[test]
fn a_wrong_password_and_an_unknown_database_are_named_with_their_cure() {
    let desk = PostgresDesk::new();
    let name = &desk.database.name;

    let password = desk.all_refuse(&desk.url_with("pass%40word", "wr%6fngword"));
    let database = desk.all_refuse(&desk.url_with(name, "no_such_database"));

    assert!(password.contains(name), "{password}");
    assert!(
        password.ends_with("; correct the user and the password in DATABASE_URL"),
        "{password}"
    );
    assert!(database.contains("\"no_such_database\" does not exist"), "{database}");
    assert!(
        database.ends_with("; create it with `createdb`, or correct DATABASE_URL"),
        "{database}"
    );
}

#[test]
fn of_several_hosts_the_one_that_answers_is_used() {
    let desk = PostgresDesk::migrated();
    let url = desk.url_with("@127.0.0.1", "@127.0.0.1:1,127.0.0.1");

    let cls = desk.cls().with(
        "DATABASE_URL",
        &format!("{url}?target_session_attrs=read-write&sslmode=prefer"),
    );

    assert_eq!(cls.run(&["check"]).status.code(), Some(0));
}

#[test]
fn a_database_in_another_encoding_is_refused() {
    let desk = PostgresDesk::new();
    let name = format!("{}_ascii", desk.database.name);
    let made = desk.database.sql(&format!(
        "CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"
    ));
    assert!(made.is_empty());

    let line = desk.all_refuse(&desk.url_with(&desk.database.name, &name));
    desk.database.sql(&format!("DROP DATABASE {name}"));

    assert!(
        line.contains("its encoding is SQL_ASCII; create the database with"),
        "{line}"
    );
}

#[test]
fn a_database_newer_than_the_binary_is_refused() {
    let desk = PostgresDesk::migrated();
    desk.database
        .sql("INSERT INTO __diesel_schema_migrations (version) VALUES ('0099')");

    let line = desk.all_refuse(&desk.database.url);

    let expected = "the database has migration 0099, which this version of cls does not know; \
                    use the newer cls that made it";
    assert_eq!(line, expected);
}

#[test]
fn a_table_of_our_name_that_is_not_ours_is_left_alone() {
    let desk = PostgresDesk::new();
    desk.database
        .sql("CREATE TABLE resources (name TEXT PRIMARY KEY, price INTEGER)");

    let output = desk.cls().run(&["migrate"]);

    let said = text(&output.stderr);
    assert!(
        said.contains("migration 0001_resources: ") && said.contains("already exists"),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(desk.database.sql("SELECT count(price) FROM resources"), ["0"]);
}

#[test]
fn the_shell_gets_the_password_by_the_environment_alone() {
    let desk = PostgresDesk::migrated();
    let said = desk.succeeds(&["dbshell", "--", "-A", "-t", "-c", "SELECT count(*) FROM resources"]);
    assert_eq!(said, "0\n");
    let spy = desk.desk.path().join("psql");
    fs::write(&spy, "#!/bin/sh\necho \"$@\"\necho \"$PGPASSWORD\"\n").expect("writable");
    fs::set_permissions(&spy, fs::Permissions::from_mode(0o755)).expect("ours");
    let path = format!("{}:/usr/bin:/bin", desk.desk.path().display());

    let output = desk.cls().with("PATH", &path).run(&["dbshell", "--", "-l"]);

    let said = text(&output.stdout);
    let (arguments, password) = said.trim_end().split_once('\n').expect("two lines");
    assert!(
        arguments.starts_with("--dbname postgresql://cls@127.0.0.1"),
        "{arguments}"
    );
    assert!(arguments.ends_with(" -l") && !arguments.contains("word"), "{arguments}");
    assert_eq!(password, "pass@word");
}

#[test]
fn without_the_shell_it_says_what_to_install() {
    let desk = PostgresDesk::migrated();

    let cls = desk.cls().with("PATH", "/nonexistent");
    let line = desk.desk.refuses(&cls, &["dbshell"], 1);

    assert!(
        line.starts_with("cannot run psql: ") && line.contains("install it"),
        "{line}"
    );
}

#[test]
fn held_locks_is_true_at_every_moment() {
    on_postgres(|| {
        let server = Server::start();
        let put = |name: &str, body: &str| assert_eq!(server.client().put(name, body).status, 200);
        put("long", r#"{"locked_by": "a", "ttl": 3600}"#);
        put("ever", r#"{"locked_by": "b"}"#);
        put("over", r#"{"locked_by": "c", "ttl": 3600}"#);
        let sql = |statement: &str| server.postgres().sql(statement);
        sql("UPDATE resources SET expires_at_us = clock_us() WHERE name = 'over'");

        let held = sql(
            "SELECT name, locked_by, round(extract(epoch FROM expires_at - acquired_at)), \
                    seconds_left BETWEEN 3500 AND 3600, abs(extract(epoch FROM clock_timestamp() - acquired_at)) < 60 \
             FROM held_locks ORDER BY name",
        );

        assert_eq!(held, ["ever|b|||t", "long|a|3600|t|t"]);
    });
}

#[test]
fn a_role_without_rights_is_told_which_to_ask_for() {
    let desk = PostgresDesk::migrated();
    let role = format!("role_{}", desk.database.name);
    desk.database
        .sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'pass@word'"));
    let url = desk.url_with("//cls:", &format!("//{role}:"));
    let cls = desk.cls().with("DATABASE_URL", &url);
    let grant = |what: &str| {
        let statement = format!("GRANT ALL ON ALL {what} IN SCHEMA public TO {role}");
        desk.database.sql(&statement);
    };

    let with_none = failure(&cls.run(&["check"]), 1);
    grant("TABLES");
    let with_tables = failure(&cls.run(&["runserver", "127.0.0.1:0"]), 1);
    grant("SEQUENCES");
    let with_all = cls.run(&["check"]);

    for line in [with_none, with_tables] {
        assert!(
            line.contains("the role lacks rights; as the owner run GRANT ALL"),
            "{line}"
        );
    }
    assert!(with_all.status.success(), "{}", text(&with_all.stderr));
    desk.database.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}
