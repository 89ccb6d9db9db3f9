//! What a view works with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::access::AtRest;
use crate::db::{Catalog, Registrar};
use crate::engine::{Engine, Feed, Readiness};
use crate::limits::{TIMEOUT_SECONDS_MAX, TTL_SECONDS_MAX};
use crate::metrics::Metrics;
use crate::resources::permissions::{Access, Caller};
use crate::resources::serializers::{Fields, Reading};
use crate::rest::Request;
use crate::rest::exceptions::{ApiException, FieldErrors};
use crate::rest::parsers::Data;
use crate::rest::throttling::ClientWaiters;

/// What all views share. Cloning copies pointers.
#[derive(Clone)]
pub struct Context {
    /// What decides.
    pub engine: Engine,
    /// What lists.
    pub catalog: Catalog,
    /// What tells what happens.
    pub feed: Feed,
    /// What an operator allows, as it is at each time.
    pub limits: Arc<CurrentLimits>,
    /// Who is let in.
    pub access: Access,
    /// How the keys of locks are kept.
    pub at_rest: AtRest,
    /// What changes tokens and sessions.
    pub registrar: Registrar,
    /// Who waits.
    pub client_waiters: Arc<ClientWaiters>,
    /// What counts.
    pub metrics: Arc<Metrics>,
    /// Whether all this can be used.
    pub readiness: Readiness,
}

impl Context {
    /// The body of a request, read and parsed. That may take long, so afterwards
    /// `caller` has to be good still.
    ///
    /// Errors: those of [`Request::data`]; 401 and 503 as for who asks.
    pub(super) async fn data<'r>(&self, request: &'r mut Request, caller: &Caller) -> Result<Data<'r>, ApiException> {
        let data = request.data().await?;
        self.access.require_still(caller).await?;
        Ok(data)
    }

    /// The fields of a body that `caller` sent, with the `Idempotency-Key` of its
    /// head.
    ///
    /// Errors: the body is no object.
    pub(super) fn fields<'d>(
        &'d self,
        data: &'d Data<'d>,
        caller: &'d Caller,
        idempotency_key: Option<&'d str>,
    ) -> Result<Fields<'d>, FieldErrors> {
        let reading = Reading {
            limits: self.limits(),
            at_rest: &self.at_rest,
            owner: caller.owner(),
            idempotency_key,
        };
        Fields::new(data, reading)
    }

    /// What an operator allows now.
    pub fn limits(&self) -> RequestLimits {
        self.limits.get()
    }
}

/// What an operator allows in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Seconds for which a lock lasts that is asked for without a ttl; `None` is
    /// for ever.
    pub default_ttl: Option<u32>,
    /// The most seconds of a ttl.
    pub max_ttl: u32,
    /// The most seconds of a timeout.
    pub max_timeout: u32,
}

impl RequestLimits {
    /// Those of the contract, with what an operator has set.
    pub fn new(default_ttl: Option<u32>, max_ttl: Option<u32>, max_timeout: Option<u32>) -> Self {
        Self {
            default_ttl,
            max_ttl: max_ttl.unwrap_or(TTL_SECONDS_MAX),
            max_timeout: max_timeout.unwrap_or(TIMEOUT_SECONDS_MAX),
        }
    }
}

/// [`RequestLimits`] that change while requests read them. Each request does, so
/// it is a load and no lock.
#[derive(Debug)]
pub struct CurrentLimits {
    /// `max_ttl`, and in the upper half `default_ttl`, where 0 is none: together,
    /// so that nobody sees a default above its maximum.
    ttls: AtomicU64,
    max_timeout: AtomicU32,
}

impl CurrentLimits {
    /// These, until others are set.
    pub fn new(limits: RequestLimits) -> Self {
        Self {
            ttls: AtomicU64::new(ttls(limits)),
            max_timeout: AtomicU32::new(limits.max_timeout),
        }
    }

    /// Those that hold now.
    pub fn get(&self) -> RequestLimits {
        let ttls = self.ttls.load(Ordering::Relaxed);
        let default_ttl = (ttls >> 32) as u32;
        RequestLimits {
            default_ttl: (default_ttl > 0).then_some(default_ttl),
            max_ttl: ttls as u32,
            max_timeout: self.max_timeout.load(Ordering::Relaxed),
        }
    }

    /// These hold from now on.
    pub fn set(&self, limits: RequestLimits) {
        self.ttls.store(ttls(limits), Ordering::Relaxed);
        self.max_timeout.store(limits.max_timeout, Ordering::Relaxed);
    }
}

fn ttls(limits: RequestLimits) -> u64 {
    u64::from(limits.default_ttl.unwrap_or_default()) << 32 | u64::from(limits.max_ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_what_is_read() {
        let current = CurrentLimits::new(RequestLimits::new(None, None, None));
        for (default_ttl, max_ttl, max_timeout) in [
            (None, None, None),
            (Some(1), Some(1), Some(0)),
            (Some(TTL_SECONDS_MAX), Some(TTL_SECONDS_MAX), Some(TIMEOUT_SECONDS_MAX)),
            (None, Some(5), Some(7)),
        ] {
            let limits = RequestLimits::new(default_ttl, max_ttl, max_timeout);

            current.set(limits);

            assert_eq!(current.get(), limits);
        }
    }
}
