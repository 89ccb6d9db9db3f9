//! Fields of a serializer: Django REST framework's classes of the same names,
//! with its messages.
//!
//! Query parameters are read by the same fields: the framework takes a query
//! string for a form.

mod boolean;
mod char;
mod choice;
mod integer;
mod list;

use std::borrow::Cow;

pub use boolean::BooleanField;
pub use char::CharField;
pub use choice::ChoiceField;
pub use integer::IntegerField;
pub use list::{Items, ListField};

use crate::rest::python;

const REQUIRED: &str = "This field is required.";
const NULL: &str = "This field may not be null.";
const BLANK: &str = "This field may not be blank.";
const NOT_A_STRING: &str = "Not a valid string.";

/// What a request says of one field.
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
    /// JSON's `true` or `false`.
    Bool(bool),
    /// A list, from JSON or from a form.
    List(Items<'d>),
    /// A JSON object.
    Object,
    /// Text from a form or a query, where an empty one may mean nothing.
    FormText(&'d str),
    /// A file from a form.
    File,
}

impl Input<'_> {
    /// What Python calls its type.
    fn python_type(&self) -> &'static str {
        match self {
            Self::Missing | Self::Null => "NoneType",
            Self::Text(..) | Self::FormText(_) => "str",
            Self::Number(literal) if literal.contains(['.', 'e', 'E']) => "float",
            Self::Number(_) => "int",
            Self::Bool(_) => "bool",
            Self::List(_) => "list",
            Self::Object => "dict",
            Self::File => "InMemoryUploadedFile",
        }
    }

    /// Whether it is text of nothing but white space.
    fn is_blank(&self) -> bool {
        match self {
            Self::Text(text, _) => python::strip(text).is_empty(),
            Self::FormText(text) => python::strip(text).is_empty(),
            _ => false,
        }
    }
}

fn fail<T>(message: &str) -> Result<T, Vec<String>> {
    Err(vec![message.to_owned()])
}
