//! `cls break`.

use std::io::{self, Write};

use clap::Args;

use crate::db::{Askers, Store};
use crate::limits::KEPT_FREE_MAX;
use crate::lock::{Batch, BreakLock, Operation, Outcome, Owner, Reason, ResourceName, Rules, StillWaits, WaitingLines};
use crate::management::reload::history;
use crate::management::{CommandError, migrated};
use crate::settings::Settings;

/// Free a resource whose holder is gone, without its key and without a server.
///
/// Goes to the database itself; a server that runs on it serves who waits, on
/// SQLite within a second.
#[derive(Debug, Args)]
pub struct Break {
    /// Which resource.
    #[arg(value_parser = name)]
    name: ResourceName,
    /// Why; whoever held the lock is told.
    #[arg(long, value_parser = reason)]
    reason: Reason,
}

/// Nobody waits for this process.
enum Nobody {}

impl StillWaits for Nobody {
    fn still_waits(&self) -> bool {
        match *self {}
    }
}

impl Break {
    pub(super) fn run(self, settings: &Settings) -> Result<(), CommandError> {
        let database = migrated(settings)?;
        let mut store = database.into_store_of_guest()?;
        store.record(history(settings));
        let rules = Rules {
            lock_delay: settings.lock_delay,
            kept_free_max: KEPT_FREE_MAX,
        };
        let operation = Operation::Break(BreakLock {
            by: Owner::new(&format!("cls break (uid {})", rustix::process::geteuid())),
            reason: self.reason,
            fencing_token: None,
            address: None,
        });
        let mut outcome = None;
        let broken = store.transaction(std::slice::from_ref(&self.name), Askers::default(), &mut |now, rows| {
            let mut nobody = WaitingLines::<Nobody>::default();
            outcome = Some(Batch::new(now, rules, rows, &mut nobody).apply(0, &operation));
        });
        let left = store.leave();
        broken.map_err(CommandError::Break)?;
        left.map_err(CommandError::Break)?;
        let Some(Outcome::Broken(before)) = outcome else {
            return Err(CommandError::NotAcquired(self.name.as_str().to_owned()));
        };
        let held = before.held.as_ref();
        let owner = held
            .and_then(|held| held.owner.as_ref())
            .map_or("nobody", Owner::as_str);
        writeln!(
            io::stdout(),
            "Broke the lock on {:?}, owner {owner:?}, fencing token {}.",
            before.name,
            before.fencing_token
        )?;
        Ok(())
    }
}

fn name(text: &str) -> Result<ResourceName, String> {
    ResourceName::new(text).ok_or_else(|| "a name has 1 to 100 characters".to_owned())
}

fn reason(text: &str) -> Result<Reason, String> {
    let reason = Some(text.trim()).filter(|text| !text.is_empty()).and_then(Reason::new);
    reason.ok_or_else(|| "a reason has 1 to 200 characters".to_owned())
}
