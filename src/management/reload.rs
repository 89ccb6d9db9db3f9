//! What SIGHUP does: read the settings and the certificates again.
//!
//! All of it or nothing: what cannot be used changes nothing, and one line says
//! why. Connections, and those who wait, are not touched.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::db::{History, Kept};
use crate::engine::{Engine, Policy};
use crate::limits::KEPT_FREE_MAX;
use crate::lock::Rules;
use crate::management::CommandError;
use crate::management::logging::Logging;
use crate::resources::{CurrentLimits, RequestLimits};
use crate::settings::{Environment, Settings};
use crate::tls::{Identity, Tls};

/// What a running server needs to be changed.
pub(super) struct Reload {
    pub(super) environment: Environment,
    pub(super) logging: Logging,
    /// With which settings it runs. Held while they change: one reload at a time.
    pub(super) running: Mutex<Settings>,
    pub(super) tls: Option<Tls>,
    pub(super) engine: Engine,
    pub(super) limits: Arc<CurrentLimits>,
    pub(super) waiters_max: usize,
}

impl Reload {
    /// Reads everything again. Says in one line what came of it, and warns of
    /// what should not be left so.
    pub(super) fn run(&self) {
        if let Err(error) = self.try_run() {
            log::error!("SIGHUP: {error}; everything stays as it was");
        }
    }

    fn try_run(&self) -> Result<(), CommandError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let (settings, changes) = running.changed_to(&self.environment.settings()?);
        let identity = settings.tls.as_ref().map(Identity::load).transpose()?;
        // From here on nothing can fail.
        self.logging.change(&settings.log_filter);
        self.limits.set(request_limits(&settings));
        self.engine.set_policy(policy(&settings, self.waiters_max));
        let mut news = Vec::new();
        if let Some((tls, identity)) = self.tls.as_ref().zip(identity) {
            news.push(format!("the certificate is that of {}", identity.description()));
            warn_of(&identity);
            tls.replace(identity);
        }
        if !changes.made.is_empty() {
            news.push(format!("changed {}", changes.made.join(", ")));
        }
        if news.is_empty() {
            news.push("nothing changed".to_owned());
        }
        let news = news.join("; ");
        match changes.need_restart.join(", ") {
            names if names.is_empty() => log::info!("SIGHUP: {news}"),
            names => log::warn!("SIGHUP: {news}; needs a restart: {names}"),
        }
        *running = settings;
        Ok(())
    }
}

/// Logs what of a certificate should not be left so.
pub(super) fn warn_of(identity: &Identity) {
    for warning in identity.warnings() {
        log::warn!("{warning}");
    }
}

pub(super) fn request_limits(settings: &Settings) -> RequestLimits {
    RequestLimits::new(settings.default_ttl, settings.max_ttl, settings.max_timeout)
}

/// With `waiters_max` as there is room for them.
pub(super) fn policy(settings: &Settings, waiters_max: usize) -> Policy {
    Policy {
        rules: Rules {
            lock_delay: settings.lock_delay,
            kept_free_max: KEPT_FREE_MAX,
        },
        operations_queued_max: settings.operations_queued_max,
        waiters_max,
        waiters_per_resource_max: settings.waiters_per_resource_max,
        client_locks_max: settings.client_locks_max,
        prune_after_days: settings.prune_after_days,
        history: history(settings),
        events_kept: Kept {
            events_max: Some(settings.history_events_max.into()).filter(|events_max| *events_max > 0),
            age_max: Some(settings.history_days)
                .filter(|days| *days > 0)
                .map(|days| Duration::from_secs(u64::from(days) * 24 * 3600)),
        },
    }
}

/// Whether what happens is recorded.
pub(super) fn history(settings: &Settings) -> History {
    match settings.history {
        true => History::On,
        false => History::Off,
    }
}
