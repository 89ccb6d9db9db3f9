//! What the operators' page asks, and others may too: the line for a resource,
//! and tokens.

use serde_json::{Value, json};
use utoipa::openapi::Response;
use utoipa::openapi::path::{Operation, ParameterIn};

use super::answers::{
    TOKEN_PAGE, WAITER_PAGE, bad_request, content, detail, field_errors, said, said_any_of, with_allow,
};
use super::operations::slow_body_only;
use super::parts::{in_query, name, operation, parameter, with_body};
use super::{answers, fields, requests};
use crate::resources::bodies::NewTokenShown;

pub(super) fn waiters() -> Operation {
    let description = "Those who want several resources at once and stand in another line are not among them. Of whoever \
                       waits at another server on the same database only the place is known.";
    let waiter = json!({
        "position": 1,
        "owner": "reports",
        "label": "report of Wednesday, host 8",
        "since": "2026-01-31T23:59:59.000001Z",
        "until": "2026-02-01T00:00:59.000001Z"
    });
    let paged = operation("waiters", "resources", "Who waits for a resource, in order").description(Some(description));
    paged
        .parameter(name())
        .parameter(in_query("page", fields::page()))
        .parameter(in_query("page_size", fields::page_size()))
        .response("200", a_page(WAITER_PAGE, waiter))
        .response("400", wrong_page_size())
        .response("404", no_page())
        .build()
}

pub(super) fn tokens() -> Operation {
    operation("list_tokens", "tokens", "List the tokens that the own one may revoke")
        .description(Some(
            "The newest first, those that have ended included. Needs the verb `admin`.",
        ))
        .parameter(in_query("page", fields::page()))
        .parameter(in_query("page_size", fields::page_size()))
        .response("200", a_page(TOKEN_PAGE, token()))
        .response("400", wrong_page_size())
        .response("404", no_page())
        .build()
}

pub(super) fn create_token() -> Operation {
    let description = "It may do no more than the token that makes it, and for no other names; else 403.";
    let mut made = token();
    made["key"] = json!("d0be2dc421be4fcd0172e5afceea3970e2f3d940");
    let operation = operation("create_token", "tokens", "Make a token")
        .description(Some(description))
        .response(
            "201",
            said::<NewTokenShown>("It is made; its key is shown only now.", &[("made", made)]).build(),
        )
        .response("400", bad_request("Nothing is made.", &[], &[]).build())
        .response("408", slow_body_only());
    with_body::<requests::CreateToken>(operation, json!({"name": "ci", "verbs": ["acquire", "read"]})).build()
}

pub(super) fn revoke_token() -> Operation {
    operation("revoke_token", "tokens", "Revoke a token")
        .description(Some("Every server refuses it within two seconds. Its locks stay."))
        .parameter(parameter("id", ParameterIn::Path, fields::token_id()).build())
        .response("204", with_allow("It is revoked.").build())
        .build()
}

fn token() -> Value {
    json!({
        "id": 7,
        "name": "ci",
        "prefixes": ["ci-"],
        "verbs": ["acquire", "read"],
        "created_at": "2026-01-31T23:59:59.000001Z",
        "expires_at": null,
        "revoked_at": null,
        "good": true
    })
}

fn a_page(schema: &str, row: Value) -> Response {
    let page = json!({"count": 1, "next": null, "previous": null, "results": [row]});
    with_allow("A page.")
        .content(answers::JSON, content(answers::named(schema), &[("page", page)]))
        .build()
}

fn wrong_page_size() -> Response {
    let wrong = json!({"page_size": ["Ensure this value is greater than or equal to 1."]});
    said_any_of("Parameters that are wrong.", &[field_errors()], &[("wrong", wrong)])
        .content(answers::HTML, answers::html())
        .build()
}

fn no_page() -> Response {
    let no_page = json!({"detail": "Invalid page."});
    said_any_of(
        "There is no such page, or format. HTML where there is no such path.",
        &[detail()],
        &[("no page", no_page)],
    )
    .content(answers::HTML, answers::html())
    .build()
}
