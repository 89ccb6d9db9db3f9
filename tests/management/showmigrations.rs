//! `cls showmigrations`, `cls sqlmigrate` and `cls check`: they read, and make
//! nothing.

use super::{Desk, all_shown, migrations, none_applied, text};

#[test]
fn migrations_are_shown_without_making_a_file() {
    let desk = Desk::new();

    let shown = desk.succeeds(&["showmigrations"]);

    assert_eq!(shown, all_shown(' '));
    assert!(desk.content().is_empty());
}

#[test]
fn applied_migrations_are_crossed() {
    let desk = Desk::migrated();

    assert_eq!(desk.succeeds(&["showmigrations"]), all_shown('X'));
}

#[test]
fn the_sql_of_a_migration_is_printed_both_ways() {
    let desk = Desk::new();

    let up = desk.succeeds(&["sqlmigrate", "0001"]);
    let named = desk.succeeds(&["sqlmigrate", "0001_resources"]);
    let down = desk.succeeds(&["sqlmigrate", "0001", "--backwards"]);

    let file = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite/0001_resources");
        std::fs::read_to_string(format!("{folder}/{name}")).expect("a migration")
    };
    assert_eq!(up, format!("BEGIN;\n{}\nCOMMIT;\n", file("up.sql").trim_end()));
    assert_eq!(named, up);
    assert_eq!(down, format!("BEGIN;\n{}\nCOMMIT;\n", file("down.sql").trim_end()));
    assert!(desk.content().is_empty());
}

#[test]
fn the_printed_sql_makes_what_a_migration_makes() {
    let migrated = Desk::migrated();
    let by_hand = Desk::new();

    for (name, _) in migrations("sqlite") {
        by_hand.sql(&by_hand.succeeds(&["sqlmigrate", &name]));
    }

    let tables = "SELECT name, sql FROM sqlite_schema WHERE tbl_name <> '__diesel_schema_migrations' ORDER BY name";
    assert_eq!(by_hand.sql(tables), migrated.sql(tables));
}

#[test]
fn an_unknown_migration_has_no_sql() {
    let desk = Desk::new();

    let line = desk.refuses(&desk.cls(), &["sqlmigrate", "0009"], 1);

    assert!(line.starts_with("cannot find a migration matching '0009'"), "{line}");
}

#[test]
fn check_is_content_with_a_migrated_database_and_with_no_other() {
    let desk = Desk::new();

    let missing = desk.refuses(&desk.cls(), &["check"], 1);
    desk.succeeds(&["migrate"]);
    let fine = desk.succeeds(&["check"]);
    desk.succeeds(&["migrate", "zero"]);
    let unmigrated = desk.refuses(&desk.cls(), &["check"], 1);

    assert!(
        missing.contains("db.sqlite3 does not exist; run `cls migrate` to create it"),
        "{missing}"
    );
    assert_eq!(fine, "System check identified no issues (0 silenced).\n");
    assert_eq!(unmigrated, none_applied());
}

#[test]
fn the_version_and_the_commands_are_told() {
    let desk = Desk::new();

    assert_eq!(
        desk.succeeds(&["--version"]),
        concat!("cls ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let help = desk.succeeds(&["--help"]);
    for command in [
        "runserver",
        "migrate",
        "showmigrations",
        "sqlmigrate",
        "check",
        "dbshell",
    ] {
        assert!(help.contains(&format!("\n  {command}")), "{help}");
    }
    let unknown = desk.cls().run(&["flush"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("'flush'"));
}
