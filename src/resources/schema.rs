//! What the service says of itself: OpenAPI 3.1, made from the types of the
//! bodies, the bounds in `limits` and a function for each method of each path.
//!
//! It states the bounds of the contract; what an operator has lowered
//! (`MAX_TTL`, `MAX_TIMEOUT`) shows in the field errors only.

mod answers;
mod events;
mod fields;
mod operating;
mod operations;
mod parts;
mod people;
mod requests;
mod terraform;

use std::sync::LazyLock;

use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Components, Info, License, OpenApi, OpenApiBuilder, Tag};

use crate::rest::{Render, Rendered};

const TITLE: &str = "Central Locking System";

/// What a client must know, and no more.
const DESCRIPTION: &str = "\
Take a lock with PUT, keep it with PATCH and give it back with DELETE; `locked_by` is its key, which you make up at \
random and which is in no answer. \
Give a `ttl` and renew at a third of it, because only the ttl ends the lock of a client that has vanished. \
Send the `Fencing-Token` of your grant with each write to the thing that you guard, which refuses a lower one than it \
has seen or asks `check`, because no lock keeps a client from waking up too late. \
Send an `Idempotency-Key` with PUT and DELETE, and repeat a request whose answer was lost with the same key. \
After a 503 the request may have been carried out or not; `Retry-After` says when to ask again.\n\n\
Each path is the same without its final slash, and `/resource/` is the same as `/resources/`. \
A resource whose name has a slash is below `/locks/`: `/locks/deploy%2Fprod/` and `/locks/deploy%2Fprod/check/` do \
what `/resources/{name}/` and `/resources/{name}/check/` do. OPTIONS is answered \
everywhere, HEAD wherever GET is. Texts are read as Django REST framework reads them: numbers may come as text and \
text as numbers, white space around them does not count, unknown fields are ignored. Every answer has an \
`X-Request-ID`: that of the request, if it had one of 1 to 100 visible ASCII characters.";

/// Only other schemes have some.
const NO_SCOPES: [&str; 0] = [];

static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(document);
static JSON: LazyLock<Written> = LazyLock::new(|| DOCUMENT.to_json().map_err(|error| error.to_string()));
static YAML: LazyLock<Written> = LazyLock::new(|| DOCUMENT.to_yaml().map_err(|error| error.to_string()));

/// Text, or why there is none.
type Written = Result<String, String>;

/// The document, which is made once.
pub(super) struct Document;

impl Render for Document {
    fn to_json(&self, indent: usize) -> Rendered {
        match indent {
            0 => copy_of(&JSON),
            _ => Render::to_json(&*DOCUMENT, indent),
        }
    }

    fn to_yaml(&self) -> Rendered {
        copy_of(&YAML)
    }
}

fn copy_of(written: &Written) -> Rendered {
    Ok(written.clone()?.into_bytes())
}

fn document() -> OpenApi {
    let mut license = License::new(env!("CARGO_PKG_LICENSE"));
    license.identifier = Some(env!("CARGO_PKG_LICENSE").to_owned());
    let mut info = Info::new(TITLE, env!("CARGO_PKG_VERSION"));
    info.description = Some(DESCRIPTION.to_owned());
    info.license = Some(license);
    let tags = [
        ("resources", "What can be locked: one at a time."),
        ("lists", "Many at once."),
        ("events", "What happened, and what happens."),
        (
            "terraform",
            "States that Terraform and OpenTofu lock, with LOCK and UNLOCK or the methods here.",
        ),
        ("tokens", "Who may do what; for a token with the verb `admin`."),
        ("schema", "This document."),
        ("operating", "What those ask who watch the server."),
    ];
    let tags = tags.map(|(name, description)| {
        let mut tag = Tag::new(name);
        tag.description = Some(description.to_owned());
        tag
    });
    let components = answers::components(requests::components(Components::new()));
    OpenApiBuilder::new()
        .info(info)
        .tags(Some(tags))
        .paths(operations::paths())
        .components(Some(components))
        .security(Some([
            SecurityRequirement::default(),
            SecurityRequirement::new("token", NO_SCOPES),
            SecurityRequirement::new("basic", NO_SCOPES),
        ]))
        .build()
}
