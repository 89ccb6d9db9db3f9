//! `cls cleartokens`, after Django's `clearsessions`.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;

use crate::clock::Timestamp;
use crate::management::{CommandError, migrated};
use crate::settings::Settings;

/// Delete the tokens that ended long ago: that were revoked, or have expired; and
/// the sessions at the operators' page that are over.
///
/// Until then `listtokens` shows them, so that people see who was let in.
#[derive(Debug, Args)]
pub struct Cleartokens {
    /// How many days ago they must have ended.
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    days: u32,
}

impl Cleartokens {
    pub(super) fn run(self, settings: &Settings) -> Result<(), CommandError> {
        let database = migrated(settings)?;
        let ago = Duration::from_secs(u64::from(self.days) * 24 * 3600);
        let then = Timestamp::wall_clock() - ago;
        let mut tokens = database.into_tokens();
        let cleared = tokens.clear(then).map_err(CommandError::Tokens)?;
        tokens.clear_sessions().map_err(CommandError::Tokens)?;
        let days = self.days;
        writeln!(
            io::stdout(),
            "Deleted {cleared} token(s) that ended more than {days} day(s) ago."
        )?;
        Ok(())
    }
}
