//! The view that acquires several resources, or none.

use actix_web::http::{Method, StatusCode};

use super::resource::{deadlock, idempotency_key};
use super::{LOCKED, SUPERSEDED, TIMED_OUT, key_reused, ok, refuse, unavailable};
use crate::engine::Answer;
use crate::lock::Outcome;
use crate::resources::Context;
use crate::resources::bodies::AcquiredTogether;
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

    async fn handle(&self, request: &mut Request) -> Option<ViewResult> {
        match *request.method() {
            Method::POST => Some(self.post(request).await),
            _ => None,
        }
    }
}

impl LocksView<'_> {
    async fn post(&self, request: &mut Request) -> ViewResult {
        let key = idempotency_key(request);
        let Acquisition {
            wanted: names,
            acquire,
            timeout,
        } = {
            let data = request.data().await?;
            let fields = Fields::new(&data, self.context.limits(), key.as_deref());
            let acquisition = fields.and_then(Fields::acquisition_together);
            acquisition.map_err(ApiException::validation_error)?
        };
        request.forget_body();
        let acquired = self.context.engine.acquire_together(names.clone(), acquire, timeout);
        Ok(match acquired.await.map_err(unavailable)? {
            Answer::Decided(Outcome::AcquiredTogether(grants) | Outcome::AcquiredTogetherBefore(grants)) => {
                ok(AcquiredTogether::new(&names, &grants))
            }
            // Of one resource, to somebody who waited.
            Answer::Decided(Outcome::Acquired(grant)) => ok(AcquiredTogether::new(&names, &[grant])),
            Answer::Decided(Outcome::Deadlock(names)) => deadlock(&names),
            Answer::Decided(Outcome::KeyReused) => return Err(key_reused()),
            Answer::Decided(_) => refuse(StatusCode::BAD_REQUEST, LOCKED),
            Answer::TimedOut => refuse(StatusCode::REQUEST_TIMEOUT, TIMED_OUT),
            Answer::Superseded => refuse(StatusCode::CONFLICT, SUPERSEDED),
        })
    }
}
