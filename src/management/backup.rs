//! `cls backup`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::db::{DatabaseUrl, back_up};
use crate::management::CommandError;
use crate::settings::Settings;

/// Copy the database to a new file, whether it is served or not.
#[derive(Debug, Args)]
pub struct Backup {
    /// The file to make.
    file: PathBuf,
}

impl Backup {
    pub(super) fn run(self, settings: &Settings) -> Result<(), CommandError> {
        let url = DatabaseUrl::parse(settings.database_url.reveal())?;
        let made = back_up(&url, &self.file)?;
        writeln!(
            io::stdout(),
            "Backed up {url} to {}: {} resources, fencing tokens up to {}.",
            self.file.display(),
            made.resources,
            made.fencing_token
        )?;
        Ok(())
    }
}
