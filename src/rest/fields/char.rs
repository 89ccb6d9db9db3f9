//! Text: the framework's `CharField`.

use std::borrow::Cow;

use crate::rest::fields::{BLANK, Input, NOT_A_STRING, NULL, REQUIRED, fail};
use crate::rest::python;

const NUL_CHARACTERS: &str = "Null characters are not allowed.";

/// A text field.
#[derive(Clone, Copy, Debug)]
pub struct CharField {
    /// The most characters, after trimming where it is trimmed.
    pub chars_max: usize,
}

impl CharField {
    /// The text of a field that is required and may be neither null nor blank,
    /// without the white space around it; or what is wrong with it.
    pub fn validate(&self, input: Input<'_>) -> Result<String, Vec<String>> {
        self.read(input, python::strip)
    }

    /// The same with all its white space: `trim_whitespace=False`.
    pub fn validate_exact(&self, input: Input<'_>) -> Result<String, Vec<String>> {
        self.read(input, |text| text)
    }

    /// As `validate`, for a field that may be left out, null or blank; each of
    /// them is `None`: `required=False, allow_null=True, allow_blank=True`.
    pub fn validate_optional(&self, input: Input<'_>) -> Result<Option<String>, Vec<String>> {
        match input {
            Input::Missing | Input::Null => Ok(None),
            input if input.is_blank() => Ok(None),
            input => self.validate(input).map(Some),
        }
    }

    /// As `validate_exact`, for a field that may be left out, null or empty;
    /// each of them is `None`.
    pub fn validate_exact_optional(&self, input: Input<'_>) -> Result<Option<String>, Vec<String>> {
        match input {
            Input::Missing | Input::Null | Input::FormText("") => Ok(None),
            Input::Text(text, _) if text.is_empty() => Ok(None),
            input => self.validate_exact(input).map(Some),
        }
    }

    /// What the validators say of a text that is taken as it is.
    pub fn problems(&self, text: &str, surrogate: Option<u16>) -> Vec<String> {
        let mut messages = Vec::new();
        if text.len() > self.chars_max && text.chars().count() > self.chars_max {
            messages.push(format!(
                "Ensure this field has no more than {} characters.",
                self.chars_max
            ));
        }
        if text.contains('\0') {
            messages.push(NUL_CHARACTERS.to_owned());
        }
        if let Some(surrogate) = surrogate {
            messages.push(format!("Surrogate characters are not allowed: U+{surrogate:X}."));
        }
        messages
    }

    fn read(&self, input: Input<'_>, cut: fn(&str) -> &str) -> Result<String, Vec<String>> {
        let (text, surrogate): (Cow<'_, str>, _) = match input {
            Input::Missing => return fail(REQUIRED),
            Input::Null => return fail(NULL),
            Input::Text(text, surrogate) => (text, surrogate),
            Input::Number(literal) => (python::number_text(literal).into(), None),
            Input::FormText(text) => (text.into(), None),
            Input::Bool(_) | Input::List(_) | Input::Object | Input::File => return fail(NOT_A_STRING),
        };
        let text = cut(&text);
        if text.is_empty() {
            return fail(BLANK);
        }
        let messages = self.problems(text, surrogate);
        if messages.is_empty() {
            Ok(text.to_owned())
        } else {
            Err(messages)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: CharField = CharField { chars_max: 100 };

    fn text(text: &str) -> Input<'_> {
        Input::Text(text.into(), None)
    }

    fn outcome<T>(result: Result<T, &str>) -> Result<T, Vec<String>> {
        result.map_err(|message| vec![message.to_owned()])
    }

    #[test]
    fn char_field_follows_the_framework() {
        let long = "x".repeat(101);
        let too_long = "Ensure this field has no more than 100 characters.";
        for (input, expected) in [
            (Input::Missing, Err(vec![REQUIRED])),
            (Input::Null, Err(vec![NULL])),
            (text(""), Err(vec![BLANK])),
            (text(" \u{a0}\u{1c}"), Err(vec![BLANK])),
            (Input::Bool(true), Err(vec![NOT_A_STRING])),
            (Input::Object, Err(vec![NOT_A_STRING])),
            (Input::File, Err(vec![NOT_A_STRING])),
            (Input::FormText(""), Err(vec![BLANK])),
            (text("x\0"), Err(vec![NUL_CHARACTERS])),
            (text(&long), Err(vec![too_long])),
            (
                Input::Text("\u{fffd}".into(), Some(0xD800)),
                Err(vec!["Surrogate characters are not allowed: U+D800."]),
            ),
            (text("  key \t"), Ok("key")),
            (Input::Number("1e3"), Ok("1000.0")),
            (Input::FormText("a b"), Ok("a b")),
        ] {
            let shown = format!("{input:?}");
            let expected = expected
                .map(str::to_owned)
                .map_err(|messages| messages.iter().map(ToString::to_string).collect());
            assert_eq!(KEY.validate(input), expected, "{shown}");
        }
    }

    #[test]
    fn an_optional_text_may_be_missing_null_or_blank() {
        for (input, trimmed, exact) in [
            (Input::Missing, Ok(None), Ok(None)),
            (Input::Null, Ok(None), Ok(None)),
            (text(""), Ok(None), Ok(None)),
            (Input::FormText(""), Ok(None), Ok(None)),
            (text("  "), Ok(None), Ok(Some("  "))),
            (Input::FormText("\t"), Ok(None), Ok(Some("\t"))),
            (text(" a "), Ok(Some("a")), Ok(Some(" a "))),
            (Input::Number("5"), Ok(Some("5")), Ok(Some("5"))),
            (Input::Bool(false), Err(NOT_A_STRING), Err(NOT_A_STRING)),
            (Input::FormText("\0"), Err(NUL_CHARACTERS), Err(NUL_CHARACTERS)),
        ] {
            let shown = format!("{input:?}");
            let owned = |result: Result<Option<&str>, _>| outcome(result.map(|text| text.map(str::to_owned)));
            assert_eq!(KEY.validate_optional(input.clone()), owned(trimmed), "{shown}");
            assert_eq!(KEY.validate_exact_optional(input), owned(exact), "{shown}");
        }
    }

    #[test]
    fn an_exact_text_keeps_its_white_space_and_counts_it() {
        let long = format!("{} ", "x".repeat(100));
        let too_long = "Ensure this field has no more than 100 characters.";
        for (input, expected) in [
            (Input::Missing, Err(REQUIRED)),
            (text(""), Err(BLANK)),
            (text(" "), Ok(" ")),
            (text("a "), Ok("a ")),
            (text(&long), Err(too_long)),
        ] {
            let shown = format!("{input:?}");
            assert_eq!(
                KEY.validate_exact(input),
                outcome(expected.map(str::to_owned)),
                "{shown}"
            );
        }
    }
}
