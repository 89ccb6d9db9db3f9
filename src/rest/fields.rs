//! Fields of a serializer: Django REST framework's `CharField` and
//! `IntegerField`, with its messages.

use std::borrow::Cow;

use crate::limits::INTEGER_CHARS_MAX;
use crate::rest::python;

const REQUIRED: &str = "This field is required.";
const NULL: &str = "This field may not be null.";
const BLANK: &str = "This field may not be blank.";
const NOT_A_STRING: &str = "Not a valid string.";
const NUL_CHARACTERS: &str = "Null characters are not allowed.";
const NOT_AN_INTEGER: &str = "A valid integer is required.";
const STRING_TOO_LARGE: &str = "String value too large.";

/// What a body says of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input<'d> {
    /// Nothing.
    Missing,
    /// JSON's `null`.
    Null,
    /// Text from JSON; a lone surrogate in it stands as U+FFFD and is told here.
    Text(Cow<'d, str>, Option<u16>),
    /// A number as JSON writes it.
    Number(&'d str),
    /// JSON's `true`, `false`, a list or an object.
    Other,
    /// Text from a form, where an empty one may mean nothing.
    FormText(&'d str),
    /// A file from a form.
    File,
}

/// A text field that is required and may not be null or blank; white space
/// around it is trimmed.
#[derive(Clone, Copy, Debug)]
pub struct CharField {
    /// The most characters after trimming.
    pub chars_max: usize,
}

impl CharField {
    /// The text, or what is wrong with it.
    pub fn validate(&self, input: Input<'_>) -> Result<String, Vec<String>> {
        let (text, surrogate) = match input {
            Input::Missing => return fail(REQUIRED),
            Input::Null => return fail(NULL),
            Input::Text(text, surrogate) => (text, surrogate),
            Input::Number(literal) => (python::number_text(literal).into(), None),
            Input::FormText(text) => (text.into(), None),
            Input::Other | Input::File => return fail(NOT_A_STRING),
        };
        let text = python::strip(&text);
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
}

/// A whole number that may be null or left out.
#[derive(Clone, Copy, Debug)]
pub struct IntegerField {
    /// The smallest it may be.
    pub min_value: u32,
    /// The largest it may be.
    pub max_value: u32,
}

impl IntegerField {
    /// The number, or what is wrong with it.
    pub fn validate(&self, input: Input<'_>) -> Result<Option<u32>, Vec<String>> {
        let text: Cow<'_, str> = match input {
            Input::Missing | Input::Null | Input::FormText("") => return Ok(None),
            Input::Text(text, _) => text,
            Input::FormText(text) => text.into(),
            Input::Number(literal) => python::number_text(literal).into(),
            Input::Other | Input::File => return fail(NOT_AN_INTEGER),
        };
        if text.len() > INTEGER_CHARS_MAX && text.chars().count() > INTEGER_CHARS_MAX {
            return fail(STRING_TOO_LARGE);
        }
        let Some(number) = python::int(without_decimal_zeros(&text)) else {
            return fail(NOT_AN_INTEGER);
        };
        if number > self.max_value.into() {
            return fail(&format!(
                "Ensure this value is less than or equal to {}.",
                self.max_value
            ));
        }
        match u32::try_from(number) {
            Ok(number) if number >= self.min_value => Ok(Some(number)),
            _ => fail(&format!(
                "Ensure this value is greater than or equal to {}.",
                self.min_value
            )),
        }
    }
}

/// Cuts off a point that nothing but zeros and blanks follow.
fn without_decimal_zeros(text: &str) -> &str {
    let cut = text.trim_end_matches(python::is_space).trim_end_matches('0');
    cut.strip_suffix('.').unwrap_or(text)
}

fn fail<T>(message: &str) -> Result<T, Vec<String>> {
    Err(vec![message.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: CharField = CharField { chars_max: 100 };
    const TTL: IntegerField = IntegerField {
        min_value: 1,
        max_value: 2_147_483_647,
    };

    fn text(text: &str) -> Input<'_> {
        Input::Text(text.into(), None)
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
            (Input::Other, Err(vec![NOT_A_STRING])),
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
    fn integer_field_follows_the_framework() {
        let digits_1000 = "1".repeat(1000);
        let digits_1001 = "1".repeat(1001);
        let (low, high) = (
            "Ensure this value is greater than or equal to 1.",
            "Ensure this value is less than or equal to 2147483647.",
        );
        for (input, expected) in [
            (Input::Missing, Ok(None)),
            (Input::Null, Ok(None)),
            (Input::FormText(""), Ok(None)),
            (text(""), Err(NOT_AN_INTEGER)),
            (Input::Other, Err(NOT_AN_INTEGER)),
            (Input::Number("60.0"), Ok(Some(60))),
            (Input::Number("100E-2"), Ok(Some(1))),
            (Input::Number("60.5"), Err(NOT_AN_INTEGER)),
            (Input::Number("1.0000000000000001"), Ok(Some(1))),
            (Input::Number("1e15"), Err(high)),
            (Input::Number("1e16"), Err(NOT_AN_INTEGER)),
            (Input::Number("-0.0"), Err(low)),
            (text("60.00"), Ok(Some(60))),
            (text("1."), Ok(Some(1))),
            (text("1.0 "), Ok(Some(1))),
            (text("10"), Ok(Some(10))),
            (text("100 "), Ok(Some(100))),
            (text(".0"), Err(NOT_AN_INTEGER)),
            (text("1.0.0"), Err(NOT_AN_INTEGER)),
            (text("2147483648"), Err(high)),
            (text("-5"), Err(low)),
            (text(&digits_1000), Err(high)),
            (text(&digits_1001), Err(STRING_TOO_LARGE)),
        ] {
            let shown = format!("{input:?}");
            let expected = expected.map_err(|message| vec![message.to_owned()]);
            assert_eq!(TTL.validate(input), expected, "{shown}");
        }
    }
}
