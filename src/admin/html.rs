//! Text in HTML, and frames with gaps.

/// `text` as it may stand in an element or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#x27;"),
            character => escaped.push(character),
        }
    }
    escaped
}

/// `frame` with each `{{gap}}` filled: by text that is escaped, or by HTML of our
/// own. What is filled in is not looked at again.
pub(super) fn fill(frame: &str, texts: &[(&str, &str)], htmls: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(2 * frame.len());
    let mut pieces = frame.split("{{");
    filled.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (gap, rest) = piece.split_once("}}").unwrap_or((piece, ""));
        let value_in = |values: &[(&str, &str)]| {
            let found = values.iter().find(|(name, _)| *name == gap);
            found.map(|(_, value)| (*value).to_owned())
        };
        let value = value_in(htmls).or_else(|| value_in(texts).map(|text| escape(&text)));
        debug_assert!(value.is_some(), "nothing fills {gap}");
        filled.push_str(&value.unwrap_or_default());
        filled.push_str(rest);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_filled_with_text_that_stays_text() {
        let hostile = "\"'><script>{{html}}&";
        let filled = fill(
            "<p title=\"{{text}}\">{{text}}</p>{{html}}.",
            &[("text", hostile)],
            &[("html", "<hr>")],
        );

        let escaped = "&quot;&#x27;&gt;&lt;script&gt;{{html}}&amp;";
        assert_eq!(filled, format!("<p title=\"{escaped}\">{escaped}</p><hr>."));
    }
}
