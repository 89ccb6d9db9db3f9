//! `cls dbshell`.

use super::Desk;

#[test]
fn arguments_reach_the_shell_and_its_output_comes_back() {
    let desk = Desk::migrated();

    assert_eq!(desk.succeeds(&["dbshell", "--", "SELECT 1"]), "1\n");
    assert_eq!(
        desk.succeeds(&["dbshell", "--", "-header", "SELECT count(*) AS n FROM resources"]),
        "n\n0\n"
    );
}

#[test]
fn a_missing_file_is_not_made() {
    let desk = Desk::new();

    let line = desk.refuses(&desk.cls(), &["dbshell", "--", "SELECT 1"], 1);

    assert_eq!(
        line,
        "db.sqlite3 does not exist; run `cls migrate` to create it, or correct DATABASE_URL"
    );
}

#[test]
fn without_the_shell_it_says_what_to_install() {
    let desk = Desk::migrated();

    let line = desk.refuses(&desk.cls().with("PATH", "/nonexistent"), &["dbshell"], 1);

    assert!(
        line.starts_with("cannot run sqlite3: ") && line.contains("install it"),
        "{line}"
    );
}
