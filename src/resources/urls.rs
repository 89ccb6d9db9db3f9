//! Which paths are resources.
//!
//! As Django does it: the path is percent-decoded once and then matched; bytes
//! that are no text come back as percent codes. With and without the final
//! slash is the same resource: a redirect would turn PUT into GET in many
//! clients, which would take the 200 for a lock.

use std::borrow::Cow;
use std::fmt::Write;

/// The prefixes; the second is what the original's URL file says.
const PREFIXES: [&str; 2] = ["/resources/", "/resource/"];

/// The name of the resource at `path`, if a resource is there. It is not
/// validated.
pub fn resource_name(path: &str) -> Option<Cow<'_, str>> {
    match decode(path) {
        Cow::Borrowed(path) => name_in(path).map(Cow::Borrowed),
        Cow::Owned(path) => name_in(&path).map(|name| Cow::Owned(name.to_owned())),
    }
}

fn name_in(path: &str) -> Option<&str> {
    let rest = PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix))?;
    let name = rest.strip_suffix('/').unwrap_or(rest);
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

fn decode(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return path.into();
    }
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    match String::from_utf8(bytes) {
        Ok(path) => path.into(),
        Err(error) => repercent_broken_unicode(error.as_bytes()).into(),
    }
}

/// Django's function of this name: what is no UTF-8 is percent-encoded again.
fn repercent_broken_unicode(bytes: &[u8]) -> String {
    let mut path = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        path.push_str(chunk.valid());
        for byte in chunk.invalid() {
            write!(path, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_path() {
        for (path, name) in [
            ("/resources/a/", Some("a")),
            ("/resources/a", Some("a")),
            ("/resource/a/", Some("a")),
            ("/resource/a", Some("a")),
            ("/%72esources/a/", Some("a")),
            ("/resources/%41/", Some("A")),
            ("/resources/%2541/", Some("%41")),
            ("/resources/a%20b/", Some("a b")),
            ("/resources/a+b/", Some("a+b")),
            ("/resources/%C3%A9/", Some("é")),
            ("/resources/%C3/", Some("%C3")),
            ("/resources/%ff%25FF/", Some("%FF%FF")),
            ("/resources/%zz/", Some("%zz")),
            ("/resources/%/", Some("%")),
            ("/resources/../", Some("..")),
            ("/resources/%00/", Some("\0")),
            ("/resources/%0A/", Some("\n")),
            ("/resources/a/b/", None),
            ("/resources/a%2Fb/", None),
            ("/resources/a//", None),
            ("/resources//", None),
            ("/resources/", None),
            ("/resources", None),
            ("//resources/a/", None),
            ("/Resources/a/", None),
            ("/", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(resource_name(path).as_deref(), name, "{path}");
        }
    }
}
