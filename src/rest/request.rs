//! A request as a view sees it: its body is read and parsed when the view asks
//! for it, and not before.

use std::borrow::Cow;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, TRANSFER_ENCODING};
use actix_web::web::{Bytes, BytesMut, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::{FutureExt, StreamExt};
use tokio::time::timeout;

use crate::limits::{BODY_BYTES_MAX, BODY_WAIT_MAX};
use crate::rest::exceptions::ApiException;
use crate::rest::parsers::{self, Data};

/// A request.
pub struct Request {
    http: HttpRequest,
    payload: Payload,
    body: Bytes,
    /// The body as text where it came in a charset other than UTF-8.
    decoded: String,
}

impl Request {
    /// Wraps what the server received.
    pub fn new(http: HttpRequest, payload: Payload) -> Self {
        Self {
            http,
            payload,
            body: Bytes::new(),
            decoded: String::new(),
        }
    }

    /// Ends the request with its answer.
    pub(super) fn answered_by(self, response: HttpResponse) -> HttpResponse {
        give_up_body(&self.http, self.payload, response)
    }

    /// Its method.
    pub fn method(&self) -> &Method {
        self.http.method()
    }

    /// The value of a header, each byte a character.
    pub fn header(&self, name: HeaderName) -> Option<Cow<'_, str>> {
        let value = self.http.headers().get(name)?;
        Some(match value.to_str() {
            Ok(text) => text.into(),
            Err(_) => value.as_bytes().iter().map(|byte| char::from(*byte)).collect(),
        })
    }

    /// The value of a query parameter; the last of equal names wins.
    pub fn query_parameter(&self, name: &str) -> Option<String> {
        let query = self.http.uri().query().filter(|query| !query.is_empty())?;
        let pairs = form_urlencoded::parse(query.as_bytes());
        pairs
            .filter(|(key, _)| key == name)
            .last()
            .map(|(_, value)| value.into_owned())
    }

    /// The body, read and parsed.
    ///
    /// Errors: 400 if it is malformed, 408 if it is slow, 413 if it is large,
    /// 415 if it is of a type that is not read.
    pub async fn data(&mut self) -> Result<Data<'_>, ApiException> {
        self.body = self.read_body().await?;
        let content_type = match self.http.headers().get(CONTENT_TYPE) {
            None => "".into(),
            Some(value) => String::from_utf8_lossy(value.as_bytes()),
        };
        parsers::parse(&self.body, &mut self.decoded, &content_type).await
    }

    /// Lets go of the body. Who waits for long after reading it should not hold
    /// a megabyte meanwhile.
    pub fn forget_body(&mut self) {
        self.body = Bytes::new();
        self.decoded = String::new();
    }

    async fn read_body(&mut self) -> Result<Bytes, ApiException> {
        let announced = self.http.headers().get(CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
            return Err(ApiException::body_too_large(BODY_BYTES_MAX));
        }
        let mut body = pin!(read_to_end(&mut self.payload));
        // Nearly every body has arrived with its head; then no timer is needed.
        if let Some(body) = body.as_mut().now_or_never() {
            return body;
        }
        match timeout(BODY_WAIT_MAX, body).await {
            Ok(body) => body,
            Err(_) => Err(ApiException::body_timed_out(BODY_WAIT_MAX)),
        }
    }
}

/// The body of an answer, and that of its request, which was not read.
///
/// actix reads the rest of a chunked body that nobody wants any more, however
/// long it takes to come, before it closes the connection. One that is still
/// wanted when the answer is complete it cuts off after DISCONNECT_WAIT_MAX.
struct AnswerToUnread {
    answer: BoxBody,
    _unread: Payload,
}

impl MessageBody for AnswerToUnread {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().answer).poll_next(cx)
    }
}

/// Gives up what is left of the body of a request that is answered by
/// `response`: a client that is still sending it holds the connection no
/// longer than any other that is being closed.
pub fn give_up_body(http: &HttpRequest, payload: Payload, response: HttpResponse) -> HttpResponse {
    if !http.headers().contains_key(TRANSFER_ENCODING) {
        return response;
    }
    response.map_body(|_, answer| {
        BoxBody::new(AnswerToUnread {
            answer,
            _unread: payload,
        })
    })
}

async fn read_to_end(payload: &mut Payload) -> Result<Bytes, ApiException> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| ApiException {
            closes_connection: true,
            ..ApiException::parse_error(format!("The request body cannot be read: {error}."))
        })?;
        if first.len() + all.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(ApiException::body_too_large(BODY_BYTES_MAX));
        }
        // Nearly every body comes in one piece, which then is not copied.
        if first.is_empty() && all.is_empty() {
            first = chunk;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&chunk);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}
