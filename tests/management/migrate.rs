//! `cls migrate`.

use super::{Desk, all_applied, all_shown, all_unapplied, failure, plan_of_all, plan_of_none, text};
use crate::support::Server;

#[test]
fn a_fresh_database_gets_all_migrations_once() {
    let desk = Desk::new();

    let first = desk.succeeds(&["migrate"]);
    let again = desk.succeeds(&["migrate"]);

    let opening = "Operations to perform:\n  Apply all migrations\nRunning migrations:\n";
    assert_eq!(first, format!("{opening}{}", all_applied()));
    assert_eq!(again, format!("{opening}  No migrations to apply.\n"));
    assert_eq!(desk.sql("SELECT count(*) FROM resources"), "0");
}

#[test]
fn migrating_again_keeps_every_row() {
    let desk = Desk::migrated();
    desk.sql("INSERT INTO resources (name, fencing_token) VALUES ('r', 7)");

    desk.succeeds(&["migrate"]);

    assert_eq!(desk.sql("SELECT name, fencing_token FROM resources"), "r|7");
}

#[test]
fn what_was_held_before_clients_were_counted_stays_held_and_so_does_what_was_after() {
    let desk = Desk::new();
    desk.succeeds(&["migrate", "0003"]);
    desk.sql("INSERT INTO resources (name, fencing_token, locked_by, acquired_at_us) VALUES ('r', 7, 'k', 1)");
    desk.succeeds(&["migrate"]);
    let server = desk.cls().with("CLIENT_LOCKS_MAX", "1").start();
    let key = r#"{"locked_by": "k"}"#;
    assert_eq!(server.client().put("s", key).status, 200, "the other does not count");
    assert_eq!(server.client().put("t", key).status, 429);
    drop(server);

    let held = "SELECT name, locked_by FROM held_locks ORDER BY name";
    assert_eq!(desk.sql(held), "r|k\ns|k");
    desk.succeeds(&["migrate", "0003"]);
    assert_eq!(desk.sql(held), "r|k\ns|k");
}

#[test]
fn a_plan_is_only_said() {
    let desk = Desk::new();

    let plan = desk.succeeds(&["migrate", "--plan"]);
    assert!(desk.content().is_empty(), "nothing was made");
    desk.succeeds(&["migrate"]);
    let nothing = desk.succeeds(&["migrate", "--plan"]);
    let back = desk.succeeds(&["migrate", "zero", "--plan"]);

    assert_eq!(plan, plan_of_all("sqlite"));
    assert_eq!(nothing, "Planned operations:\n  No planned migration operations.\n");
    assert_eq!(back, plan_of_none("sqlite"));
    assert_eq!(
        desk.sql("SELECT count(*) FROM resources"),
        "0",
        "and nothing was undone"
    );
}

#[test]
fn check_tells_by_its_exit_code_whether_something_is_to_be_done() {
    let desk = Desk::new();

    let line = desk.refuses(&desk.cls(), &["migrate", "--check"], 1);
    desk.succeeds(&["migrate"]);

    assert_eq!(line, "there are unapplied migrations; run `cls migrate`");
    assert_eq!(desk.succeeds(&["migrate", "--check"]), "");
}

#[test]
fn a_target_is_reached_up_and_down_by_number_or_name() {
    let desk = Desk::new();

    let up = desk.succeeds(&["migrate", "0001"]);
    let down = desk.succeeds(&["migrate", "zero"]);
    assert_eq!(
        desk.sql("SELECT count(*) FROM sqlite_schema WHERE name = 'resources'"),
        "0"
    );
    let shown = desk.succeeds(&["showmigrations"]);
    let up_again = desk.succeeds(&["migrate", "0001_resources"]);
    desk.succeeds(&["migrate"]);
    let all_shown_applied = desk.succeeds(&["showmigrations"]);
    let all_down = desk.succeeds(&["migrate", "zero"]);

    assert_eq!(
        up,
        "Operations to perform:\n  Target specific migration: 0001\n\
         Running migrations:\n  Applying 0001_resources... OK\n"
    );
    assert_eq!(
        down,
        "Operations to perform:\n  Unapply all migrations\nRunning migrations:\n  Unapplying 0001_resources... OK\n"
    );
    assert!(shown.contains("[ ] 0001_resources"), "{shown}");
    assert!(up_again.ends_with("  Applying 0001_resources... OK\n"), "{up_again}");
    assert_eq!(all_shown_applied, all_shown('X'));
    assert!(all_down.ends_with(&all_unapplied()), "{all_down}");
}

#[test]
fn a_server_starts_on_a_database_from_which_all_was_taken_back() {
    let desk = Desk::migrated();
    desk.succeeds(&["migrate", "zero"]);

    let server = desk.cls().start();

    assert_eq!(server.client().put("r", r#"{"locked_by": "k"}"#).status, 200);
}

#[test]
fn an_unknown_target_is_refused_before_anything_is_made() {
    let desk = Desk::new();

    let line = desk.refuses(&desk.cls(), &["migrate", "0009"], 1);

    assert_eq!(
        line,
        "cannot find a migration matching '0009'; `cls showmigrations` lists them"
    );
    let output = desk.cls().run(&["migrate", "0009"]);
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_database_in_use_is_not_migrated() {
    let server = Server::start_with(&[("CONNECTIONS_MAX", "16")]);

    for arguments in [&["migrate"][..], &["migrate", "zero"]] {
        let line = failure(&server.cls().run(arguments), 1);
        let owner = format!("cls runserver {} (pid {})", server.address, server.pid());
        assert!(line.contains(&format!("is in use by {owner}; stop it first")), "{line}");
    }
    assert_eq!(server.client().put("r", r#"{"locked_by": "k"}"#).status, 200);
    let plan = server.cls().run(&["migrate", "--check"]);
    assert_eq!(plan.status.code(), Some(0), "looking is allowed");
}
