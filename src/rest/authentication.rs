//! How a request shows who sends it: Django REST framework's
//! `TokenAuthentication`, and then its `BasicAuthentication`, where the key of
//! a token is the password and the name does not matter.

use std::borrow::Cow;

use actix_web::http::StatusCode;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use crate::rest::exceptions::ApiException;

/// What 401 asks for: the first of the two.
pub(super) const CHALLENGE: &str = "Token";

/// As Python's decoder takes it, but for what is no base64 at all.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// The key that an `Authorization` header shows; `None` if it has another
/// scheme, or there is none.
///
/// Errors: 401 if it has one of the two schemes and is malformed.
pub fn key_of(header: Option<&[u8]>) -> Result<Option<Cow<'_, str>>, ApiException> {
    let mut words = header
        .unwrap_or_default()
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let Some(scheme) = words.next() else {
        return Ok(None);
    };
    let is_token = scheme.eq_ignore_ascii_case(b"token");
    if !is_token && !scheme.eq_ignore_ascii_case(b"basic") {
        return Ok(None);
    }
    match (is_token, words.next(), words.next()) {
        (true, None, _) => Err(failed("Invalid token header. No credentials provided.")),
        (false, None, _) => Err(failed("Invalid basic header. No credentials provided.")),
        (true, _, Some(_)) => Err(failed("Invalid token header. Token string should not contain spaces.")),
        (false, _, Some(_)) => Err(failed(
            "Invalid basic header. Credentials string should not contain spaces.",
        )),
        (true, Some(key), None) => {
            let invalid = |_| failed("Invalid token header. Token string should not contain invalid characters.");
            Ok(Some(std::str::from_utf8(key).map_err(invalid)?.into()))
        }
        (false, Some(credentials), None) => {
            let invalid = || failed("Invalid basic header. Credentials not correctly base64 encoded.");
            let credentials = BASE64.decode(credentials).map_err(|_| invalid())?;
            let credentials = match String::from_utf8(credentials) {
                Ok(text) => text,
                // As the framework does: latin-1.
                Err(error) => error.as_bytes().iter().map(|byte| char::from(*byte)).collect(),
            };
            let (_, password) = credentials.split_once(':').ok_or_else(invalid)?;
            Ok(Some(password.to_owned().into()))
        }
    }
}

/// 401, `AuthenticationFailed`.
pub fn failed(message: &'static str) -> ApiException {
    ApiException::new(StatusCode::UNAUTHORIZED, message)
}

/// 401, `NotAuthenticated`.
pub fn not_authenticated() -> ApiException {
    failed("Authentication credentials were not provided.")
}

/// 401: no such token.
pub fn invalid_token() -> ApiException {
    failed("Invalid token.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::exceptions::Detail;

    #[test]
    fn every_kind_of_header() {
        const NO_TOKEN: &str = "Invalid token header. No credentials provided.";
        const NOT_BASE64: &str = "Invalid basic header. Credentials not correctly base64 encoded.";
        for (header, expected) in [
            (&b""[..], Ok(None)),
            (b"  ", Ok(None)),
            (b"Bearer k", Ok(None)),
            (b"Tokenk", Ok(None)),
            (b"Token k", Ok(Some("k"))),
            (b"\ttoKEN \t k ", Ok(Some("k"))),
            (b"Token", Err(NO_TOKEN)),
            (b"Token ", Err(NO_TOKEN)),
            (
                b"Token a b",
                Err("Invalid token header. Token string should not contain spaces."),
            ),
            (
                b"Token \xe9",
                Err("Invalid token header. Token string should not contain invalid characters."),
            ),
            // "anybody:k"
            (b"Basic YW55Ym9keTpr", Ok(Some("k"))),
            // ":d", byte BA, "l": as each byte a character
            (b"basic OmS6bA==", Ok(Some("dºl"))),
            // ":k:l"
            (b"basic Oms6bA==", Ok(Some("k:l"))),
            (b"Basic", Err("Invalid basic header. No credentials provided.")),
            (
                b"Basic a b",
                Err("Invalid basic header. Credentials string should not contain spaces."),
            ),
            // "k"
            (b"Basic aw==", Err(NOT_BASE64)),
            (b"Basic !", Err(NOT_BASE64)),
        ] {
            let key = key_of(Some(header)).map_err(|error| match error.detail {
                Detail::Message(message) => message.into_owned(),
                detail => panic!("{detail:?}"),
            });
            let expected = expected.map_err(str::to_owned);
            assert_eq!(
                key.as_ref().map(Option::as_deref),
                expected.as_ref().map(|key| *key),
                "{header:?}"
            );
        }
        assert_eq!(key_of(None).expect("no header"), None);
    }
}
