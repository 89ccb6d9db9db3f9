//! The view that acquires several resources, or none.

use std::pin::pin;

use actix_web::http::{Method, StatusCode};

use super::resource::{deadlock, idempotency_key, wait};
use super::{LOCKED, SUPERSEDED, TIMED_OUT, counts_for, key_reused, may_wait, ok, refuse, unavailable};
use crate::access::Verb;
use crate::engine::Answer;
use crate::lock::Outcome;
use crate::resources::Context;
use crate::resources::bodies::AcquiredTogether;
use crate::resources::permissions::Caller;
use crate::resources::serializers::{Acquisition, Fields};
use crate::rest::exceptions::ApiException;
use crate::rest::{Request, View, ViewResult};

/// `/locks/`.
pub struct LocksView<'a> {
    /// What it works with.
    pub context: &'a Context,
}

impl View for LocksView<'_> {
    const NAME: &'static str = "Locks";
    const ALLOWED_METHODS: &'static str = "POST, OPTIONS";

    type User = Caller;

    async fn authenticate(&self, request: &Request) -> Result<Caller, ApiException> {
        self.context.access.caller(request).await
    }

    async fn handle(&self, request: &mut Request, caller: Caller) -> Option<ViewResult> {
        match *request.method() {
            Method::POST => Some(self.post(request, &caller).await),
            _ => None,
        }
    }
}

impl LocksView<'_> {
    async fn post(&self, request: &mut Request, caller: &Caller) -> ViewResult {
        caller.require(Verb::Acquire)?;
        let key = idempotency_key(request);
        let Acquisition {
            wanted: names,
            mut acquire,
            timeout,
        } = {
            let data = self.context.data(request, caller).await?;
            let fields = self.context.fields(&data, caller, key.as_deref());
            let acquisition = fields.and_then(Fields::acquisition_together);
            acquisition.map_err(ApiException::validation_error)?
        };
        request.forget_body();
        caller.require_on_each(Verb::Acquire, &names)?;
        acquire.client = counts_for(self.context, request, caller);
        acquire.address = request.address();
        let acquired = self.context.engine.acquire_together(names.clone(), acquire, timeout);
        let answer = match timeout {
            None => acquired.await.map_err(unavailable)?,
            Some(_) => {
                let _waiting = may_wait(self.context, request, caller)?;
                wait(self.context, caller, &names, pin!(acquired)).await?
            }
        };
        answer.require_in_time().map_err(unavailable)?;
        Ok(match answer {
            Answer::Decided(Outcome::AcquiredTogether(grants) | Outcome::AcquiredTogetherBefore(grants), _) => {
                ok(AcquiredTogether::new(&names, &grants))
            }
            // Of one resource, to somebody who waited.
            Answer::Decided(Outcome::Acquired(grant), _) => ok(AcquiredTogether::new(&names, &[grant])),
            Answer::Decided(Outcome::Deadlock(names), _) => deadlock(&names, caller),
            Answer::Decided(Outcome::KeyReused, _) => return Err(key_reused()),
            Answer::Decided(..) => refuse(StatusCode::BAD_REQUEST, LOCKED),
            Answer::TimedOut => refuse(StatusCode::REQUEST_TIMEOUT, TIMED_OUT),
            Answer::Superseded => refuse(StatusCode::CONFLICT, SUPERSEDED),
        })
    }
}
