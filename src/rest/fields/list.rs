//! Lists of names: the framework's `ListField`.

use std::collections::HashSet;

use crate::rest::exceptions::Problems;
use crate::rest::fields::{CharField, Input, NULL, REQUIRED};
use crate::rest::parsers::json_items;

const EMPTY: &str = "This list may not be empty.";

/// The items of a list, unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Items<'d> {
    /// A well-formed JSON array.
    Json(&'d str),
    /// The values of a name that a form may have several times; `None` for a
    /// file.
    Form(Vec<Option<&'d str>>),
}

impl<'d> Items<'d> {
    /// What it says of each item, or `None` if there are more than `items_max`.
    fn inputs(self, items_max: usize) -> Option<Vec<Input<'d>>> {
        match self {
            Self::Json(list) => json_items(list, items_max),
            Self::Form(values) if values.len() > items_max => None,
            Self::Form(values) => {
                let inputs = values
                    .into_iter()
                    .map(|value| value.map_or(Input::File, Input::FormText));
                Some(inputs.collect())
            }
        }
    }
}

/// A list of different names that is required and not empty. They are taken as
/// they are, because a path is never trimmed.
#[derive(Clone, Copy, Debug)]
pub struct ListField {
    /// What each item must be.
    pub child: CharField,
    /// The most items.
    pub elements_max: usize,
}

impl ListField {
    /// As `validate`, for a list that may be left out, null or empty, each of
    /// which is an empty one: `required=False, allow_null=True, allow_empty=True`.
    pub fn validate_optional(&self, input: Input<'_>) -> Result<Vec<String>, Problems> {
        match input {
            Input::Missing | Input::Null => Ok(Vec::new()),
            input => match self.validate(input) {
                Err(Problems::Messages(messages)) if messages == [EMPTY] => Ok(Vec::new()),
                validated => validated,
            },
        }
    }

    /// The items in their order, or what is wrong with the list or, by their
    /// places, with its items.
    ///
    /// The framework reads the items of a list that is too long, and tells its
    /// length only if they are valid. Here the length comes first, so that an
    /// answer is never many times as long as the request.
    pub fn validate(&self, input: Input<'_>) -> Result<Vec<String>, Problems> {
        let items = match input {
            Input::Missing => return refuse(REQUIRED),
            Input::Null => return refuse(NULL),
            Input::List(items) => items,
            other => {
                let found = other.python_type();
                return refuse(&format!("Expected a list of items but got type \"{found}\"."));
            }
        };
        let Some(inputs) = items.inputs(self.elements_max) else {
            return refuse(&format!(
                "Ensure this field has no more than {} elements.",
                self.elements_max
            ));
        };
        if inputs.is_empty() {
            return refuse(EMPTY);
        }
        let mut valid = Vec::with_capacity(inputs.len());
        let mut invalid = Vec::new();
        for (at, input) in inputs.into_iter().enumerate() {
            match self.child.validate_exact(input) {
                Ok(item) => valid.push(item),
                Err(messages) => invalid.push((at, messages)),
            }
        }
        if !invalid.is_empty() {
            return Err(Problems::Items(invalid));
        }
        let mut seen = HashSet::with_capacity(valid.len());
        match valid.iter().find(|item| !seen.insert(item.as_str())) {
            Some(twice) => refuse(&format!("This list has the same name twice: '{twice}'.")),
            None => Ok(valid),
        }
    }
}

fn refuse<T>(message: &str) -> Result<T, Problems> {
    Err(vec![message.to_owned()].into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: ListField = ListField {
        child: CharField { chars_max: 100 },
        elements_max: 3,
    };

    fn problems(input: Input<'_>) -> String {
        let problems = NAMES.validate(input).expect_err("it is invalid");
        serde_json::to_string(&problems).expect("it can be written")
    }

    #[test]
    fn list_field_follows_the_framework() {
        for (input, expected) in [
            (Input::Missing, r#"["This field is required."]"#),
            (Input::Null, r#"["This field may not be null."]"#),
            (
                Input::Text("a".into(), None),
                r#"["Expected a list of items but got type \"str\"."]"#,
            ),
            (
                Input::Number("1"),
                r#"["Expected a list of items but got type \"int\"."]"#,
            ),
            (
                Input::Number("1e0"),
                r#"["Expected a list of items but got type \"float\"."]"#,
            ),
            (
                Input::Bool(true),
                r#"["Expected a list of items but got type \"bool\"."]"#,
            ),
            (Input::Object, r#"["Expected a list of items but got type \"dict\"."]"#),
        ] {
            let shown = format!("{input:?}");
            assert_eq!(problems(input), expected, "{shown}");
        }
        for (list, expected) in [
            ("[]", r#"["This list may not be empty."]"#),
            (" [ ] ", r#"["This list may not be empty."]"#),
            (
                r#"["a","b","c",""]"#,
                r#"["Ensure this field has no more than 3 elements."]"#,
            ),
            (
                r#"["a", "", null]"#,
                r#"{"1":["This field may not be blank."],"2":["This field may not be null."]}"#,
            ),
            (r#"[["a"], "b"]"#, r#"{"0":["Not a valid string."]}"#),
            (
                r#"["a\ud800"]"#,
                r#"{"0":["Surrogate characters are not allowed: U+D800."]}"#,
            ),
            (r#"["a", "b", "a"]"#, r#"["This list has the same name twice: 'a'."]"#),
        ] {
            assert_eq!(problems(Input::List(Items::Json(list))), expected, "{list}");
        }
    }

    #[test]
    fn items_are_taken_exactly_and_in_order() {
        let json = Items::Json(r#" [ "b", " a ", 1.0 ] "#);
        let form = Items::Form(vec![Some("b"), Some(" a ")]);

        assert_eq!(NAMES.validate(Input::List(json)).expect("valid"), ["b", " a ", "1.0"]);
        assert_eq!(NAMES.validate(Input::List(form)).expect("valid"), ["b", " a "]);
    }

    #[test]
    fn a_form_is_bounded_like_json() {
        let four = Items::Form(vec![Some("a"), Some("b"), Some("c"), Some("d")]);
        let file = Items::Form(vec![None, Some("")]);

        assert_eq!(
            problems(Input::List(four)),
            r#"["Ensure this field has no more than 3 elements."]"#
        );
        assert_eq!(
            problems(Input::List(file)),
            r#"{"0":["Not a valid string."],"1":["This field may not be blank."]}"#
        );
    }
}
