//! The views for who watches the server: is it there, and can it work. They
//! answer to everybody, and in JSON whatever is asked for.

use actix_web::http::{Method, StatusCode};

use super::ok;
use crate::engine::Unready;
use crate::resources::Context;
use crate::resources::bodies::{Health, NotReady, Ready};
use crate::rest::exceptions::ApiException;
use crate::rest::{Request, Response, View, ViewResult};

/// `/healthz/`: asks nobody.
pub struct HealthView;

/// `/readyz/`.
pub struct ReadyView<'a> {
    /// What it works with.
    pub context: &'a Context,
}

impl View for HealthView {
    const NAME: &'static str = "Health";
    const ALLOWED_METHODS: &'static str = "GET, HEAD, OPTIONS";
    const NEGOTIATES: bool = false;

    type User = ();

    async fn authenticate(&self, _: &Request) -> Result<(), ApiException> {
        Ok(())
    }

    async fn handle(&self, request: &mut Request, (): ()) -> Option<ViewResult> {
        match *request.method() {
            Method::GET | Method::HEAD => Some(Ok(ok(Health { healthy: true }))),
            _ => None,
        }
    }
}

impl View for ReadyView<'_> {
    const NAME: &'static str = "Ready";
    const ALLOWED_METHODS: &'static str = "GET, HEAD, OPTIONS";
    const NEGOTIATES: bool = false;

    type User = ();

    async fn authenticate(&self, _: &Request) -> Result<(), ApiException> {
        Ok(())
    }

    async fn handle(&self, request: &mut Request, (): ()) -> Option<ViewResult> {
        match *request.method() {
            Method::GET | Method::HEAD => Some(Ok(self.show().await)),
            _ => None,
        }
    }
}

impl ReadyView<'_> {
    async fn show(&self) -> Response {
        match self.context.readiness.require().await {
            Ok(()) => ok(Ready { ready: true }),
            Err(unready) => {
                let not_ready = NotReady {
                    ready: false,
                    failed: check(&unready),
                    reason: unready.to_string(),
                };
                Response::new(StatusCode::SERVICE_UNAVAILABLE, not_ready)
            }
        }
    }
}

/// What is looked at and is not as it should be.
fn check(unready: &Unready) -> &'static str {
    match unready {
        Unready::Draining => "draining",
        Unready::Silent | Unready::Failing => "database",
        Unready::Unmigrated(_) => "migrations",
    }
}
