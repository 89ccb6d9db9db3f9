//! What settings may be, and what `.env.example` says of them.

use std::collections::HashMap;

use super::environment::check_variables;
use super::*;

fn settings(variables: &[(&'static str, &str)]) -> Result<Settings, SettingsError> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    Settings::from_variables(|name| variables.get(name).map(ToString::to_string).ok_or(VarError::NotPresent))
}

#[test]
fn an_empty_value_is_the_default() {
    assert_eq!(settings(&[]), settings(&[("WAITERS_MAX", ""), ("DATABASE_URL", "")]));
    assert_eq!(
        settings(&[]).expect("defaults are fine").database_url.reveal(),
        "sqlite://db.sqlite3"
    );
}

#[test]
fn a_wrong_number_is_named_with_its_range() {
    for wrong in ["x", "-1", "0", "1.5", "99999999999999999999"] {
        let error = settings(&[("WORKERS", wrong)]).expect_err(wrong);
        let expected = format!("WORKERS must be a whole number from 1 to 1024, not '{wrong}'");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_mistyped_level_is_refused() {
    for (filter, wrong) in [
        ("info", None),
        ("INFO", None),
        ("info,central_locking_system::engine=debug", None),
        ("warn/commit", None),
        ("loud", Some("loud")),
        ("info,engine=loud", Some("engine=loud")),
        ("info,", Some("")),
    ] {
        let expected = wrong.map(|wrong| SettingsError::LogFilter(wrong.to_owned()));
        assert_eq!(settings(&[("RUST_LOG", filter)]).err(), expected, "{filter}");
    }
}

#[test]
fn what_is_no_host_is_refused() {
    for (value, wrong) in [
        ("localhost", None),
        (" a.example , .example.com,my_host,127.0.0.1,[::1],*", None),
        ("http://example.com", Some("http://example.com")),
        ("example.com:8000", Some("example.com:8000")),
        ("a,*.example.com", Some("*.example.com")),
        ("::1", Some("::1")),
        ("[example]", Some("[example]")),
        ("a b", Some("a b")),
        ("a,", Some("")),
        (".", Some(".")),
        ("..a", Some("..a")),
    ] {
        let expected = wrong.map(|wrong| SettingsError::Host(wrong.to_owned()));
        assert_eq!(settings(&[("ALLOWED_HOSTS", value)]).err(), expected, "{value}");
    }
    let listed = settings(&[("ALLOWED_HOSTS", "a, b")]).expect("two hosts").allowed_hosts;
    assert_eq!(listed, Some(vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn a_secret_cannot_be_printed() {
    let settings = settings(&[("DATABASE_URL", "postgres://u:hunter2@h/db")]).expect("well formed");

    assert!(!format!("{settings:?}").contains("hunter2"));
    assert_eq!(settings.database_url.reveal(), "postgres://u:hunter2@h/db");
}

#[test]
fn a_line_of_the_file_that_is_refused_is_not_repeated() {
    for line in ["DATABASE_URL=\"hunter2\0\"", "DATABASE_URL=hunter2 x", "hunter2"] {
        let error = check_variables(dotenvy::from_read_iter(line.as_bytes())).expect_err(line);

        assert!(error.to_string().starts_with("cannot read .env: a line "), "{error}");
        assert!(!format!("{error}{error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn every_name_is_read() {
    for name in NAMES.iter().filter(|name| !["DATABASE_URL", "RUST_LOG"].contains(name)) {
        assert!(settings(&[(name, "no number")]).is_err(), "{name}");
    }
}

#[test]
fn the_example_lists_every_setting_once_with_its_default() {
    let example = include_str!("../../.env.example");
    let settings: Vec<_> = example
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once('='))
        // Prose begins with a blank, and may show a value too.
        .filter(|(name, _)| !name.starts_with(' '))
        .collect();
    let names: Vec<_> = settings.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, NAMES);

    let example: HashMap<_, _> = settings.into_iter().collect();
    let from_example = Settings::from_variables(|name| match example.get(name) {
        // It depends on the machine, which the example says in words.
        Some(&"") | None => Err(VarError::NotPresent),
        Some(value) => Ok(value.to_string()),
    });
    assert_eq!(from_example, Settings::from_variables(|_| Err(VarError::NotPresent)));
}
