//! What a view answers.

use std::pin::Pin;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::web::Bytes;

use crate::rest::renderers::{Render, Rendered};

/// Pieces of an answer.
pub(super) type Stream = Pin<Box<dyn futures_util::Stream<Item = Bytes>>>;

/// A status, headers and perhaps data for a renderer.
pub struct Response {
    pub(super) status: StatusCode,
    pub(super) data: Option<Box<dyn Render>>,
    /// What follows, piece by piece, in place of data.
    pub(super) stream: Option<Stream>,
    /// Apart from the others, so that most answers allocate nothing for it.
    first_header: Option<(HeaderName, HeaderValue)>,
    more_headers: Vec<(HeaderName, HeaderValue)>,
}

/// Text that is written already: the same in every syntax.
struct Written(String);

impl Render for Written {
    fn to_json(&self, _indent: usize) -> Rendered {
        Ok(self.0.clone().into_bytes())
    }
}

impl Response {
    /// An answer with data.
    pub fn new(status: StatusCode, data: impl Render + 'static) -> Self {
        Self {
            data: Some(Box::new(data)),
            ..Self::without_data(status)
        }
    }

    /// 200 and pieces of an event stream, as they come.
    pub fn stream(pieces: impl futures_util::Stream<Item = Bytes> + 'static) -> Self {
        Self {
            stream: Some(Box::pin(pieces)),
            ..Self::without_data(StatusCode::OK)
        }
    }

    /// An answer in a format that no renderer writes, whatever was negotiated.
    pub fn text(content_type: &'static str, text: String) -> Self {
        let content_type = HeaderValue::from_static(content_type);
        Self::new(StatusCode::OK, Written(text)).with_header(CONTENT_TYPE, content_type)
    }

    /// 204.
    pub fn no_content() -> Self {
        Self::without_data(StatusCode::NO_CONTENT)
    }

    /// Status 304. It has no body, and must have the `ETag` that the 200 would
    /// have (RFC 9110, section 15.4.5).
    pub fn not_modified() -> Self {
        Self::without_data(StatusCode::NOT_MODIFIED)
    }

    /// With one more header; of equal names the last is sent.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        match self.first_header {
            None => self.first_header = Some((name, value)),
            Some(_) => self.more_headers.push((name, value)),
        }
        self
    }

    /// Its headers, in the order in which they were added.
    pub(super) fn take_headers(&mut self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
        let more = std::mem::take(&mut self.more_headers);
        self.first_header.take().into_iter().chain(more)
    }

    fn without_data(status: StatusCode) -> Self {
        Self {
            status,
            data: None,
            stream: None,
            first_header: None,
            more_headers: Vec::new(),
        }
    }
}
