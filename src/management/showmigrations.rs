//! `cls showmigrations`.

use std::io::{self, Write};

use clap::Args;

use crate::db::{Database, DatabaseUrl, IfMissing};
use crate::management::CommandError;
use crate::settings::Settings;

/// List the migrations and which are applied.
#[derive(Debug, Args)]
pub struct Showmigrations {}

impl Showmigrations {
    pub(super) fn run(self, settings: &Settings) -> Result<(), CommandError> {
        let url = DatabaseUrl::parse(settings.database_url.reveal())?;
        let mut database = Database::open(&url, IfMissing::Pretend)?;
        let mut out = io::stdout();
        writeln!(out, "central_locking_system")?;
        for migration in database.migrations()?.states() {
            writeln!(
                out,
                " [{}] {}",
                if migration.applied { 'X' } else { ' ' },
                migration.name
            )?;
        }
        Ok(())
    }
}
