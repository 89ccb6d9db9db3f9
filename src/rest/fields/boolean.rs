//! True or false: the framework's `BooleanField`.

use crate::rest::fields::{Input, NULL, fail};
use crate::rest::python;

const NOT_A_BOOLEAN: &str = "Must be a valid boolean.";

/// The framework's `TRUE_VALUES`, compared in lower case.
const TRUE_VALUES: [&str; 6] = ["t", "y", "yes", "true", "on", "1"];

/// Its `FALSE_VALUES`.
const FALSE_VALUES: [&str; 6] = ["f", "n", "no", "false", "off", "0"];

/// True, false, or left out.
#[derive(Clone, Copy, Debug)]
pub struct BooleanField;

impl BooleanField {
    /// `None` if it is left out, or empty in a form or a query: `required=False`.
    pub fn validate(&self, input: Input<'_>) -> Result<Option<bool>, Vec<String>> {
        let word = match input {
            Input::Missing | Input::FormText("") => return Ok(None),
            Input::Null => return fail(NULL),
            Input::Bool(value) => return Ok(Some(value)),
            // To Python 1.0 is 1 and -0.0 is 0.
            Input::Number(literal) => match python::number_text(literal).as_str() {
                "1" | "1.0" => return Ok(Some(true)),
                "0" | "0.0" | "-0.0" => return Ok(Some(false)),
                _ => return fail(NOT_A_BOOLEAN),
            },
            Input::Text(text, _) => text.to_lowercase(),
            Input::FormText(text) => text.to_lowercase(),
            Input::List(_) | Input::Object | Input::File => return fail(NOT_A_BOOLEAN),
        };
        if TRUE_VALUES.contains(&word.as_str()) {
            Ok(Some(true))
        } else if FALSE_VALUES.contains(&word.as_str()) {
            Ok(Some(false))
        } else {
            fail(NOT_A_BOOLEAN)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boolean_field_follows_the_framework() {
        for (input, expected) in [
            (Input::Missing, Ok(None)),
            (Input::FormText(""), Ok(None)),
            (Input::FormText("true"), Ok(Some(true))),
            (Input::FormText("True"), Ok(Some(true))),
            (Input::FormText("YES"), Ok(Some(true))),
            (Input::FormText("1"), Ok(Some(true))),
            (Input::FormText("off"), Ok(Some(false))),
            (Input::FormText("F"), Ok(Some(false))),
            (Input::FormText(" true"), Err(NOT_A_BOOLEAN)),
            (Input::FormText("2"), Err(NOT_A_BOOLEAN)),
            (Input::FormText("null"), Err(NOT_A_BOOLEAN)),
            (Input::Text("".into(), None), Err(NOT_A_BOOLEAN)),
            (Input::Text("No".into(), None), Ok(Some(false))),
            (Input::Bool(true), Ok(Some(true))),
            (Input::Number("1.0"), Ok(Some(true))),
            (Input::Number("-0"), Ok(Some(false))),
            (Input::Number("2"), Err(NOT_A_BOOLEAN)),
            (Input::Object, Err(NOT_A_BOOLEAN)),
            (Input::Null, Err(NULL)),
        ] {
            let shown = format!("{input:?}");
            let expected = expected.map_err(|message: &str| vec![message.to_owned()]);
            assert_eq!(BooleanField.validate(input), expected, "{shown}");
        }
    }
}
