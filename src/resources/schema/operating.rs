//! What those ask who watch the server.

use serde_json::json;
use utoipa::openapi::path::{Operation, OperationBuilder};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Object, Ref, Type};

use super::answers::{content, said, with_allow};
use crate::resources::bodies::{Health, NotReady, Ready};

pub(super) fn metrics() -> Operation {
    let description = "In the text format of Prometheus, version 0.0.4, whatever `Accept` says. With tokens, for those \
                       that may `read`. Asked at any rate.";
    let text = content(Object::with_type(Type::String), &[]);
    operation("metrics", "What the server has counted")
        .description(Some(description))
        .response("200", with_allow("The metrics.").content("text/plain", text).build())
        .response("401", Ref::from_response_name("NotAuthenticated"))
        .response("403", Ref::from_response_name("PermissionDenied"))
        .response("503", Ref::from_response_name("Unavailable"))
        .build()
}

pub(super) fn health() -> Operation {
    let healthy = said::<Health>("It does.", &[("healthy", json!({"healthy": true}))]);
    for_everybody(operation("health", "Does the process answer?"))
        .description(Some(
            "Does not look at the database. Needs no token, and answers to any host.",
        ))
        .response("200", healthy.build())
        .build()
}

pub(super) fn ready() -> Operation {
    let description = "Whether the database answers and has all migrations, and the server was not told to stop. Looks at \
                       most once a second, and answers within two. Needs no token, and answers to any host.";
    let not_ready = json!({
        "ready": false,
        "failed": "draining",
        "reason": "the server is being stopped"
    });
    for_everybody(operation("ready", "Can the server do its work?"))
        .description(Some(description))
        .response(
            "200",
            said::<Ready>("It can.", &[("ready", json!({"ready": true}))]).build(),
        )
        .response(
            "503",
            said::<NotReady>("It cannot.", &[("draining", not_ready)]).build(),
        )
        .build()
}

fn operation(id: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new()
        .operation_id(Some(id))
        .tag("operating")
        .summary(Some(summary))
        .response("405", Ref::from_response_name("MethodNotAllowed"))
}

fn for_everybody(operation: OperationBuilder) -> OperationBuilder {
    operation.securities(Some([SecurityRequirement::default()]))
}
