//! Bytes in hexadecimal, as hashes and keys are written.

/// Two digits a byte, in lower case. Without the formatter, because it may be
/// on the way of each request.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)]));
    bytes.iter().flat_map(digits).collect()
}
