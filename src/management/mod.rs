//! The subcommands of `cls`, named as Django's `manage.py` names them: one
//! command a file.

mod backup;
mod become_command;
mod break_lock;
mod check;
mod cleartokens;
mod createtoken;
mod dbshell;
mod error;
mod exit_code;
mod listtokens;
mod lock;
mod logging;
mod look;
mod migrate;
mod notify;
mod reload;
mod restore;
mod revoketoken;
mod runserver;
mod server_options;
mod showmigrations;
mod shown;
mod sqlmigrate;

use clap::{Parser, Subcommand};

pub use error::CommandError;

use crate::db::{Database, DatabaseUrl, IfMissing};
use crate::management::logging::Logging;
use crate::settings::{Environment, Settings};

/// A central lock server over HTTP and JSON that keeps its state in one SQL table.
#[derive(Debug, Parser)]
#[command(name = "cls", version, about)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Here(Here),
    #[command(flatten)]
    Asking(Box<Asking>),
}

/// The commands that ask a server. They have no settings, and exit as
/// [`exit_code`] says. Each is described where its options are.
#[derive(Debug, Subcommand)]
enum Asking {
    Lock(lock::Lock),
    Status(look::Status),
    Watch(look::Watch),
    Renew(look::Renew),
    Release(look::Release),
    #[command(hide = true)]
    Become(become_command::Become),
}

/// The commands that serve, or work on the database itself, by the settings.
#[derive(Debug, Subcommand)]
enum Here {
    /// Serve the API. On SQLite, missing migrations are applied first.
    Runserver(runserver::Runserver),
    /// Bring the database's schema up to date, or to a given migration.
    Migrate(migrate::Migrate),
    /// List the migrations and which are applied.
    Showmigrations(showmigrations::Showmigrations),
    /// Print the SQL of a migration, as the configured database gets it.
    Sqlmigrate(sqlmigrate::Sqlmigrate),
    /// Check the settings, the certificates, the database and its migrations.
    Check(check::Check),
    /// Open the database in its own command line tool.
    Dbshell(dbshell::Dbshell),
    /// Copy the database to a new file, whether it is served or not.
    Backup(backup::Backup),
    /// Put such a copy in place of the database, which no server may run on.
    Restore(restore::Restore),
    /// Free a resource whose holder is gone, without its key and without a server.
    Break(break_lock::Break),
    /// Make a token and print its key, once: only its hash is kept.
    Createtoken(createtoken::Createtoken),
    /// List the tokens, without their keys, which nobody knows.
    Listtokens(listtokens::Listtokens),
    /// Revoke tokens.
    Revoketoken(revoketoken::Revoketoken),
    /// Delete the tokens that ended long ago.
    Cleartokens(cleartokens::Cleartokens),
}

impl CommandLine {
    /// Reads the arguments of this process; ends it where they ask for help, or
    /// are wrong.
    pub fn from_arguments() -> Self {
        Self::try_parse().unwrap_or_else(|error| {
            // Where it cannot be written nobody reads it.
            let _ = error.print();
            let command = std::env::args_os().nth(1).unwrap_or_default();
            let asks_a_server = command.to_str().is_some_and(Asking::has_subcommand);
            std::process::exit(match error.exit_code() {
                0 => 0,
                _ if asks_a_server => exit_code::USAGE.into(),
                code => code,
            })
        })
    }

    /// Runs the command. Answers with the exit code.
    pub fn run(self) -> Result<u8, CommandError> {
        match self.command {
            Command::Asking(command) => command.run(),
            Command::Here(command) => command.run().map(|()| 0),
        }
    }
}

impl Asking {
    fn run(self) -> Result<u8, CommandError> {
        match self {
            Self::Lock(command) => return command.run(),
            Self::Status(command) => command.run(),
            Self::Watch(command) => command.run(),
            Self::Renew(command) => command.run(),
            Self::Release(command) => command.run(),
            Self::Become(command) => Err(command.run()),
        }
        .map(|()| 0)
    }
}

impl Here {
    fn run(self) -> Result<(), CommandError> {
        let environment = Environment::take()?;
        let settings = environment.settings()?;
        let logging = Logging::start(&settings.log_filter, settings.log_format);
        match self {
            Self::Runserver(command) => command.run(settings, environment, logging),
            Self::Migrate(command) => command.run(&settings),
            Self::Showmigrations(command) => command.run(&settings),
            Self::Sqlmigrate(command) => command.run(&settings),
            Self::Check(command) => command.run(&settings),
            Self::Dbshell(command) => command.run(&settings),
            Self::Backup(command) => command.run(&settings),
            Self::Restore(command) => command.run(&settings),
            Self::Break(command) => command.run(&settings),
            Self::Createtoken(command) => command.run(&settings),
            Self::Listtokens(command) => command.run(&settings),
            Self::Revoketoken(command) => command.run(&settings),
            Self::Cleartokens(command) => command.run(&settings),
        }
    }
}

/// The database that is set, which has to be there and migrated.
fn migrated(settings: &Settings) -> Result<Database, CommandError> {
    let url = DatabaseUrl::parse(settings.database_url.reveal())?;
    let mut database = Database::open(&url, IfMissing::Refuse)?;
    database.require_migrated()?;
    Ok(database)
}

/// Runs something that asks a server, in this thread.
fn in_runtime<T>(asking: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(asking);
    // Not as dropping it does, which waits for names that are being looked up.
    runtime.shutdown_background();
    result
}

/// 160 bits by chance.
fn random_text() -> Result<String, CommandError> {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).map_err(|e| std::io::Error::other(format!("there is no chance to be had: {e}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
