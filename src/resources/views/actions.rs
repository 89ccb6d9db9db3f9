//! What can be done to a resource by POST: the same as by the methods of HTTP,
//! for clients and proxies that cannot send a body with DELETE; and the
//! question whether a grant still holds.

use actix_web::http::{Method, StatusCode};

use super::resource::{acquire, release, renew};
use super::unavailable;
use crate::lock::ResourceName;
use crate::resources::Context;
use crate::resources::bodies::{Validity, token_number};
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

            async fn handle(&self, request: &mut Request) -> Option<ViewResult> {
                match *request.method() {
                    Method::POST => Some($action(self.context, self.name, request).await),
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

/// What a guarded system asks before it accepts a write.
async fn check(context: &Context, name: &str, request: &mut Request) -> ViewResult {
    let data = request.data().await?;
    let token = Fields::new(&data, context.limits(), None).and_then(Fields::checked_token);
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
