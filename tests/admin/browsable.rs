//! What a browser gets where a program gets JSON.

use crate::access::{guarded, token};
use crate::support::Server;

const BROWSER: (&str, &str) = (
    "Accept",
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8",
);

#[test]
fn a_browser_gets_a_page_with_the_same_data() {
    let server = Server::start();
    let mut client = server.client();
    let held = client.put("a", r#"{"locked_by": "k", "label": "<script>alert(1)</script>"}"#);
    assert_eq!(held.status, 200);

    for (path, link) in [
        ("/resources/a/", "/admin/resources/a/"),
        ("/resources/", "/admin/"),
        ("/locks/a/", "/admin/resources/a/"),
    ] {
        let page = client.request_with(("GET", path), &[BROWSER], "");
        assert_eq!(page.status, 200);
        assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"), "{path}");
        assert_eq!(page.header("Vary"), Some("Accept"));
        assert_eq!(page.header("Cache-Control"), Some("no-store"));
        assert!(
            page.body.contains("&quot;label&quot;: &quot;&lt;script&gt;alert(1)"),
            "{}",
            page.body
        );
        assert!(page.body.contains(&format!("href=\"{link}\"")), "{path}");
        assert!(!page.body.contains("<script>alert"));
    }
}

#[test]
fn a_program_gets_what_it_always_got() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.put("a", r#"{"locked_by": "k"}"#).status, 200);
    let plain = client.get("/resources/a/");

    for (headers, query) in [
        (&[("Accept", "*/*")][..], ""),
        (&[("Accept", "application/json")], ""),
        (&[("Accept", "text/html;q=0.1, application/json")], ""),
        (&[BROWSER], "?format=json"),
    ] {
        let answer = client.request_with(("GET", &format!("/resources/a/{query}")), headers, "");
        assert_eq!(answer.body, plain.body, "{headers:?} {query}");
        let headers = answer.lasting_headers();
        for header in &plain.lasting_headers() {
            assert!(headers.contains(header), "{header:?} is not in {headers:?}");
        }
    }
    let put = client.request_with(("PUT", "/resources/b/"), &[BROWSER], r#"{"locked_by": "k"}"#);
    assert_eq!(put.body, r#"{"Success":"Resource is acquired."}"#);
    let actions = client.request_with(("GET", "/resources/a/waiters/"), &[BROWSER], "");
    assert_eq!(actions.header("Content-Type"), Some("application/json"));
}

#[test]
fn a_look_by_a_browser_takes_no_lock_and_waits_for_none() {
    let server = Server::start();

    let page = server.client().request_with(("GET", "/resources/new/"), &[BROWSER], "");

    assert_eq!(page.status, 404);
    assert!(page.body.contains("A resource with this name does not exist."));
    assert_eq!(server.select("SELECT count(*) FROM resources"), ["0"]);
}

#[test]
fn who_is_not_signed_in_is_shown_the_way() {
    let server = guarded();
    let key = token(&server, &["ops"]);
    let mut client = server.client();

    let page = client.request_with(("GET", "/resources/a/"), &[BROWSER], "");
    let session = super::Session::begin(&server, &key);
    let headers = [BROWSER, ("Cookie", session.cookie.as_str())];
    let signed_in = client.request_with(("GET", "/resources/"), &headers, "");

    assert_eq!(page.status, 401);
    assert_eq!(page.header("WWW-Authenticate"), Some("Token"));
    assert!(
        page.body.contains("href=\"/admin/login/?next=%2Fresources%2Fa%2F\""),
        "{}",
        page.body
    );
    assert_eq!(signed_in.status, 200);
}
