//! What can be done to a resource by POST: the same as by the methods of HTTP,
//! for clients and proxies that cannot send a body with DELETE; and the
//! question whether a grant still holds.

use std::net::SocketAddr;

use actix_web::http::{Method, StatusCode};

use super::resource::{acquire, release, renew};
use super::{BROKEN, NOT_ACQUIRED, ok, refuse, unavailable};
use crate::access::Verb;
use crate::lock::{BreakLock, Label, Outcome, Owner, Reason, ResourceName, Snapshot};
use crate::resources::Context;
use crate::resources::bodies::{Broken, Representation, Validity, token_number};
use crate::resources::permissions::Caller;
use crate::resources::serializers::Fields;
use crate::rest::exceptions::ApiException;
use crate::rest::{Request, Response, View, ViewResult};

/// A view that only has POST.
macro_rules! action_view {
    ($(#[$doc:meta])* $view:ident, $name:literal, $action:path) => {
        $(#[$doc])*
        pub struct $view<'a> {
            /// What it works with.
            pub context: &'a Context,
            /// From the path, not validated.
            pub name: &'a str,
        }

        impl View for $view<'_> {
            const NAME: &'static str = $name;
            const ALLOWED_METHODS: &'static str = "POST, OPTIONS";

            type User = Caller;

            async fn authenticate(&self, request: &Request) -> Result<Caller, ApiException> {
                self.context.access.caller(request).await
            }

            async fn handle(&self, request: &mut Request, caller: Caller) -> Option<ViewResult> {
                match *request.method() {
                    Method::POST => Some($action(self.context, self.name, request, &caller).await),
                    _ => None,
                }
            }
        }
    };
}

action_view!(
    /// `/resources/{name}/acquire/`.
    AcquireView, "Acquire", acquire
);
action_view!(
    /// `/resources/{name}/release/`.
    ReleaseView, "Release", release
);
action_view!(
    /// `/resources/{name}/renew/`.
    RenewView, "Renew", renew
);
action_view!(
    /// `/resources/{name}/check/`.
    CheckView, "Check", check
);
action_view!(
    /// `/resources/{name}/break/`.
    BreakView, "Break", break_lock
);

/// What a guarded system asks before it accepts a write.
async fn check(context: &Context, name: &str, request: &mut Request, caller: &Caller) -> ViewResult {
    caller.require_on(Verb::Read, name)?;
    let data = context.data(request, caller).await?;
    let token = context.fields(&data, caller, None).and_then(Fields::checked_token);
    let token = token.map_err(ApiException::validation_error)?;
    let Some(name) = ResourceName::new(name) else {
        return Ok(validity(false, None, None));
    };
    let snapshot = context.engine.look(name).await.map_err(unavailable)?;
    Ok(validity(
        snapshot.is_held_with(token),
        token_number(snapshot.fencing_token),
        snapshot.expires_in().map(|left| left.as_secs_f64()),
    ))
}

fn validity(valid: bool, fencing_token: Option<i64>, expires_in: Option<f64>) -> Response {
    let status = if valid { StatusCode::OK } else { StatusCode::CONFLICT };
    let expires_in = expires_in.filter(|_| valid);
    Response::new(
        status,
        Validity {
            valid,
            fencing_token,
            expires_in,
        },
    )
}

/// Frees a resource whose holder is gone.
async fn break_lock(context: &Context, name: &str, request: &mut Request, caller: &Caller) -> ViewResult {
    caller.require_on(Verb::Break, name)?;
    let data = context.data(request, caller).await?;
    let reason = context.fields(&data, caller, None).and_then(Fields::reason);
    let reason = reason.map_err(ApiException::validation_error)?;
    let Some(name) = ResourceName::new(name) else {
        return Ok(refuse(StatusCode::BAD_REQUEST, NOT_ACQUIRED));
    };
    let break_lock = BreakLock {
        by: caller.owner().cloned(),
        reason,
        fencing_token: None,
        address: request.address(),
    };
    let wrong = break_lock.reason.clone();
    match context.engine.break_lock(name, break_lock).await.map_err(unavailable)? {
        Outcome::Broken(before) => {
            log_break(&before, caller, request.peer(), &wrong);
            Ok(ok(Broken {
                success: BROKEN,
                broken: Representation::from(before.as_ref()),
            }))
        }
        _ => Ok(refuse(StatusCode::BAD_REQUEST, NOT_ACQUIRED)),
    }
}

/// Each is a line in the log.
pub(super) fn log_break(before: &Snapshot, caller: &Caller, peer: Option<SocketAddr>, reason: &Reason) {
    let by = caller.owner().map_or("somebody", Owner::as_str);
    let peer = peer.map_or_else(|| "an unknown address".to_owned(), |peer| peer.to_string());
    log::warn!(
        "{by:?} at {peer} broke the lock on {}: {:?}",
        describe(before),
        reason.as_str()
    );
}

/// A lock, for the log.
fn describe(before: &Snapshot) -> String {
    let held = before.held.as_ref();
    let owner = held
        .and_then(|held| held.owner.as_ref())
        .map_or("nobody", Owner::as_str);
    let label = held.and_then(|held| held.label.as_ref()).map_or("", Label::as_str);
    format!(
        "{:?} (owner {owner:?}, label {label:?}, fencing token {})",
        before.name, before.fencing_token
    )
}
