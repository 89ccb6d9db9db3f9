//! What Terraform and OpenTofu ask, as far as it can be described.

use serde_json::{Value, json};
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::{Required, Response};

use super::answers::{Error, Success, bad_request, header, said, said_any_of, schema_of};
use super::operations::slow_body_only;
use super::parts::{body, error, in_query, operation, parameter, was_broken, with_body};
use super::{fields, requests};
use crate::resources::bodies::NotHeld;
use crate::resources::lock_info::{LockInfo, NO_ID};
use crate::resources::views::{ACQUIRED, BROKEN, NOT_ACQUIRED, RELEASED, SUPERSEDED};

/// What the method of WebDAV does that OpenAPI does not know.
pub(super) fn lock_state(id: &str, summary: &str) -> Operation {
    let description = "For `lock_address` of Terraform's backend `http`, which sends LOCK: that does the same, but cannot \
                       be described. Sent again with the ID that holds the lock it is answered 200 again, with the same \
                       token.";
    let superseded = said_any_of(
        "It was sent again with the same ID, and the repetition waits.",
        &[schema_of::<Error>()],
        &[("sent again", error(SUPERSEDED))],
    );
    let operation = operation(id, "terraform", summary)
        .description(Some(description))
        .parameter(state_name())
        .parameter(in_query("ttl", fields::state_ttl()))
        .parameter(in_query("timeout", fields::state_timeout()))
        .response(
            "200",
            said::<Success>("It is yours.", &[("acquired", json!({"Success": ACQUIRED}))])
                .header_ref("Fencing-Token", header("Fencing-Token"))
                .build(),
        )
        .response("400", bad_request("It is no LockInfo.", &[], &[no_id()]).build())
        .response("408", slow_body_only())
        .response("409", superseded.build())
        .response("423", held_by_another());
    with_body::<requests::StateLock>(operation, lock_info()).build()
}

pub(super) fn unlock_state() -> Operation {
    let description = "For `unlock_address`, to which Terraform sends UNLOCK: that does the same. Without any body it is \
                       `terraform force-unlock`, and needs the verb `break`. Sent again it is answered 200 for as long as \
                       nothing else has released the lock.";
    let broken = was_broken()["broken"].clone();
    let not_held = said::<NotHeld>(
        "Nobody holds it.",
        &[
            ("free", json!({"detail": NOT_ACQUIRED})),
            ("broken", json!({"detail": NOT_ACQUIRED, "broken": broken})),
        ],
    );
    let ok = said::<Success>(
        "It is free.",
        &[
            ("released", json!({"Success": RELEASED})),
            ("forced", json!({"Success": BROKEN})),
        ],
    );
    let operation = operation("unlock_state", "terraform", "Unlock a state of Terraform")
        .description(Some(description))
        .parameter(state_name())
        .response("200", ok.build())
        .response("400", bad_request("It has no ID.", &[], &[no_id()]).build())
        .response("408", slow_body_only())
        .response("409", not_held.build())
        .response("423", held_by_another());
    let mut body = body::<requests::StateUnlock>(lock_info());
    body.required = Some(Required::False);
    with_body::<requests::StateUnlock>(operation, lock_info())
        .request_body(Some(body))
        .build()
}

fn state_name() -> Parameter {
    parameter("name", ParameterIn::Path, fields::state_name()).build()
}

fn held_by_another() -> Response {
    said::<LockInfo>("Somebody else holds it, and says this.", &[("held", lock_info())]).build()
}

fn no_id() -> (&'static str, Value) {
    ("no LockInfo", json!({"detail": NO_ID}))
}

fn lock_info() -> Value {
    json!({
        "ID": "27b68d25-93e8-3e81-6cc8-13df3661fe9a",
        "Operation": "OperationTypeApply",
        "Info": "",
        "Who": "ci@runner-7",
        "Version": "1.11.4",
        "Created": "2026-01-31T23:59:59.563023486Z",
        "Path": ""
    })
}
