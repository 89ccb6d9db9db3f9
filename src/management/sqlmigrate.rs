//! `cls sqlmigrate`.

use std::io::{self, Write};

use clap::Args;

use crate::db::{DatabaseUrl, Migrations, Step};
use crate::management::CommandError;
use crate::settings::Settings;

/// Print the SQL of a migration, as the configured database gets it.
#[derive(Debug, Args)]
pub struct Sqlmigrate {
    /// The migration, by name or number.
    name: String,
    /// Print what undoes it.
    #[arg(long)]
    backwards: bool,
}

impl Sqlmigrate {
    pub(super) fn run(self, settings: &Settings) -> Result<(), CommandError> {
        let url = DatabaseUrl::parse(settings.database_url.reveal())?;
        let step = if self.backwards { Step::Unapply } else { Step::Apply };
        let mut out = io::stdout();
        writeln!(
            out,
            "BEGIN;\n{}\nCOMMIT;",
            Migrations::sql(&url, &self.name, step)?.trim_end()
        )?;
        Ok(())
    }
}
