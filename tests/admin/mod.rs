//! The operators' page: who is signed in, what the page asks, and the page itself
//! in a real browser.

mod breaking;
mod browsable;
mod locks;
mod looks;
mod scale;
mod sessions;
mod tokens;
mod tokens_page;
mod waiters;

use std::time::Duration;

use crate::support::{Answer, Browser, Client, Server, eventually};

/// How long a page may take on a busy machine.
pub const PAGE_WAIT_MAX: Duration = Duration::from_secs(20);

/// Sends the form of the sign-in page.
fn send_key(client: &mut Client, key: &str, headers: &[(&str, &str)]) -> Answer {
    let body = format!("token={key}&next=%2Fadmin%2Ftokens%2F");
    let length = body.len().to_string();
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let own = [("Host", "localhost"), ("Content-Length", length.as_str())];
    let all = [&form[..], &own, headers].concat();
    let head: String = all.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    client.send_raw(format!("POST /admin/login/ HTTP/1.1\r\n{head}\r\n{body}").as_bytes());
    client.answer()
}

/// A session: what its cookie is, and the CSRF token of its pages.
struct Session {
    cookie: String,
    csrf_token: String,
}

impl Session {
    fn begin(server: &Server, key: &str) -> Self {
        let mut client = server.client();
        let answer = send_key(&mut client, key, &[]);
        assert_eq!(answer.status, 303, "{}", answer.body);
        let cookie = answer.header("Set-Cookie").expect("a cookie");
        let cookie = cookie.split(';').next().expect("one piece at least").to_owned();
        let page = client.request_with(("GET", "/admin/"), &[("Cookie", &cookie)], "");
        let csrf_token = csrf_token_in(&page.body);
        Self { cookie, csrf_token }
    }

    /// What a page of this session asks.
    fn ask(&self, client: &mut Client, method: &str, path: &str, body: &str) -> Answer {
        let headers = [("Cookie", self.cookie.as_str()), ("X-CSRFToken", &self.csrf_token)];
        client.request_with((method, path), &headers, body)
    }
}

fn csrf_token_in(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"csrf-token\" content=\"").expect("a meta tag");
    rest.split('"').next().expect("its end").to_owned()
}

/// Signs in as people do.
fn sign_in(browser: &Browser, server: &Server, key: &str) {
    browser.open(&format!("{}/admin/", server.base_url()));
    browser.type_into("#token", key);
    browser.press_enter();
    eventually("the table is there", PAGE_WAIT_MAX, || browser.has("#locks"));
}

/// The names in the table, in its order.
fn names(browser: &Browser) -> Vec<String> {
    let names =
        browser.run("return [...document.querySelectorAll('#rows tr td.name')].map((cell) => cell.textContent)");
    let names = names.as_array().expect("a list").iter();
    names.map(|name| name.as_str().expect("text").to_owned()).collect()
}
