//! Forms: names with text or, in multipart, files.

use actix_web::web::Bytes;
use encoding_rs::Encoding;
use futures_util::stream;

use crate::limits::FIELDS_MAX;
use crate::rest::exceptions::ApiException;
use crate::rest::media_type::MediaType;
use crate::rest::parsers::{Data, charset};

/// Reads `application/x-www-form-urlencoded`.
pub(super) fn parse_form(body: &[u8], media_type: MediaType<'_>) -> Result<Data<'static>, ApiException> {
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

/// Reads `multipart/form-data` (RFC 7578).
pub(super) async fn parse_multipart(body: &Bytes, media_type: MediaType<'_>) -> Result<Data<'static>, ApiException> {
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
    use crate::rest::fields::{Input, Items};

    #[test]
    fn a_form_has_lists_by_repeating_a_name() {
        let data = parse_form(b"a=1&b=2&a=&c", MediaType::parse("")).expect("well formed");
        let list = |values: &[&'static str]| Input::List(Items::Form(values.iter().copied().map(Some).collect()));

        assert_eq!(data.get("a"), Input::FormText(""));
        assert_eq!(data.get_list("a"), list(&["1", ""]));
        assert_eq!(data.get_list("b"), list(&["2"]));
        assert_eq!(data.get_list("c"), list(&[""]));
        assert_eq!(data.get_list("d"), Input::Missing);
    }

    #[test]
    fn too_many_fields_are_refused() {
        assert!(parse_form("a&".repeat(FIELDS_MAX).as_bytes(), MediaType::parse("")).is_err());
        assert!(parse_form("a&".repeat(FIELDS_MAX - 1).as_bytes(), MediaType::parse("")).is_ok());
    }
}
