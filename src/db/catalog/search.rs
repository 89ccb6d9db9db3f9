//! What is searched for.

use crate::limits::{SEARCH_CHARS_MAX, SEARCH_WORDS_MAX};

/// Words, all of which have to be somewhere in the name or the label, as with
/// Django REST framework's `SearchFilter`: blanks separate them. Letters beyond
/// ASCII are found as they are written, as Django has it on SQLite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search(Vec<String>);

impl Search {
    /// `None` if it has more than SEARCH_CHARS_MAX characters or
    /// SEARCH_WORDS_MAX words. Without words everything is found.
    pub fn new(text: &str) -> Option<Self> {
        if text.chars().count() > SEARCH_CHARS_MAX {
            return None;
        }
        // Nothing that is stored has a NUL; Django REST framework leaves it out too.
        let text = text.replace('\0', "");
        let words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        (words.len() <= SEARCH_WORDS_MAX).then_some(Self(words))
    }

    /// A pattern for each word, in lower case, for LIKE with a backslash before
    /// what is meant as it is.
    pub(super) fn patterns(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|word| {
            let mut pattern = String::with_capacity(word.len() + 2);
            pattern.push('%');
            for character in word.chars() {
                if matches!(character, '%' | '_' | '\\') {
                    pattern.push('\\');
                }
                pattern.push(character.to_ascii_lowercase());
            }
            pattern.push('%');
            pattern
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_pattern_without_meaning() {
        let search = Search::new(" A_b  100%\t\\\0É ").expect("short");

        let patterns: Vec<_> = search.patterns().collect();

        assert_eq!(patterns, ["%a\\_b%", "%100\\%%", "%\\\\É%"]);
    }

    #[test]
    fn a_search_is_bounded() {
        assert!(Search::new(&"x".repeat(SEARCH_CHARS_MAX)).is_some());
        assert!(Search::new(&"x".repeat(SEARCH_CHARS_MAX + 1)).is_none());
        assert!(Search::new(&"x ".repeat(SEARCH_WORDS_MAX)).is_some());
        assert!(Search::new(&"x ".repeat(SEARCH_WORDS_MAX + 1)).is_none());
    }
}
