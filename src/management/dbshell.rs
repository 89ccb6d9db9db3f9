//! `cls dbshell`.

use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;

use crate::db::{DatabaseError, DatabaseUrl};
use crate::management::CommandError;
use crate::settings::Settings;

/// Open the database in its own command line tool.
#[derive(Debug, Args)]
pub struct Dbshell {
    /// Arguments for that tool, after `--`.
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Dbshell {
    pub(super) fn run(self, settings: &Settings) -> Result<(), CommandError> {
        let url = DatabaseUrl::parse(&settings.database_url)?;
        // The tool would make an empty database of a mistyped name.
        if !url.path().exists() {
            return Err(DatabaseError::Missing(url.path().to_owned()).into());
        }
        if url.path().is_dir() {
            return Err(DatabaseError::Directory(url.path().to_owned()).into());
        }
        let error = Command::new("sqlite3").arg(url.path()).args(self.arguments).exec();
        Err(CommandError::Shell("sqlite3", error))
    }
}
