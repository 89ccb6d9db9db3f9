//! What several operations have in common: parameters, bodies, examples.

use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Required, Response, Schema};

use super::answers::{JSON, TO_ALL, TO_BODIES, content, detail, not_found, said_any_of, schema_of};
use super::{fields, requests};
use crate::limits::IDEMPOTENCY_KEY_CHARS_MAX;
use crate::resources::views::{KEY_REUSED, NOT_ACQUIRED};

pub(super) fn operation(id: &str, tag: &str, summary: &str) -> OperationBuilder {
    let operation = OperationBuilder::new()
        .operation_id(Some(id))
        .tag(tag)
        .summary(Some(summary))
        .response("404", not_found());
    TO_ALL.iter().fold(operation, |operation, (status, name)| {
        operation.response(*status, Ref::from_response_name(*name))
    })
}

/// What those have that read a body of this type; their 400 and 408 are their own.
pub(super) fn with_body<T: ToSchema>(operation: OperationBuilder, example: Value) -> OperationBuilder {
    TO_BODIES
        .iter()
        .fold(operation, |operation, (status, name)| {
            operation.response(*status, Ref::from_response_name(*name))
        })
        .request_body(Some(body::<T>(example)))
}

pub(super) fn body<T: ToSchema>(example: Value) -> RequestBody {
    let written = |media_type, schema| (media_type, content(schema, &[("usual", example.clone())]));
    let form = Ref::from_schema_name(requests::form_name::<T>());
    [
        written(JSON, schema_of::<T>()),
        written("application/x-www-form-urlencoded", form.clone()),
        written("multipart/form-data", form),
    ]
    .into_iter()
    .fold(RequestBodyBuilder::new(), |body, (media_type, content)| {
        body.content(media_type, content)
    })
    .required(Some(Required::True))
    .build()
}

pub(super) fn parameter(name: &str, place: ParameterIn, schema: impl Into<RefOr<Schema>>) -> ParameterBuilder {
    let required = match place {
        ParameterIn::Path => Required::True,
        _ => Required::False,
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .schema(Some(schema))
}

pub(super) fn name() -> Parameter {
    parameter("name", ParameterIn::Path, fields::name()).build()
}

pub(super) fn in_query(name: &str, schema: Object) -> Parameter {
    parameter(name, ParameterIn::Query, schema).build()
}

pub(super) fn idempotency_key() -> Parameter {
    let key = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(IDEMPOTENCY_KEY_CHARS_MAX))
        .pattern(Some("^[!-~]+$"));
    parameter("Idempotency-Key", ParameterIn::Header, key)
        .description(Some(
            "A new one, for instance a UUID, for each request; the same when it is repeated because its answer was \
             lost. The repetition gets the first answer for as long as nothing else has happened to the resource.",
        ))
        .build()
}

pub(super) fn prefer() -> Parameter {
    parameter("Prefer", ParameterIn::Header, Object::with_type(Type::String))
        .description(Some(
            "`return=representation` (RFC 7240): the answer shows the resource too.",
        ))
        .example(Some(json!("return=representation")))
        .build()
}

pub(super) fn error(error: &str) -> Value {
    json!({"Error": error})
}

pub(super) fn resource() -> Value {
    json!({
        "name": "nightly-report",
        "locked": true,
        "owner": "reports",
        "label": "report of Tuesday, host 7",
        "ttl": 60,
        "acquired_at": "2026-01-31T23:59:59.000001Z",
        "expires_at": "2026-02-01T00:00:59.000001Z",
        "expires_in": 59.25,
        "fencing_token": 41,
        "waiters": 0
    })
}

pub(super) fn free_resource() -> Value {
    json!({
        "name": "nightly-report",
        "locked": false,
        "owner": null,
        "label": null,
        "ttl": null,
        "acquired_at": null,
        "expires_at": null,
        "expires_in": null,
        "fencing_token": 41,
        "waiters": 0
    })
}

/// What a former holder is told.
pub(super) fn was_broken() -> Value {
    let broken = json!({"at": "2026-02-01T00:00:07.000001Z", "by": "oncall", "reason": "host 7 is gone"});
    json!({"Error": NOT_ACQUIRED, "broken": broken})
}

pub(super) fn key_reused() -> Response {
    let example = json!({"detail": KEY_REUSED});
    said_any_of(
        "The Idempotency-Key was used for another request.",
        &[detail()],
        &[("reused", example)],
    )
    .build()
}
