//! What answers can be: the bodies of `bodies` and of the framework, the
//! headers, and the refusals that many operations share.

use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, ArrayBuilder, ComponentsBuilder, KnownFormat, Object, ObjectBuilder,
    OneOfBuilder, Schema, SchemaFormat, Type,
};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, Content, ContentBuilder, Header, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

use crate::limits::{BODY_BYTES_MAX, BODY_WAIT_MAX, RETRY_AFTER};
use crate::resources::bodies;
use crate::resources::bodies::{
    Acquired, AcquiredTogether, Broken, Deadlock, Event, Health, HowBroken, NewTokenShown, NotAcquiredSinceBroken,
    NotHeld, NotReady, Ready, Released, Renewed, Representation, TokenShown, Validity, WaiterShown, WithResource,
};
use crate::resources::lock_info::LockInfo;
use crate::rest::pagination::PaginatedResponse;

pub(super) const JSON: &str = "application/json";
pub(super) const HTML: &str = "text/html";

/// What the framework says of a request that it refuses.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Detail {
    /// Why, for people.
    detail: String,
}

pub(super) type Success = bodies::Success;
pub(super) type Error = bodies::Error;
/// The names of `WithResource` for each; the crate names a generic type once.
const SUCCESS_WITH_RESOURCE: &str = "SuccessWithResource";
const ERROR_WITH_RESOURCE: &str = "ErrorWithResource";
const BROKEN_WITH_RESOURCE: &str = "NotAcquiredSinceBrokenWithResource";

/// The names of pages of other things.
pub(super) const TOKEN_PAGE: &str = "TokenPage";
pub(super) const WAITER_PAGE: &str = "WaiterPage";

pub(super) type Page = PaginatedResponse<Representation>;

/// By its own name: the crate names a generic type once.
pub(super) struct EventPage;

impl PartialSchema for EventPage {
    fn schema() -> RefOr<Schema> {
        PaginatedResponse::<Event<'static>>::schema()
    }
}

impl ToSchema for EventPage {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("EventPage")
    }
}

/// An answer with a JSON body of this type.
pub(super) fn said<T: ToSchema>(description: &str, examples: &[(&str, Value)]) -> ResponseBuilder {
    with_allow(description).content(JSON, content(schema_of::<T>(), examples))
}

/// An answer with a JSON body of one of these types.
pub(super) fn said_any_of(description: &str, schemas: &[Ref], examples: &[(&str, Value)]) -> ResponseBuilder {
    // Not one: a body with the resource is one without it too, and something more.
    let any_of = schemas
        .iter()
        .fold(AnyOfBuilder::new(), |any_of, schema| any_of.item(schema.clone()));
    with_allow(description).content(JSON, content(Schema::from(any_of.build()), examples))
}

/// An answer without a body.
pub(super) fn with_allow(description: &str) -> ResponseBuilder {
    ResponseBuilder::new()
        .description(description)
        .header_ref("Allow", header("Allow"))
}

pub(super) fn schema_of<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}

pub(super) fn named(name: &str) -> Ref {
    Ref::from_schema_name(name)
}

pub(super) fn success_with_resource() -> Ref {
    Ref::from_schema_name(SUCCESS_WITH_RESOURCE)
}

pub(super) fn error_with_resource() -> Ref {
    Ref::from_schema_name(ERROR_WITH_RESOURCE)
}

pub(super) fn broken_with_resource() -> Ref {
    Ref::from_schema_name(BROKEN_WITH_RESOURCE)
}

pub(super) fn field_errors() -> Ref {
    Ref::from_schema_name("FieldErrors")
}

pub(super) fn detail() -> Ref {
    schema_of::<Detail>()
}

pub(super) fn header(name: &str) -> Ref {
    Ref::new(format!("#/components/headers/{name}"))
}

pub(super) fn content(schema: impl Into<RefOr<Schema>>, examples: &[(&str, Value)]) -> Content {
    let examples = examples.iter().map(|(name, value)| {
        let example = utoipa::openapi::example::ExampleBuilder::new().value(Some(value.clone()));
        (*name, example.build())
    });
    ContentBuilder::new()
        .schema(Some(schema))
        .examples_from_iter(examples)
        .build()
}

/// Django's own page.
pub(super) fn html() -> Content {
    content(Object::with_type(Type::String), &[])
}

/// 400 of an operation that reads a body: what is wrong with it, or what else
/// is refused.
pub(super) fn bad_request(description: &str, schemas: &[Ref], examples: &[(&str, Value)]) -> ResponseBuilder {
    let of_the_body = [
        ("field errors", json!({"locked_by": ["This field is required."]})),
        (
            "malformed",
            json!({"detail": "JSON parse error - Expecting value: line 1 column 1 (char 0)"}),
        ),
    ];
    let schemas = [schemas, &[field_errors(), detail()]].concat();
    let examples = [examples, &of_the_body].concat();
    let description = format!("{description} Or the body is wrong. HTML if the form has too many fields.");
    said_any_of(&description, &schemas, &examples).content(HTML, html())
}

/// 404 of every operation.
pub(super) fn not_found() -> Response {
    let example = ("no such format", json!({"detail": "Not found."}));
    said::<Detail>(
        "`?format=` asks for what there is not. HTML where there is no such path.",
        &[example],
    )
    .content(HTML, html())
    .build()
}

/// What each operation may answer, by status and name.
pub(super) const TO_ALL: [(&str, &str); 6] = [
    ("401", "NotAuthenticated"),
    ("403", "PermissionDenied"),
    ("405", "MethodNotAllowed"),
    ("406", "NotAcceptable"),
    ("429", "Throttled"),
    ("503", "Unavailable"),
];

/// What each operation may answer that reads a body, beside 408.
pub(super) const TO_BODIES: [(&str, &str); 2] = [("413", "BodyTooLarge"), ("415", "UnsupportedMediaType")];

pub(super) fn slow_body() -> (&'static str, Value) {
    let message = format!(
        "The request body did not arrive within {} seconds.",
        BODY_WAIT_MAX.as_secs()
    );
    ("slow body", json!({"detail": message}))
}

pub(super) fn components(components: Components) -> Components {
    let refused =
        |description: &str, detail: &str| said::<Detail>(description, &[("refused", json!({"detail": detail}))]);
    let later = |description: &str, detail: &str| {
        refused(description, detail)
            .header_ref("Retry-After", header("Retry-After"))
            .build()
    };
    let token = ApiKeyValue::with_description("Authorization", "`Token KEY`, where the server asks for tokens.");
    let mut basic = Http::new(HttpAuthScheme::Basic);
    basic.description = Some("The key of a token as the password; the name does not matter.".to_owned());
    let too_large = format!("The request body is larger than {BODY_BYTES_MAX} bytes.");
    ComponentsBuilder::from(components)
        .schema_from::<Success>()
        .schema_from::<Error>()
        .schema(SUCCESS_WITH_RESOURCE, WithResource::<Success>::schema())
        .schema(ERROR_WITH_RESOURCE, WithResource::<Error>::schema())
        .schema(BROKEN_WITH_RESOURCE, WithResource::<NotAcquiredSinceBroken>::schema())
        .schema_from::<Representation>()
        .schema_from::<Deadlock>()
        .schema_from::<Broken>()
        .schema_from::<HowBroken>()
        .schema_from::<NotAcquiredSinceBroken>()
        .schema_from::<NotHeld>()
        .schema_from::<LockInfo>()
        .schema_from::<Health>()
        .schema_from::<Ready>()
        .schema_from::<NotReady>()
        .security_scheme("token", SecurityScheme::ApiKey(ApiKey::Header(token)))
        .security_scheme("basic", SecurityScheme::Http(basic))
        .schema_from::<Validity>()
        .schema_from::<AcquiredTogether>()
        .schema_from::<Acquired>()
        .schema_from::<Page>()
        .schema_from::<EventPage>()
        .schema_from::<Event<'static>>()
        .schema_from::<TokenShown>()
        .schema_from::<NewTokenShown>()
        .schema_from::<WaiterShown>()
        .schema(TOKEN_PAGE, PaginatedResponse::<TokenShown>::schema())
        .schema(WAITER_PAGE, PaginatedResponse::<WaiterShown>::schema())
        .schema_from::<Renewed>()
        .schema_from::<Released>()
        .schema_from::<Detail>()
        .schema("FieldErrors", field_errors_schema())
        .response(
            "NotAuthenticated",
            refused(
                "No good token is shown, where tokens are asked for.",
                "Authentication credentials were not provided.",
            )
            .header_ref("WWW-Authenticate", header("WWW-Authenticate"))
            .build(),
        )
        .response(
            "PermissionDenied",
            refused(
                "The token is not for this, or not for the resource of this name.",
                "You do not have permission to perform this action.",
            )
            .build(),
        )
        .response(
            "MethodNotAllowed",
            refused(
                "The path does not know this method; `Allow` names those that it knows.",
                "Method \"TRACE\" not allowed.",
            )
            .build(),
        )
        .response(
            "NotAcceptable",
            refused(
                "`Accept` names nothing in which this can be answered.",
                "Could not satisfy the request Accept header.",
            )
            .build(),
        )
        .response("BodyTooLarge", refused("The body is too large.", &too_large).build())
        .response(
            "UnsupportedMediaType",
            refused(
                "The body is neither JSON nor a form.",
                "Unsupported media type \"text/plain\" in request.",
            )
            .build(),
        )
        .response(
            "Throttled",
            later(
                "Too many wait for this resource, or the client asks, waits or holds more than its share.",
                "Request was throttled: too many requests wait for this resource.",
            ),
        )
        .response(
            "Unavailable",
            later(
                "It cannot be decided now. The request may have been carried out or not.",
                "Service temporarily unavailable: the server is stopping.",
            ),
        )
        .header(
            "Allow",
            text_header("The methods of this path.", "GET, PUT, PATCH, DELETE, HEAD, OPTIONS"),
        )
        .header(
            "Fencing-Token",
            described(
                "The number of the grant, higher than all before.",
                number(KnownFormat::Int64, 1, i64::MAX),
            ),
        )
        .header(
            "Retry-After",
            described(
                "Seconds after which to ask again.",
                number(
                    KnownFormat::Int32,
                    1,
                    RETRY_AFTER.as_secs().try_into().unwrap_or(i64::MAX),
                ),
            ),
        )
        .header("WWW-Authenticate", text_header("How to show a token.", "Token"))
        .header(
            "ETag",
            text_header(
                "The same for as long as nothing changes but the seconds that are left.",
                "W/\"41-6d5f0d6d4b1b3c2a\"",
            ),
        )
        .header(
            "Preference-Applied",
            text_header(
                "That the resource is shown because `Prefer` asked for it.",
                "return=representation",
            ),
        )
        .build()
}

fn number(format: KnownFormat, min: i64, max: i64) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(format)))
        .minimum(Some(min))
        .maximum(Some(max))
        .build()
}

fn described(description: &str, schema: Object) -> Header {
    let mut header = Header::new(schema);
    header.description = Some(description.to_owned());
    header
}

fn text_header(description: &str, example: &str) -> Header {
    let mut header = described(description, Object::with_type(Type::String));
    header.example = Some(json!(example));
    header
}

/// What is wrong, by field, as `FieldErrors` of the framework writes it.
fn field_errors_schema() -> Object {
    let messages = || {
        ArrayBuilder::new()
            .items(Object::with_type(Type::String))
            .min_items(Some(1))
            .build()
    };
    let items = ObjectBuilder::new()
        .schema_type(Type::Object)
        .min_properties(Some(1))
        .additional_properties(Some(AdditionalProperties::from(RefOr::T(Schema::from(messages())))))
        .description(Some("Of a list: the places of its items."));
    let problems = OneOfBuilder::new().item(messages()).item(items).build();
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .min_properties(Some(1))
        .additional_properties(Some(AdditionalProperties::from(RefOr::T(Schema::from(problems)))))
        .description(Some(
            "Each field's name with what is wrong; `non_field_errors` is the whole body.",
        ))
        .examples([json!({"locked_by": ["This field is required."], "ttl": ["A valid integer is required."]})])
        .build()
}
