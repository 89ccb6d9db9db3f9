//! How Python writes and reads text, blanks and numbers.
//!
//! Separate, because clients of a Django application rely on it without
//! knowing: a key sent as `1.0` is the text "1.0", and " 7 " is a number.

/// Digits of a number beyond which its exact value cannot matter: every bound
/// of ours has fewer, and an `i128` holds them.
const SIGNIFICANT_DIGITS_MAX: usize = 38;

/// The zeros of all scripts; the nine code points after each are its digits.
/// From the Unicode character database, general category Nd.
#[rustfmt::skip]
const ZEROS: &[u32] = &[
    0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0,
    0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620,
    0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x11066, 0x110F0, 0x11136, 0x111D0,
    0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x11730, 0x118E0, 0x11950, 0x11C50, 0x11D50, 0x11DA0, 0x16A60,
    0x16AC0, 0x16B50, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E950, 0x1FBF0,
];

/// White space as `str.strip()` sees it: Unicode's, and the four information
/// separators.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str.strip()`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str(number)` of a number as JSON writes it.
pub fn number_text(literal: &str) -> String {
    if literal.contains(['.', 'e', 'E']) {
        // Every JSON number is one that Rust reads; too large ones are infinite.
        float_repr(literal.parse().unwrap_or(f64::NAN))
    } else if literal == "-0" {
        "0".to_owned()
    } else {
        literal.to_owned()
    }
}

/// `repr(float)`: the shortest digits that read back the same, with an
/// exponent below 1e-4 and from 1e16 on.
fn float_repr(value: f64) -> String {
    if !value.is_finite() {
        return match value {
            value if value.is_nan() => "nan",
            value if value > 0.0 => "inf",
            _ => "-inf",
        }
        .to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    match exponent {
        -4..16 if value.fract() == 0.0 => format!("{value:.1}"),
        -4..16 => value.to_string(),
        16.. => format!("{digits}e+{exponent:02}"),
        _ => format!("{digits}e-{:02}", -exponent),
    }
}

/// `int(text)`, with what lies beyond 38 digits cut to the largest or smallest
/// `i128`. `None` is Python's ValueError.
pub fn int(text: &str) -> Option<i128> {
    let text = strip(text);
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let mut value: i128 = 0;
    let mut significant = 0;
    let mut after_digit = false;
    for c in digits.chars() {
        if c == '_' && after_digit {
            after_digit = false;
            continue;
        }
        let digit = digit(c)?;
        after_digit = true;
        significant += usize::from(significant > 0 || digit > 0);
        if significant <= SIGNIFICANT_DIGITS_MAX {
            value = value * 10 + digit;
        }
    }
    if !after_digit {
        return None;
    }
    let value = if significant > SIGNIFICANT_DIGITS_MAX {
        i128::MAX
    } else {
        value
    };
    Some(if negative { -value } else { value })
}

fn digit(c: char) -> Option<i128> {
    let after = ZEROS.partition_point(|zero| *zero <= u32::from(c));
    let value = u32::from(c) - ZEROS.get(after.checked_sub(1)?)?;
    (value < 10).then_some(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_python_prints_them() {
        for (literal, text) in [
            ("5", "5"),
            ("-5", "-5"),
            ("-0", "0"),
            ("1.5", "1.5"),
            ("1.0", "1.0"),
            ("1e3", "1000.0"),
            ("1e15", "1000000000000000.0"),
            ("1e16", "1e+16"),
            ("1e22", "1e+22"),
            ("1.25e30", "1.25e+30"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("0.0000001", "1e-07"),
            ("1.5e-300", "1.5e-300"),
            ("-0.0", "-0.0"),
            ("0.0", "0.0"),
            ("0.1", "0.1"),
            ("123456.789", "123456.789"),
            ("1e400", "inf"),
            ("-1e400", "-inf"),
            ("12345678901234567890123", "12345678901234567890123"),
        ] {
            assert_eq!(number_text(literal), text, "{literal}");
        }
    }

    #[test]
    fn text_reads_as_python_reads_it() {
        let digits = "1".repeat(1000);
        let negative = format!("-{digits}");
        for (text, value) in [
            ("60", Some(60)),
            (" 7 ", Some(7)),
            ("\n5\t", Some(5)),
            ("+5", Some(5)),
            ("-5", Some(-5)),
            ("007", Some(7)),
            ("1_000", Some(1000)),
            ("\u{663}", Some(3)),
            ("\u{ff15}", Some(5)),
            ("\u{a0}5\u{1f}", Some(5)),
            ("999999999999999999", Some(999_999_999_999_999_999)),
            ("9223372036854775808", Some(9_223_372_036_854_775_808)),
            (&digits[..38], Some(11_111_111_111_111_111_111_111_111_111_111_111_111)),
            (&digits[..39], Some(i128::MAX)),
            (&digits, Some(i128::MAX)),
            (&negative, Some(-i128::MAX)),
            ("", None),
            (" ", None),
            ("-", None),
            ("--1", None),
            ("1__0", None),
            ("_1", None),
            ("1_", None),
            ("1 0", None),
            ("0x10", None),
            ("1e3", None),
            ("\u{200b}5", None),
            ("½", None),
        ] {
            assert_eq!(int(text), value, "{text:?}");
        }
    }
}
