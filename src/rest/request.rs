//! A request as a view sees it: its body is read and parsed when the view asks
//! for it, and not before.

use std::borrow::Cow;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderName, HeaderValue, IF_NONE_MATCH, TRANSFER_ENCODING,
};
use actix_web::http::{ConnectionType, Method};
use actix_web::web::{self, Bytes, BytesMut, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::limits::{BODY_BYTES_MAX, BODY_WAIT_MAX, RETRY_AFTER};
use crate::rest::body_room::{BodyRoom, Taken};
use crate::rest::conditional::ETag;
use crate::rest::exceptions::ApiException;
use crate::rest::hosts::{host_of, name_of};
use crate::rest::parsers::{self, Data};
use crate::rest::prefer::preference;
use crate::rest::query::Query;
use crate::rest::throttling::Client;

/// RFC 7240.
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// A request.
pub struct Request {
    http: HttpRequest,
    payload: Payload,
    body: Bytes,
    /// Whether somebody has asked for the body.
    is_wanted: bool,
    /// What the body takes of the room for all.
    taken: Option<Taken>,
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
            is_wanted: false,
            taken: None,
            decoded: String::new(),
        }
    }

    /// Ends the request with its answer.
    pub(super) fn answered_by(self, response: HttpResponse) -> HttpResponse {
        give_up_body(&self.http, self.payload, response)
    }

    /// Who is at the other end of the connection.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.http.peer_addr()
    }

    /// The address at the other end, of IPv4 if it is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.peer().map(|peer| peer.ip().to_canonical())
    }

    /// Its method.
    pub fn method(&self) -> &Method {
        self.http.method()
    }

    /// Who sent it.
    pub fn client(&self) -> Client {
        Client::of(&self.http)
    }

    /// The value of a header, each byte a character.
    pub fn header(&self, name: HeaderName) -> Option<Cow<'_, str>> {
        let value = self.http.headers().get(name)?;
        Some(match value.to_str() {
            Ok(text) => text.into(),
            Err(_) => value.as_bytes().iter().map(|byte| char::from(*byte)).collect(),
        })
    }

    /// The same for a header that is text of any script: as UTF-8 if it is
    /// that, else each byte a character.
    pub fn header_text(&self, name: HeaderName) -> Option<Cow<'_, str>> {
        let value = self.http.headers().get(&name)?;
        match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => Some(text.into()),
            Err(_) => self.header(name),
        }
    }

    /// Its `Authorization` header, which nobody but the authentication may see.
    pub fn authorization(&self) -> Option<&[u8]> {
        self.http.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes)
    }

    /// The value of the cookie of this name; the first, where there are several.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let headers = self.http.headers().get_all(COOKIE);
        headers.filter_map(|header| header.to_str().ok()).find_map(|header| {
            let pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
            pairs.filter(|(found, _)| *found == name).map(|(_, value)| value).next()
        })
    }

    /// Whether its connection is encrypted.
    pub fn is_secure(&self) -> bool {
        self.http.app_config().secure()
    }

    /// Its path, as it was sent.
    pub fn path(&self) -> &str {
        self.http.uri().path()
    }

    /// Whether `If-None-Match` says that the client has the representation with
    /// this tag: then the answer to GET and HEAD is 304.
    pub fn already_has(&self, tag: &ETag) -> bool {
        let headers = self.http.headers().get_all(IF_NONE_MATCH);
        tag.is_among(headers.map(HeaderValue::as_bytes))
    }

    /// Whether it has `If-None-Match`.
    pub fn has_tags(&self) -> bool {
        self.http.headers().contains_key(IF_NONE_MATCH)
    }

    /// Whether the client asks to be told the whole state of what it changes:
    /// `Prefer: return=representation` (RFC 7240, section 4.2).
    pub fn prefers_representation(&self) -> bool {
        let headers = self.http.headers().get_all(PREFER);
        // A preference that cannot be read is one that is not understood, which
        // is ignored.
        let stated = preference(headers.filter_map(|header| header.to_str().ok()), "return");
        stated.is_some_and(|value| value.eq_ignore_ascii_case("representation"))
    }

    /// The parameters of its query.
    pub fn query(&self) -> Query<'_> {
        Query::parse(self.http.uri().query().unwrap_or_default())
    }

    /// Its URL without the query, for links: Django's `build_absolute_uri`.
    /// The scheme is the one that is served.
    ///
    /// Errors: Django's page for 400 if the host is none.
    pub fn absolute_url(&self) -> Result<String, ApiException> {
        let host = host_of(&self.http);
        match name_of(host) {
            Some(_) => {
                let scheme = if self.is_secure() { "https" } else { "http" };
                Ok(format!("{scheme}://{host}{}", self.http.uri().path()))
            }
            None => Err(ApiException::suspicious_operation()),
        }
    }

    /// The body, read and parsed.
    ///
    /// Errors: 400 if it is malformed, 408 if it is slow, 413 if it is large,
    /// 415 if it is of a type that is not read, 503 if too many are read.
    pub async fn data(&mut self) -> Result<Data<'_>, ApiException> {
        self.is_wanted = true;
        self.body = self.read_body().await?;
        let content_type = match self.http.headers().get(CONTENT_TYPE) {
            None => "".into(),
            Some(value) => String::from_utf8_lossy(value.as_bytes()),
        };
        parsers::parse(&self.body, &mut self.decoded, &content_type).await
    }

    /// Whether it has a body of a byte at least, as far as [`Request::data`] was
    /// asked for it.
    pub fn has_body(&self) -> bool {
        !self.body.is_empty()
    }

    /// Lets go of the body. Who waits for long after reading it should not hold
    /// a megabyte meanwhile.
    pub fn forget_body(&mut self) {
        self.body = Bytes::new();
        self.taken = None;
        self.decoded = String::new();
    }

    /// [`skip_body`], if nobody has asked for it.
    pub(super) async fn skip_body(&mut self) -> Skipped {
        match self.is_wanted {
            true => Skipped::Well,
            false => skip_body(&mut self.payload).await,
        }
    }

    async fn read_body(&mut self) -> Result<Bytes, ApiException> {
        let announced = self.http.headers().get(CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
            return Err(ApiException::body_too_large(BODY_BYTES_MAX));
        }
        let http = &self.http;
        let room = || http.app_data::<web::Data<BodyRoom>>().map(|room| room.enter());
        let mut body = pin!(read_to_end(&mut self.payload, room, &mut self.taken));
        // Nearly every body has arrived with its head; then no timer is needed.
        if let Some(body) = ready_soon(body.as_mut()).await {
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

/// What was found of a body that nobody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// All of it, or nothing wrong so far.
    Well,
    /// Something of which nobody can say where it ends.
    Malformed,
}

impl Skipped {
    /// What follows a malformed body must not be read as a request.
    pub fn close_if_malformed(self, response: &mut HttpResponse) {
        if self == Self::Malformed {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
    }
}

/// Reads the body of a request that is answered without it, as far as it has
/// arrived: if that is all the connection need not be closed.
pub async fn skip_body(payload: &mut Payload) -> Skipped {
    match ready_soon(pin!(read_to_end(payload, || None, &mut None))).await {
        Some(Err(_)) => Skipped::Malformed,
        _ => Skipped::Well,
    }
}

/// What comes of a future that is ready by the time the task is polled again,
/// else `None`. actix calls the handler as soon as it has read the head, and
/// hands over what has arrived of the body right after that.
async fn ready_soon<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    let mut is_second = false;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if is_second => Poll::Ready(None),
        Poll::Pending => {
            is_second = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// The whole body. What it takes of the room is left in `taken`.
async fn read_to_end(
    payload: &mut Payload,
    room: impl Fn() -> Option<Taken>,
    taken: &mut Option<Taken>,
) -> Result<Bytes, ApiException> {
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
            continue;
        }
        let wanted = first.len() + chunk.len();
        *taken = taken.take().or_else(&room);
        if taken.as_mut().is_some_and(|taken| !taken.take(wanted)) {
            return Err(ApiException {
                closes_connection: true,
                ..ApiException::service_unavailable("too many bodies are being read", RETRY_AFTER)
            });
        }
        all.extend_from_slice(&std::mem::take(&mut first));
        all.extend_from_slice(&chunk);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

#[cfg(test)]
mod tests {
    use actix_web::FromRequest;
    use actix_web::test::TestRequest;
    use futures_util::FutureExt;

    use super::*;

    fn request(uri: &str, headers: &[(&str, &[u8])]) -> Request {
        let mut test = TestRequest::with_uri(uri);
        for (name, value) in headers {
            let value = HeaderValue::from_bytes(value).expect("a header can have it");
            test = test.append_header((*name, value));
        }
        let (http, mut payload) = test.to_http_parts();
        let payload = Payload::from_request(&http, &mut payload).now_or_never();
        Request::new(http, payload.expect("no wait").expect("a payload"))
    }

    #[test]
    fn links_begin_with_the_host_that_was_asked() {
        for (uri, host, url) in [
            ("/resources/?page=2", "cls:8000", Some("http://cls:8000/resources/")),
            ("/a%20b/", "my_host", Some("http://my_host/a%20b/")),
            ("/", "[::1]:8000", Some("http://[::1]:8000/")),
            ("/", "[::1]", Some("http://[::1]/")),
            ("http://other/x?y", "cls", Some("http://other/x")),
            ("http://user@other/x", "cls", None),
            ("/", "", None),
            ("/", ":80", None),
            ("/", "cls:", None),
            ("/", "cls:80:80", None),
            ("/", "a/b", None),
            ("/", "a\"b", None),
            ("/", "[::1", None),
            ("/", "[cls]", None),
            ("/", "[::1]80", None),
            ("/", "caf\u{e9}", None),
        ] {
            let request = request(uri, &[("host", host.as_bytes())]);
            assert_eq!(request.absolute_url().ok().as_deref(), url, "{uri} {host}");
        }
    }

    #[test]
    fn what_other_headers_say_of_the_host_is_not_believed() {
        let headers: [(&str, &[u8]); 3] = [
            ("host", b"cls"),
            ("x-forwarded-host", b"evil"),
            ("forwarded", b"host=evil;proto=https"),
        ];

        let request = request("/", &headers);

        assert_eq!(request.absolute_url().expect("a host"), "http://cls/");
    }

    #[test]
    fn text_in_a_header_is_utf_8_if_it_can_be() {
        let name = HeaderName::from_static("idempotency-key");
        for (value, text) in [(&b"key"[..], "key"), ("é".as_bytes(), "é"), (b"\xe9", "é"), (b"", "")] {
            let request = request("/", &[("idempotency-key", value)]);
            assert_eq!(request.header_text(name.clone()).as_deref(), Some(text));
        }
        assert_eq!(request("/", &[]).header_text(name), None);
    }

    #[test]
    fn all_headers_of_a_name_are_read() {
        let headers: [(&str, &[u8]); 5] = [
            ("if-none-match", b"\"1\""),
            ("if-none-match", b"W/\"2\""),
            ("prefer", b"\xff"),
            ("prefer", b"wait=1"),
            ("prefer", b"Return=Representation"),
        ];

        let full = request("/", &headers);
        let bare = request("/", &[]);

        assert!(full.already_has(&ETag::weak(1)) && full.already_has(&ETag::weak(2)));
        assert!(!full.already_has(&ETag::weak(3)) && !bare.already_has(&ETag::weak(1)));
        assert!(full.prefers_representation());
        assert!(!bare.prefers_representation());
        assert!(!request("/", &[("prefer", b"return=minimal")]).prefers_representation());
    }
}
