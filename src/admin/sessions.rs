//! Who signs in and out.
//!
//! A page of another site cannot sign anybody in: its POST is refused before it
//! comes here, because browsers say whose page sends it.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, SET_COOKIE};

use super::{pages, redirect, refuse, urls, with};
use crate::access::SessionId;
use crate::clock::Timestamp;
use crate::db::{NewSession, StoreError};
use crate::limits::{RETRY_AFTER, SESSION_LIFE};
use crate::resources::{Access, Context, SESSION_COOKIE, require_csrf_token, session_of};
use crate::rest::exceptions::ApiException;
use crate::rest::fields::Input;
use crate::rest::{Page, Request};

/// The form; where no tokens are asked for, the page itself.
pub(super) fn form(context: &Context, request: &Request) -> Page {
    if matches!(context.access, Access::Open) {
        return redirect(urls::HOME);
    }
    let query = request.query();
    pages::sign_in(StatusCode::OK, query.value("next"), None)
}

/// Begins a session for who shows the key of a token.
pub(super) async fn sign_in(context: &Context, request: &mut Request) -> Page {
    match try_sign_in(context, request).await {
        Ok(page) => page,
        Err(refused) => refuse(&refused),
    }
}

async fn try_sign_in(context: &Context, request: &mut Request) -> Result<Page, ApiException> {
    let (key, next) = {
        let data = request.data().await?;
        let text = |name| match data.get(name) {
            Input::FormText(text) => text.trim().to_owned(),
            _ => String::new(),
        };
        (text("token"), text("next"))
    };
    request.forget_body();
    let Some(token) = context.access.signs_in(request, &key).await? else {
        let problem = "This is not the key of a token that is good. Keys are case-sensitive.";
        let page = pages::sign_in(StatusCode::FORBIDDEN, Some(&next), Some(problem));
        return Ok(page);
    };
    let id = SessionId::generate().map_err(|error| failed(&error))?;
    let session = NewSession {
        id_hash: id.hash(),
        token_id: token.id,
        expires_at: Timestamp::wall_clock() + SESSION_LIFE,
    };
    let registrar = context.registrar.clone();
    change(move || registrar.with_tokens(|table| table.begin_session(&session))).await?;
    log::info!(
        "somebody signed in with token {} of {:?}",
        token.id,
        token.name.as_str()
    );
    let page = redirect(urls::page_after_sign_in(Some(&next)));
    Ok(set_cookie(page, request, id.reveal(), SESSION_LIFE.as_secs()))
}

/// Ends the session.
pub(super) async fn sign_out(context: &Context, request: &mut Request) -> Page {
    match try_sign_out(context, request).await {
        Ok(page) => page,
        Err(refused) => refuse(&refused),
    }
}

async fn try_sign_out(context: &Context, request: &mut Request) -> Result<Page, ApiException> {
    if let Some(id) = session_of(request) {
        let shown = match request.data().await?.get("csrfmiddlewaretoken") {
            Input::FormText(text) => Some(text.to_owned()),
            _ => None,
        };
        require_csrf_token(&id, shown.as_deref())?;
        let (registrar, id_hash) = (context.registrar.clone(), id.hash());
        change(move || registrar.with_tokens(|table| table.end_session(&id_hash))).await?;
    }
    Ok(set_cookie(redirect(urls::SIGN_IN), request, "", 0))
}

/// Kept from scripts and from requests that pages of other sites cause.
fn set_cookie(page: Page, request: &Request, id: &str, seconds: u64) -> Page {
    let secure = if request.is_secure() { "; Secure" } else { "" };
    let cookie = format!("{SESSION_COOKIE}={id}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let cookie = HeaderValue::from_str(&cookie).expect("hexadecimal digits may be in a header");
    with(page, SET_COOKIE, cookie)
}

/// Changes the table where it holds up nobody.
async fn change(work: impl FnOnce() -> Result<(), StoreError> + Send + 'static) -> Result<(), ApiException> {
    match actix_web::web::block(work).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(failed(&"no thread is left")),
    }
}

fn failed(error: &dyn std::fmt::Display) -> ApiException {
    log::warn!("a session could not be begun or ended: {error}");
    ApiException::service_unavailable("the database is not available", RETRY_AFTER)
}
