//! Which paths are what.
//!
//! As Django does it: the path is percent-decoded once and then matched; bytes
//! that are no text come back as percent codes. With and without the final
//! slash is the same resource: a redirect would turn PUT into GET in many
//! clients, which would take the 200 for a lock.
//!
//! A name with a slash cannot be told from an action that way, and is 404 as in
//! the original. Below `/locks/` and `/terraform/`, which the original does not
//! have, the path is split first and decoded then: `/locks/deploy%2Fprod/` is
//! that resource.

use std::borrow::Cow;
use std::fmt::Write;

/// What is at a path. Names are not validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'p> {
    /// `/resources/`
    Resources,
    /// `/resources/{name}/`
    Resource(Cow<'p, str>),
    /// `/resources/{name}/{action}/`
    Action(Cow<'p, str>, Action),
    /// `/locks/`
    Locks,
    /// `/terraform/{name}/`
    Terraform(Cow<'p, str>),
    /// `/events/`
    Events,
    /// `/events/stream/`
    EventStream,
    /// `/schema/`
    Schema,
    /// `/metrics/`
    Metrics,
    /// `/healthz/`
    Health,
    /// `/readyz/`
    Ready,
    /// `/tokens/`
    Tokens,
    /// `/tokens/{id}/`
    Token(Cow<'p, str>),
    /// `/resources/{name}/waiters/`
    Waiters(Cow<'p, str>),
}

/// What can be done to a resource by POST, or be seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// What PUT does.
    Acquire,
    /// What DELETE does.
    Release,
    /// What PATCH does.
    Renew,
    /// Ask whether a grant still holds.
    Check,
    /// Free it without its key.
    Break,
    /// See what happened to it.
    History,
}

/// The prefix, and how the original's URL file spells it.
const PREFIXES: [&str; 2] = ["/resources/", "/resource/"];

/// Where a path is split before it is decoded.
const SPLIT_FIRST: &str = "/locks/";

/// The same, of a name that is no resource's.
const TERRAFORM: &str = "/terraform/";

/// The same, of the number of a token.
const TOKENS: &str = "/tokens/";

/// Who stands in line for a resource.
const WAITERS: &str = "waiters";

const ACTIONS: [(&str, Action); 6] = [
    ("acquire", Action::Acquire),
    ("release", Action::Release),
    ("renew", Action::Renew),
    ("check", Action::Check),
    ("break", Action::Break),
    ("history", Action::History),
];

/// What is at `path`, if anything.
pub fn route(path: &str) -> Option<Route<'_>> {
    if let Some(rest) = path.strip_prefix(SPLIT_FIRST).filter(|rest| !rest.is_empty()) {
        let (name, action) = name_and_action(rest)?;
        return route_to(decode(name), action);
    }
    if let Some(rest) = path.strip_prefix(TERRAFORM) {
        return match name_and_action(rest)? {
            (name, None) => Some(Route::Terraform(decode(name))),
            _ => None,
        };
    }
    match decode(path) {
        Cow::Borrowed(path) => route_of(path, Cow::Borrowed),
        Cow::Owned(path) => route_of(&path, |name| Cow::Owned(name.to_owned())),
    }
}

fn route_of<'p, 'r>(path: &'p str, keep: impl Fn(&'p str) -> Cow<'r, str>) -> Option<Route<'r>> {
    match path {
        "/resources/" | "/resources" => return Some(Route::Resources),
        "/locks/" | "/locks" => return Some(Route::Locks),
        "/events/" | "/events" => return Some(Route::Events),
        "/events/stream/" | "/events/stream" => return Some(Route::EventStream),
        "/schema/" | "/schema" => return Some(Route::Schema),
        "/metrics/" | "/metrics" => return Some(Route::Metrics),
        "/healthz/" | "/healthz" => return Some(Route::Health),
        "/readyz/" | "/readyz" => return Some(Route::Ready),
        "/tokens/" | "/tokens" => return Some(Route::Tokens),
        _ => {}
    }
    if let Some(rest) = path.strip_prefix(TOKENS) {
        return match name_and_action(rest)? {
            (id, None) => Some(Route::Token(keep(id))),
            _ => None,
        };
    }
    let rest = PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix))?;
    let (name, action) = name_and_action(rest)?;
    route_to(keep(name), action)
}

/// What stands before and behind the slash; the last one does not count.
fn name_and_action(rest: &str) -> Option<(&str, Option<&str>)> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (name, action) = match rest.split_once('/') {
        None => (rest, None),
        Some((name, action)) => (name, Some(action)),
    };
    (!name.is_empty()).then_some((name, action))
}

fn route_to<'r>(name: Cow<'r, str>, action: Option<&str>) -> Option<Route<'r>> {
    match action {
        None => Some(Route::Resource(name)),
        Some(WAITERS) => Some(Route::Waiters(name)),
        Some(action) => {
            let (_, action) = ACTIONS.iter().find(|(word, _)| *word == action)?;
            Some(Route::Action(name, *action))
        }
    }
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
            ("/resources/acquire/", Some("acquire")),
            ("/resources/a/b/", None),
            ("/resources/a%2Fb/", None),
            ("/resources/a//", None),
            ("/resources//", None),
            ("/resources//acquire/", None),
            ("/resource/", None),
            ("/resource", None),
            ("/locks/a/", Some("a")),
            ("/locks/a", Some("a")),
            ("/locks/deploy%2Fprod/", Some("deploy/prod")),
            ("/locks/%2f/", Some("/")),
            ("/locks/%252F/", Some("%2F")),
            ("/locks/%C3/", Some("%C3")),
            ("/locks/check/", Some("check")),
            ("/locks/a/b/", None),
            ("/locks/a//", None),
            ("/locks//", None),
            ("/%6cocks/a/", None),
            ("//resources/a/", None),
            ("/Resources/a/", None),
            ("/", None),
            ("*", None),
            ("", None),
        ] {
            let expected = name.map(|name| Route::Resource(name.into()));
            assert_eq!(route(path), expected, "{path}");
        }
    }

    #[test]
    fn every_other_route() {
        let action = |name: &'static str, action| Some(Route::Action(name.into(), action));
        for (path, expected) in [
            ("/resources/", Some(Route::Resources)),
            ("/resources", Some(Route::Resources)),
            ("/locks/", Some(Route::Locks)),
            ("/locks", Some(Route::Locks)),
            ("/schema/", Some(Route::Schema)),
            ("/schema", Some(Route::Schema)),
            ("/metrics/", Some(Route::Metrics)),
            ("/metrics", Some(Route::Metrics)),
            ("/healthz/", Some(Route::Health)),
            ("/healthz", Some(Route::Health)),
            ("/readyz/", Some(Route::Ready)),
            ("/readyz", Some(Route::Ready)),
            ("/healthz/a/", None),
            ("/resources/a/acquire/", action("a", Action::Acquire)),
            ("/resources/a/release", action("a", Action::Release)),
            ("/resource/a/renew/", action("a", Action::Renew)),
            ("/resources/%61/check/", action("a", Action::Check)),
            ("/resources/a/break/", action("a", Action::Break)),
            ("/locks/a%2Fb/renew/", action("a/b", Action::Renew)),
            ("/locks/a%2Fcheck/check", action("a/check", Action::Check)),
            ("/locks/a/b/check/", None),
            ("/terraform/a/", Some(Route::Terraform("a".into()))),
            ("/terraform/a", Some(Route::Terraform("a".into()))),
            ("/terraform/a%2Fb%20c/", Some(Route::Terraform("a/b c".into()))),
            ("/terraform/check/", Some(Route::Terraform("check".into()))),
            ("/terraform/a/b/", None),
            ("/terraform//", None),
            ("/terraform/", None),
            ("/terraform", None),
            ("/resources/a/Check/", None),
            ("/resources/a/check/b/", None),
            ("/resources/a/check//", None),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }
}
