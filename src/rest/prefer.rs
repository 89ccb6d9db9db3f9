//! What a client would like of an answer: `Prefer` (RFC 7240).

use std::borrow::Cow;

use crate::rest::media_type::{split_unquoted, unquoted};

/// The value of the preference `name` (in lower case) in the `Prefer` headers
/// of a request, which may be empty; `None` if it is not stated.
///
/// Names are case-insensitive, values may be quoted, parameters are left out,
/// and of a preference that is stated twice the first counts (section 2).
pub fn preference<'h>(headers: impl IntoIterator<Item = &'h str>, name: &str) -> Option<Cow<'h, str>> {
    headers.into_iter().find_map(|header| {
        let mut rest = header;
        while !rest.is_empty() {
            let (element, after) = split_unquoted(rest, b',');
            rest = after;
            let (stated, _parameters) = split_unquoted(element, b';');
            let (key, value) = stated.split_once('=').unwrap_or((stated, ""));
            if key.trim().eq_ignore_ascii_case(name) {
                return Some(unquoted(value.trim()));
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_preference() {
        for (headers, value) in [
            (&[][..], None),
            (&["return=representation"], Some("representation")),
            (&["Return = \"representation\""], Some("representation")),
            (&["wait=10, return=minimal; foo=\"a, return=x\""], Some("minimal")),
            (&["respond-async;return=minimal"], None),
            (&["foo=\"return=minimal, \\\", return=x\""], None),
            (&["return=minimal, return=representation"], Some("minimal")),
            (&["wait=10", "return=representation"], Some("representation")),
            (&["return"], Some("")),
            (&["return=\"\""], Some("")),
            (&["returns=minimal"], None),
            (&[" , ;, return=minimal"], Some("minimal")),
            (&["return=\"unfinished"], Some("\"unfinished")),
        ] {
            assert_eq!(
                preference(headers.iter().copied(), "return").as_deref(),
                value,
                "{headers:?}"
            );
        }
    }
}
