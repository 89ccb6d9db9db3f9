//! The view of one resource.

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use serde::Serialize;

use crate::engine::{Answer, Engine, Unavailable};
use crate::limits::RETRY_AFTER;
use crate::lock::{Acquire, Outcome, Release, ResourceName};
use crate::resources::serializers::ResourceSerializer;
use crate::rest::exceptions::ApiException;
use crate::rest::{Request, Response, View, ViewResult};

/// The number by which a guarded system tells a late writer.
const FENCING_TOKEN: HeaderName = HeaderName::from_static("fencing-token");

/// `/resources/{name}/`.
pub struct ResourceView<'a> {
    /// What decides.
    pub engine: &'a Engine,
    /// From the path, not validated.
    pub name: &'a str,
}

/// What the original answers when it did what was asked.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Success {
    success: &'static str,
}

/// What the original answers when it refuses.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Error {
    error: &'static str,
}

impl View for ResourceView<'_> {
    const NAME: &'static str = "Resource";
    const ALLOWED_METHODS: &'static str = "PUT, DELETE, OPTIONS";

    async fn handle(&self, request: &mut Request) -> Option<ViewResult> {
        match *request.method() {
            Method::PUT => Some(self.put(request).await),
            Method::DELETE => Some(self.delete(request).await),
            _ => None,
        }
    }
}

impl ResourceView<'_> {
    async fn put(&self, request: &mut Request) -> ViewResult {
        let valid = {
            let data = request.data().await?;
            let serializer = ResourceSerializer::new(self.name, &data);
            serializer.acquisition().map_err(ApiException::validation_error)?
        };
        request.forget_body();
        let acquire = Acquire {
            locked_by: valid.locked_by,
            ttl: valid.ttl,
            label: None,
            request: None,
        };
        let acquire = self.engine.acquire(valid.name, acquire, valid.timeout);
        Ok(match acquire.await.map_err(unavailable)? {
            Answer::Decided(Outcome::Acquired(grant)) => Response::new(
                StatusCode::OK,
                Success {
                    success: "Resource is acquired.",
                },
            )
            .with_header(FENCING_TOKEN, HeaderValue::from(grant.fencing_token.as_i64())),
            Answer::Decided(_) => error(StatusCode::BAD_REQUEST, "Resource is locked."),
            Answer::Superseded => error(StatusCode::CONFLICT, "superseded"),
            Answer::TimedOut => error(StatusCode::REQUEST_TIMEOUT, "Request timed out."),
        })
    }

    /// The state is looked at before the key, so that a free resource is "not
    /// acquired" whatever the body says.
    async fn delete(&self, request: &mut Request) -> ViewResult {
        let data = request.data().await?;
        let locked_by = ResourceSerializer::new(self.name, &data).locked_by();
        let Some(name) = ResourceName::new(self.name) else {
            // No such resource can ever have been acquired.
            return Ok(error(StatusCode::BAD_REQUEST, "Resource is not acquired."));
        };
        let (locked_by, field_errors) = match locked_by {
            Ok(locked_by) => (Some(locked_by), None),
            Err(field_errors) => (None, Some(field_errors)),
        };
        let release = Release {
            locked_by,
            fencing_token: None,
            request: None,
        };
        match self.engine.release(name, release).await.map_err(unavailable)? {
            Outcome::Released => Ok(Response::no_content()),
            Outcome::NotAcquired => Ok(error(StatusCode::BAD_REQUEST, "Resource is not acquired.")),
            _ => match field_errors {
                Some(field_errors) => Err(ApiException::validation_error(field_errors)),
                None => Ok(error(StatusCode::BAD_REQUEST, "Invalid unlock request.")),
            },
        }
    }
}

fn error(status: StatusCode, error: &'static str) -> Response {
    Response::new(status, Error { error })
}

fn unavailable(reason: Unavailable) -> ApiException {
    match reason {
        Unavailable::Line => ApiException::throttled(&reason.to_string(), RETRY_AFTER),
        // Whoever may not wait shall not take the place of one who releases.
        Unavailable::Waiters => ApiException {
            closes_connection: true,
            ..ApiException::service_unavailable(&reason.to_string(), RETRY_AFTER)
        },
        _ => ApiException::service_unavailable(&reason.to_string(), RETRY_AFTER),
    }
}
