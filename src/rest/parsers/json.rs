//! JSON: an object's members are found, their values are left as they were
//! written until a field asks for them.

use std::borrow::Cow;
use std::fmt;

use encoding_rs::UTF_8;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits::{FIELDS_MAX, JSON_DEPTH_MAX};
use crate::rest::exceptions::ApiException;
use crate::rest::fields::{Input, Items};
use crate::rest::media_type::MediaType;
use crate::rest::parsers::{Data, charset};

fn json_error(message: impl fmt::Display) -> ApiException {
    ApiException::parse_error(format!("JSON parse error - {message}"))
}

/// The body as text, in `decoded` if its charset is not UTF-8.
pub(super) fn json_text<'b>(
    body: &'b [u8],
    decoded: &'b mut String,
    media_type: MediaType<'_>,
) -> Result<&'b str, ApiException> {
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

/// Reads a whole body.
pub(super) fn parse_json(text: &str) -> Result<Data<'_>, ApiException> {
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

/// What a JSON value says of a field.
pub(super) fn json_input(value: &str) -> Input<'_> {
    match value.as_bytes() {
        [b'"', text @ .., b'"'] if !text.contains(&b'\\') => Input::Text(value[1..value.len() - 1].into(), None),
        [b'"', ..] => escaped_text(value),
        [b'n', ..] => Input::Null,
        [b'-' | b'0'..=b'9', ..] => Input::Number(value),
        [b'[', ..] => Input::List(Items::Json(value)),
        [b'{', ..] => Input::Object,
        _ => Input::Bool(value == "true"),
    }
}

/// What a JSON array says of each of its items, or `None` if there are more
/// than `items_max`: the rest is not read then.
pub fn json_items(list: &str, items_max: usize) -> Option<Vec<Input<'_>>> {
    struct UpTo(usize);
    impl<'de> Visitor<'de> for UpTo {
        type Value = Vec<Input<'de>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {} items", self.0)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut inputs = Vec::new();
            while let Some(value) = list.next_element::<&RawValue>()? {
                if inputs.len() == self.0 {
                    return Err(de::Error::invalid_length(self.0 + 1, &self));
                }
                inputs.push(json_input(value.get()));
            }
            Ok(inputs)
        }
    }
    // The parser has read it already; nothing but its length can be wrong.
    serde_json::Deserializer::from_str(list)
        .deserialize_seq(UpTo(items_max))
        .ok()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::exceptions::Detail;

    #[test]
    fn values_keep_the_form_in_which_they_were_written() {
        let data =
            parse_json(r#" {"a": 1.0, "b": "x", "a": -0, "c": "\u00e9\n", "d": null, "e": [1], "f\u0031": true} "#);
        let data = data.expect("well formed");

        assert_eq!(data.get("a"), Input::Number("-0"));
        assert_eq!(data.get("b"), Input::Text("x".into(), None));
        assert_eq!(data.get("c"), Input::Text("é\n".into(), None));
        assert_eq!(data.get("d"), Input::Null);
        assert_eq!(data.get("e"), Input::List(Items::Json("[1]")));
        assert_eq!(data.get("f1"), Input::Bool(true));
        assert_eq!(data.get("g"), Input::Missing);
    }

    #[test]
    fn lists_are_read_item_by_item_and_not_beyond_their_bound() {
        let items = r#"[1, "\u0061", null, {"b": [2]}, [3], true]"#;

        let read = json_items(items, 6).expect("six items");

        assert_eq!(read[0], Input::Number("1"));
        assert_eq!(read[1], Input::Text("a".into(), None));
        assert_eq!(read[2], Input::Null);
        assert_eq!(read[3], Input::Object);
        assert_eq!(read[4], Input::List(Items::Json("[3]")));
        assert_eq!(read[5], Input::Bool(true));
        assert_eq!(json_items(items, 5), None);
        assert_eq!(json_items("[]", 0), Some(Vec::new()));
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
            let Detail::Message(message) = error.detail else {
                panic!("{text}: no message");
            };
            assert!(message.starts_with("JSON parse error - "), "{text}: {message}");
        }
    }

    #[test]
    fn too_many_members_are_refused() {
        let members: Vec<_> = (0..=FIELDS_MAX).map(|number| format!("\"{number}\":1")).collect();

        assert!(parse_json(&format!("{{{}}}", members.join(","))).is_err());
        assert!(parse_json(&format!("{{{}}}", members[1..].join(","))).is_ok());
    }
}
