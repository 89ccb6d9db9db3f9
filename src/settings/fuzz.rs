//! What no environment and no `.env` can do.

use super::environment::check_variables;
use std::collections::HashMap;

use super::*;
use crate::fuzz::{fuzz, fuzz_text, kind};

/// In the corpus where a password would be.
const PASSWORD: &str = "hunter2";

#[test]
fn settings_that_are_accepted_keep_to_their_bounds() {
    fuzz_text("settings", Vec::new(), |text| {
        let variables: HashMap<_, _> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let read = |name| variables.get(name).map(ToString::to_string).ok_or(VarError::NotPresent);
        let settings = Settings::from_variables(read);
        let told = match &settings {
            Ok(settings) => {
                assert!((1..=1024).contains(&settings.workers));
                assert!(settings.connections_max >= 1 && settings.operations_queued_max >= 1);
                assert!(settings.keep_alive.as_secs() >= 1 && settings.prune_after_days <= 36_500);
                assert!(
                    settings
                        .max_ttl
                        .is_none_or(|max| settings.default_ttl.is_some_and(|ttl| ttl <= max))
                );
                let _ = env_logger::Builder::new().parse_filters(&settings.log_filter).build();
                format!("{settings:?}")
            }
            Err(error) => format!("{error} {error:?}"),
        };
        let others = variables.iter().filter(|(name, _)| **name != "DATABASE_URL");
        let is_elsewhere = others.into_iter().any(|(_, value)| value.contains(PASSWORD));
        assert!(is_elsewhere || !told.contains(PASSWORD), "{told}");
        kind(&told)
    });
}

#[test]
fn a_file_of_settings_is_read_or_refused_and_not_repeated() {
    fuzz("dot_env", Vec::new(), |file| {
        let checked = check_variables(dotenvy::from_read_iter(file));
        let told = format!("{checked:?}");
        assert!(!told.contains(PASSWORD), "{told}");
        kind(&told)
    });
}
