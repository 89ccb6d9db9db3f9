//! Each method of each path: what it reads and what it may answer.

use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, ParameterIn, ParameterStyle, PathItem, Paths, PathsBuilder,
};
use utoipa::openapi::schema::{AdditionalProperties, Object, ObjectBuilder, Type};
use utoipa::openapi::{Ref, Response};

use super::answers::{
    Error, HTML, JSON, Page, Success, bad_request, broken_with_resource, content, detail, error_with_resource,
    field_errors, header, html, said, said_any_of, schema_of, slow_body, success_with_resource, with_allow,
};
use super::parts::{
    error, free_resource, idempotency_key, in_query, key_reused, name, operation, parameter, prefer, resource,
    was_broken, with_body,
};
use super::{events, fields, operating, people, requests, terraform};
use crate::limits::HELD_BY_MAX;
use crate::resources::bodies::{
    AcquiredTogether, Broken, Deadlock, NotAcquiredSinceBroken, Released, Renewed, Representation, Validity,
};
use crate::resources::views::{
    ACQUIRED, BROKEN, DEADLOCK, INVALID_RENEW, INVALID_UNLOCK, LOCKED, NOT_ACQUIRED, SUPERSEDED, TIMED_OUT, UNKNOWN,
};

pub(super) fn paths() -> Paths {
    let item = |operations: Vec<(HttpMethod, Operation)>| {
        let mut item = PathItem::default();
        for (method, operation) in operations {
            item.merge_operations(PathItem::new(method, operation));
        }
        item
    };
    PathsBuilder::new()
        .path(
            "/resources/",
            item(vec![
                (HttpMethod::Get, list()),
                (HttpMethod::Patch, renew_all()),
                (HttpMethod::Delete, release_all()),
            ]),
        )
        .path(
            "/resources/{name}/",
            item(vec![
                (HttpMethod::Get, show()),
                (
                    HttpMethod::Put,
                    acquire("acquire", "Acquire a resource, or wait for it"),
                ),
                (HttpMethod::Patch, renew("renew", "Renew a lock")),
                (HttpMethod::Delete, release("release", "Release a lock")),
            ]),
        )
        .path(
            "/resources/{name}/acquire/",
            item(vec![(HttpMethod::Post, acquire("acquire_by_post", "What PUT does"))]),
        )
        .path(
            "/resources/{name}/release/",
            item(vec![(
                HttpMethod::Post,
                release(
                    "release_by_post",
                    "What DELETE does, for those who cannot send a body with it",
                ),
            )]),
        )
        .path(
            "/resources/{name}/renew/",
            item(vec![(HttpMethod::Post, renew("renew_by_post", "What PATCH does"))]),
        )
        .path("/resources/{name}/check/", item(vec![(HttpMethod::Post, check())]))
        .path("/resources/{name}/break/", item(vec![(HttpMethod::Post, break_lock())]))
        .path(
            "/resources/{name}/history/",
            item(vec![(HttpMethod::Get, events::history())]),
        )
        .path("/events/", item(vec![(HttpMethod::Get, events::list())]))
        .path("/events/stream/", item(vec![(HttpMethod::Get, events::stream())]))
        .path("/locks/", item(vec![(HttpMethod::Post, acquire_together())]))
        .path(
            "/terraform/{name}/",
            item(vec![
                (
                    HttpMethod::Put,
                    terraform::lock_state("lock_state", "Lock a state of Terraform, or wait for it"),
                ),
                (
                    HttpMethod::Post,
                    terraform::lock_state("lock_state_by_post", "What PUT does"),
                ),
                (HttpMethod::Delete, terraform::unlock_state()),
            ]),
        )
        .path(
            "/resources/{name}/waiters/",
            item(vec![(HttpMethod::Get, people::waiters())]),
        )
        .path(
            "/tokens/",
            item(vec![
                (HttpMethod::Get, people::tokens()),
                (HttpMethod::Post, people::create_token()),
            ]),
        )
        .path(
            "/tokens/{id}/",
            item(vec![(HttpMethod::Delete, people::revoke_token())]),
        )
        .path("/schema/", item(vec![(HttpMethod::Get, schema())]))
        .path("/metrics/", item(vec![(HttpMethod::Get, operating::metrics())]))
        .path("/healthz/", item(vec![(HttpMethod::Get, operating::health())]))
        .path("/readyz/", item(vec![(HttpMethod::Get, operating::ready())]))
        .build()
}

/// What all operations have.
fn list() -> Operation {
    let description = "Reads the database and takes no lock, so nothing is older than the request.";
    let by_words = parameter("ordering", ParameterIn::Query, fields::ordering())
        .style(Some(ParameterStyle::Form))
        .explode(Some(false));
    let page = json!({"count": 1, "next": null, "previous": null, "results": [resource()]});
    let wrong = json!({"page_size": ["Ensure this value is greater than or equal to 1."]});
    let no_page = json!({"detail": "Invalid page."});
    let bad_request = said_any_of(
        "Parameters that are wrong. HTML if `Host` is not served.",
        &[field_errors()],
        &[("wrong", wrong)],
    );
    operation("list", "lists", "List resources, page by page")
        .description(Some(description))
        .parameter(in_query("page", fields::page()))
        .parameter(in_query("page_size", fields::page_size()))
        .parameter(in_query("locked", fields::locked()))
        .parameter(in_query("prefix", fields::prefix()))
        .parameter(in_query("search", fields::search()))
        .parameter(by_words)
        .response("200", said::<Page>("A page.", &[("page", page)]).build())
        .response("400", bad_request.content(HTML, html()).build())
        .response(
            "404",
            said_any_of("There is no such page, or format.", &[detail()], &[("page", no_page)]).build(),
        )
        .build()
}

/// 400 and 408 of an operation on everything that a key holds.
fn of_all<T: ToSchema>(operation: OperationBuilder, example: Value) -> OperationBuilder {
    let too_many =
        json!({"detail": format!("This key holds more than {HELD_BY_MAX} resources; name them one by one.")});
    with_body::<T>(operation, example)
        .response(
            "400",
            bad_request("The key holds too many.", &[], &[("too many", too_many)]).build(),
        )
        .response("408", slow_body_only())
}

pub(super) fn slow_body_only() -> Response {
    said_any_of("The body was too slow.", &[detail()], &[slow_body()]).build()
}

fn renew_all() -> Operation {
    let renewed = said::<Renewed>("How many were renewed.", &[("renewed", json!({"renewed": 3}))]);
    let operation = operation("renew_all", "lists", "Renew everything that a key holds")
        .description(Some("In one transaction: a process is one heartbeat."))
        .response("200", renewed.build());
    of_all::<requests::RenewAll>(operation, json!({"locked_by": "my-secret-key", "ttl": 60})).build()
}

fn release_all() -> Operation {
    let released = said::<Released>("How many were released.", &[("released", json!({"released": 3}))]);
    let operation = operation("release_all", "lists", "Release everything that a key holds")
        .description(Some("In one transaction."))
        .response("200", released.build());
    of_all::<requests::ReleaseAll>(operation, json!({"locked_by": "my-secret-key"})).build()
}

fn show() -> Operation {
    let description = "With `wait` a long poll: it answers when the resource has changed, or when the wait is over. A \
                       change that was made at another server is seen within 250 milliseconds.";
    let unknown = json!({"detail": UNKNOWN});
    let wrong = json!({"wait": ["A valid integer is required."]});
    let if_none_match = parameter("If-None-Match", ParameterIn::Header, Object::with_type(Type::String))
        .description(Some("`ETag`s that the client has; `*` is any."));
    operation("show", "resources", "Show a resource")
        .description(Some(description))
        .parameter(name())
        .parameter(in_query("wait", fields::wait()))
        .parameter(in_query("fencing_token", fields::known_token()))
        .parameter(if_none_match)
        .response(
            "200",
            said::<Representation>("The resource.", &[("held", resource()), ("free", free_resource())])
                .header_ref("ETag", header("ETag"))
                .build(),
        )
        .response(
            "304",
            with_allow("The client has it.")
                .header_ref("ETag", header("ETag"))
                .build(),
        )
        .response(
            "400",
            said_any_of("Parameters that are wrong.", &[field_errors()], &[("wrong", wrong)]).build(),
        )
        .response(
            "404",
            said_any_of(
                "It was never acquired. HTML where there is no such path.",
                &[detail()],
                &[("unknown", unknown)],
            )
            .content(HTML, html())
            .build(),
        )
        .build()
}

fn acquire(id: &str, summary: &str) -> Operation {
    let description = "First come, first served. A lock is not reentrant: its holder is refused like anybody.";
    let acquired = json!({"Success": ACQUIRED});
    let shown = json!({"Success": ACQUIRED, "resource": resource()});
    let ok = said_any_of(
        "It is yours.",
        &[schema_of::<Success>(), success_with_resource()],
        &[("acquired", acquired), ("with the resource", shown)],
    );
    let refused = [schema_of::<Error>(), error_with_resource()];
    let operation = operation(id, "resources", summary)
        .description(Some(description))
        .parameter(name())
        .parameter(idempotency_key())
        .parameter(prefer())
        .response(
            "200",
            ok.header_ref("Fencing-Token", header("Fencing-Token"))
                .header_ref("Preference-Applied", header("Preference-Applied"))
                .build(),
        )
        .response(
            "400",
            bad_request("It is locked.", &refused, &[("locked", error(LOCKED))])
                .header_ref("Preference-Applied", header("Preference-Applied"))
                .build(),
        )
        .response(
            "408",
            said_any_of(
                "It was locked until the timeout was over. Or the body was too slow.",
                &[refused[0].clone(), refused[1].clone(), detail()],
                &[("timeout", error(TIMED_OUT)), slow_body()],
            )
            .header_ref("Preference-Applied", header("Preference-Applied"))
            .build(),
        );
    waiting::<requests::Acquire>(
        operation,
        json!({"locked_by": "my-secret-key", "ttl": 60, "timeout": 10, "label": "report of Tuesday"}),
    )
    .build()
}

/// What those have who may wait.
fn waiting<T: ToSchema>(operation: OperationBuilder, example: Value) -> OperationBuilder {
    let deadlock = json!({"Error": DEADLOCK, "cycle": ["a", "b"]});
    let conflict = said_any_of(
        "The wait would never end, because each of these is held by somebody who waits for the next (found within one \
         server). Or the request was sent again with its Idempotency-Key, and the repetition waits.",
        &[schema_of::<Deadlock>(), schema_of::<Error>()],
        &[("deadlock", deadlock), ("sent again", error(SUPERSEDED))],
    );
    with_body::<T>(operation, example)
        .response("409", conflict.build())
        .response("422", key_reused())
}

fn acquire_together() -> Operation {
    let description = "It waits in every line at once, holds nothing meanwhile, and takes all or none.";
    let acquired = json!({
        "Success": "Resources are acquired.",
        "resources": [{"name": "a", "fencing_token": 41}, {"name": "b", "fencing_token": 42}]
    });
    let example = json!({"resources": ["a", "b"], "locked_by": "my-secret-key", "ttl": 60, "timeout": 10});
    let operation = operation("acquire_together", "lists", "Acquire several resources, or none")
        .description(Some(description))
        .parameter(idempotency_key())
        .response(
            "200",
            said::<AcquiredTogether>("All are yours.", &[("acquired", acquired)]).build(),
        )
        .response(
            "400",
            bad_request("One is locked.", &[schema_of::<Error>()], &[("locked", error(LOCKED))]).build(),
        )
        .response(
            "408",
            said_any_of(
                "They were not free together until the timeout was over. Or the body was too slow.",
                &[schema_of::<Error>(), detail()],
                &[("timeout", error(TIMED_OUT)), slow_body()],
            )
            .build(),
        );
    waiting::<requests::AcquireTogether>(operation, example).build()
}

fn renew(id: &str, summary: &str) -> Operation {
    let description = "The new end counts from now. One that has expired cannot be renewed, even if nobody took it.";
    let refused = [
        ("free", error(NOT_ACQUIRED)),
        ("broken", was_broken()),
        ("not yours, or a later grant", error(INVALID_RENEW)),
    ];
    let operation = operation(id, "resources", summary)
        .description(Some(description))
        .parameter(name())
        .parameter(prefer())
        .response(
            "200",
            said::<Representation>("It is renewed.", &[("renewed", resource())]).build(),
        )
        .response(
            "400",
            bad_request("It is not held, or not so.", &not_held(), &refused)
                .header_ref("Preference-Applied", header("Preference-Applied"))
                .build(),
        )
        .response("408", slow_body_only());
    with_body::<requests::Renew>(operation, json!({"locked_by": "my-secret-key", "ttl": 60})).build()
}

fn release(id: &str, summary: &str) -> Operation {
    let description = "A free resource is \"not acquired\" whatever the body says.";
    let refused = [
        ("free", error(NOT_ACQUIRED)),
        ("broken", was_broken()),
        ("not yours, or a later grant", error(INVALID_UNLOCK)),
    ];
    let operation = operation(id, "resources", summary)
        .description(Some(description))
        .parameter(name())
        .parameter(idempotency_key())
        .parameter(prefer())
        .response("204", with_allow("It is released.").build())
        .response(
            "400",
            bad_request("It is not held, or not so.", &not_held(), &refused)
                .header_ref("Preference-Applied", header("Preference-Applied"))
                .build(),
        )
        .response("408", slow_body_only())
        .response("422", key_reused());
    with_body::<requests::Release>(operation, json!({"locked_by": "my-secret-key", "fencing_token": 41})).build()
}

/// How it is said that nobody holds a resource.
fn not_held() -> [Ref; 3] {
    [
        schema_of::<Error>(),
        schema_of::<NotAcquiredSinceBroken>(),
        broken_with_resource(),
    ]
}

fn break_lock() -> Operation {
    let broken = json!({"Success": BROKEN, "broken": resource()});
    let description = "For locks whose holder is gone. The fencing token rises, and whoever held the lock is told at its \
                       next renewal or release. Each is a line in the server's log.";
    let operation = operation("break", "resources", "Free a resource without its key")
        .description(Some(description))
        .parameter(name())
        .response(
            "200",
            said::<Broken>("It is free; this is how it was.", &[("broken", broken)]).build(),
        )
        .response(
            "400",
            bad_request(
                "It is not held.",
                &[schema_of::<Error>()],
                &[("free", error(NOT_ACQUIRED))],
            )
            .build(),
        )
        .response("408", slow_body_only());
    with_body::<requests::Break>(operation, json!({"reason": "host 7 is gone"})).build()
}

fn check() -> Operation {
    let valid = json!({"valid": true, "fencing_token": 41, "expires_in": 59.25});
    let invalid = json!({"valid": false, "fencing_token": 42});
    let operation = operation("check", "resources", "Does the grant with this token hold?")
        .description(Some("What a storage service asks before it accepts a write."))
        .parameter(name())
        .response("200", said::<Validity>("It holds.", &[("valid", valid)]).build())
        .response("400", bad_request("No token.", &[], &[]).build())
        .response("408", slow_body_only())
        .response(
            "409",
            said::<Validity>("It does not hold.", &[("invalid", invalid)]).build(),
        );
    with_body::<requests::Check>(operation, json!({"fencing_token": 41})).build()
}

fn schema() -> Operation {
    let format = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(["json", "yaml"]))
        .description(Some("In what it is written, where `Accept` does not say."));
    let written = |answer: utoipa::openapi::ResponseBuilder, media_type: &str| {
        let document = ObjectBuilder::new()
            .schema_type(Type::Object)
            .required("openapi")
            .required("paths")
            .additional_properties(Some(AdditionalProperties::FreeForm(true)));
        answer.content(media_type, content(document.build(), &[]))
    };
    let ok = with_allow("This document.");
    let ok = [
        JSON,
        "application/vnd.oai.openapi+json",
        "application/yaml",
        "application/vnd.oai.openapi",
    ]
    .into_iter()
    .fold(ok, written);
    operation("schema", "schema", "Describe all this")
        .parameter(in_query("format", format.build()))
        .response("200", ok.build())
        .build()
}
