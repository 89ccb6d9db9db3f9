//! The view of one resource, and what the views of its actions share with it.

use std::pin::{Pin, pin};
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, ETAG, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use serde::Serialize;

use super::{
    ACQUIRED, DEADLOCK, INVALID_RENEW, INVALID_UNLOCK, LOCKED, NOT_ACQUIRED, SUPERSEDED, TIMED_OUT, UNKNOWN,
    counts_for, key_reused, may_wait, ok, refuse, unavailable,
};
use crate::access::Verb;
use crate::engine::{Answer, Unavailable};
use crate::lock::{Acquire, Break, Grant, Held, Outcome, Release, ResourceName, Snapshot};
use crate::resources::Context;
use crate::resources::bodies::{
    Deadlock, Error, HowBroken, NotAcquiredSinceBroken, Representation, Success, WithResource, etag,
};
use crate::resources::permissions::Caller;
use crate::resources::serializers::{Acquisition, Fields, Watching};
use crate::rest::exceptions::ApiException;
use crate::rest::{Request, Response, View, ViewResult};

/// The number by which a guarded system tells a late writer.
pub(super) const FENCING_TOKEN: HeaderName = HeaderName::from_static("fencing-token");

/// RFC 7240.
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// draft-ietf-httpapi-idempotency-key-header.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// `/resources/{name}/`.
pub struct ResourceView<'a> {
    /// What it works with.
    pub context: &'a Context,
    /// From the path, not validated.
    pub name: &'a str,
}

impl View for ResourceView<'_> {
    const NAME: &'static str = "Resource";
    const ALLOWED_METHODS: &'static str = "GET, PUT, PATCH, DELETE, HEAD, OPTIONS";

    type User = Caller;

    async fn authenticate(&self, request: &Request) -> Result<Caller, ApiException> {
        self.context.access.caller(request).await
    }

    async fn handle(&self, request: &mut Request, caller: Caller) -> Option<ViewResult> {
        let (context, name) = (self.context, self.name);
        match *request.method() {
            Method::GET | Method::HEAD => Some(show(context, name, request, &caller).await),
            Method::PUT => Some(acquire(context, name, request, &caller).await),
            Method::PATCH => Some(renew(context, name, request, &caller).await),
            Method::DELETE => Some(release(context, name, request, &caller).await),
            _ => None,
        }
    }
}

async fn show(context: &Context, name: &str, request: &Request, caller: &Caller) -> ViewResult {
    caller.require_on(Verb::Read, name)?;
    let watching = Watching::read(&request.query(), context.limits()).map_err(ApiException::validation_error)?;
    let unknown = || ApiException::new(StatusCode::NOT_FOUND, UNKNOWN);
    let name = ResourceName::new(name).ok_or_else(unknown)?;
    let has_waited = watching.is_some();
    let snapshot = match watching {
        None => context.engine.look(name).await,
        Some(watching) => {
            let _waiting = may_wait(context, request, caller)?;
            let news = pin!(watch(context, name, request, watching));
            context.access.while_good(caller, news).await?
        }
    };
    let snapshot = snapshot.map_err(unavailable)?;
    if has_waited {
        context.access.require_still(caller).await?;
    }
    if !snapshot.was_ever_acquired() {
        return Err(unknown());
    }
    let tag = etag(&snapshot);
    let response = if request.already_has(&tag) {
        Response::not_modified()
    } else {
        ok(Representation::from(&snapshot))
    };
    let response = response.with_header(ETAG, HeaderValue::from(&tag));
    // What a cache keeps may be over the moment after.
    Ok(response.with_header(CACHE_CONTROL, HeaderValue::from_static("no-cache")))
}

/// Waits until the grant that the client knows of does not hold any more; or
/// until the resource is not as the client has it; or, if it says neither, as
/// it was when it asked.
async fn watch(
    context: &Context,
    name: ResourceName,
    request: &Request,
    watching: Watching,
) -> Result<Snapshot, Unavailable> {
    let engine = &context.engine;
    if let Some(token) = watching.fencing_token {
        let is_news = |seen: &Snapshot| !seen.is_held_with(token);
        return engine.look_for_news(name, watching.wait, is_news).await;
    }
    if request.has_tags() {
        let is_news = |seen: &Snapshot| !request.already_has(&etag(seen));
        return engine.look_for_news(name, watching.wait, is_news).await;
    }
    let first = engine.look(name.clone()).await?;
    let is_news = |seen: &Snapshot| (&seen.held, seen.fencing_token) != (&first.held, first.fencing_token);
    engine.look_for_news(name, watching.wait, is_news).await
}

/// What the request may be known by when it is sent again.
pub(super) fn idempotency_key(request: &Request) -> Option<String> {
    request.header_text(IDEMPOTENCY_KEY).map(|key| key.into_owned())
}

/// What PUT does.
pub(super) async fn acquire(context: &Context, name: &str, request: &mut Request, caller: &Caller) -> ViewResult {
    caller.require_on(Verb::Acquire, name)?;
    let key = idempotency_key(request);
    let Acquisition {
        wanted: name,
        mut acquire,
        timeout,
    } = {
        let data = context.data(request, caller).await?;
        let fields = context.fields(&data, caller, key.as_deref());
        let acquisition = fields.and_then(|fields| fields.acquisition(name));
        acquisition.map_err(ApiException::validation_error)?
    };
    request.forget_body();
    acquire.client = counts_for(context, request, caller);
    acquire.address = request.address();
    let wants_representation = shows(request, caller, name.as_str());
    let asked = wants_representation.then(|| (name.clone(), acquire.clone()));
    let answer = acquire_or_wait(context, request, caller, (name, acquire, timeout)).await?;
    let (status, said, grant) = match &answer {
        Answer::Decided(Outcome::Acquired(grant) | Outcome::AcquiredBefore(grant), _) => {
            let success = Success { success: ACQUIRED };
            (StatusCode::OK, Said::Success(success), Some(grant))
        }
        Answer::Decided(Outcome::Deadlock(names), _) => return Ok(deadlock(names, caller)),
        Answer::Decided(Outcome::KeyReused, _) => return Err(key_reused()),
        Answer::Decided(..) => (StatusCode::BAD_REQUEST, Said::Error(Error { error: LOCKED }), None),
        Answer::TimedOut => (
            StatusCode::REQUEST_TIMEOUT,
            Said::Error(Error { error: TIMED_OUT }),
            None,
        ),
        Answer::Superseded => return Ok(refuse(StatusCode::CONFLICT, SUPERSEDED)),
    };
    let response = match asked {
        None => Response::new(status, said),
        Some((name, acquire)) => {
            let mut snapshot = context.engine.look(name).await.map_err(unavailable)?;
            if let Some(grant) = grant {
                show_grant(&mut snapshot, grant, acquire);
            }
            with_resource(status, said, &snapshot)
        }
    };
    // Whoever looked at tokens or at the resource may have waited for the database.
    answer.require_in_time().map_err(unavailable)?;
    Ok(match grant {
        None => response,
        Some(grant) => response.with_header(FENCING_TOKEN, HeaderValue::from(grant.fencing_token.as_i64())),
    })
}

/// Takes the lock, or waits for it as one of those of its client, whose token
/// has to be good for as long as it waits.
///
/// Errors: 429 if as many of the client's wait as may, or too many of all; 401
/// and 503 as for who asks.
pub(super) async fn acquire_or_wait(
    context: &Context,
    request: &Request,
    caller: &Caller,
    (name, acquire, timeout): (ResourceName, Acquire, Option<Duration>),
) -> Result<Answer, ApiException> {
    if timeout.is_none() {
        return context.engine.acquire(name, acquire, None).await.map_err(unavailable);
    }
    let _waiting = may_wait(context, request, caller)?;
    let acquired = pin!(context.engine.acquire(name.clone(), acquire, timeout));
    wait(context, caller, &[name], acquired).await
}

/// Waits for what becomes of an acquisition of `names`, as long as the token of
/// who waits is good.
///
/// Errors: 401 when the token has ended: what it was granted at that moment is
/// given back, also if the client leaves before it is known whether it was; 503.
/// Its place in line is free when `acquired` is dropped.
pub(super) async fn wait(
    context: &Context,
    caller: &Caller,
    names: &[ResourceName],
    acquired: Pin<&mut impl Future<Output = Result<Answer, Unavailable>>>,
) -> Result<Answer, ApiException> {
    let answer = context.access.while_good(caller, acquired).await?;
    let granted = match &answer {
        Ok(Answer::Decided(outcome, _)) => outcome.granted(),
        _ => &[],
    };
    let untold = context.engine.untold(names.to_vec(), granted);
    context.access.require_still(caller).await?;
    untold.tell();
    answer.map_err(unavailable)
}

/// Whether the resource is shown in the answer: the client prefers that, and
/// may look at it.
fn shows(request: &Request, caller: &Caller, name: &str) -> bool {
    request.prefers_representation() && caller.require_on(Verb::Read, name).is_ok()
}

/// An answer that shows the resource too.
fn with_resource(status: StatusCode, said: impl Serialize + 'static, snapshot: &Snapshot) -> Response {
    let resource = Representation::from(snapshot);
    Response::new(status, WithResource { said, resource })
        .with_header(PREFERENCE_APPLIED, HeaderValue::from_static("return=representation"))
}

/// Either body of the original.
#[derive(Serialize)]
#[serde(untagged)]
enum Said {
    Success(Success),
    Error(Error),
}

/// Shows a grant as it was made where it was seen after something else had
/// happened to the resource.
fn show_grant(snapshot: &mut Snapshot, grant: &Grant, acquire: Acquire) {
    if snapshot.is_held_with(grant.fencing_token) {
        return;
    }
    snapshot.fencing_token = grant.fencing_token;
    snapshot.seen_at = grant.acquired_at;
    snapshot.held = Some(Held {
        owner: acquire.locked_by.owner().cloned(),
        label: acquire.label,
        info: acquire.info,
        ttl: acquire.ttl,
        acquired_at: grant.acquired_at,
        expires_at: grant.expires_at,
    });
}

/// Names that the token is not for are left out.
pub(super) fn deadlock(names: &[ResourceName], caller: &Caller) -> Response {
    let known = |name: &&ResourceName| caller.require_on(Verb::Acquire, name.as_str()).is_ok();
    let cycle = names
        .iter()
        .filter(known)
        .map(|name| name.as_str().to_owned())
        .collect();
    Response::new(StatusCode::CONFLICT, Deadlock { error: DEADLOCK, cycle })
}

/// What DELETE does. The state is looked at before the fields, so that a free
/// resource is "not acquired" whatever the body says.
pub(super) async fn release(context: &Context, name: &str, request: &mut Request, caller: &Caller) -> ViewResult {
    caller.require_on(Verb::Acquire, name)?;
    let key = idempotency_key(request);
    let data = context.data(request, caller).await?;
    let (mut release, errors) = match context.fields(&data, caller, key.as_deref()) {
        Ok(fields) => {
            let fields = fields.release().map_err(ApiException::validation_error)?;
            (fields.release, fields.errors)
        }
        Err(errors) => (Release::by(None), Some(errors)),
    };
    release.address = request.address();
    let Some(name) = ResourceName::new(name) else {
        // No such resource can ever have been acquired.
        return Ok(refuse(StatusCode::BAD_REQUEST, NOT_ACQUIRED));
    };
    let shown = shows(request, caller, name.as_str()).then(|| name.clone());
    match context.engine.release(name, release).await.map_err(unavailable)? {
        Outcome::Released | Outcome::ReleasedBefore => Ok(Response::no_content()),
        Outcome::NotAcquired => Ok(refuse(StatusCode::BAD_REQUEST, NOT_ACQUIRED)),
        Outcome::WasBroken(broken) => was_broken(context, shown, &broken).await,
        Outcome::KeyReused => Err(key_reused()),
        _ => match errors {
            Some(errors) => Err(ApiException::validation_error(errors)),
            None => Ok(refuse(StatusCode::BAD_REQUEST, INVALID_UNLOCK)),
        },
    }
}

/// What PATCH does.
pub(super) async fn renew(context: &Context, name: &str, request: &mut Request, caller: &Caller) -> ViewResult {
    caller.require_on(Verb::Acquire, name)?;
    let data = context.data(request, caller).await?;
    let renew = context.fields(&data, caller, None).and_then(Fields::renewal);
    let mut renew = renew.map_err(ApiException::validation_error)?;
    renew.address = request.address();
    let Some(name) = ResourceName::new(name) else {
        return Ok(refuse(StatusCode::BAD_REQUEST, NOT_ACQUIRED));
    };
    let shown = shows(request, caller, name.as_str()).then(|| name.clone());
    Ok(match context.engine.renew(name, renew).await.map_err(unavailable)? {
        Outcome::Renewed(snapshot) => ok(Representation::from(snapshot.as_ref())),
        Outcome::NotAcquired => refuse(StatusCode::BAD_REQUEST, NOT_ACQUIRED),
        Outcome::WasBroken(broken) => return was_broken(context, shown, &broken).await,
        _ => refuse(StatusCode::BAD_REQUEST, INVALID_RENEW),
    })
}

/// What a former holder is told whose lock was broken; with the resource as it
/// is now, if that is `shown`.
async fn was_broken(context: &Context, shown: Option<ResourceName>, broken: &Break) -> ViewResult {
    let said = NotAcquiredSinceBroken {
        error: NOT_ACQUIRED,
        broken: HowBroken::from(broken),
    };
    let Some(name) = shown else {
        return Ok(Response::new(StatusCode::BAD_REQUEST, said));
    };
    let snapshot = context.engine.look(name).await.map_err(unavailable)?;
    Ok(with_resource(StatusCode::BAD_REQUEST, said, &snapshot))
}
