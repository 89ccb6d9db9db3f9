//! The life of a request in Django REST framework's order: negotiate, then who
//! asks, then the method, then whatever the view does.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;

use actix_web::http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, HttpResponseBuilder};
use futures_util::{FutureExt, StreamExt};
use serde::Serialize;

use crate::rest::authentication::CHALLENGE;
use crate::rest::exceptions::{ApiException, Detail};
use crate::rest::negotiation::select_renderer;
use crate::rest::pages::page;
use crate::rest::parsers::PARSES;
use crate::rest::renderers::{Renderer, Selected};
use crate::rest::request::Request;
use crate::rest::response::Response;

/// What a page may load, and who may show it: nothing but our own files, and
/// nobody. No script and no style is in the page itself.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                              connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Blanks a level of the JSON in a page.
const PAGE_INDENT: usize = 4;

/// What a view answers, or the error instead.
pub type ViewResult = Result<Response, ApiException>;

/// A class-based view: one method of HTTP, one function.
pub trait View {
    /// The class without "View".
    const NAME: &'static str;

    /// For `Allow`, OPTIONS included; in the framework's order: GET, POST, PUT,
    /// PATCH, DELETE, HEAD, OPTIONS.
    const ALLOWED_METHODS: &'static str;

    /// The same for answers to GET and HEAD. A view that reads like the
    /// framework's list view may keep to what that allows; a method that it
    /// refuses, and OPTIONS, still name all.
    const ADVERTISED_TO_READERS: &'static str = Self::ALLOWED_METHODS;

    /// What it can answer in; the first is what answers if nothing is said.
    const RENDERERS: &'static [Renderer] = &[Renderer::JSON];

    /// Whether `Accept` and `?format=` are asked what it answers in; if not it is
    /// the first, whatever they say.
    const NEGOTIATES: bool = true;

    /// Who sends requests, as far as the view wants to know.
    type User;

    /// Finds out who sent the request. Comes before the method is looked at, and
    /// before anything of the body.
    fn authenticate(&self, request: &Request) -> impl Future<Output = Result<Self::User, ApiException>>;

    /// Answers the request, or `None` if there is no function for its method.
    /// A view that has GET answers HEAD by it, as Django's does: the server
    /// keeps the headers, and sends no body.
    fn handle(&self, request: &mut Request, user: Self::User) -> impl Future<Output = Option<ViewResult>>;
}

/// Answers a request by a view. A panic is answered 500 and ends nothing else.
pub async fn dispatch<V: View>(view: &V, mut request: Request) -> HttpResponse {
    let response = AssertUnwindSafe(answer(view, &mut request)).catch_unwind().await;
    let mut response = response.unwrap_or_else(|_| {
        log::error!("view {} panicked; please report it", V::NAME);
        html_page(StatusCode::INTERNAL_SERVER_ERROR)
    });
    request.skip_body().await.close_if_malformed(&mut response);
    request.answered_by(response)
}

/// One of Django's own pages.
pub fn html_page(status: StatusCode) -> HttpResponse {
    let mut response = HttpResponse::build(status).body(page(status));
    set(
        &mut response,
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    add_security_headers(response.headers_mut());
    response
}

/// As `html_page`, for an error that is raised before any view is found.
pub fn error_response(exception: ApiException) -> HttpResponse {
    render_exception(exception, Selected::first_of(&[Renderer::JSON]))
}

/// A page that somebody looks at.
pub struct Page {
    /// The status of the answer.
    pub status: StatusCode,
    /// HTML.
    pub body: String,
    /// More headers; of equal names the last is sent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Page {
    /// What is answered: never kept by a cache, because what a page shows
    /// depends on who asks.
    fn into_response(self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status).body(self.body);
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        set(&mut response, CONTENT_TYPE, html);
        set(&mut response, CACHE_CONTROL, HeaderValue::from_static("no-store"));
        set(
            &mut response,
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(CONTENT_POLICY),
        );
        for (name, value) in self.headers {
            set(&mut response, name, value);
        }
        add_security_headers(response.headers_mut());
        response
    }
}

/// Answers a request by a page, which is not negotiated. A panic is answered 500.
pub async fn answer_by_page(mut request: Request, page: impl AsyncFnOnce(&mut Request) -> Page) -> HttpResponse {
    let answered = AssertUnwindSafe(page(&mut request)).catch_unwind().await;
    let mut response = match answered {
        Ok(page) => page.into_response(),
        Err(_) => html_page(StatusCode::INTERNAL_SERVER_ERROR),
    };
    request.skip_body().await.close_if_malformed(&mut response);
    request.answered_by(response)
}

/// As `dispatch`, for somebody who looks at it: `page` makes HTML of the answer
/// and its JSON, which is indented.
pub async fn dispatch_to_page<V: View>(
    view: &V,
    mut request: Request,
    page: impl FnOnce(&Request, &HttpResponse, &str) -> String,
) -> HttpResponse {
    let selected = Selected {
        indent: PAGE_INDENT,
        ..Selected::first_of(V::RENDERERS)
    };
    let answered = AssertUnwindSafe(answer_as(view, &mut request, Ok(selected)))
        .catch_unwind()
        .await;
    let mut response = answered.unwrap_or_else(|_| html_page(StatusCode::INTERNAL_SERVER_ERROR));
    let is_json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|media_type| media_type == Renderer::JSON.media_type);
    if is_json {
        let (head, body) = response.into_parts();
        // All of it is there: JSON is no stream.
        let json = actix_web::body::MessageBody::try_into_bytes(body).unwrap_or_default();
        let head = head.set_body(actix_web::body::BoxBody::new(()));
        let body = page(&request, &head, &String::from_utf8_lossy(&json));
        let headers = head.headers().iter().map(|(name, value)| (name.clone(), value.clone()));
        // A tag is that of the JSON.
        let headers = headers.filter(|(name, _)| ![CONTENT_TYPE, ETAG, CACHE_CONTROL].contains(name));
        let headers = headers.collect();
        let status = head.status();
        response = Page { status, body, headers }.into_response();
    }
    request.skip_body().await.close_if_malformed(&mut response);
    request.answered_by(response)
}

async fn answer<V: View>(view: &V, request: &mut Request) -> HttpResponse {
    let negotiated = if V::NEGOTIATES {
        select_renderer(
            V::RENDERERS,
            request.header(ACCEPT).as_deref(),
            request.query().value("format"),
        )
    } else {
        Ok(Selected::first_of(V::RENDERERS))
    };
    answer_as(view, request, negotiated).await
}

async fn answer_as<V: View>(
    view: &V,
    request: &mut Request,
    negotiated: Result<Selected, ApiException>,
) -> HttpResponse {
    let (selected, result) = match negotiated {
        Err(exception) => (Selected::first_of(V::RENDERERS), Err(exception)),
        Ok(selected) => match view.authenticate(request).await {
            Err(exception) => (selected, Err(exception)),
            Ok(_) if request.method() == Method::OPTIONS => (selected, Ok(metadata::<V>())),
            Ok(user) => {
                let result = view.handle(request, user).await;
                let not_allowed = || Err(ApiException::method_not_allowed(request.method().as_str()));
                (selected, result.unwrap_or_else(not_allowed))
            }
        },
    };
    let mut response = match result {
        Ok(response) => render(response, selected),
        Err(exception) => render_exception(exception, selected),
    };
    let allowed = match *request.method() {
        Method::GET | Method::HEAD => V::ADVERTISED_TO_READERS,
        _ => V::ALLOWED_METHODS,
    };
    set(&mut response, ALLOW, HeaderValue::from_static(allowed));
    set(&mut response, VARY, HeaderValue::from_static("Accept"));
    response
}

fn render(mut response: Response, selected: Selected) -> HttpResponse {
    let mut builder = HttpResponseBuilder::new(response.status);
    let headers = response.take_headers();
    let stream = response.stream.take();
    let mut http = match response.data.map(|data| selected.render(data.as_ref())) {
        None => match stream {
            None => builder.finish(),
            Some(pieces) => {
                let mut http = builder.streaming(pieces.map(Ok::<_, Infallible>));
                set(
                    &mut http,
                    CONTENT_TYPE,
                    HeaderValue::from_static(Renderer::EVENT_STREAM.media_type),
                );
                http
            }
        },
        Some(Ok(body)) => {
            let mut http = builder.body(body);
            set(
                &mut http,
                CONTENT_TYPE,
                HeaderValue::from_static(selected.renderer.media_type),
            );
            http
        }
        Some(Err(error)) => {
            log::error!("an answer cannot be rendered: {error}");
            return html_page(StatusCode::INTERNAL_SERVER_ERROR);
        }
    };
    for (name, value) in headers {
        set(&mut http, name, value);
    }
    add_security_headers(http.headers_mut());
    http
}

fn render_exception(exception: ApiException, selected: Selected) -> HttpResponse {
    #[derive(Serialize)]
    struct Message {
        detail: String,
    }
    let status = exception.status;
    let mut response = match exception.detail {
        Detail::Message(detail) => {
            let detail = detail.into_owned();
            render(Response::new(status, Message { detail }), selected)
        }
        Detail::Fields(errors) => render(Response::new(status, errors), selected),
        Detail::Page => html_page(status),
    };
    if status == StatusCode::UNAUTHORIZED {
        set(&mut response, WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
    }
    if let Some(retry_after) = exception.retry_after {
        set(
            &mut response,
            RETRY_AFTER,
            HeaderValue::from(retry_after.as_secs().max(1)),
        );
    }
    if exception.closes_connection {
        response
            .head_mut()
            .set_connection_type(actix_web::http::ConnectionType::Close);
    }
    response
}

fn metadata<V: View>() -> Response {
    #[derive(Serialize)]
    struct Metadata {
        name: &'static str,
        description: &'static str,
        renders: Vec<&'static str>,
        parses: [&'static str; 3],
    }
    let metadata = Metadata {
        name: V::NAME,
        description: "",
        renders: V::RENDERERS.iter().map(|renderer| renderer.media_type).collect(),
        parses: PARSES,
    };
    Response::new(StatusCode::OK, metadata)
}

fn set(response: &mut HttpResponse, name: HeaderName, value: HeaderValue) {
    response.headers_mut().insert(name, value);
}

/// What Django's default middleware adds to every answer.
fn add_security_headers(headers: &mut HeaderMap) {
    const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static("same-origin"));
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use actix_web::web::{self, Payload};
    use actix_web::{App, HttpRequest, HttpServer};

    use super::*;

    /// Has a list's methods; PUT answers 304.
    struct Sample;

    impl View for Sample {
        const NAME: &'static str = "Sample";
        const ALLOWED_METHODS: &'static str = "GET, PUT, DELETE, HEAD, OPTIONS";
        const ADVERTISED_TO_READERS: &'static str = "GET, HEAD, OPTIONS";

        type User = ();

        async fn authenticate(&self, _: &Request) -> Result<(), ApiException> {
            Ok(())
        }

        async fn handle(&self, request: &mut Request, (): ()) -> Option<ViewResult> {
            let response = match *request.method() {
                Method::GET | Method::HEAD => Response::new(StatusCode::OK, "some data"),
                Method::PUT => Response::not_modified(),
                _ => return None,
            };
            let (first, second) = (HeaderValue::from_static("W/\"1\""), HeaderValue::from_static("2"));
            let fencing_token = HeaderName::from_static("fencing-token");
            Some(Ok(response.with_header(ETAG, first).with_header(fencing_token, second)))
        }
    }

    /// What a server writes until it closes the connection, which the last of
    /// the requests asks for.
    fn exchange(requests: &str) -> String {
        let (tell, address) = std::sync::mpsc::channel();
        let server = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async {
                let handle = |http: HttpRequest, payload: Payload| async {
                    dispatch(&Sample, Request::new(http, payload)).await
                };
                let app = move || App::new().default_service(web::to(handle));
                let server = HttpServer::new(app).workers(1).disable_signals();
                let server = server.bind("127.0.0.1:0").expect("a free port");
                let address = server.addrs()[0];
                let server = server.run();
                tell.send((address, server.handle())).expect("the test listens");
                server.await
            })
        });
        let (address, handle) = address.recv().expect("it starts");
        let mut client = TcpStream::connect(address).expect("it listens");
        let mut answers = String::new();
        client.write_all(requests.as_bytes()).expect("it reads");
        client.read_to_string(&mut answers).expect("it answers and closes");
        actix_web::rt::System::new().block_on(handle.stop(false));
        server.join().expect("no panic").expect("it served");
        answers
    }

    /// The answers to requests of these methods on one connection, without the
    /// date: head and body.
    fn answers<const N: usize>(methods: [&str; N]) -> Vec<(String, String)> {
        let requests = methods.map(|method| {
            let closes = if method == methods[N - 1] {
                "close"
            } else {
                "keep-alive"
            };
            format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: {closes}\r\n\r\n")
        });
        exchange(&requests.concat())
            .split("HTTP/1.1 ")
            .skip(1)
            .map(|answer| {
                let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
                let lines = head.lines().filter(|line| !line.starts_with("date: "));
                let mut lines: Vec<_> = lines.filter(|line| !line.starts_with("connection: ")).collect();
                lines[1..].sort_unstable();
                (lines.join("\n"), body.to_owned())
            })
            .collect()
    }

    fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
        head.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    #[test]
    fn head_has_the_headers_of_get_and_no_body() {
        // A body after HEAD would stand where the next answer begins.
        let answers = answers(["HEAD", "GET"]);

        assert_eq!(answers.len(), 2, "{answers:?}");
        assert_eq!(answers[0].0, answers[1].0);
        assert_eq!(answers[0].1, "");
        assert_eq!(answers[1].1, "\"some data\"");
        assert_eq!(header(&answers[0].0, "content-length"), Some("11"));
        assert_eq!(header(&answers[0].0, "etag"), Some("W/\"1\""));
        assert_eq!(header(&answers[0].0, "fencing-token"), Some("2"));
    }

    #[test]
    fn not_modified_has_headers_and_no_body() {
        let answers = answers(["PUT", "GET"]);

        let (head, body) = &answers[0];
        assert!(head.starts_with("304 Not Modified"), "{head}");
        assert_eq!(body, "");
        assert_eq!(header(head, "etag"), Some("W/\"1\""));
        assert_eq!(header(head, "vary"), Some("Accept"));
        assert_eq!(header(head, "content-type"), None);
        assert_eq!(header(head, "content-length"), None);
    }

    #[test]
    fn readers_are_told_of_fewer_methods() {
        let answers = answers(["GET", "HEAD", "POST", "OPTIONS"]);

        for (at, allowed) in [
            Sample::ADVERTISED_TO_READERS,
            Sample::ADVERTISED_TO_READERS,
            Sample::ALLOWED_METHODS,
            Sample::ALLOWED_METHODS,
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(header(&answers[at].0, "allow"), Some(allowed), "{}", answers[at].0);
        }
    }
}
