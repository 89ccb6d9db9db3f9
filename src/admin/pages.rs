//! The frames of the pages. What is in them comes by script, but for the page
//! that stands for JSON in a browser.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;

use super::html::{escape, fill};
use super::urls::{self, Frame};
use crate::access::Verb;
use crate::lock::Owner;
use crate::resources::{Caller, session_of};
use crate::rest::{Page, Request};

const BASE: &str = include_str!("pages/base.html");
const NAVIGATION: &str = include_str!("pages/navigation.html");
const SIGN_OUT: &str = include_str!("pages/sign_out.html");
const SIGN_IN: &str = include_str!("pages/sign_in.html");
const LOCKS: &str = include_str!("pages/locks.html");
const RESOURCE: &str = include_str!("pages/resource.html");
const TOKENS: &str = include_str!("pages/tokens.html");
const SERVER: &str = include_str!("pages/server.html");
const BROWSABLE: &str = include_str!("pages/browsable.html");

/// What is in the head and around the content.
#[derive(Default)]
struct Around<'a> {
    title: &'a str,
    /// Without the ending.
    script: &'a str,
    csrf_token: &'a str,
    /// What the caller may do, separated by blanks.
    rights: &'a str,
    /// The resource that the page is of.
    name: &'a str,
    navigation: &'a str,
}

impl Around<'_> {
    fn with(&self, content: &str) -> String {
        let script = match self.script {
            "" => String::new(),
            script => format!("<script type=\"module\" src=\"/admin/static/{script}.js\"></script>"),
        };
        let texts = [
            ("title", self.title),
            ("csrf_token", self.csrf_token),
            ("rights", self.rights),
            ("name", self.name),
        ];
        let htmls = [
            ("script", script.as_str()),
            ("navigation", self.navigation),
            ("content", content),
        ];
        fill(BASE, &texts, &htmls)
    }
}

/// A page for who is let in.
pub(super) fn frame(request: &Request, caller: &Caller, frame: &Frame<'_>) -> Page {
    let csrf_token = session_of(request).map(|id| id.csrf_token()).unwrap_or_default();
    let may_change_tokens = caller.owner().is_some() && caller.may(Verb::Admin);
    let verbs = Verb::ALL.into_iter().filter(|verb| match verb {
        Verb::Admin => may_change_tokens,
        verb => caller.may(*verb),
    });
    let rights: Vec<_> = verbs.map(Verb::as_str).collect();
    let (title, script, content, name) = match frame {
        Frame::Locks => ("Locks", "locks", LOCKS, ""),
        Frame::Resource(name) => (&**name, "resource", RESOURCE, &**name),
        Frame::Server => ("Server", "figures", SERVER, ""),
        Frame::Tokens if may_change_tokens => ("Tokens", "tokens", TOKENS, ""),
        Frame::Tokens => ("Tokens", "", "", ""),
    };
    let navigation = navigation(frame, caller.owner(), &csrf_token, may_change_tokens);
    let around = Around {
        title,
        script,
        csrf_token: &csrf_token,
        rights: &rights.join(" "),
        name,
        navigation: &navigation,
    };
    let (status, content) = match content {
        "" => (
            StatusCode::FORBIDDEN,
            notice("Only a token with the right admin can see and change tokens."),
        ),
        content => (StatusCode::OK, fill(content, &[("name", name)], &[])),
    };
    Page {
        status,
        body: around.with(&content),
        headers: Vec::new(),
    }
}

fn navigation(frame: &Frame<'_>, owner: Option<&Owner>, csrf_token: &str, may_change_tokens: bool) -> String {
    let link = |path: &str, word: &str, is_here: bool| {
        let here = if is_here { " aria-current=\"page\"" } else { "" };
        format!("<a href=\"{path}\"{here}>{word}</a>")
    };
    let mut links = link(urls::HOME, "Locks", *frame == Frame::Locks);
    if may_change_tokens {
        links.push_str(&link("/admin/tokens/", "Tokens", *frame == Frame::Tokens));
    }
    links.push_str(&link("/admin/server/", "Server", *frame == Frame::Server));
    let sign_out = match owner {
        Some(owner) => fill(SIGN_OUT, &[("owner", owner.as_str()), ("csrf_token", csrf_token)], &[]),
        None => String::new(),
    };
    fill(NAVIGATION, &[], &[("links", &links), ("sign_out", &sign_out)])
}

/// The form, and what was wrong with what it sent.
pub(super) fn sign_in(status: StatusCode, next: Option<&str>, problem: Option<&str>) -> Page {
    let problem = problem.map_or_else(String::new, |problem| {
        format!(
            "<p class=\"problem\" role=\"alert\" id=\"problem\">{}</p>",
            escape(problem)
        )
    });
    let around = Around {
        title: "Sign in",
        ..Around::default()
    };
    let content = fill(SIGN_IN, &[("next", next.unwrap_or_default())], &[("problem", &problem)]);
    Page {
        status,
        body: around.with(&content),
        headers: Vec::new(),
    }
}

/// A page that says one thing.
pub(super) fn plain(status: StatusCode, text: &str) -> String {
    let around = Around {
        title: status.canonical_reason().unwrap_or("Error"),
        ..Around::default()
    };
    around.with(&notice(text))
}

fn notice(text: &str) -> String {
    format!(
        "<p class=\"problem\" role=\"alert\">{}</p><p><a href=\"{}\">Locks</a></p>",
        escape(text),
        urls::HOME
    )
}

/// The page that stands for the JSON of a resource, or of the list, where a
/// browser asks: the same, and the way to where something can be done about it.
pub fn browsable(request: &Request, answer: &HttpResponse, name: Option<&str>, json: &str) -> String {
    let path = request.path();
    let (here, word) = match (answer.status(), name) {
        (StatusCode::UNAUTHORIZED, _) => (urls::sign_in_and_return_to(path), "Sign in"),
        (_, Some(name)) => (urls::of_resource(name), "Open in the admin"),
        (_, None) => (urls::HOME.to_owned(), "Open in the admin"),
    };
    let lines = answer.headers().iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        format!("{name}: {value}\n")
    });
    let mut lines: Vec<_> = lines.collect();
    lines.sort_unstable();
    let texts = [
        ("title", name.unwrap_or("Resource List")),
        ("method", request.method().as_str()),
        ("path", path),
        ("status", &answer.status().to_string()),
        ("head", &lines.concat()),
        ("json", json),
        ("here", &here),
        ("word", word),
    ];
    let around = Around {
        title: name.unwrap_or("Resource List"),
        ..Around::default()
    };
    around.with(&fill(BROWSABLE, &texts, &[]))
}
