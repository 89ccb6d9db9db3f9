//! Whole numbers: the framework's `IntegerField`.

use std::borrow::Cow;
use std::fmt::Display;

use crate::limits::INTEGER_CHARS_MAX;
use crate::rest::fields::{Input, NULL, REQUIRED, fail};
use crate::rest::python;

const NOT_AN_INTEGER: &str = "A valid integer is required.";
const STRING_TOO_LARGE: &str = "String value too large.";

/// A whole number of a type whose values an `i128` holds.
#[derive(Clone, Copy, Debug)]
pub struct IntegerField<T = u32> {
    /// The smallest it may be.
    pub min_value: T,
    /// The largest it may be.
    pub max_value: T,
}

impl<T> IntegerField<T>
where
    T: Copy + Display + Into<i128> + TryFrom<i128>,
{
    /// The number of a field that may be null or left out, each of which is
    /// `None`; or what is wrong with it. An empty text from a form is null.
    pub fn validate(&self, input: Input<'_>) -> Result<Option<T>, Vec<String>> {
        match input {
            Input::Missing | Input::Null | Input::FormText("") => Ok(None),
            input => self.validate_required(input).map(Some),
        }
    }

    /// The number of a field that is required and may not be null.
    pub fn validate_required(&self, input: Input<'_>) -> Result<T, Vec<String>> {
        let text: Cow<'_, str> = match input {
            Input::Missing => return fail(REQUIRED),
            Input::Null => return fail(NULL),
            Input::Text(text, _) => text,
            Input::FormText(text) => text.into(),
            Input::Number(literal) => python::number_text(literal).into(),
            Input::Bool(_) | Input::List(_) | Input::Object | Input::File => return fail(NOT_AN_INTEGER),
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
        match T::try_from(number) {
            Ok(valid) if number >= self.min_value.into() => Ok(valid),
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

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: IntegerField = IntegerField {
        min_value: 1,
        max_value: 2_147_483_647,
    };
    const TOKEN: IntegerField<i64> = IntegerField {
        min_value: 0,
        max_value: i64::MAX,
    };

    fn text(text: &str) -> Input<'_> {
        Input::Text(text.into(), None)
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
            (Input::Bool(true), Err(NOT_AN_INTEGER)),
            (Input::Object, Err(NOT_AN_INTEGER)),
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

    #[test]
    fn a_required_integer_of_64_bits_is_exact_up_to_its_bounds() {
        let (low, high) = (
            "Ensure this value is greater than or equal to 0.",
            "Ensure this value is less than or equal to 9223372036854775807.",
        );
        for (input, expected) in [
            (Input::Missing, Err(REQUIRED)),
            (Input::Null, Err(NULL)),
            (Input::FormText(""), Err(NOT_AN_INTEGER)),
            (Input::Number("0"), Ok(0)),
            (Input::Number("-1"), Err(low)),
            (Input::Number("9007199254740993"), Ok(9_007_199_254_740_993)),
            (Input::Number("9223372036854775807"), Ok(i64::MAX)),
            (Input::Number("9223372036854775808"), Err(high)),
            (Input::FormText("9223372036854775807"), Ok(i64::MAX)),
            (text("-9223372036854775809"), Err(low)),
            (Input::Bool(true), Err(NOT_AN_INTEGER)),
        ] {
            let shown = format!("{input:?}");
            let expected = expected.map_err(|message| vec![message.to_owned()]);
            assert_eq!(TOKEN.validate_required(input), expected, "{shown}");
        }
    }
}
