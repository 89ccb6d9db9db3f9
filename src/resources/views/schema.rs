//! The view of the description of all the others.

use actix_web::http::Method;

use super::ok;
use crate::resources::schema::Document;
use crate::rest::{Renderer, Request, View, ViewResult};

/// `/schema/`.
pub struct SchemaView;

impl View for SchemaView {
    const NAME: &'static str = "Schema";
    const ALLOWED_METHODS: &'static str = "GET, HEAD, OPTIONS";

    // drf-spectacular's, of which it has YAML first.
    const RENDERERS: &'static [Renderer] = &[
        Renderer::JSON,
        Renderer::OPENAPI_JSON,
        Renderer::YAML,
        Renderer::OPENAPI_YAML,
    ];

    async fn handle(&self, request: &mut Request) -> Option<ViewResult> {
        match *request.method() {
            Method::GET | Method::HEAD => Some(Ok(ok(Document))),
            _ => None,
        }
    }
}
