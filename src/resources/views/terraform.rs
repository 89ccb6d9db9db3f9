//! The view by which Terraform and OpenTofu lock a state: the locking half of
//! their backend `http`.
//!
//! Terraform understands 200, and 409 or 423 with the holder's LockInfo; it
//! repeats a request whose answer was lost, 429, 500 and 503 with the same ID;
//! and it ends at anything else. So a LOCK of the holder itself is answered 200
//! for as long as its grant stands, a wait that was in vain 423, and an UNLOCK
//! again 200 while it is the last thing that happened.

use actix_web::http::StatusCode;
use actix_web::http::header::HeaderValue;

use super::actions::log_break;
use super::resource::{FENCING_TOKEN, acquire_or_wait};
use super::{ACQUIRED, BROKEN, NOT_ACQUIRED, RELEASED, SUPERSEDED, counts_for, ok, refuse, unavailable};
use crate::access::Verb;
use crate::engine::Answer;
use crate::limits::NAME_CHARS_MAX;
use crate::lock::{
    Acquire, Break, BreakLock, FencingToken, LockedBy, Outcome, Reason, Release, RequestId, ResourceName,
};
use crate::resources::Context;
use crate::resources::bodies::{HowBroken, NotHeld, Success};
use crate::resources::lock_info::{LockInfo, NO_STATE, id_of};
use crate::resources::permissions::Caller;
use crate::resources::serializers::StateLocking;
use crate::rest::exceptions::ApiException;
use crate::rest::{Request, Response, View, ViewResult};

/// Before the name of a state in the name of its resource.
const PREFIX: &str = "terraform/";

/// Characters of the name of a state.
pub(in crate::resources) const STATE_NAME_CHARS_MAX: usize = NAME_CHARS_MAX - PREFIX.len();

/// Why `terraform force-unlock` breaks a lock: it says nothing.
const FORCE_UNLOCK: &str = "force-unlock";

/// `/terraform/{name}/`.
pub struct TerraformView<'a> {
    /// What it works with.
    pub context: &'a Context,
    /// From the path, not validated.
    pub name: &'a str,
}

impl View for TerraformView<'_> {
    const NAME: &'static str = "Terraform";
    const ALLOWED_METHODS: &'static str = "POST, PUT, DELETE, OPTIONS, LOCK, UNLOCK";

    type User = Caller;

    async fn authenticate(&self, request: &Request) -> Result<Caller, ApiException> {
        self.context.access.caller(request).await
    }

    async fn handle(&self, request: &mut Request, caller: Caller) -> Option<ViewResult> {
        let name = format!("{PREFIX}{}", self.name);
        match request.method().as_str() {
            "LOCK" | "PUT" | "POST" => Some(lock(self.context, &name, request, &caller).await),
            "UNLOCK" | "DELETE" => Some(unlock(self.context, &name, request, &caller).await),
            // Not 404, which Terraform takes for a state that is empty.
            "GET" | "HEAD" => Some(Err(ApiException::new(StatusCode::METHOD_NOT_ALLOWED, NO_STATE))),
            _ => None,
        }
    }
}

async fn lock(context: &Context, name: &str, request: &mut Request, caller: &Caller) -> ViewResult {
    caller.require_on(Verb::Acquire, name)?;
    let asked = StateLocking::read(&request.query(), context.limits()).map_err(ApiException::validation_error)?;
    let info = LockInfo::read(&context.data(request, caller).await?)?;
    request.forget_body();
    let name = resource_name(name)?;
    let acquire = Acquire {
        locked_by: key(context, caller, &info.id),
        ttl: asked.ttl,
        label: info.label(),
        client: counts_for(context, request, caller),
        info: Some(info.to_kept()),
        request: request_id(caller, &info.id, "LOCK", &name),
        address: request.address(),
    };
    let wanted = (name.clone(), acquire, asked.timeout);
    let answer = acquire_or_wait(context, request, caller, wanted).await?;
    answer.require_in_time().map_err(unavailable)?;
    match answer {
        Answer::Decided(Outcome::Acquired(grant) | Outcome::AcquiredBefore(grant), _) => {
            let token = HeaderValue::from(grant.fencing_token.as_i64());
            Ok(ok(Success { success: ACQUIRED }).with_header(FENCING_TOKEN, token))
        }
        // It is told to nobody: the connection of the first request is gone.
        Answer::Superseded => Ok(refuse(StatusCode::CONFLICT, SUPERSEDED)),
        Answer::Decided(..) | Answer::TimedOut => held(context, name).await,
    }
}

async fn unlock(context: &Context, name: &str, request: &mut Request, caller: &Caller) -> ViewResult {
    let may_release = caller.require_on(Verb::Acquire, name);
    let may_break = caller.require_on(Verb::Break, name);
    if may_break.is_err() {
        may_release.clone()?;
    }
    let id = id_of(&context.data(request, caller).await?);
    let name = resource_name(name)?;
    let id = match id {
        Ok(id) => id,
        Err(_) if !request.has_body() => {
            may_break?;
            return force(context, name, None, request, caller).await;
        }
        Err(refusal) => return Err(refusal),
    };
    let outcome = match may_release {
        Ok(()) => release(context, &name, &id, request, caller).await?,
        Err(_) => Outcome::InvalidUnlock,
    };
    match outcome {
        Outcome::Released | Outcome::ReleasedBefore => Ok(ok(Success { success: RELEASED })),
        Outcome::NotAcquired => Ok(not_held(None)),
        Outcome::WasBroken(broken) => Ok(not_held(Some(&broken))),
        _ => {
            // OpenTofu's force-unlock sends the ID, and whoever forces it is somebody else.
            let snapshot = context.engine.look(name.clone()).await.map_err(unavailable)?;
            let holder = LockInfo::of_holder(&snapshot);
            if may_break.is_ok() && snapshot.held.is_some() && holder.id == id {
                return force(context, name, Some(snapshot.fencing_token), request, caller).await;
            }
            Ok(Response::new(StatusCode::LOCKED, holder))
        }
    }
}

async fn release(
    context: &Context,
    name: &ResourceName,
    id: &str,
    request: &Request,
    caller: &Caller,
) -> Result<Outcome, ApiException> {
    let mut release = Release::by(Some(key(context, caller, id)));
    release.request = request_id(caller, id, "UNLOCK", name);
    release.address = request.address();
    let engine = &context.engine;
    let outcome = engine
        .release(name.clone(), release.clone())
        .await
        .map_err(unavailable)?;
    if outcome != Outcome::KeyReused {
        return Ok(outcome);
    }
    // Terraform makes a new ID for each lock. Who takes one again means the lock that it holds now.
    release.request = None;
    engine.release(name.clone(), release).await.map_err(unavailable)
}

/// Frees a state whose holder is gone: the grant with this token, if it is told,
/// else whichever stands.
async fn force(
    context: &Context,
    name: ResourceName,
    fencing_token: Option<FencingToken>,
    request: &Request,
    caller: &Caller,
) -> ViewResult {
    let reason = Reason::new(FORCE_UNLOCK).expect("short and not empty");
    let break_lock = BreakLock {
        by: caller.owner().cloned(),
        reason: reason.clone(),
        fencing_token,
        address: request.address(),
    };
    let broken = context.engine.break_lock(name.clone(), break_lock).await;
    match broken.map_err(unavailable)? {
        Outcome::Broken(before) => {
            log_break(&before, caller, request.peer(), &reason);
            Ok(ok(Success { success: BROKEN }))
        }
        Outcome::InvalidUnlock => held(context, name).await,
        _ => Ok(not_held(None)),
    }
}

/// Who holds it, as Terraform wants to be told.
async fn held(context: &Context, name: ResourceName) -> ViewResult {
    let snapshot = context.engine.look(name).await.map_err(unavailable)?;
    Ok(Response::new(StatusCode::LOCKED, LockInfo::of_holder(&snapshot)))
}

/// Not 423, because nobody's LockInfo could be told.
fn not_held(broken: Option<&Break>) -> Response {
    let said = NotHeld {
        detail: NOT_ACQUIRED,
        broken: broken.map(HowBroken::from),
    };
    Response::new(StatusCode::CONFLICT, said)
}

fn resource_name(name: &str) -> Result<ResourceName, ApiException> {
    let wrong = || {
        let message = format!("The name of a state is 1 to {STATE_NAME_CHARS_MAX} characters, none of them U+0000.");
        ApiException::new(StatusCode::BAD_REQUEST, message)
    };
    ResourceName::new(name).ok_or_else(wrong)
}

fn key(context: &Context, caller: &Caller, id: &str) -> LockedBy {
    let key = LockedBy::new(id).expect("an ID is held to the bounds of a key");
    context.at_rest.keep(key.owned_by(caller.owner().cloned()))
}

/// By what a request is known that is sent again. Not by its ttl: Terraform does
/// not know of that, and whoever changes it between the two means the same lock.
fn request_id(caller: &Caller, id: &str, method: &str, name: &ResourceName) -> Option<RequestId> {
    RequestId::new(
        id,
        caller.owner(),
        [Some("terraform"), Some(method), Some(name.as_str())],
    )
}
