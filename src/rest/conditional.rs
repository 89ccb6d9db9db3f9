//! Whether a client already has what it asks for: `ETag` and `If-None-Match`
//! (RFC 9110, sections 8.8.3 and 13.1.2).

use std::fmt;

use actix_web::http::header::HeaderValue;

/// A weak entity tag: of two representations with the same tag one may stand
/// for the other, though they may differ in what does not matter, such as the
/// seconds that are left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    /// The tag `W/"opaque"`. Panics if `opaque` has characters that no tag may
    /// have, which are quotes, blanks and all that is not visible ASCII.
    pub fn weak(opaque: impl fmt::Display) -> Self {
        let opaque = opaque.to_string();
        let is_valid = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
        assert!(
            opaque.bytes().all(is_valid),
            "the view makes its tags of numbers and letters"
        );
        Self(opaque)
    }

    /// Whether one of the tags in the `If-None-Match` headers of a request is
    /// this one, or they are `*`: then the answer is 304. The comparison is
    /// weak, which is to say that `W/` does not matter. What is no tag matches
    /// nothing.
    pub fn is_among<'h>(&self, if_none_match: impl IntoIterator<Item = &'h [u8]>) -> bool {
        if_none_match
            .into_iter()
            .any(|header| header.trim_ascii() == b"*" || Tags(header).any(|tag| tag == self.0.as_bytes()))
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "W/\"{}\"", self.0)
    }
}

impl From<&ETag> for HeaderValue {
    fn from(tag: &ETag) -> Self {
        Self::try_from(tag.to_string()).expect("a tag is visible ASCII")
    }
}

/// The tags of a list, without `W/` and quotes. Commas may stand in a tag.
struct Tags<'h>(&'h [u8]);

impl<'h> Iterator for Tags<'h> {
    type Item = &'h [u8];

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let list = self.0.trim_ascii_start();
            if list.is_empty() {
                return None;
            }
            let quoted = list.strip_prefix(b"W/").unwrap_or(list);
            let tag = quoted.strip_prefix(b"\"").and_then(|rest| {
                let end = rest.iter().position(|byte| *byte == b'"')?;
                let after = rest[end + 1..].trim_ascii_start();
                // Else it is no tag but something that begins like one.
                (after.is_empty() || after[0] == b',').then_some((&rest[..end], after))
            });
            let (tag, after) = match tag {
                Some((tag, after)) => (Some(tag), after),
                None => (None, list),
            };
            let comma = after.iter().position(|byte| *byte == b',');
            self.0 = comma.map_or(&[], |comma| &after[comma + 1..]);
            if tag.is_some() {
                return tag;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_wherever_it_stands() {
        let tag = ETag::weak("a,1");
        for (headers, found) in [
            (&[][..], false),
            (&["*"], true),
            (&[" * "], true),
            (&["\"*\""], false),
            (&["W/\"a,1\""], true),
            (&["\"a,1\""], true),
            (&["w/\"a,1\""], false),
            (&["W/ \"a,1\""], false),
            (&["a,1"], false),
            (&["\"a\", \"1\""], false),
            (&["\"b\",, W/\"a,1\" ,"], true),
            (&["\"b\"", "\"a,1\""], true),
            (&["b, \"a,1\""], true),
            (&["\"a,1\" b, \"c\""], false),
            (&["\"a,1"], false),
            (&["\"A,1\""], false),
            (&[""], false),
            (&[","], false),
        ] {
            let found_among = tag.is_among(headers.iter().map(|header| header.as_bytes()));
            assert_eq!(found_among, found, "{headers:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_match_nothing_and_hide_nothing() {
        assert!(!ETag::weak(1).is_among([&b"\"\xff\""[..]]));
        assert!(ETag::weak(1).is_among([&b"\xff, \"\xff\", \"1\""[..]]));
    }

    #[test]
    fn a_tag_is_sent_as_a_weak_one() {
        assert_eq!(HeaderValue::from(&ETag::weak("7-1f")), "W/\"7-1f\"");
    }

    #[test]
    #[should_panic(expected = "numbers and letters")]
    fn a_tag_with_a_quote_is_a_bug() {
        let _ = ETag::weak("a\"b");
    }
}
