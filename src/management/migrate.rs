//! `cls migrate`.

use std::io::{self, Write};

use clap::Args;

use crate::db::{Database, DatabaseUrl, IfMissing, Migrations, Ownership, Step, Target};
use crate::management::CommandError;
use crate::settings::Settings;

/// Bring the database's schema up to date, or to a given migration.
#[derive(Debug, Args)]
pub struct Migrate {
    /// The migration to go to, up or down, by name or number; `zero` undoes all.
    target: Option<String>,
    /// Only say what would be done.
    #[arg(long)]
    plan: bool,
    /// Only say, by the exit code, whether something would be done.
    #[arg(long)]
    check: bool,
}

impl Migrate {
    pub(super) fn run(self, settings: &Settings) -> Result<(), CommandError> {
        let url = DatabaseUrl::parse(settings.database_url.reveal())?;
        let target = match self.target {
            None => Target::Latest,
            Some(target) if target == "zero" => Target::Zero,
            Some(target) => Target::Named(target),
        };
        // Looked at before anything is made: what is refused leaves no trace.
        let mut database = Database::open(&url, IfMissing::Pretend)?;
        let migrations = database.migrations()?;
        let plan = migrations.plan(&target)?;
        if self.plan || self.check {
            if self.plan {
                print_plan(&migrations, &plan)?;
            }
            return if self.check && !plan.is_empty() {
                Err(CommandError::Unapplied)
            } else {
                Ok(())
            };
        }
        drop(database);
        let _ownership = url.path().map(Ownership::take).transpose()?;
        let mut database = Database::open(&url, IfMissing::Create)?;
        database.wait_to_migrate()?;
        // A migration that is applied leaves room for servers that do not know it yet; to take one back takes away
        // what they stand on.
        let takes_back = |(step, _): &(Step, String)| *step == Step::Unapply;
        if database.migrations()?.plan(&target)?.iter().any(takes_back) {
            database.keep_servers_off()?;
        }
        let mut migrations = database.migrations()?;
        let mut out = io::stdout();
        writeln!(out, "Operations to perform:")?;
        match &target {
            Target::Latest => writeln!(out, "  Apply all migrations")?,
            Target::Named(name) => writeln!(out, "  Target specific migration: {name}")?,
            Target::Zero => writeln!(out, "  Unapply all migrations")?,
        }
        writeln!(out, "Running migrations:")?;
        let plan = migrations.plan(&target)?;
        if plan.is_empty() {
            writeln!(out, "  No migrations to apply.")?;
        }
        run_plan(&mut migrations, &plan)
    }
}

/// Runs each step and says so, as Django does.
pub(super) fn run_plan(migrations: &mut Migrations<'_>, plan: &[(Step, String)]) -> Result<(), CommandError> {
    let mut out = io::stdout();
    for (step, name) in plan {
        match step {
            Step::Apply => write!(out, "  Applying {name}...")?,
            Step::Unapply => write!(out, "  Unapplying {name}...")?,
        }
        out.flush()?;
        if let Err(error) = migrations.run(*step, name) {
            writeln!(out)?;
            return Err(error.into());
        }
        writeln!(out, " OK")?;
    }
    Ok(())
}

fn print_plan(migrations: &Migrations<'_>, plan: &[(Step, String)]) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "Planned operations:")?;
    if plan.is_empty() {
        writeln!(out, "  No planned migration operations.")?;
    }
    for (step, name) in plan {
        writeln!(out, "{name}")?;
        match step {
            Step::Apply => writeln!(out, "    {}", migrations.describe(name))?,
            Step::Unapply => writeln!(out, "    Undo {}", migrations.describe(name))?,
        }
    }
    Ok(())
}
