//! What can be seen of what happened.

use serde_json::{Value, json};
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, Object, ObjectBuilder, SchemaFormat, Type};

use super::answers::{EventPage, HTML, content, detail, field_errors, html, said, said_any_of, with_allow};
use super::fields;
use super::parts::{in_query, name, operation, parameter};
use crate::resources::event_filters::{KIND, ORDERING};
use crate::resources::views::UNKNOWN;

fn event() -> Value {
    json!({
        "id": 1041,
        "event": "acquired",
        "resource": "nightly-report",
        "fencing_token": 41,
        "owner": "reports",
        "label": "report of Tuesday, host 7",
        "ttl": 60,
        "at": "2026-01-31T23:59:59.000001Z",
        "expires_at": "2026-02-01T00:00:59.000001Z",
        "asked_by": "reports",
        "address": "192.0.2.7",
        "reason": null
    })
}

fn number(description: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(0))
        .maximum(Some(i64::MAX))
        .description(Some(description))
        .build()
}

fn words(words: impl Iterator<Item = &'static str>, description: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words.collect::<Vec<_>>()))
        .description(Some(description))
        .build()
}

fn page() -> utoipa::openapi::Response {
    let page = json!({"count": 1, "next": null, "previous": null, "results": [event()]});
    said::<EventPage>("A page.", &[("page", page)]).build()
}

fn wrong() -> utoipa::openapi::Response {
    let wrong = json!({"page_size": ["Ensure this value is greater than or equal to 1."]});
    said_any_of(
        "Parameters that are wrong. HTML if `Host` is not served.",
        &[field_errors()],
        &[("wrong", wrong)],
    )
    .content(HTML, html())
    .build()
}

pub(super) fn history() -> Operation {
    let no_page = json!({"detail": "Invalid page."});
    let unknown = json!({"detail": UNKNOWN});
    operation("history", "events", "Show what happened to a resource")
        .description(Some("The latest first; of many the latest 10,000."))
        .parameter(name())
        .parameter(in_query("page", fields::page()))
        .parameter(in_query("page_size", fields::page_size()))
        .response("200", page())
        .response("400", wrong())
        .response(
            "404",
            said_any_of(
                "It was never acquired, or there is no such page. HTML where there is no such path.",
                &[detail()],
                &[("unknown", unknown), ("no page", no_page)],
            )
            .content(HTML, html())
            .build(),
        )
        .build()
}

pub(super) fn list() -> Operation {
    let no_page = json!({"detail": "Invalid page."});
    let kinds = KIND.choices.iter().map(|(word, _)| *word);
    let orders = ORDERING.choices.iter().map(|(word, _)| *word);
    operation("events", "events", "List what happened, page by page")
        .description(Some(
            "By number, the lowest first. Once an event is shown no other of a lower number is added, so whoever asks \
             again with the number of the last one as `since` gets each event once.",
        ))
        .parameter(in_query("page", fields::page()))
        .parameter(in_query("page_size", fields::page_size()))
        .parameter(in_query(
            "since",
            number("Only those that follow the event of this number."),
        ))
        .parameter(in_query("prefix", fields::prefix()))
        .parameter(in_query("event", words(kinds, "Only those of this kind.")))
        .parameter(in_query(
            "ordering",
            words(orders, "With `-` the highest number first."),
        ))
        .response("200", page())
        .response("400", wrong())
        .response(
            "404",
            said_any_of("There is no such page, or format.", &[detail()], &[("page", no_page)]).build(),
        )
        .build()
}

pub(super) fn stream() -> Operation {
    let last = parameter("Last-Event-ID", ParameterIn::Header, number("")).description(Some(
        "The number of the last event that was told; counts more than `since`.",
    ));
    operation("event_stream", "events", "Be told what happens")
        .description(Some(
            "Server-sent events: `id` is the number, `event` is `lock`, `data` is an event as the lists have it, in JSON. \
             Each is told once and in order, at whichever server. Without `since` or `Last-Event-ID` it begins with what \
             happens from now on.",
        ))
        .parameter(in_query("since", number("The number of the last event that was told.")))
        .parameter(in_query("prefix", fields::prefix()))
        .parameter(last.build())
        .response(
            "200",
            with_allow("It does not end by itself.")
                .content("text/event-stream", content(Object::with_type(Type::String), &[]))
                .build(),
        )
        .response("400", wrong())
        .build()
}
