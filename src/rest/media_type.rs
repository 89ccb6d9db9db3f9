//! Media types with parameters, as `Accept` and `Content-Type` carry them.

use std::borrow::Cow;

/// `type/subtype; key=value; …`, read leniently: whatever is sent is a media
/// type, though perhaps none that anything matches.
#[derive(Clone, Copy, Debug)]
pub struct MediaType<'h> {
    full_type: &'h str,
    parameters: &'h str,
}

impl<'h> MediaType<'h> {
    /// Reads one media type.
    pub fn parse(text: &'h str) -> Self {
        let (full_type, parameters) = text.split_once(';').unwrap_or((text, ""));
        Self {
            full_type: full_type.trim(),
            parameters,
        }
    }

    /// Whether it is `of` (in lower case), or has a `*` where it is not.
    pub fn matches(&self, of: &str) -> bool {
        let is = |part: &str, of: &str| part == "*" || part.eq_ignore_ascii_case(of);
        match (self.full_type.split_once('/'), of.split_once('/')) {
            (Some((main, sub)), Some((of_main, of_sub))) => is(main, of_main) && is(sub, of_sub),
            _ => false,
        }
    }

    /// How exact it is: `*/*`, `type/*`, `type/subtype`, and that with
    /// parameters other than `q`. Django REST framework's
    /// `_MediaType.precedence`.
    pub fn precedence(&self) -> u8 {
        match self.full_type.split_once('/') {
            Some(("*", _)) => 0,
            Some((_, "*")) => 1,
            _ if self.is_exact() => 3,
            _ => 2,
        }
    }

    /// Whether it says more than its name and `q`.
    fn is_exact(&self) -> bool {
        let mut rest = self.parameters;
        while !rest.is_empty() {
            let (parameter, after) = split_unquoted(rest, b';');
            rest = after;
            if let Some((name, _)) = parameter.split_once('=')
                && !name.trim().eq_ignore_ascii_case("q")
            {
                return true;
            }
        }
        false
    }

    /// The value of a parameter, without its quotes; the last one wins.
    pub fn parameter(&self, key: &str) -> Option<Cow<'h, str>> {
        let mut found = None;
        let mut rest = self.parameters;
        while !rest.is_empty() {
            let (parameter, after) = split_unquoted(rest, b';');
            rest = after;
            if let Some((name, value)) = parameter.split_once('=')
                && name.trim().eq_ignore_ascii_case(key)
            {
                found = Some(unquoted(value.trim()));
            }
        }
        found
    }
}

/// Splits at the first `separator` that is not inside quotes.
pub(super) fn split_unquoted(text: &str, separator: u8) -> (&str, &str) {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == separator && !quoted => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    (text, "")
}

/// A value without its quotes, if it has any.
pub(super) fn unquoted(value: &str) -> Cow<'_, str> {
    match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
        None => value.into(),
        Some(inner) if !inner.contains('\\') => inner.into(),
        Some(inner) => inner.replace("\\\\", "\\").replace("\\\"", "\"").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matching_and_precedence() {
        for (text, matches_json, precedence) in [
            ("application/json", true, 2),
            ("Application/JSON", true, 2),
            ("application/json; version=1", true, 3),
            ("application/json;", true, 2),
            ("application/json; Q=0.5", true, 2),
            ("application/json;q=0.5; version=1", true, 3),
            ("*/*", true, 0),
            ("*/json", true, 0),
            ("application/*;q=0.1", true, 1),
            ("text/json", false, 2),
            ("json", false, 2),
            ("", false, 2),
        ] {
            let media_type = MediaType::parse(text);
            assert_eq!(media_type.matches("application/json"), matches_json, "{text}");
            assert_eq!(media_type.precedence(), precedence, "{text}");
        }
    }

    #[test]
    fn parameters_may_be_quoted() {
        let media_type = MediaType::parse(r#"a/b; Boundary="x;y"; indent=4; e="a\"b""#);

        assert_eq!(media_type.parameter("boundary").as_deref(), Some("x;y"));
        assert_eq!(media_type.parameter("indent").as_deref(), Some("4"));
        assert_eq!(media_type.parameter("e").as_deref(), Some("a\"b"));
        assert_eq!(media_type.parameter("missing"), None);
    }
}
