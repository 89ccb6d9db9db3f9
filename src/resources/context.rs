//! What a view works with.

use std::sync::Arc;

use crate::access::AtRest;
use crate::db::Catalog;
use crate::engine::Engine;
use crate::limits::{TIMEOUT_SECONDS_MAX, TTL_SECONDS_MAX};
use crate::resources::permissions::{Access, Caller};
use crate::resources::serializers::{Fields, Reading};
use crate::rest::exceptions::FieldErrors;
use crate::rest::parsers::Data;
use crate::rest::throttling::ClientWaiters;

/// What all views share. Cloning copies pointers.
#[derive(Clone)]
pub struct Context {
    /// What decides.
    pub engine: Engine,
    /// What lists.
    pub catalog: Catalog,
    /// What an operator allows.
    pub limits: RequestLimits,
    /// Who is let in.
    pub access: Access,
    /// How the keys of locks are kept.
    pub at_rest: AtRest,
    /// Who waits.
    pub client_waiters: Arc<ClientWaiters>,
}

impl Context {
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
            limits: self.limits,
            at_rest: &self.at_rest,
            owner: caller.owner(),
            idempotency_key,
        };
        Fields::new(data, reading)
    }
}

/// What an operator allows in a request.
#[derive(Clone, Copy, Debug)]
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
