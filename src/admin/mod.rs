//! The operators' page, in the spirit of Django's admin: who holds what, and
//! what can be done about it.
//!
//! A layer of its own above the app, because it knows no rule: its scripts ask
//! the same JSON that clients ask, with the session's cookie in place of a key.
//! Here are only the frames that they fill, who signs in and out, and the files.
//! Nothing is loaded from elsewhere, and no script or style stands in a page.

mod figures;
mod files;
mod html;
mod pages;
mod sessions;
mod urls;

use actix_web::HttpResponse;
use actix_web::http::header::{ALLOW, HeaderValue, LOCATION, RETRY_AFTER};
use actix_web::http::{Method, StatusCode};

use crate::access::Verb;
use crate::resources::Context;
use crate::rest::exceptions::{ApiException, Detail};
use crate::rest::{Page, Request, answer_by_page};

pub use pages::browsable;
pub use urls::{Route, route};

/// Answers a request for something below `/admin/`.
pub async fn answer(context: &Context, route: Route<'_>, request: Request) -> HttpResponse {
    answer_by_page(request, async |request| page(context, route, request).await).await
}

async fn page(context: &Context, route: Route<'_>, request: &mut Request) -> Page {
    let allowed = match route {
        Route::SignIn => "GET, POST, HEAD",
        Route::SignOut => "POST",
        _ => "GET, HEAD",
    };
    let method = request.method();
    let is_read = *method == Method::GET || *method == Method::HEAD;
    if !allowed.split(", ").any(|name| name == method.as_str()) {
        let page = plain(StatusCode::METHOD_NOT_ALLOWED, "This page does not know that method.");
        return with(page, ALLOW, HeaderValue::from_static(allowed));
    }
    match route {
        Route::File(name) => files::serve(request, &name),
        Route::SignIn if is_read => sessions::form(context, request),
        Route::SignIn => sessions::sign_in(context, request).await,
        Route::SignOut => sessions::sign_out(context, request).await,
        Route::Figures => match context.access.caller(request).await {
            Ok(caller) if caller.may(Verb::Read) => figures::show(&context.metrics),
            Ok(_) => refuse(&ApiException::permission_denied()),
            Err(refused) => refuse(&refused),
        },
        Route::Frame(frame) => match context.access.caller(request).await {
            Ok(caller) => pages::frame(request, &caller, &frame),
            Err(refused) if refused.status == StatusCode::UNAUTHORIZED => to_sign_in(request),
            Err(refused) => refuse(&refused),
        },
    }
}

/// Sends the browser to the form, and from there back.
fn to_sign_in(request: &Request) -> Page {
    redirect(&urls::sign_in_and_return_to(request.path()))
}

/// Sends the browser to a path of ours.
fn redirect(path: &str) -> Page {
    let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static(urls::HOME));
    let page = Page {
        status: StatusCode::SEE_OTHER,
        body: String::new(),
        headers: Vec::new(),
    };
    with(page, LOCATION, location)
}

/// A page for a request that was refused.
fn refuse(refused: &ApiException) -> Page {
    let text = match &refused.detail {
        Detail::Message(text) => text,
        _ => "The request is wrong.",
    };
    let page = plain(refused.status, text);
    match refused.retry_after {
        Some(wait) => with(page, RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1))),
        None => page,
    }
}

fn plain(status: StatusCode, text: &str) -> Page {
    Page {
        status,
        body: pages::plain(status, text),
        headers: Vec::new(),
    }
}

fn with(mut page: Page, name: actix_web::http::header::HeaderName, value: HeaderValue) -> Page {
    page.headers.push((name, value));
    page
}
