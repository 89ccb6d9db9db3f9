//! Names that begin alike, as a range of the index on names.
//!
//! Separate, because a range by bytes is easy to get wrong at its end. Both
//! databases compare names by the bytes of their UTF-8, which is the order of
//! their characters' numbers.

/// The range of all names that begin with something.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NameRange {
    /// The first that may be in it.
    pub(super) from: String,
    /// The first that is not; `None` if all that follow are.
    pub(super) below: Option<String>,
}

impl NameRange {
    /// The range of the names that begin with `prefix`.
    pub(super) fn of_prefix(prefix: &str) -> Self {
        // No name has a NUL, and PostgreSQL takes none: from the empty name to below it there is nothing.
        if prefix.contains('\0') {
            return Self {
                from: String::new(),
                below: Some(String::new()),
            };
        }
        Self {
            from: prefix.to_owned(),
            below: first_beyond(prefix),
        }
    }
}

/// The first text beyond all that begin with `prefix`: it with its last
/// character moved on, or the one before where that is the last there is.
fn first_beyond(prefix: &str) -> Option<String> {
    let mut beyond = prefix.to_owned();
    while let Some(last) = beyond.pop() {
        // Steps over the surrogates, which are no characters.
        let mut following = last..=char::MAX;
        following.next();
        if let Some(next) = following.next() {
            beyond.push(next);
            return Some(beyond);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_text_beyond_a_prefix() {
        for (prefix, beyond) in [
            ("", None),
            ("a", Some("b")),
            ("az", Some("a{")),
            ("a\u{7f}", Some("a\u{80}")),
            ("\u{7ff}", Some("\u{800}")),
            ("\u{d7ff}", Some("\u{e000}")),
            ("\u{ffff}", Some("\u{10000}")),
            ("a\u{10ffff}\u{10ffff}", Some("b")),
            ("\u{10ffff}", None),
        ] {
            assert_eq!(first_beyond(prefix).as_deref(), beyond, "{prefix:?}");
            assert!(beyond.is_none_or(|beyond| beyond.as_bytes() > prefix.as_bytes()));
        }
    }

    #[test]
    fn nothing_begins_with_what_no_name_has() {
        let nothing = NameRange {
            from: String::new(),
            below: Some(String::new()),
        };

        assert_eq!(NameRange::of_prefix("a\0b"), nothing);
    }
}
