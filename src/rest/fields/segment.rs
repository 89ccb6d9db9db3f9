//! One segment of a path, given in a body.

use crate::rest::fields::{CharField, Input};

const SLASHES: &str = "Slashes are not allowed.";

/// A text that could stand in a path as it is: what Django's path converter
/// `str` matches. Never trimmed, because a path is not.
#[derive(Clone, Copy, Debug)]
pub struct SegmentField {
    /// The most characters.
    pub chars_max: usize,
}

impl SegmentField {
    /// The segment, which is required, or what is wrong with it.
    pub fn validate(&self, input: Input<'_>) -> Result<String, Vec<String>> {
        let field = CharField {
            chars_max: self.chars_max,
        };
        let text = field.validate_exact(input)?;
        match text.contains('/') {
            true => Err(vec![SLASHES.to_owned()]),
            false => Ok(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::fields::{BLANK, NOT_A_STRING, NULL};

    #[test]
    fn a_segment_is_taken_as_a_path_would_be() {
        let long = "é".repeat(101);
        for (input, expected) in [
            (Input::Text(" a ".into(), None), Ok(" a ")),
            (Input::Text("..".into(), None), Ok("..")),
            (Input::Text("%2F".into(), None), Ok("%2F")),
            (Input::FormText(" "), Ok(" ")),
            (Input::Number("1e3"), Ok("1000.0")),
            (Input::Text("a/b".into(), None), Err(SLASHES)),
            (Input::Text("".into(), None), Err(BLANK)),
            (Input::Null, Err(NULL)),
            (Input::Bool(true), Err(NOT_A_STRING)),
            (Input::Text("a\0".into(), None), Err("Null characters are not allowed.")),
            (
                Input::Text("\u{fffd}".into(), Some(0xDC00)),
                Err("Surrogate characters are not allowed: U+DC00."),
            ),
            (
                Input::Text(long.as_str().into(), None),
                Err("Ensure this field has no more than 100 characters."),
            ),
        ] {
            let shown = format!("{input:?}");
            let expected = expected
                .map(str::to_owned)
                .map_err(|message: &str| vec![message.to_owned()]);
            assert_eq!(SegmentField { chars_max: 100 }.validate(input), expected, "{shown}");
        }
    }
}
