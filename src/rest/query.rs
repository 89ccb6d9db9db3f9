//! The query string: Django's `QueryDict`, and the links that Django REST
//! framework makes of it.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::rest::fields::Input;

/// What Python's `urllib.parse.quote_plus` encodes; the blank becomes a plus.
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~');

/// The parameters of a query in their order. `+` is a blank, what is no UTF-8
/// becomes U+FFFD, and a name without `=` has an empty value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query<'q>(Vec<(Cow<'q, str>, Cow<'q, str>)>);

impl<'q> Query<'q> {
    /// Reads what follows the question mark.
    pub fn parse(query: &'q str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).collect())
    }

    /// The value of a parameter; the last of equal names wins.
    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_ref())
    }

    /// The same for a field, which is told what a form would say.
    pub fn get(&self, name: &str) -> Input<'_> {
        self.value(name).map_or(Input::Missing, Input::FormText)
    }

    /// All parameters in their order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// `url` with these parameters, of which `name` has `value` only: the
    /// framework's `replace_query_param`. They are sorted by name, equal names
    /// in their order, and encoded again.
    pub fn replace(&self, url: &str, name: &str, value: &str) -> String {
        let others = self.pairs().filter(|(key, _)| *key != name);
        link(url, others.chain([(name, value)]).collect())
    }

    /// `url` with these parameters but `name`: its `remove_query_param`.
    pub fn remove(&self, url: &str, name: &str) -> String {
        link(url, self.pairs().filter(|(key, _)| *key != name).collect())
    }
}

fn link(url: &str, mut parameters: Vec<(&str, &str)>) -> String {
    // Stable, so that the values of one name keep their order.
    parameters.sort_by_key(|(name, _)| *name);
    let mut link = url.to_owned();
    for (at, (name, value)) in parameters.into_iter().enumerate() {
        link.push(if at == 0 { '?' } else { '&' });
        quote_plus(name, &mut link);
        link.push('=');
        quote_plus(value, &mut link);
    }
    link
}

/// Python's function of this name.
fn quote_plus(text: &str, to: &mut String) {
    for piece in utf8_percent_encode(text, QUOTED) {
        to.push_str(if piece == "%20" { "+" } else { piece });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_names_wins() {
        let query = Query::parse("a=1&b=x+y%20z&a=2&c&=d&&%C3%A9=%ff;e");

        assert_eq!(query.get("a"), Input::FormText("2"));
        assert_eq!(query.get("b"), Input::FormText("x y z"));
        assert_eq!(query.get("c"), Input::FormText(""));
        assert_eq!(query.get(""), Input::FormText("d"));
        assert_eq!(query.get("é"), Input::FormText("\u{fffd};e"));
        assert_eq!(query.get("e"), Input::Missing);
        assert_eq!(query.pairs().count(), 6);
    }

    #[test]
    fn links_are_sorted_and_encoded_again() {
        for (query, replaced, removed) in [
            ("", "/?page=3", "/"),
            ("page=2", "/?page=3", "/"),
            ("page=2&page=7", "/?page=3", "/"),
            (
                "foo=a%20b&page=2&bar=%C3%A9",
                "/?bar=%C3%A9&foo=a+b&page=3",
                "/?bar=%C3%A9&foo=a+b",
            ),
            ("q&a=", "/?a=&page=3&q=", "/?a=&q="),
            ("b=2&a=2&b=1&a=1", "/?a=2&a=1&b=2&b=1&page=3", "/?a=2&a=1&b=2&b=1"),
            (
                "z=~*-._/%26%3D%2B+%25",
                "/?page=3&z=~%2A-._%2F%26%3D%2B+%25",
                "/?z=~%2A-._%2F%26%3D%2B+%25",
            ),
            ("Z=1&z=%ff", "/?Z=1&page=3&z=%EF%BF%BD", "/?Z=1&z=%EF%BF%BD"),
        ] {
            let parsed = Query::parse(query);
            assert_eq!(parsed.replace("/", "page", "3"), replaced, "{query}");
            assert_eq!(parsed.remove("/", "page"), removed, "{query}");
        }
    }
}
