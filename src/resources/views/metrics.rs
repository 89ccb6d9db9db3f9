//! The view of what the server counts.

use actix_web::http::{Method, StatusCode};

use crate::access::Verb;
use crate::metrics::CONTENT_TYPE;
use crate::resources::Context;
use crate::resources::permissions::Caller;
use crate::rest::exceptions::ApiException;
use crate::rest::{Request, Response, View, ViewResult};

/// `/metrics/`, for whoever may read, whatever names that is for: there are none
/// in it.
pub struct MetricsView<'a> {
    /// What it works with.
    pub context: &'a Context,
}

impl View for MetricsView<'_> {
    const NAME: &'static str = "Metrics";
    const ALLOWED_METHODS: &'static str = "GET, HEAD, OPTIONS";
    const NEGOTIATES: bool = false;

    type User = Caller;

    async fn authenticate(&self, request: &Request) -> Result<Caller, ApiException> {
        self.context.access.caller_at_any_rate(request).await
    }

    async fn handle(&self, request: &mut Request, caller: Caller) -> Option<ViewResult> {
        match *request.method() {
            Method::GET | Method::HEAD => Some(self.show(&caller)),
            _ => None,
        }
    }
}

impl MetricsView<'_> {
    fn show(&self, caller: &Caller) -> ViewResult {
        caller.require(Verb::Read)?;
        let metrics = &self.context.metrics;
        let in_use = self.context.catalog.in_use();
        metrics.catalog_connections.set(in_use.try_into().unwrap_or(i64::MAX));
        let text = metrics.exposition().map_err(|error| {
            log::error!("the metrics cannot be written: {error}");
            ApiException::new(StatusCode::INTERNAL_SERVER_ERROR, "The metrics cannot be written.")
        })?;
        Ok(Response::text(CONTENT_TYPE, text))
    }
}
