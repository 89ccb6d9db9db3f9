//! The fields of requests, with the bounds that their readers hold them to.

use serde_json::json;
use utoipa::openapi::schema::{
    Array, ArrayBuilder, KnownFormat, Object, ObjectBuilder, SchemaFormat, SchemaType, Type,
};

use crate::access::Verb;
use crate::limits::{
    LABEL_CHARS_MAX, LIST_PAGE_SIZE, LIST_PAGE_SIZE_MAX, LOCK_INFO_TEXT_CHARS_MAX, LOCKED_BY_CHARS_MAX, NAME_CHARS_MAX,
    NAMES_TOGETHER_MAX, OWNER_CHARS_MAX, REASON_CHARS_MAX, SEARCH_CHARS_MAX, SEARCH_WORDS_MAX, TIMEOUT_SECONDS_MAX,
    TOKEN_PREFIXES_MAX, TTL_SECONDS_MAX,
};
use crate::resources::filters::ORDERING;
use crate::resources::views::STATE_NAME_CHARS_MAX;

/// Anything but NUL.
const NO_NUL: &str = r"^[^\u0000]*$";

/// The same, and not only white space, of which Python knows some more.
const NOT_BLANK: &str = r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085][^\u0000]*$";

/// One segment of a path.
const SEGMENT: &str = r"^[^/\u0000]+$";

fn text(chars_max: usize, pattern: &str, description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .max_length(Some(chars_max))
        .pattern(Some(pattern))
        .description(Some(description))
}

fn number(format: KnownFormat, min: i64, max: i64, description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(format)))
        .minimum(Some(min))
        .maximum(Some(max))
        .description(Some(description))
}

fn or_null(field: ObjectBuilder, schema_type: Type) -> Object {
    field
        .schema_type(SchemaType::from_iter([schema_type, Type::Null]))
        .build()
}

fn seconds(min: i64, max: u32, description: &str) -> ObjectBuilder {
    number(KnownFormat::Int32, min, max.into(), description)
}

pub(super) fn name() -> Object {
    let name = text(NAME_CHARS_MAX, SEGMENT, "Which resource: any text without a slash.");
    name.min_length(Some(1)).examples([json!("nightly-report")]).build()
}

pub(super) fn names() -> Array {
    let name = text(NAME_CHARS_MAX, NO_NUL, "A name; it may have slashes.");
    ArrayBuilder::new()
        .items(name.min_length(Some(1)))
        .min_items(Some(1))
        .max_items(Some(NAMES_TOGETHER_MAX))
        .unique_items(true)
        .description(Some("Which resources, each of them once."))
        .build()
}

pub(super) fn locked_by() -> Object {
    let key = "The key of the lock: whoever knows it can renew and release. Make it random.";
    text(LOCKED_BY_CHARS_MAX, NOT_BLANK, key).min_length(Some(1)).build()
}

pub(super) fn state_name() -> Object {
    let name = text(
        STATE_NAME_CHARS_MAX,
        NO_NUL,
        "Which state; a slash in it is sent as `%2F`. The resource is `terraform/` and this.",
    );
    name.min_length(Some(1)).examples([json!("prod")]).build()
}

pub(super) fn state_lock_id() -> Object {
    let id = "The key of the lock, which Terraform makes anew for each.";
    text(LOCKED_BY_CHARS_MAX, NOT_BLANK, id).min_length(Some(1)).build()
}

pub(super) fn state_lock_text() -> Object {
    let told = "Kept and told to whoever is refused.";
    or_null(text(LOCK_INFO_TEXT_CHARS_MAX, NO_NUL, told), Type::String)
}

pub(super) fn state_ttl() -> Object {
    let ttl = "Seconds after which the lock is free by itself. Left out: what the operator set, else never.";
    seconds(1, TTL_SECONDS_MAX, ttl).build()
}

pub(super) fn state_timeout() -> Object {
    let timeout = "Seconds to wait for the lock. 0 or left out: not at all.";
    seconds(0, TIMEOUT_SECONDS_MAX, timeout).build()
}

pub(super) fn ttl() -> Object {
    let ttl = "Seconds after which the lock is free by itself. Left out or null: what the operator set, else never.";
    or_null(seconds(1, TTL_SECONDS_MAX, ttl), Type::Integer)
}

pub(super) fn renewed_ttl() -> Object {
    let ttl = "Seconds from now after which the lock is free by itself. Left out or null: as many as before.";
    or_null(seconds(1, TTL_SECONDS_MAX, ttl), Type::Integer)
}

pub(super) fn timeout() -> Object {
    let timeout = "Seconds to wait for the lock. 0, null or left out: not at all.";
    or_null(seconds(0, TIMEOUT_SECONDS_MAX, timeout), Type::Integer)
}

pub(super) fn label() -> Object {
    let label = "Who holds it and why, for people; shown to all. Null or blank: none.";
    or_null(text(LABEL_CHARS_MAX, NO_NUL, label), Type::String)
}

pub(super) fn reason() -> Object {
    let reason = "Why the lock is broken, for people; shown to whoever held it.";
    text(REASON_CHARS_MAX, NOT_BLANK, reason).min_length(Some(1)).build()
}

pub(super) fn renewed_label() -> Object {
    let label = "A new label; a blank one takes it away. Left out or null: as before.";
    or_null(text(LABEL_CHARS_MAX, NO_NUL, label), Type::String)
}

fn token(description: &str) -> ObjectBuilder {
    number(KnownFormat::Int64, 0, i64::MAX, description)
}

pub(super) fn fencing_token() -> Object {
    let description = "The token of the grant that is meant; of a later one nothing is changed.";
    or_null(token(description), Type::Integer)
}

pub(super) fn checked_token() -> Object {
    token("The token that came with the write.").build()
}

pub(super) fn known_token() -> Object {
    token("With `wait`: answers as soon as the grant with this token does not hold.").build()
}

pub(super) fn wait() -> Object {
    let wait = "Seconds to wait for a change: of what `fencing_token` or `If-None-Match` names, else of what is now.";
    seconds(0, TIMEOUT_SECONDS_MAX, wait).build()
}

pub(super) fn token_name() -> Object {
    let pattern = r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";
    let name = text(OWNER_CHARS_MAX, pattern, "What owns the locks that are taken with it.");
    name.min_length(Some(1)).build()
}

pub(super) fn token_verbs() -> Array {
    let words = Verb::ALL.map(|verb| json!(verb.as_str()));
    list(
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)),
        Verb::ALL.len(),
        "What it may do, none of which the own token may not. Left out or empty: acquire and read.",
    )
}

pub(super) fn token_prefixes() -> Array {
    let prefix = text(NAME_CHARS_MAX, NO_NUL, "A beginning of names.").min_length(Some(1));
    list(
        prefix,
        TOKEN_PREFIXES_MAX,
        "It is only for resources whose names begin with one of these. Left out or empty: for all.",
    )
}

fn list(item: ObjectBuilder, items_max: usize, description: &str) -> Array {
    let mut list = ArrayBuilder::new()
        .items(item)
        .max_items(Some(items_max))
        .unique_items(true)
        .description(Some(description))
        .build();
    list.schema_type = SchemaType::from_iter([Type::Array, Type::Null]);
    list
}

pub(super) fn token_expires_in() -> Object {
    let expires_in = "Seconds after which it is good for nothing. Left out or null: never.";
    or_null(seconds(1, TTL_SECONDS_MAX, expires_in), Type::Integer)
}

pub(super) fn token_id() -> Object {
    let pattern = r"^[^/\u0000]+$";
    text(NAME_CHARS_MAX, pattern, "The number of a token.")
        .examples([json!("7")])
        .build()
}

pub(super) fn page() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^([1-9][0-9]{0,8}|last|)$"))
        .description(Some("Which page, from 1, or `last`; 404 if there is none."))
        .build()
}

pub(super) fn page_size() -> Object {
    seconds(1, LIST_PAGE_SIZE_MAX, "Resources on a page.")
        .default(Some(json!(LIST_PAGE_SIZE)))
        .build()
}

pub(super) fn locked() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .description(Some("Only those that are held, or only those that are free."))
        .build()
}

pub(super) fn prefix() -> Object {
    text(
        NAME_CHARS_MAX,
        NO_NUL,
        "Only those whose names begin so, letter by letter.",
    )
    .build()
}

pub(super) fn search() -> Object {
    let search = "Only those in whose name or label each of these words stands.";
    let word = r"[^\s\u0000\u001c-\u001f\u0085]";
    let pattern = format!("^{word}*( {word}+){{0,{}}}$", SEARCH_WORDS_MAX - 1);
    text(SEARCH_CHARS_MAX, &pattern, search).build()
}

pub(super) fn ordering() -> Array {
    let words = ORDERING.choices.iter().map(|(word, _)| json!(word));
    ArrayBuilder::new()
        .items(ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)))
        .description(Some(
            "By what they are ordered, the first before all; `-` is the highest first.",
        ))
        .build()
}
