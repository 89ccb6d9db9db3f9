//! The views: who answers at which path.

/// A view that only has GET, for who is let in.
macro_rules! read_only_view {
    ($view:ident, $name:literal, $renderers:expr) => {
        impl View for $view<'_> {
            const NAME: &'static str = $name;
            const ALLOWED_METHODS: &'static str = "GET, HEAD, OPTIONS";
            const RENDERERS: &'static [Renderer] = $renderers;

            type User = Caller;

            async fn authenticate(&self, request: &Request) -> Result<Caller, ApiException> {
                self.context.access.caller(request).await
            }

            async fn handle(&self, request: &mut Request, caller: Caller) -> Option<ViewResult> {
                match *request.method() {
                    Method::GET | Method::HEAD => Some(self.get(request, caller).await),
                    _ => None,
                }
            }
        }
    };
}

mod actions;
mod events;
mod health;
mod list;
mod locks;
mod metrics;
mod resource;
mod schema;
mod terraform;
mod tokens;
mod waiters;

use actix_web::http::StatusCode;

use crate::db::StoreError;
use crate::engine::Unavailable;
use crate::limits::RETRY_AFTER;
use crate::lock::ClientName;
use crate::metrics::Refusal;
use crate::resources::Context;
use crate::resources::bodies::Error;
use crate::resources::permissions::Caller;
use crate::rest::exceptions::ApiException;
use crate::rest::throttling::Waiting;
use crate::rest::{Render, Request, Response};

pub use actions::{AcquireView, BreakView, CheckView, ReleaseView, RenewView};
pub use events::{EventListView, EventStreamView, HistoryView};
pub use health::{HealthView, ReadyView};
pub use list::ResourceListView;
pub use locks::LocksView;
pub use metrics::MetricsView;
pub use resource::ResourceView;
pub use schema::SchemaView;
pub use terraform::TerraformView;
pub use tokens::{TokenListView, TokenView};
pub use waiters::WaitersView;

pub(super) use terraform::STATE_NAME_CHARS_MAX;

pub(super) const ACQUIRED: &str = "Resource is acquired.";
pub(super) const LOCKED: &str = "Resource is locked.";
pub(super) const NOT_ACQUIRED: &str = "Resource is not acquired.";
pub(super) const INVALID_UNLOCK: &str = "Invalid unlock request.";
pub(super) const INVALID_RENEW: &str = "Invalid renew request.";
pub(super) const TIMED_OUT: &str = "Request timed out.";
pub(super) const DEADLOCK: &str = "Deadlock detected.";
pub(super) const SUPERSEDED: &str = "Request was sent again and waits there.";
pub(super) const KEY_REUSED: &str = "This Idempotency-Key was used for another request.";
pub(super) const RELEASED: &str = "Resource is released.";
pub(super) const BROKEN: &str = "Lock is broken.";
pub(super) const UNKNOWN: &str = "A resource with this name does not exist.";

fn refuse(status: StatusCode, error: &'static str) -> Response {
    Response::new(status, Error { error })
}

fn ok(said: impl Render + 'static) -> Response {
    Response::new(StatusCode::OK, said)
}

fn key_reused() -> ApiException {
    ApiException::new(StatusCode::UNPROCESSABLE_ENTITY, KEY_REUSED)
}

pub(super) fn unavailable(reason: Unavailable) -> ApiException {
    match reason {
        Unavailable::Line | Unavailable::ClientLocks => ApiException::throttled(&reason.to_string(), RETRY_AFTER),
        // Whoever may not wait shall not take the place of one who releases.
        Unavailable::Waiters => ApiException {
            closes_connection: true,
            ..ApiException::service_unavailable(&reason.to_string(), RETRY_AFTER)
        },
        _ => ApiException::service_unavailable(&reason.to_string(), RETRY_AFTER),
    }
}

fn no_chance(error: impl std::fmt::Display) -> ApiException {
    log::error!("the system has no chance to offer: {error}");
    unavailable(Unavailable::Store)
}

/// Counts a request that may wait among those of its client, as long as what is
/// returned lives.
///
/// Errors: 429 if as many wait as may.
fn may_wait<'c>(context: &'c Context, request: &Request, caller: &Caller) -> Result<Waiting<'c>, ApiException> {
    let waiting = context.client_waiters.enter(caller.client(request));
    waiting.ok_or_else(|| {
        context.metrics.refusals.count(Refusal::ClientWaiters);
        ApiException::throttled("too many requests of this client wait", RETRY_AFTER)
    })
}

/// Among whose locks those count that a request acquires, where they are bounded.
fn counts_for(context: &Context, request: &Request, caller: &Caller) -> Option<ClientName> {
    let is_counted = context.engine.counts_locks();
    is_counted.then(|| ClientName::new(&caller.client(request).to_string()))
}

/// Runs a query where it holds up nobody.
pub(super) async fn look_up<T: Send + 'static>(
    query: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, ApiException> {
    let error = match actix_web::web::block(query).await {
        Ok(Ok(found)) => return Ok(found),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no thread is left".to_owned(),
    };
    log::warn!("a look at the table failed: {error}");
    Err(unavailable(Unavailable::Store))
}
