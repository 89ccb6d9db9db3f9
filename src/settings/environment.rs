//! Where settings are read from: the environment of the process, and `.env`.
//!
//! Both at each reload: `.env` may have changed, the environment of a process
//! cannot be changed from outside.

use std::collections::HashMap;
use std::env::{self, VarError};
use std::fs;
use std::io::ErrorKind;

use crate::settings::{NAMES, Settings, SettingsError};

/// The environment as the process was given it.
#[derive(Debug)]
pub struct Environment {
    /// Of the settings only.
    given: HashMap<&'static str, Result<String, VarError>>,
}

impl Environment {
    /// Looks at the environment, then puts into it what `.env` has beside, for
    /// what libraries read from there (`PGPASSFILE`, `SSL_CERT_FILE`). Once,
    /// before there are other threads.
    ///
    /// Errors: `.env` cannot be read.
    pub fn take() -> Result<Self, SettingsError> {
        let given = NAMES.iter().map(|name| (*name, env::var(name))).collect();
        match dotenvy::from_filename_iter(".env") {
            Ok(variables) => check_variables(variables)?,
            Err(error) if error.not_found() => {}
            Err(error) => return Err(unreadable(error)),
        }
        match dotenvy::from_filename(".env") {
            Ok(_) => Ok(Self { given }),
            Err(error) if error.not_found() => Ok(Self { given }),
            Err(error) => Err(unreadable(error)),
        }
    }

    /// The settings as they are now.
    ///
    /// Errors: `.env` cannot be read, or a setting cannot be used.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        let file = read_file()?;
        Settings::from_variables(|name| match self.given.get(name) {
            Some(Err(VarError::NotPresent)) | None => file.get(name).cloned().ok_or(VarError::NotPresent),
            Some(given) => given.clone(),
        })
    }
}

/// What `.env` says, of the working directory or the nearest one above it, as
/// dotenvy finds it.
fn read_file() -> Result<HashMap<String, String>, SettingsError> {
    let failed = |error: std::io::Error| SettingsError::DotEnv(error.to_string());
    let directory = env::current_dir().map_err(failed)?;
    let mut text = Vec::new();
    for directory in directory.ancestors() {
        match fs::read(directory.join(".env")) {
            Ok(nearest) => {
                text = nearest;
                break;
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let mut found = HashMap::new();
    for line in dotenvy::from_read_iter(text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&text)) {
        let (name, value) = line.map_err(unreadable)?;
        // The first line of a name counts.
        found.entry(name).or_insert(value);
    }
    Ok(found)
}

/// Refuses what cannot be put into the environment: the attempt would panic,
/// with the value in its message.
pub(super) fn check_variables(
    variables: impl IntoIterator<Item = Result<(String, String), dotenvy::Error>>,
) -> Result<(), SettingsError> {
    for variable in variables {
        let (name, value) = variable.map_err(unreadable)?;
        if name.contains('\0') || value.contains('\0') {
            return Err(SettingsError::DotEnv(
                "a line has the character U+0000; take it out".to_owned(),
            ));
        }
    }
    Ok(())
}

fn unreadable(error: dotenvy::Error) -> SettingsError {
    SettingsError::DotEnv(match error {
        // Its text would repeat the line, and that line may hold a password.
        dotenvy::Error::LineParse(_, at) => {
            format!("a line is not NAME=value (at its character {at}); put values with blanks in quotes")
        }
        error => error.to_string(),
    })
}

/// What the system calls whoever runs this process; `None` if it does not say.
pub fn user_name() -> Option<String> {
    ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
}
