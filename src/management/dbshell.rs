//! `cls dbshell`.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use clap::Args;

use crate::db::{DatabaseError, DatabaseUrl, PostgresUrl};
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
        let url = DatabaseUrl::parse(settings.database_url.reveal())?;
        let (name, mut tool) = match &url {
            DatabaseUrl::Sqlite(path) => ("sqlite3", sqlite3(path)?),
            DatabaseUrl::Postgres(url) => ("psql", psql(url)),
        };
        let error = tool.args(self.arguments).exec();
        Err(CommandError::Shell(name, error))
    }
}

fn sqlite3(path: &Path) -> Result<Command, DatabaseError> {
    // The tool would make an empty database of a mistyped name.
    if !path.exists() {
        return Err(DatabaseError::Missing(path.to_owned()));
    }
    if path.is_dir() {
        return Err(DatabaseError::Directory(path.to_owned()));
    }
    let mut tool = Command::new("sqlite3");
    tool.arg(path);
    Ok(tool)
}

/// The password goes by the environment: everybody on the machine can read
/// arguments.
fn psql(url: &PostgresUrl) -> Command {
    let mut tool = Command::new("psql");
    tool.arg("--dbname").arg(url.without_password());
    if let Some(password) = url.password() {
        tool.env("PGPASSWORD", password);
    }
    tool
}
