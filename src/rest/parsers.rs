//! From the bytes of a body to [`Data`]: JSON, urlencoded forms and multipart
//! forms, as Django REST framework's parsers of the same names.

mod form;
#[cfg(test)]
mod fuzz;
mod json;

use std::borrow::Cow;
use std::fmt;

use actix_web::web::Bytes;
use encoding_rs::{Encoding, UTF_8};
use serde_json::value::RawValue;

use form::{parse_form, parse_multipart};
pub(super) use json::json_items;
use json::{json_input, json_text, parse_json};

use crate::rest::exceptions::{ApiException, FieldErrors};
use crate::rest::fields::{Input, Items};
use crate::rest::media_type::MediaType;

/// The media types that are read, in the order in which OPTIONS lists them.
pub const PARSES: [&str; 3] = [
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
];

/// The body of a request, read but not validated. Printed it has names and no
/// values: one of them is a key.
pub enum Data<'b> {
    /// A JSON object: its members in order, their values unread.
    Object(Vec<(Cow<'b, str>, &'b RawValue)>),
    /// JSON that is no object: the name Python has for its type, `None` for null.
    NoObject(Option<&'static str>),
    /// A form, of either encoding: its fields in order, `None` for a file.
    Form(Vec<(String, Option<String>)>),
}

impl Data<'_> {
    /// What it says of one field; the last of equal names wins.
    pub fn get(&self, field: &str) -> Input<'_> {
        match self {
            Self::Object(members) => match members.iter().rev().find(|(name, _)| name == field) {
                Some((_, value)) => json_input(value.get()),
                None => Input::Missing,
            },
            Self::NoObject(_) => Input::Missing,
            Self::Form(fields) => match fields.iter().rev().find(|(name, _)| name == field) {
                Some((_, Some(text))) => Input::FormText(text),
                Some((_, None)) => Input::File,
                None => Input::Missing,
            },
        }
    }

    /// What it says of a field that is a list: in a form, every value of the
    /// name. The framework's `ListField.get_value`.
    pub fn get_list(&self, field: &str) -> Input<'_> {
        let Self::Form(fields) = self else {
            return self.get(field);
        };
        let values = fields.iter().filter(|(name, _)| name == field);
        let values: Vec<_> = values.map(|(_, value)| value.as_deref()).collect();
        match values.is_empty() {
            true => Input::Missing,
            false => Input::List(Items::Form(values)),
        }
    }

    /// Refuses what has no fields at all.
    pub fn require_fields(&self) -> Result<(), FieldErrors> {
        match self {
            Self::NoObject(None) => Err(FieldErrors::non_field("No data provided".to_owned())),
            Self::NoObject(Some(found)) => Err(FieldErrors::non_field(format!(
                "Invalid data. Expected a dictionary, but got {found}."
            ))),
            Self::Object(_) | Self::Form(_) => Ok(()),
        }
    }
}

impl fmt::Debug for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(members) => f.debug_set().entries(members.iter().map(|(name, _)| name)).finish(),
            Self::Form(fields) => f.debug_set().entries(fields.iter().map(|(name, _)| name)).finish(),
            Self::NoObject(found) => f.write_str(found.unwrap_or("null")),
        }
    }
}

/// Parses `body` as what `content_type` says. An empty body is an empty
/// object, whatever its type.
pub async fn parse<'b>(body: &'b Bytes, decoded: &'b mut String, content_type: &str) -> Result<Data<'b>, ApiException> {
    let media_type = MediaType::parse(content_type);
    let parser = PARSES.iter().position(|parses| media_type.matches(parses));
    match parser {
        _ if body.is_empty() => Ok(Data::Object(Vec::new())),
        Some(0) => parse_json(json_text(body, decoded, media_type)?),
        Some(1) => parse_form(body, media_type),
        // Boxed, so that the futures of all other requests are small.
        Some(_) => Box::pin(parse_multipart(body, media_type)).await,
        None => Err(ApiException::unsupported_media_type(content_type)),
    }
}

fn charset(media_type: MediaType<'_>) -> &'static Encoding {
    let label = media_type.parameter("charset");
    label
        .and_then(|label| Encoding::for_label(label.as_bytes()))
        .unwrap_or(UTF_8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_body_says_is_not_printed_with_it() {
        for data in [
            parse_json("{\"locked_by\": \"hunter2\"}"),
            parse_json("\"hunter2\""),
            parse_form(b"locked_by=hunter2", MediaType::parse("")),
        ] {
            let printed = format!("{:?}", data.expect("well formed"));

            assert!(["{\"locked_by\"}", "str"].contains(&printed.as_str()), "{printed}");
        }
    }
}
