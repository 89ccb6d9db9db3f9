//! `cls sqlmigrate`.

use clap::Args;

use crate::db::{Migrations, Step};
use crate::management::CommandError;

/// Print the SQL of a migration.
#[derive(Debug, Args)]
pub struct Sqlmigrate {
    /// The migration, by name or number.
    name: String,
    /// Print what undoes it.
    #[arg(long)]
    backwards: bool,
}

impl Sqlmigrate {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let step = if self.backwards { Step::Unapply } else { Step::Apply };
        println!("BEGIN;\n{}\nCOMMIT;", Migrations::sql(&self.name, step)?.trim_end());
        Ok(())
    }
}
