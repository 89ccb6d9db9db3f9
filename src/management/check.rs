//! `cls check`.

use std::io::{self, Write};

use clap::Args;

use crate::management::reload::warn_of;
use crate::management::{CommandError, migrated};
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
        migrated(settings)?;
        let mut out = io::stdout();
        writeln!(out, "System check identified no issues (0 silenced).")?;
        Ok(())
    }
}
