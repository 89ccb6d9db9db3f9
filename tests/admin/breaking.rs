//! The page of one resource, and breaking its lock.

use super::{PAGE_WAIT_MAX, sign_in};
use crate::access::{guarded, token};
use crate::support::{Browser, Server, eventually};

fn open(server: &Server, name: &str) -> Browser {
    let browser = Browser::start();
    browser.open(&format!("{}/admin/resources/{name}/", server.base_url()));
    browser
}

#[test]
fn a_resource_shows_its_state_its_line_and_its_history() {
    let server = Server::start();
    let held = server.client().request(
        "PUT",
        "/locks/deploy%2Fprod/",
        r#"{"locked_by": "k", "ttl": 600, "label": "release 7"}"#,
    );
    assert_eq!(held.status, 200);
    let browser = open(&server, "deploy%2Fprod");
    eventually("it is held", PAGE_WAIT_MAX, || browser.text("#state") == "Held");
    eventually("it is live", PAGE_WAIT_MAX, || browser.text("#live") == "Live");
    eventually("its history is there", PAGE_WAIT_MAX, || {
        browser.text("#history").contains("Acquired")
    });
    assert!(browser.text("#facts").contains("release 7"));
    assert!(browser.text("#facts").contains("9 min"));
    assert_eq!(browser.text("#nobody"), "Nobody waits.");

    let mut waiter = server.client();
    let body = r#"{"locked_by": "w", "timeout": 60, "label": "release 8"}"#;
    waiter.send("PUT", "/locks/deploy%2Fprod/", body);
    eventually("somebody waits", PAGE_WAIT_MAX, || {
        browser.open(&browser.url());
        browser.text("#waiters").contains("release 8")
    });
    eventually("it is live again", PAGE_WAIT_MAX, || browser.text("#live") == "Live");
    let released = server
        .client()
        .request("DELETE", "/locks/deploy%2Fprod/", r#"{"locked_by": "k"}"#);
    assert_eq!((released.status, waiter.answer().status), (204, 200));

    eventually("the next holds it", PAGE_WAIT_MAX, || {
        browser.text("#facts").contains("release 8") && browser.text("#nobody") == "Nobody waits."
    });
    eventually("the release is history", PAGE_WAIT_MAX, || {
        browser.text("#history").contains("Released")
    });
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_lock_is_broken_after_it_was_asked_for_twice() {
    let server = guarded();
    let key = token(&server, &["ops", "--can", "acquire,read,break"]);
    let browser = Browser::start();
    sign_in(&browser, &server, &key);
    let authorization = format!("Token {key}");
    let headers = [("Authorization", authorization.as_str())];
    let target = ("PUT", "/resources/a/");
    let held = server.client().request_with(target, &headers, r#"{"locked_by": "k"}"#);
    assert_eq!(held.status, 200);
    browser.open(&format!("{}/admin/resources/a/", server.base_url()));
    let holders = || server.select("SELECT count(*) FROM held_locks");

    browser.click("#break");
    browser.click("#break-go");
    // Not without a reason.
    assert!(browser.has("#reason:invalid"));
    browser.type_into("#reason", "host 7 is <b>gone</b>");
    browser.click("#break-go");
    eventually("it is asked again", PAGE_WAIT_MAX, || {
        browser.has("#break-second:not([hidden])")
    });
    assert!(browser.has("#break-go:disabled"));
    browser.type_into("#confirm", "b");
    assert!(browser.has("#break-go:disabled"));
    assert_eq!(holders(), ["1"]);
    browser.click("#break-cancel");
    assert_eq!(holders(), ["1"]);
    browser.click("#break");
    browser.type_into("#reason", "host 7 is <b>gone</b>");
    browser.press_enter();
    browser.type_into("#confirm", "a");
    browser.click("#break-go");

    eventually("it is broken", PAGE_WAIT_MAX, || {
        browser.text("#done").contains("broken")
    });
    eventually("it is free", PAGE_WAIT_MAX, || browser.text("#state") == "Free");
    assert_eq!(holders(), ["0"]);
    assert!(server.select("SELECT broken FROM resources")[0].contains("host 7 is <b>gone</b>"));
    assert!(!browser.has("#break:not([hidden])"));
    eventually("it is history", PAGE_WAIT_MAX, || {
        browser.text("#history").contains("host 7 is <b>gone</b>")
    });
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn who_may_not_break_has_no_button() {
    let server = guarded();
    let key = token(&server, &["reader", "--can", "acquire,read"]);
    let browser = Browser::start();
    sign_in(&browser, &server, &key);
    let authorization = format!("Token {key}");
    let headers = [("Authorization", authorization.as_str())];
    let target = ("PUT", "/resources/a/");
    let held = server.client().request_with(target, &headers, r#"{"locked_by": "k"}"#);
    assert_eq!(held.status, 200);

    browser.open(&format!("{}/admin/resources/a/", server.base_url()));

    eventually("it is held", PAGE_WAIT_MAX, || browser.text("#state") == "Held");
    assert!(browser.has("#break[hidden]"));
}
