//! From the bytes of a body to [`Data`]: JSON, urlencoded forms and multipart
//! forms, as Django REST framework's parsers of the same names.

use std::borrow::Cow;
use std::fmt;

use actix_web::web::Bytes;
use encoding_rs::{Encoding, UTF_8};
use futures_util::stream;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits::{FIELDS_MAX, JSON_DEPTH_MAX};
use crate::rest::exceptions::{ApiException, FieldErrors};
use crate::rest::fields::Input;
use crate::rest::media_type::MediaType;

/// The media types that are read, in the order in which OPTIONS lists them.
pub const PARSES: [&str; 3] = [
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
];

/// The body of a request, read but not validated.
#[derive(Debug)]
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

fn json_error(message: impl fmt::Display) -> ApiException {
    ApiException::parse_error(format!("JSON parse error - {message}"))
}

fn json_text<'b>(body: &'b [u8], decoded: &'b mut String, media_type: MediaType<'_>) -> Result<&'b str, ApiException> {
    let charset = charset(media_type);
    if charset != UTF_8 {
        let (text, _, malformed) = charset.decode(body);
        if malformed {
            return Err(json_error(format!("the body is not {}", charset.name())));
        }
        *decoded = text.into_owned();
        return Ok(decoded);
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        let reason = match error.error_len() {
            None => "unexpected end of data",
            Some(1) if body[at] < 0xC2 || body[at] > 0xF4 => "invalid start byte",
            Some(_) => "invalid continuation byte",
        };
        json_error(format!(
            "'utf-8' codec can't decode byte 0x{:02x} in position {at}: {reason}",
            body[at]
        ))
    })?;
    match text.starts_with('\u{feff}') {
        true => Err(json_error(
            "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)",
        )),
        false => Ok(text),
    }
}

fn parse_json(text: &str) -> Result<Data<'_>, ApiException> {
    if text.len() > JSON_DEPTH_MAX && depth(text) > JSON_DEPTH_MAX {
        return Err(json_error(format!("nested deeper than {JSON_DEPTH_MAX} levels")));
    }
    match text.trim_ascii_start().as_bytes().first() {
        Some(b'{') => {
            let mut deserializer = serde_json::Deserializer::from_str(text);
            let members = deserializer.deserialize_map(Members).map_err(json_error)?;
            deserializer.end().map_err(json_error)?;
            match members {
                Some(members) => Ok(Data::Object(members)),
                None => Err(ApiException::suspicious_operation()),
            }
        }
        first => {
            let _: IgnoredAny = serde_json::from_str(text).map_err(json_error)?;
            Ok(Data::NoObject(match first {
                Some(b'[') => Some("list"),
                Some(b'"') => Some("str"),
                Some(b't' | b'f') => Some("bool"),
                Some(b'n') => None,
                _ if text.contains(['.', 'e', 'E']) => Some("float"),
                _ => Some("int"),
            }))
        }
    }
}

/// The deepest nesting of brackets outside strings.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Reads an object's members without their values; `None` if there are too many.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Option<Vec<(Cow<'de, str>, &'de RawValue)>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(4);
        let mut too_many = false;
        while let Some((Key(key), value)) = map.next_entry()? {
            too_many |= members.len() == FIELDS_MAX;
            if !too_many {
                members.push((key, value));
            }
        }
        Ok((!too_many).then_some(members))
    }
}

/// A member's name, borrowed from the body where it has no escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> de::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
                Ok(Key(key.into()))
            }

            fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
                Ok(Key(key.to_owned().into()))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

fn json_input(value: &str) -> Input<'_> {
    match value.as_bytes() {
        [b'"', text @ .., b'"'] if !text.contains(&b'\\') => Input::Text(value[1..value.len() - 1].into(), None),
        [b'"', ..] => escaped_text(value),
        [b'n', ..] => Input::Null,
        [b'-' | b'0'..=b'9', ..] => Input::Number(value),
        _ => Input::Other,
    }
}

/// Text with escapes. JSON may name a lone surrogate, which is no character.
fn escaped_text(value: &str) -> Input<'_> {
    struct Bytes;
    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            Ok(bytes.to_vec())
        }
    }
    // The parser has read it already; it cannot fail.
    let bytes = serde_json::Deserializer::from_str(value)
        .deserialize_bytes(Bytes)
        .unwrap_or_default();
    match String::from_utf8(bytes) {
        Ok(text) => Input::Text(text.into(), None),
        Err(error) => {
            let (text, surrogate) = replace_surrogates(error.as_bytes());
            Input::Text(text.into(), Some(surrogate))
        }
    }
}

/// The text with each surrogate (three bytes from 0xED 0xA0 on, in the
/// encoding known as WTF-8) as one U+FFFD, and the first of them.
fn replace_surrogates(bytes: &[u8]) -> (String, u16) {
    let mut clean = Vec::with_capacity(bytes.len());
    let mut first = None;
    let mut rest = bytes;
    while let Some(byte) = rest.first() {
        match rest {
            [0xED, high @ 0xA0..=0xBF, low, after @ ..] => {
                let surrogate = 0xD000 | (u16::from(high & 0x3F) << 6) | u16::from(low & 0x3F);
                first.get_or_insert(surrogate);
                clean.extend_from_slice("\u{fffd}".as_bytes());
                rest = after;
            }
            _ => {
                clean.push(*byte);
                rest = &rest[1..];
            }
        }
    }
    (String::from_utf8_lossy(&clean).into_owned(), first.unwrap_or(0xD800))
}

fn parse_form(body: &[u8], media_type: MediaType<'_>) -> Result<Data<'static>, ApiException> {
    let charset = charset(media_type);
    if body.iter().filter(|byte| **byte == b'&').count() >= FIELDS_MAX {
        return Err(ApiException::suspicious_operation());
    }
    let fields = body
        .split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &pair[pair.len()..]),
            };
            (decode_form_text(name, charset), Some(decode_form_text(value, charset)))
        });
    Ok(Data::Form(fields.collect()))
}

fn decode_form_text(text: &[u8], charset: &'static Encoding) -> String {
    let blanks: Vec<u8> = text
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    let bytes: Vec<u8> = percent_encoding::percent_decode(&blanks).collect();
    charset.decode_without_bom_handling(&bytes).0.into_owned()
}

async fn parse_multipart(body: &Bytes, media_type: MediaType<'_>) -> Result<Data<'static>, ApiException> {
    let invalid_boundary = |boundary: &str| {
        let message = format!("Multipart form parse error - Invalid boundary in multipart: {boundary}");
        Err(ApiException::parse_error(message))
    };
    let boundary = match media_type.parameter("boundary") {
        None => return invalid_boundary("None"),
        Some(boundary) if boundary.is_empty() => return invalid_boundary(""),
        Some(boundary) => boundary.into_owned(),
    };
    let stream = stream::iter([Ok::<_, std::convert::Infallible>(body.clone())]);
    let mut parts = multer::Multipart::new(stream, boundary);
    let mut fields = Vec::new();
    // As Django does, what is cut off or malformed ends the form where it stands.
    while let Ok(Some(part)) = parts.next_field().await {
        let Some(name) = part.name().map(str::to_owned) else {
            continue;
        };
        let is_file = part.file_name().is_some();
        let Ok(bytes) = part.bytes().await else {
            break;
        };
        if fields.len() == FIELDS_MAX {
            return Err(ApiException::suspicious_operation());
        }
        fields.push((name, (!is_file).then(|| String::from_utf8_lossy(&bytes).into_owned())));
    }
    Ok(Data::Form(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_the_form_in_which_they_were_written() {
        let data =
            parse_json(r#" {"a": 1.0, "b": "x", "a": -0, "c": "\u00e9\n", "d": null, "e": [1], "f\u0031": true} "#);
        let data = data.expect("well formed");

        assert_eq!(data.get("a"), Input::Number("-0"));
        assert_eq!(data.get("b"), Input::Text("x".into(), None));
        assert_eq!(data.get("c"), Input::Text("é\n".into(), None));
        assert_eq!(data.get("d"), Input::Null);
        assert_eq!(data.get("e"), Input::Other);
        assert_eq!(data.get("f1"), Input::Other);
        assert_eq!(data.get("g"), Input::Missing);
    }

    #[test]
    fn a_lone_surrogate_is_told_and_a_pair_is_a_character() {
        let data = parse_json(r#"{"lone": "a\udfffb", "pair": "\ud83d\ude00"}"#).expect("well formed");

        assert_eq!(data.get("lone"), Input::Text("a\u{fffd}b".into(), Some(0xDFFF)));
        assert_eq!(data.get("pair"), Input::Text("😀".into(), None));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for text in [
            "{",
            "{\"a\":1,}",
            "{\"a\":1} x",
            "[1,]",
            "NaN",
            "{\"a\":01}",
            "{\"a\":\"\\x\"}",
            " ",
            &deep,
        ] {
            let error = parse_json(text).expect_err(text);
            let crate::rest::exceptions::Detail::Message(message) = error.detail else {
                panic!("{text}: no message");
            };
            assert!(message.starts_with("JSON parse error - "), "{text}: {message}");
        }
    }

    #[test]
    fn too_many_fields_are_refused() {
        let members: Vec<_> = (0..=FIELDS_MAX).map(|number| format!("\"{number}\":1")).collect();

        assert!(parse_json(&format!("{{{}}}", members.join(","))).is_err());
        assert!(parse_json(&format!("{{{}}}", members[1..].join(","))).is_ok());
        assert!(parse_form("a&".repeat(FIELDS_MAX).as_bytes(), MediaType::parse("")).is_err());
    }
}
