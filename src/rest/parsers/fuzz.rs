//! What no body can do.

use actix_web::web::Bytes;
use futures_util::FutureExt;
use serde_json::Value;

use super::*;
use crate::fuzz::{fuzz, fuzz_text, kind, recorded_bodies};
use crate::limits::{BODY_BYTES_MAX, FIELDS_MAX};

/// The recorded bodies without their media types.
fn bodies() -> Vec<Vec<u8>> {
    let without_type = |body: Vec<u8>| body.splitn(2, |byte| *byte == b'\n').nth(1).map(<[u8]>::to_vec);
    recorded_bodies().into_iter().filter_map(without_type).collect()
}

/// What became of a body, in short.
fn became(data: &Result<Data<'_>, ApiException>) -> String {
    match data {
        Ok(Data::Object(members)) => {
            let kinds = members.iter().take(4).map(|(_, value)| &value.get()[..1]);
            format!("object of {}: {}", members.len().min(8), kinds.collect::<String>())
        }
        Ok(Data::NoObject(found)) => format!("{found:?}"),
        Ok(Data::Form(fields)) => {
            let files = fields.iter().filter(|(_, value)| value.is_none()).count();
            format!("form of {} with {}", fields.len().min(8), files.min(4))
        }
        Err(error) => kind(error),
    }
}

fn require_bounds(data: &Data<'_>) {
    match data {
        Data::Object(members) => assert!(members.len() <= FIELDS_MAX),
        Data::Form(fields) => assert!(fields.len() <= FIELDS_MAX),
        Data::NoObject(_) => {}
    }
}

/// Whether a field is told what `value` is, as far as it can be told.
fn require_same(input: Input<'_>, value: &Value) {
    match (input, value) {
        (Input::Null, Value::Null) | (Input::Object, Value::Object(_)) => {}
        (Input::Bool(read), Value::Bool(value)) => assert_eq!(read, *value),
        (Input::Text(read, None), Value::String(value)) => assert_eq!(read, *value),
        (Input::Number(literal), Value::Number(number)) => {
            let (ours, theirs) = (literal.parse().unwrap_or(f64::NAN), number.as_f64().unwrap_or(f64::NAN));
            // serde_json's last digit is not exact unless it is told to take its time.
            assert!(
                ours == theirs || (ours - theirs).abs() <= ours.abs() * 1e-12,
                "{literal}"
            );
        }
        (Input::List(items), Value::Array(values)) => {
            let Items::Json(list) = items else {
                panic!("a list from JSON is JSON");
            };
            let items = json_items(list, values.len()).expect("it has no more");
            assert_eq!(items.len(), values.len());
            items
                .into_iter()
                .zip(values)
                .for_each(|(item, value)| require_same(item, value));
        }
        (input, value) => panic!("{input:?} is not {value:?}"),
    }
}

#[test]
fn json_is_read_as_serde_reads_it() {
    let text = |body: Vec<u8>| String::from_utf8_lossy(&body).into_owned();

    fuzz_text("json", bodies().into_iter().map(text).collect(), |text| {
        let ours = parse_json(text);
        let theirs: Result<Value, _> = serde_json::from_str(text);
        match (&ours, &theirs) {
            (Ok(data @ Data::Object(members)), Ok(Value::Object(values))) => {
                require_bounds(data);
                for (name, _) in members {
                    require_same(data.get(name), &values[name.as_ref()]);
                }
                assert!(values.keys().all(|name| data.get(name) != Input::Missing));
            }
            (Ok(Data::NoObject(found)), Ok(value)) => {
                assert!(!value.is_object());
                assert_eq!(found.is_none(), value.is_null());
            }
            // What has a form and no value in Rust: 1e400, half a surrogate pair, and a nesting that is bounded there too.
            (Ok(_), Err(error)) => {
                let error = error.to_string();
                let known = ["number out of range", "surrogate", "hex escape", "recursion limit"];
                assert!(known.iter().any(|known| error.contains(known)), "{error}");
            }
            (Err(error), Ok(value)) => {
                let is_bounded = depth_of(value) >= 128 || value.as_object().is_some() && text.len() > FIELDS_MAX;
                assert!(is_bounded, "{error:?}");
            }
            (Err(_), Err(_)) => {}
            (ours, theirs) => panic!("{ours:?} is not {theirs:?}"),
        }
        if let Err(error) = &ours {
            // Else it would repeat what was sent, and that may be a key.
            let said = format!("{error:?}");
            assert!(said.len() < 300, "{said}");
        }
        became(&ours)
    });
}

fn depth_of(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth_of).max().unwrap_or(0),
        _ => 0,
    }
}

#[test]
fn a_form_is_read_as_browsers_write_it() {
    fuzz("form", bodies(), |body| {
        let ours = parse_form(body, MediaType::parse(""));
        if let Ok(Data::Form(fields)) = &ours {
            assert!(fields.len() <= FIELDS_MAX);
            let theirs = form_urlencoded::parse(body);
            let ours = fields
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_deref().expect("no file")));
            assert!(theirs.eq(ours.map(|(name, value)| (name.into(), value.into()))));
        }
        became(&ours)
    });
}

#[test]
fn a_body_of_any_type_and_charset_is_read_within_its_bounds() {
    let mut seeds = recorded_bodies();
    let parts = "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n".repeat(FIELDS_MAX + 1);
    seeds.push(format!("multipart/form-data; boundary=b\n{parts}--b--").into_bytes());

    fuzz("body", seeds, |input| {
        let mut parts = input.splitn(2, |byte| *byte == b'\n');
        let content_type = String::from_utf8_lossy(parts.next().unwrap_or_default());
        let body = Bytes::copy_from_slice(parts.next().unwrap_or_default());
        let mut decoded = String::new();

        let parsed = parse(&body, &mut decoded, &content_type).now_or_never();

        let data = parsed.expect("the body is there");
        if let Ok(data) = &data {
            require_bounds(data);
            require_size(data, body.len());
        }
        became(&data)
    });
}

/// A body does not grow: one byte that is no text becomes three.
fn require_size(data: &Data<'_>, body_bytes: usize) {
    assert!(body_bytes <= BODY_BYTES_MAX);
    let bytes: usize = match data {
        Data::Object(members) => members.iter().map(|(name, value)| name.len() + value.get().len()).sum(),
        Data::Form(fields) => {
            let sizes = fields
                .iter()
                .map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len));
            sizes.sum()
        }
        Data::NoObject(_) => 0,
    };
    assert!(bytes <= 3 * body_bytes, "{bytes} of {body_bytes}");
}
