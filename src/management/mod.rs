//! The subcommands of `cls`, named as Django's `manage.py` names them: one
//! command a file.

mod break_lock;
mod check;
mod createtoken;
mod dbshell;
mod error;
mod listtokens;
mod migrate;
mod revoketoken;
mod runserver;
mod showmigrations;
mod sqlmigrate;

use clap::{Parser, Subcommand};

pub use error::CommandError;

use crate::settings::Settings;

/// A central lock server over HTTP and JSON that keeps its state in one SQL table.
#[derive(Debug, Parser)]
#[command(name = "cls", version, about)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API. On SQLite, missing migrations are applied first.
    Runserver(runserver::Runserver),
    /// Bring the database's schema up to date, or to a given migration.
    Migrate(migrate::Migrate),
    /// List the migrations and which are applied.
    Showmigrations(showmigrations::Showmigrations),
    /// Print the SQL of a migration, as the configured database gets it.
    Sqlmigrate(sqlmigrate::Sqlmigrate),
    /// Check the settings, the database and its migrations.
    Check(check::Check),
    /// Open the database in its own command line tool.
    Dbshell(dbshell::Dbshell),
    /// Free a resource whose holder is gone, without its key and without a server.
    Break(break_lock::Break),
    /// Make a token and print its key, once: only its hash is kept.
    Createtoken(createtoken::Createtoken),
    /// List the tokens, without their keys, which nobody knows.
    Listtokens(listtokens::Listtokens),
    /// Revoke tokens.
    Revoketoken(revoketoken::Revoketoken),
}

impl CommandLine {
    /// Reads the settings and runs the command.
    pub fn run(self) -> Result<(), CommandError> {
        let settings = Settings::load()?;
        env_logger::Builder::new()
            // It calls each head that it cannot read an error; whoever sends them would fill the disk.
            .filter_module("actix_http::h1::dispatcher", log::LevelFilter::Off)
            .parse_filters(&settings.log_filter)
            .format_timestamp_millis()
            .init();
        match self.command {
            Command::Runserver(command) => command.run(&settings),
            Command::Migrate(command) => command.run(&settings),
            Command::Showmigrations(command) => command.run(&settings),
            Command::Sqlmigrate(command) => command.run(&settings),
            Command::Check(command) => command.run(&settings),
            Command::Dbshell(command) => command.run(&settings),
            Command::Break(command) => command.run(&settings),
            Command::Createtoken(command) => command.run(&settings),
            Command::Listtokens(command) => command.run(&settings),
            Command::Revoketoken(command) => command.run(&settings),
        }
    }
}
