//! The view of the description of all the others.

use actix_web::http::Method;

use super::ok;
use crate::resources::Context;
use crate::resources::permissions::Caller;
use crate::resources::schema::Document;
use crate::rest::exceptions::ApiException;
use crate::rest::{Renderer, Request, View, ViewResult};

/// `/schema/`.
pub struct SchemaView<'a> {
    /// What it works with.
    pub context: &'a Context,
}

impl View for SchemaView<'_> {
    const NAME: &'static str = "Schema";
    const ALLOWED_METHODS: &'static str = "GET, HEAD, OPTIONS";

    // drf-spectacular's, of which it has YAML first.
    const RENDERERS: &'static [Renderer] = &[
        Renderer::JSON,
        Renderer::OPENAPI_JSON,
        Renderer::YAML,
        Renderer::OPENAPI_YAML,
    ];

    type User = Caller;

    async fn authenticate(&self, request: &Request) -> Result<Caller, ApiException> {
        self.context.access.caller(request).await
    }

    async fn handle(&self, request: &mut Request, _: Caller) -> Option<ViewResult> {
        match *request.method() {
            Method::GET | Method::HEAD => Some(Ok(ok(Document))),
            _ => None,
        }
    }
}
