//! What a view answers.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};

use crate::rest::renderers::Render;

/// A status, headers and perhaps data for a renderer.
pub struct Response {
    pub(super) status: StatusCode,
    pub(super) data: Option<Box<dyn Render>>,
    pub(super) header: Option<(HeaderName, HeaderValue)>,
}

impl Response {
    /// An answer with data.
    pub fn new(status: StatusCode, data: impl Render + 'static) -> Self {
        Self {
            status,
            data: Some(Box::new(data)),
            header: None,
        }
    }

    /// 204.
    pub fn no_content() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            data: None,
            header: None,
        }
    }

    /// With one more header.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }
}
