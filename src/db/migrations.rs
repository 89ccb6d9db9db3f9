//! Which migrations exist, which are applied, and how to apply them.

use diesel::backend::Backend;
use diesel::connection::Connection;
use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::migration::{MigrationConnection, MigrationSource};
use diesel::pg::PgConnection;
use diesel::prelude::{QueryResult, RunQueryDsl};
use diesel::query_dsl::methods::LoadQuery;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use thiserror::Error;

use crate::db::DatabaseUrl;
use crate::db::catalog::AnyConnection;

/// The migrations for one kind of database, oldest first.
struct Known {
    embedded: EmbeddedMigrations,
    /// The same once more as text, for those who want to read it: diesel's
    /// embedded migrations do not show their SQL.
    sql: &'static [Sql],
}

struct Sql {
    name: &'static str,
    up: &'static str,
    down: &'static str,
}

static SQLITE: Known = Known {
    embedded: embed_migrations!("migrations/sqlite"),
    sql: &[
        Sql {
            name: "0001_resources",
            up: include_str!("../../migrations/sqlite/0001_resources/up.sql"),
            down: include_str!("../../migrations/sqlite/0001_resources/down.sql"),
        },
        Sql {
            name: "0002_lock_life",
            up: include_str!("../../migrations/sqlite/0002_lock_life/up.sql"),
            down: include_str!("../../migrations/sqlite/0002_lock_life/down.sql"),
        },
        Sql {
            name: "0003_access",
            up: include_str!("../../migrations/sqlite/0003_access/up.sql"),
            down: include_str!("../../migrations/sqlite/0003_access/down.sql"),
        },
        Sql {
            name: "0004_lock_clients",
            up: include_str!("../../migrations/sqlite/0004_lock_clients/up.sql"),
            down: include_str!("../../migrations/sqlite/0004_lock_clients/down.sql"),
        },
        Sql {
            name: "0005_info",
            up: include_str!("../../migrations/sqlite/0005_info/up.sql"),
            down: include_str!("../../migrations/sqlite/0005_info/down.sql"),
        },
        Sql {
            name: "0006_history",
            up: include_str!("../../migrations/sqlite/0006_history/up.sql"),
            down: include_str!("../../migrations/sqlite/0006_history/down.sql"),
        },
        Sql {
            name: "0007_waiter_requests",
            up: include_str!("../../migrations/sqlite/0007_waiter_requests/up.sql"),
            down: include_str!("../../migrations/sqlite/0007_waiter_requests/down.sql"),
        },
        Sql {
            name: "0008_sessions",
            up: include_str!("../../migrations/sqlite/0008_sessions/up.sql"),
            down: include_str!("../../migrations/sqlite/0008_sessions/down.sql"),
        },
    ],
};

static POSTGRES: Known = Known {
    embedded: embed_migrations!("migrations/postgres"),
    sql: &[
        Sql {
            name: "0001_resources",
            up: include_str!("../../migrations/postgres/0001_resources/up.sql"),
            down: include_str!("../../migrations/postgres/0001_resources/down.sql"),
        },
        Sql {
            name: "0002_lock_life",
            up: include_str!("../../migrations/postgres/0002_lock_life/up.sql"),
            down: include_str!("../../migrations/postgres/0002_lock_life/down.sql"),
        },
        Sql {
            name: "0003_access",
            up: include_str!("../../migrations/postgres/0003_access/up.sql"),
            down: include_str!("../../migrations/postgres/0003_access/down.sql"),
        },
        Sql {
            name: "0004_lock_clients",
            up: include_str!("../../migrations/postgres/0004_lock_clients/up.sql"),
            down: include_str!("../../migrations/postgres/0004_lock_clients/down.sql"),
        },
        Sql {
            name: "0005_info",
            up: include_str!("../../migrations/postgres/0005_info/up.sql"),
            down: include_str!("../../migrations/postgres/0005_info/down.sql"),
        },
        Sql {
            name: "0006_history",
            up: include_str!("../../migrations/postgres/0006_history/up.sql"),
            down: include_str!("../../migrations/postgres/0006_history/down.sql"),
        },
        Sql {
            name: "0007_waiter_requests",
            up: include_str!("../../migrations/postgres/0007_waiter_requests/up.sql"),
            down: include_str!("../../migrations/postgres/0007_waiter_requests/down.sql"),
        },
        Sql {
            name: "0008_sessions",
            up: include_str!("../../migrations/postgres/0008_sessions/up.sql"),
            down: include_str!("../../migrations/postgres/0008_sessions/down.sql"),
        },
    ],
};

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

impl MigrationError {
    fn failed(name: &str, error: impl ToString) -> Self {
        Self::Failed {
            name: name.to_owned(),
            // PostgreSQL tells its reasons in several lines.
            reason: error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }
}

/// The migrations of one open database.
pub struct Migrations<'c> {
    conn: Conn<'c>,
    known: &'static Known,
    applied: Vec<String>,
}

enum Conn<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
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
    /// Reads what is applied, if there is a history. Writes nothing, not even
    /// diesel's own table.
    pub(super) fn on_sqlite(conn: &'c mut SqliteConnection, has_history: bool) -> Result<Self, MigrationError> {
        Self::read(Conn::Sqlite(conn), &SQLITE, has_history)
    }

    /// The same on PostgreSQL.
    pub(super) fn on_postgres(conn: &'c mut PgConnection, has_history: bool) -> Result<Self, MigrationError> {
        Self::read(Conn::Postgres(conn), &POSTGRES, has_history)
    }

    fn read(mut conn: Conn<'c>, known: &'static Known, has_history: bool) -> Result<Self, MigrationError> {
        let mut applied = match &mut conn {
            _ if !has_history => Vec::new(),
            Conn::Sqlite(conn) => applied(*conn).map_err(|e| MigrationError::failed("list", e))?,
            Conn::Postgres(conn) => applied(*conn).map_err(|e| MigrationError::failed("list", e))?,
        };
        applied.sort();
        let migrations = Self { conn, known, applied };
        match migrations.applied.iter().find(|version| !migrations.knows(version)) {
            Some(version) => Err(MigrationError::Newer(version.clone())),
            None => Ok(migrations),
        }
    }

    /// All migrations, oldest first.
    pub fn states(&self) -> Vec<MigrationState> {
        let states = self.known.sql.iter().map(|sql| MigrationState {
            name: sql.name.to_owned(),
            applied: self.applied.iter().any(|version| version == sql.version()),
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
        match &mut self.conn {
            Conn::Sqlite(conn) => run(*conn, self.known, step, name),
            Conn::Postgres(conn) => run(*conn, self.known, step, name),
        }
    }

    /// What a migration does: the first comment of its SQL.
    pub fn describe(&self, name: &str) -> &'static str {
        let sql = self.known.sql.iter().find(|sql| sql.name == name);
        let comment = sql.and_then(|sql| sql.up.lines().next()?.strip_prefix("-- "));
        comment.unwrap_or("Run SQL")
    }

    /// The SQL of a migration for such a database, by name or number.
    pub fn sql(url: &DatabaseUrl, name: &str, step: Step) -> Result<&'static str, MigrationError> {
        let known = match url {
            DatabaseUrl::Sqlite(_) => &SQLITE,
            DatabaseUrl::Postgres(_) => &POSTGRES,
        };
        let mut found = known.sql.iter().filter(|sql| sql.name.starts_with(name));
        match (found.next(), found.next(), step) {
            (Some(sql), None, Step::Apply) => Ok(sql.up),
            (Some(sql), None, Step::Unapply) => Ok(sql.down),
            _ => Err(MigrationError::Unknown(name.to_owned())),
        }
    }

    fn knows(&self, version: &str) -> bool {
        self.known.sql.iter().any(|sql| sql.version() == version)
    }
}

impl Sql {
    /// What the history calls it: the number.
    fn version(&self) -> &'static str {
        self.name.split('_').next().unwrap_or(self.name)
    }
}

/// Reads the history without diesel, which would first make its table: for that
/// PostgreSQL wants rights that a server need not have.
/// The names of those that this binary has and the database lacks, oldest first;
/// for a server that runs, to which newer ones do not matter.
pub(super) fn unapplied(conn: &mut AnyConnection) -> QueryResult<Vec<String>> {
    let (known, applied) = match conn {
        AnyConnection::Sqlite(conn) => (&SQLITE, applied(conn)?),
        AnyConnection::Postgres(conn) => (&POSTGRES, applied(conn)?),
    };
    let missing = known
        .sql
        .iter()
        .filter(|sql| !applied.iter().any(|version| version == sql.version()));
    Ok(missing.map(|sql| sql.name.to_owned()).collect())
}

fn applied<'c, C>(conn: &'c mut C) -> QueryResult<Vec<String>>
where
    C: Connection,
    SqlLiteral<Text>: LoadQuery<'c, C, String>,
{
    sql::<Text>(&format!("SELECT version FROM {HISTORY_TABLE}")).load(conn)
}

fn run<DB: Backend, C: MigrationHarness<DB> + MigrationConnection>(
    conn: &mut C,
    known: &Known,
    step: Step,
    name: &str,
) -> Result<(), MigrationError> {
    let migrations = MigrationSource::<DB>::migrations(&known.embedded).map_err(|e| MigrationError::failed(name, e))?;
    let migration = migrations.iter().find(|migration| migration.name().to_string() == name);
    let migration = migration.ok_or_else(|| MigrationError::Unknown(name.to_owned()))?;
    conn.setup().map_err(|e| MigrationError::failed(name, e))?;
    match step {
        Step::Apply => conn.run_migration(migration.as_ref()),
        Step::Unapply => conn.revert_migration(migration.as_ref()),
    }
    .map(drop)
    .map_err(|e| MigrationError::failed(name, e))
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
    use diesel::pg::Pg;
    use diesel::sqlite::Sqlite;

    use super::*;
    use crate::db::database::sqlite::has_table;
    use crate::limits::{REPLICA_SILENT_MAX, TOKENS_STEP};

    fn migrate(conn: &mut SqliteConnection, target: &Target) -> Vec<(Step, String)> {
        let has_history = has_table(conn, HISTORY_TABLE).expect("readable");
        let mut migrations = Migrations::on_sqlite(conn, has_history).expect("all known");
        let plan = migrations.plan(target).expect("the target exists");
        for (step, name) in &plan {
            migrations.run(*step, name).expect("it runs");
        }
        plan
    }

    fn embedded_names<DB: Backend>(known: &Known) -> Vec<String> {
        let embedded = MigrationSource::<DB>::migrations(&known.embedded).expect("embedded");
        let mut names: Vec<_> = embedded.iter().map(|migration| migration.name().to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_sql_of_every_migration_can_be_read() {
        for (known, embedded) in [
            (&SQLITE, embedded_names::<Sqlite>(&SQLITE)),
            (&POSTGRES, embedded_names::<Pg>(&POSTGRES)),
        ] {
            let readable: Vec<_> = known.sql.iter().map(|sql| sql.name).collect();
            assert_eq!(readable, embedded);
        }
    }

    #[test]
    fn both_databases_have_the_same_migrations() {
        assert_eq!(embedded_names::<Sqlite>(&SQLITE), embedded_names::<Pg>(&POSTGRES));
    }

    #[test]
    fn the_sequence_steps_over_as_many_as_a_session_takes() {
        let step = format!("INCREMENT BY {TOKENS_STEP} ");

        assert!(POSTGRES.sql[0].up.contains(&step));
    }

    #[test]
    fn people_see_those_in_line_whom_servers_believe_in() {
        let silent_us = REPLICA_SILENT_MAX.as_micros();

        assert!(
            POSTGRES.sql[0]
                .up
                .contains(&format!("seen_us > now_us - {silent_us}\n"))
        );
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
