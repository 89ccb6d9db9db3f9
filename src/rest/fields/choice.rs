//! One of some words: the framework's `ChoiceField`.

use std::borrow::Cow;

use crate::rest::fields::{Input, NOT_A_STRING, NULL, fail};
use crate::rest::python;

/// A word, each of which stands for a value, or left out.
#[derive(Clone, Copy, Debug)]
pub struct ChoiceField<T: 'static> {
    /// The words and their values.
    pub choices: &'static [(&'static str, T)],
}

impl<T: Copy> ChoiceField<T> {
    /// `None` if it is left out, or empty in a form or a query: `required=False`.
    pub fn validate(&self, input: Input<'_>) -> Result<Option<T>, Vec<String>> {
        let word: Cow<'_, str> = match input {
            Input::Missing | Input::FormText("") => return Ok(None),
            Input::Null => return fail(NULL),
            Input::Text(text, _) => text,
            Input::FormText(text) => text.into(),
            Input::Number(literal) => python::number_text(literal).into(),
            Input::Bool(_) | Input::List(_) | Input::Object | Input::File => return fail(NOT_A_STRING),
        };
        match self.choices.iter().find(|(choice, _)| *choice == word) {
            Some((_, value)) => Ok(Some(*value)),
            None => fail(&format!("\"{word}\" is not a valid choice.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choice_field_follows_the_framework() {
        const ORDERING: ChoiceField<u8> = ChoiceField {
            choices: &[("name", 1), ("-name", 2)],
        };
        for (input, expected) in [
            (Input::Missing, Ok(None)),
            (Input::FormText(""), Ok(None)),
            (Input::FormText("name"), Ok(Some(1))),
            (Input::FormText("-name"), Ok(Some(2))),
            (Input::FormText("Name"), Err("\"Name\" is not a valid choice.")),
            (
                Input::FormText("name,-name"),
                Err("\"name,-name\" is not a valid choice."),
            ),
            (Input::Text("".into(), None), Err("\"\" is not a valid choice.")),
            (Input::Number("5"), Err("\"5\" is not a valid choice.")),
            (Input::Object, Err(NOT_A_STRING)),
            (Input::Null, Err(NULL)),
        ] {
            let shown = format!("{input:?}");
            let expected = expected.map_err(|message: &str| vec![message.to_owned()]);
            assert_eq!(ORDERING.validate(input), expected, "{shown}");
        }
    }
}
