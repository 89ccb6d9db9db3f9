//! `cls restore`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::db::{DatabaseUrl, restore};
use crate::management::CommandError;
use crate::settings::Settings;

/// Put a copy that `cls backup` made in place of the database, which no server
/// may run on. What was there before is kept beside it.
#[derive(Debug, Args)]
pub struct Restore {
    /// The copy.
    file: PathBuf,
}

impl Restore {
    pub(super) fn run(self, settings: &Settings) -> Result<(), CommandError> {
        let url = DatabaseUrl::parse(settings.database_url.reveal())?;
        let restored = restore(&url, &self.file)?;
        let mut out = io::stdout();
        writeln!(
            out,
            "Restored {} to {url}: {} resources, fencing tokens go on after {}.",
            self.file.display(),
            restored.resources,
            restored.fencing_token
        )?;
        if let Some(kept) = restored.kept {
            writeln!(out, "What was there before is {}.", kept.display())?;
        }
        if !restored.unapplied.is_empty() {
            let names = restored.unapplied.join(", ");
            writeln!(out, "Its schema is older and lacks {names}: run `cls migrate` next.")?;
        }
        Ok(())
    }
}
