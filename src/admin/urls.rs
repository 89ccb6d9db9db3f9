//! Which paths below `/admin/` are what. As below `/locks/`, a path is split
//! first and decoded then, so that names with a slash have a page too.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The first page.
pub(super) const HOME: &str = "/admin/";

/// The form, and where it is sent.
pub(super) const SIGN_IN: &str = "/admin/login/";

/// As JavaScript's `encodeURIComponent` does, but for what is never in a path.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'p> {
    /// A page that a script fills.
    Frame(Frame<'p>),
    /// `/admin/login/`
    SignIn,
    /// `/admin/figures/`
    Figures,
    /// `/admin/logout/`
    SignOut,
    /// `/admin/static/{name}`
    File(Cow<'p, str>),
}

/// A page that a script fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'p> {
    /// `/admin/`
    Locks,
    /// `/admin/resources/{name}/`
    Resource(Cow<'p, str>),
    /// `/admin/tokens/`
    Tokens,
    /// `/admin/server/`
    Server,
}

/// What is at `path`, if anything.
pub fn route(path: &str) -> Option<Route<'_>> {
    let rest = match path.strip_prefix("/admin")? {
        "" => "",
        rest => rest.strip_prefix('/')?,
    };
    if let Some(name) = rest.strip_prefix("static/") {
        return Some(Route::File(name.into()));
    }
    if rest.is_empty() {
        return Some(Route::Frame(Frame::Locks));
    }
    match rest.strip_suffix('/').unwrap_or(rest) {
        "tokens" => Some(Route::Frame(Frame::Tokens)),
        "server" => Some(Route::Frame(Frame::Server)),
        "figures" => Some(Route::Figures),
        "login" => Some(Route::SignIn),
        "logout" => Some(Route::SignOut),
        rest => {
            let name = rest.strip_prefix("resources/")?;
            let is_one = !name.is_empty() && !name.contains('/');
            let name = percent_decode_str(name).decode_utf8_lossy();
            is_one.then_some(Route::Frame(Frame::Resource(name)))
        }
    }
}

/// The page of a resource.
pub(super) fn of_resource(name: &str) -> String {
    format!("/admin/resources/{}/", utf8_percent_encode(name, COMPONENT))
}

/// The form, which leads to `path` afterwards.
pub(super) fn sign_in_and_return_to(path: &str) -> String {
    format!("{SIGN_IN}?next={}", utf8_percent_encode(path, COMPONENT))
}

/// Where to go after signing in: `next` if that is a page of ours, and so can
/// neither be a script nor lead to another site.
pub(super) fn page_after_sign_in(next: Option<&str>) -> &str {
    let next = next.unwrap_or(HOME);
    let is_plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let path = next.split(['?', '#']).next().unwrap_or_default();
    match route(path) {
        Some(Route::Frame(_)) if is_plain => next,
        _ if is_plain && (path == "/resources/" || path.starts_with("/resources/")) => next,
        _ => HOME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_path() {
        let resource = |name: &'static str| Some(Route::Frame(Frame::Resource(name.into())));
        for (path, expected) in [
            ("/admin/", Some(Route::Frame(Frame::Locks))),
            ("/admin", Some(Route::Frame(Frame::Locks))),
            ("/admin/tokens/", Some(Route::Frame(Frame::Tokens))),
            ("/admin/server/", Some(Route::Frame(Frame::Server))),
            ("/admin/figures/", Some(Route::Figures)),
            ("/admin/login", Some(Route::SignIn)),
            ("/admin/logout/", Some(Route::SignOut)),
            ("/admin/static/admin.css", Some(Route::File("admin.css".into()))),
            ("/admin/resources/a/", resource("a")),
            ("/admin/resources/deploy%2Fprod/", resource("deploy/prod")),
            ("/admin/resources/%3Cb%3E", resource("<b>")),
            ("/admin/resources/", None),
            ("/admin/resources/a/b/", None),
            ("/admin//", None),
            ("/adminx/", None),
            ("/admin/other/", None),
            ("/", None),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
        assert_eq!(route(&of_resource("a/b é?")), resource("a/b é?"));
    }

    #[test]
    fn signing_in_leads_to_our_own_pages_only() {
        for (next, page) in [
            (None, "/admin/"),
            (Some("/admin/tokens/"), "/admin/tokens/"),
            (Some("/admin/?search=a&page=2"), "/admin/?search=a&page=2"),
            (Some("/admin/resources/a%2Fb/"), "/admin/resources/a%2Fb/"),
            (Some("/resources/a/"), "/resources/a/"),
            (Some("/admin/logout/"), "/admin/"),
            (Some("//evil.example/"), "/admin/"),
            (Some("/\\evil.example/"), "/admin/"),
            (Some("/admin/\\..\\..\\"), "/admin/"),
            (Some("https://evil.example/admin/"), "/admin/"),
            (Some("javascript:alert(1)"), "/admin/"),
            (Some("/admin/?a\r\nSet-Cookie: b"), "/admin/"),
            (Some(""), "/admin/"),
        ] {
            assert_eq!(page_after_sign_in(next), page, "{next:?}");
        }
    }
}
