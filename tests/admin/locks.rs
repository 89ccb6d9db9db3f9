//! The table of locks, in a browser.

use super::{PAGE_WAIT_MAX, names, sign_in};
use crate::access::{guarded, token};
use crate::support::{Browser, Client, Server, eventually};

fn take(client: &mut Client, name: &str, body: &str) {
    let answer = client.request("PUT", &format!("/locks/{name}/"), body);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn open(server: &Server) -> Browser {
    let browser = Browser::start();
    browser.open(&format!("{}/admin/", server.base_url()));
    browser
}

fn shows(browser: &Browser, expected: &[&str]) {
    eventually(&format!("{expected:?} are shown"), PAGE_WAIT_MAX, || {
        names(browser) == expected
    });
}

#[test]
fn people_sign_in_and_out() {
    let server = guarded();
    let key = token(&server, &["ann"]);
    let browser = Browser::start();

    browser.open(&format!("{}/admin/tokens/", server.base_url()));
    browser.type_into("#token", "wrong");
    browser.press_enter();
    eventually("it is refused", PAGE_WAIT_MAX, || {
        browser.text("#problem").contains("not the key")
    });
    browser.type_into("#token", &key);
    browser.click("button[type=submit]");
    // Back to where they wanted to go, for which this token is not.
    eventually("it is let in", PAGE_WAIT_MAX, || {
        browser.url().ends_with("/admin/tokens/")
    });
    assert!(browser.text("main").contains("right admin"));
    browser.click(".top nav a");
    eventually("the table is there", PAGE_WAIT_MAX, || browser.has("#locks"));
    assert_eq!(browser.text(".who"), "ann");
    assert!(
        browser
            .run("return document.cookie")
            .as_str()
            .is_some_and(str::is_empty)
    );

    browser.click(".session button");
    eventually("they are out", PAGE_WAIT_MAX, || {
        browser.url().contains("/admin/login/")
    });
    browser.open(&format!("{}/admin/", server.base_url()));
    assert!(browser.url().contains("/admin/login/?next=%2Fadmin%2F"));
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn whose_token_is_revoked_is_out() {
    let server = guarded();
    let key = token(&server, &["ann"]);
    let browser = Browser::start();
    sign_in(&browser, &server, &key);

    assert!(server.cls().run(&["revoketoken", "ann"]).status.success());

    // By itself: the page looks now and then.
    eventually("the form is there", PAGE_WAIT_MAX, || browser.has("#token"));
}

#[test]
fn locks_come_and_go_without_a_reload() {
    let server = Server::start();
    let browser = open(&server);
    eventually("it is live", PAGE_WAIT_MAX, || browser.text("#live") == "Live");
    browser.run("window.isTheSamePage = true");
    shows(&browser, &[]);

    take(&mut server.client(), "b", r#"{"locked_by": "k", "label": "of b"}"#);
    take(&mut server.client(), "a%2Fb", r#"{"locked_by": "k", "ttl": 3}"#);
    shows(&browser, &["a/b", "b"]);
    assert!(browser.text("#rows").contains("of b"));
    shows(&browser, &["b"]);
    assert_eq!(server.client().delete("b", "k").status, 204);
    shows(&browser, &[]);

    assert_eq!(browser.run("return window.isTheSamePage"), true);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn the_list_is_searched_filtered_sorted_and_paged() {
    let server = Server::start();
    let mut client = server.client();
    for number in 0..30 {
        let body = format!(r#"{{"locked_by": "k", "label": "job {}"}}"#, 99 - number);
        take(&mut client, &format!("n{number:02}"), &body);
    }
    take(&mut client, "other", r#"{"locked_by": "k", "label": "needle in hay"}"#);
    assert_eq!(client.delete("n07", "k").status, 204);
    let browser = open(&server);
    let choose = |name: &str, value: &str| {
        browser.click(&format!("#filters [name={name}] option[value=\"{value}\"]"));
    };
    eventually("all are there", PAGE_WAIT_MAX, || names(&browser).len() == 30);
    let shown = |at: usize| names(&browser).get(at).cloned().unwrap_or_default();
    assert!(!names(&browser).contains(&"n07".to_owned()));

    choose("page_size", "25");
    eventually("a page is cut", PAGE_WAIT_MAX, || names(&browser).len() == 25);
    assert_eq!(browser.text("#place"), "1–25 of 30");
    browser.click("#next");
    eventually("the rest is there", PAGE_WAIT_MAX, || shown(4) == "other");
    assert_eq!(browser.text("#place"), "26–30 of 30");
    browser.back();
    eventually("the first page is back", PAGE_WAIT_MAX, || shown(0) == "n00");
    browser.click("th[data-order=name] button");
    eventually("the last is first", PAGE_WAIT_MAX, || shown(0) == "other");
    assert!(browser.has("th[data-order=name][aria-sort=descending]"));
    browser.click("th[data-order=label] button");
    eventually("it is by label", PAGE_WAIT_MAX, || shown(0) == "n29");
    browser.type_into("#search", "needle");
    shows(&browser, &["other"]);
    assert!(browser.url().contains("search=needle"));
    browser.back();
    eventually("the search is taken back", PAGE_WAIT_MAX, || {
        names(&browser).len() == 25
    });
    choose("state", "free");
    shows(&browser, &["n07"]);
    choose("state", "all");
    browser.type_into("[name=prefix]", "n0");
    eventually("held and free are there", PAGE_WAIT_MAX, || names(&browser).len() == 10);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn the_keyboard_alone_will_do() {
    let server = Server::start();
    let mut client = server.client();
    take(&mut client, "abc", r#"{"locked_by": "k"}"#);
    take(&mut client, "xyz", r#"{"locked_by": "k"}"#);
    let browser = open(&server);
    shows(&browser, &["abc", "xyz"]);
    let focused = |what: &str| {
        let script = format!("return document.activeElement.{what} ?? ''");
        browser.run(&script).as_str().expect("text").to_owned()
    };

    browser.press_tab();
    assert_eq!(focused("className"), "skip");
    let outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(outline, "solid");
    browser.press("/");
    assert_eq!(focused("id"), "search");
    browser.press("xyz");
    browser.press_enter();
    shows(&browser, &["xyz"]);
    // Past the filters, the heads of columns, and to the only row.
    let mut steps = 0;
    while focused("textContent") != "xyz" {
        browser.press_tab();
        steps += 1;
        assert!(steps < 20, "the row is not reached");
    }
    browser.press_enter();
    eventually("its page is there", PAGE_WAIT_MAX, || {
        browser.url().ends_with("/admin/resources/xyz/")
    });
    eventually("it can be broken", PAGE_WAIT_MAX, || {
        browser.has("#break:not([hidden])")
    });
    let mut steps = 0;
    while focused("id") != "break" {
        browser.press_tab();
        steps += 1;
        assert!(steps < 20, "the button is not reached");
    }
    browser.press_enter();
    eventually("it is asked why", PAGE_WAIT_MAX, || focused("id") == "reason");
    browser.press("gone");
    browser.press_enter();
    eventually("it is asked again", PAGE_WAIT_MAX, || focused("id") == "confirm");
    browser.press("xyz");
    browser.press_enter();
    eventually("it is free", PAGE_WAIT_MAX, || browser.text("#state") == "Free");
}

#[test]
fn what_somebody_named_is_text_and_runs_nothing() {
    const HOSTILE: &str = "<img src=x onerror=\"window.hasRun=1\"><script>window.hasRun=1</script>\"'";
    let server = Server::start();
    let mut client = server.client();
    let body = serde_json::json!({"locked_by": "k", "label": format!("{HOSTILE}javascript:1")});
    let name = "%3Cimg%20src=x%20onerror=%22window.hasRun=1%22%3E%3Cscript%3Ewindow.hasRun=1%3C%2Fscript%3E%22'";
    take(&mut client, name, &body.to_string());
    take(&mut client, "javascript:window.hasRun=1", &body.to_string());
    let browser = open(&server);

    shows(&browser, &[HOSTILE, "javascript:window.hasRun=1"]);
    assert!(browser.text("#rows").contains("<script>"));
    assert!(!browser.has("main img, main script, a[href^='javascript:']"));
    browser.click("#rows tr:first-child a");
    eventually("its page is there", PAGE_WAIT_MAX, || browser.text("#state") == "Held");
    assert_eq!(browser.text("h1"), HOSTILE);
    assert!(browser.text("#facts").contains("javascript:1"));
    assert!(!browser.has("main img, main script"));
    browser.open(&format!("{}/locks/{name}/", server.base_url()));
    assert!(browser.text("pre").contains("<img src=x"));
    assert!(!browser.has("main img, main script"));

    assert!(browser.run("return window.hasRun ?? null").is_null());
    assert_eq!(browser.complaints(), [""; 0]);
}
