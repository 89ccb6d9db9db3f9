//! The life of a request in Django REST framework's order: negotiate, then the
//! method, then whatever the view does.

use std::panic::AssertUnwindSafe;

use actix_web::http::header::{
    ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, RETRY_AFTER, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, HttpResponseBuilder};
use futures_util::FutureExt;
use serde::Serialize;

use crate::rest::exceptions::{ApiException, Detail};
use crate::rest::negotiation::select_renderer;
use crate::rest::pages::page;
use crate::rest::parsers::PARSES;
use crate::rest::renderers::JsonRenderer;
use crate::rest::request::Request;
use crate::rest::response::Response;

/// What a view answers, or the error instead.
pub type ViewResult = Result<Response, ApiException>;

/// A class-based view: one method of HTTP, one function.
pub trait View {
    /// The class without "View".
    const NAME: &'static str;

    /// For `Allow`, OPTIONS included.
    const ALLOWED_METHODS: &'static str;

    /// Answers the request, or `None` if there is no function for its method.
    fn handle(&self, request: &mut Request) -> impl Future<Output = Option<ViewResult>>;
}

/// Answers a request by a view. A panic is answered 500 and ends nothing else.
pub async fn dispatch<V: View>(view: &V, mut request: Request) -> HttpResponse {
    let response = AssertUnwindSafe(answer(view, &mut request)).catch_unwind().await;
    request.answered_by(response.unwrap_or_else(|_| html_page(StatusCode::INTERNAL_SERVER_ERROR)))
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
    render_exception(exception, JsonRenderer::default())
}

async fn answer<V: View>(view: &V, request: &mut Request) -> HttpResponse {
    let format = request.query_parameter("format");
    let selected = select_renderer(request.header(ACCEPT).as_deref(), format.as_deref());
    let (renderer, result) = match selected {
        Err(exception) => (JsonRenderer::default(), Err(exception)),
        Ok(renderer) if request.method() == Method::OPTIONS => (renderer, Ok(metadata(V::NAME))),
        Ok(renderer) => {
            let result = view.handle(request).await;
            let not_allowed = || Err(ApiException::method_not_allowed(request.method().as_str()));
            (renderer, result.unwrap_or_else(not_allowed))
        }
    };
    let mut response = match result {
        Ok(response) => render(response, renderer),
        Err(exception) => render_exception(exception, renderer),
    };
    set(&mut response, ALLOW, HeaderValue::from_static(V::ALLOWED_METHODS));
    set(&mut response, VARY, HeaderValue::from_static("Accept"));
    response
}

fn render(response: Response, renderer: JsonRenderer) -> HttpResponse {
    let mut builder = HttpResponseBuilder::new(response.status);
    let mut http = match response.data.map(|data| data.to_json(renderer.indent)) {
        None => builder.finish(),
        Some(Ok(body)) => {
            let mut http = builder.body(body);
            set(
                &mut http,
                CONTENT_TYPE,
                HeaderValue::from_static(JsonRenderer::MEDIA_TYPE),
            );
            http
        }
        Some(Err(error)) => {
            log::error!("an answer cannot be rendered: {error}");
            return html_page(StatusCode::INTERNAL_SERVER_ERROR);
        }
    };
    if let Some((name, value)) = response.header {
        set(&mut http, name, value);
    }
    add_security_headers(http.headers_mut());
    http
}

fn render_exception(exception: ApiException, renderer: JsonRenderer) -> HttpResponse {
    #[derive(Serialize)]
    struct Message {
        detail: String,
    }
    let status = exception.status;
    let mut response = match exception.detail {
        Detail::Message(detail) => {
            let detail = detail.into_owned();
            render(Response::new(status, Message { detail }), renderer)
        }
        Detail::Fields(errors) => render(Response::new(status, errors), renderer),
        Detail::Page => html_page(status),
    };
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

fn metadata(name: &'static str) -> Response {
    #[derive(Serialize)]
    struct Metadata {
        name: &'static str,
        description: &'static str,
        renders: [&'static str; 1],
        parses: [&'static str; 3],
    }
    let metadata = Metadata {
        name,
        description: "",
        renders: [JsonRenderer::MEDIA_TYPE],
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
