//! `cls check`.

use std::io::{self, Write};

use clap::Args;

use crate::db::{Database, DatabaseUrl, IfMissing};
use crate::management::CommandError;
use crate::management::reload::warn_of;
use crate::settings::Settings;
use crate::tls::Identity;

/// Check the settings, the certificates, the database and its migrations.
#[derive(Debug, Args)]
pub struct Check {}

impl Check {
    pub(super) fn run(self, settings: &Settings) -> Result<(), CommandError> {
        if let Some(files) = &settings.tls {
            warn_of(&Identity::load(files)?);
        }
        let url = DatabaseUrl::parse(settings.database_url.reveal())?;
        Database::open(&url, IfMissing::Refuse)?.require_migrated()?;
        let mut out = io::stdout();
        writeln!(out, "System check identified no issues (0 silenced).")?;
        Ok(())
    }
}
