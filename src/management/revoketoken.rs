//! `cls revoketoken`.

use std::io::{self, Write};

use clap::Args;

use crate::db::Which;
use crate::limits::TOKENS_BELIEVED_MAX;
use crate::lock::Owner;
use crate::management::{CommandError, migrated};
use crate::settings::Settings;

/// Revoke tokens. Locks that were taken with them stay until they expire, are
/// released by another token of the same name, or are broken.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Revoketoken {
    /// All tokens of this name.
    name: Option<String>,
    /// Only the token with this number.
    #[arg(long)]
    id: Option<i64>,
}

impl Revoketoken {
    pub(super) fn run(self, settings: &Settings) -> Result<(), CommandError> {
        let database = migrated(settings)?;
        let name = self.name.as_deref().and_then(Owner::new).map(Which::Name);
        let revoked = match name.or(self.id.map(Which::Id)) {
            None => 0,
            Some(which) => database.into_tokens().revoke(&which).map_err(CommandError::Tokens)?,
        };
        if revoked == 0 {
            return Err(CommandError::NoToken);
        }
        let seconds = TOKENS_BELIEVED_MAX.as_secs();
        writeln!(
            io::stdout(),
            "Revoked {revoked} token(s); every server refuses them within {seconds} seconds."
        )?;
        Ok(())
    }
}
