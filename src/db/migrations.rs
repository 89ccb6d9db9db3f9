//! Which migrations exist, which are applied, and how to apply them.

use diesel::migration::{Migration, MigrationConnection, MigrationSource};
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use thiserror::Error;

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// The same once more as text, for those who want to read it: diesel's embedded
/// migrations do not show their SQL.
const SQLITE_SQL: &[(&str, &str, &str)] = &[(
    "0001_resources",
    include_str!("../../migrations/sqlite/0001_resources/up.sql"),
    include_str!("../../migrations/sqlite/0001_resources/down.sql"),
)];

/// The table in which diesel keeps what is applied.
pub(super) const HISTORY_TABLE: &str = "__diesel_schema_migrations";

/// How far to migrate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All that this binary knows.
    Latest,
    /// Up or down to the one whose name this is or begins with.
    Named(String),
    /// None at all.
    Zero,
}

/// One migration, in the order in which they are applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationState {
    /// Number and name, for example `0001_resources`.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

/// Why migrations cannot be listed or run.
#[derive(Debug, Error)]
pub enum MigrationError {
    /// No migration of that name, or more than one.
    #[error("cannot find a migration matching '{0}'; `cls showmigrations` lists them")]
    Unknown(String),
    /// The database knows one that the binary does not.
    #[error("the database has migration {0}, which this version of cls does not know; use the newer cls that made it")]
    Newer(String),
    /// The database refused.
    #[error("migration {name}: {reason}; nothing of it was done, put that right and run `cls migrate` again")]
    Failed {
        /// Which one.
        name: String,
        /// What the database said.
        reason: String,
    },
}

/// The migrations of one open database.
pub struct Migrations<'c> {
    conn: &'c mut SqliteConnection,
    known: Vec<Box<dyn Migration<Sqlite>>>,
    applied: Vec<String>,
}

/// What is to be done with one migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run its `up.sql`.
    Apply,
    /// Run its `down.sql`.
    Unapply,
}

impl<'c> Migrations<'c> {
    /// Reads what is applied. Writes nothing, not even diesel's own table.
    pub(super) fn of(conn: &'c mut SqliteConnection, has_history: bool) -> Result<Self, MigrationError> {
        let failed = |reason: String| MigrationError::Failed {
            name: "list".to_owned(),
            reason,
        };
        let mut known = MigrationSource::<Sqlite>::migrations(&SQLITE).map_err(|e| failed(e.to_string()))?;
        known.sort_by_key(|migration| migration.name().to_string());
        let mut applied = Vec::new();
        if has_history {
            let versions = conn.applied_migrations().map_err(|e| failed(e.to_string()))?;
            applied.extend(versions.iter().map(ToString::to_string));
        }
        applied.sort();
        let migrations = Self { conn, known, applied };
        match migrations.applied.iter().find(|version| !migrations.knows(version)) {
            Some(version) => Err(MigrationError::Newer(version.clone())),
            None => Ok(migrations),
        }
    }

    /// All migrations, oldest first.
    pub fn states(&self) -> Vec<MigrationState> {
        let states = self.known.iter().map(|migration| MigrationState {
            name: migration.name().to_string(),
            applied: self.applied.contains(&migration.name().version().to_string()),
        });
        states.collect()
    }

    /// The names of those that are not applied, oldest first.
    pub fn unapplied(&self) -> Vec<String> {
        let states = self.states().into_iter();
        states.filter(|state| !state.applied).map(|state| state.name).collect()
    }

    /// What leads to `target`, in the order in which it has to be done.
    pub fn plan(&self, target: &Target) -> Result<Vec<(Step, String)>, MigrationError> {
        let states = self.states();
        let keep = match target {
            Target::Latest => states.len(),
            Target::Zero => 0,
            Target::Named(name) => find(&states, name)? + 1,
        };
        let (stay, go) = states.split_at(keep);
        let down = go.iter().rev().filter(|state| state.applied);
        let up = stay.iter().filter(|state| !state.applied);
        Ok(down
            .map(|state| (Step::Unapply, state.name.clone()))
            .chain(up.map(|state| (Step::Apply, state.name.clone())))
            .collect())
    }

    /// Does one step of a plan, in a transaction of its own: cut off, it has
    /// not happened.
    pub fn run(&mut self, step: Step, name: &str) -> Result<(), MigrationError> {
        let migration = self.known.iter().find(|known| known.name().to_string() == name);
        let migration = migration.ok_or_else(|| MigrationError::Unknown(name.to_owned()))?;
        let failed = |reason: String| MigrationError::Failed {
            name: name.to_owned(),
            reason,
        };
        self.conn.setup().map_err(|e| failed(e.to_string()))?;
        match step {
            Step::Apply => self.conn.run_migration(migration.as_ref()),
            Step::Unapply => self.conn.revert_migration(migration.as_ref()),
        }
        .map(drop)
        .map_err(|e| failed(e.to_string()))
    }

    /// What a migration does: the first comment of its SQL.
    pub fn describe(name: &str) -> String {
        let sql = Self::sql(name, Step::Apply).unwrap_or_default();
        let comment = sql.lines().next().and_then(|line| line.strip_prefix("-- "));
        comment.unwrap_or("Run SQL").to_owned()
    }

    /// The SQL of a migration, by name or number.
    pub fn sql(name: &str, step: Step) -> Result<String, MigrationError> {
        let mut found = SQLITE_SQL.iter().filter(|(known, ..)| known.starts_with(name));
        match (found.next(), found.next()) {
            (Some((_, up, down)), None) => Ok((if step == Step::Apply { *up } else { *down }).to_owned()),
            _ => Err(MigrationError::Unknown(name.to_owned())),
        }
    }

    fn knows(&self, version: &str) -> bool {
        self.known
            .iter()
            .any(|migration| migration.name().version().to_string() == version)
    }
}

fn find(states: &[MigrationState], name: &str) -> Result<usize, MigrationError> {
    let mut found = states
        .iter()
        .enumerate()
        .filter(|(_, state)| state.name.starts_with(name));
    match (found.next(), found.next()) {
        (Some((index, _)), None) => Ok(index),
        _ => Err(MigrationError::Unknown(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use diesel::connection::Connection;

    use super::*;

    fn migrate(conn: &mut SqliteConnection, target: &Target) -> Vec<(Step, String)> {
        let has_history = super::super::database::has_table(conn, HISTORY_TABLE).expect("readable");
        let mut migrations = Migrations::of(conn, has_history).expect("all known");
        let plan = migrations.plan(target).expect("the target exists");
        for (step, name) in &plan {
            migrations.run(*step, name).expect("it runs");
        }
        plan
    }

    #[test]
    fn the_sql_of_every_migration_can_be_read() {
        let known = MigrationSource::<Sqlite>::migrations(&SQLITE).expect("embedded");
        let mut names: Vec<_> = known.iter().map(|migration| migration.name().to_string()).collect();
        names.sort();

        let readable: Vec<_> = SQLITE_SQL.iter().map(|(name, ..)| name.to_string()).collect();

        assert_eq!(readable, names);
    }

    #[test]
    fn up_down_and_up_again() {
        let mut conn = SqliteConnection::establish(":memory:").expect("SQLite opens");

        let up = migrate(&mut conn, &Target::Latest);
        let down = migrate(&mut conn, &Target::Zero);
        let again = migrate(&mut conn, &Target::Named("0001".to_owned()));
        let nothing = migrate(&mut conn, &Target::Latest);

        assert_eq!(up[0], (Step::Apply, "0001_resources".to_owned()));
        assert_eq!(down.len(), up.len());
        assert!(down.iter().all(|(step, _)| *step == Step::Unapply));
        assert_eq!(again.len() + nothing.len(), up.len());
    }
}
