//! Sessions: begun with a token, believed with their CSRF token, ended.

use std::time::Duration;

use super::{Session, csrf_token_in, send_key};
use crate::access::{guarded, guarded_with, token};
use crate::support::{Server, eventually};

on_both! {
    a_key_begins_a_session_that_reads
    a_wrong_key_begins_none
    a_change_needs_the_token_of_the_session
    what_a_token_may_not_its_session_may_not
    signing_out_ends_the_session
    a_revoked_token_ends_its_sessions
    a_deleted_token_takes_its_sessions_along
    a_session_that_is_over_is_none_and_goes
}

mod claims {
    use super::*;

    const BREAK: &str = r#"{"reason": "x"}"#;

    pub(super) fn a_key_begins_a_session_that_reads() {
        let server = guarded();
        let key = token(&server, &["ops"]);
        let mut client = server.client();

        let answer = send_key(&mut client, &key, &[]);

        assert_eq!(answer.status, 303, "{}", answer.body);
        assert_eq!(answer.header("Location"), Some("/admin/tokens/"));
        let cookie = answer.header("Set-Cookie").expect("a cookie");
        let (pair, attributes) = cookie.split_once("; ").expect("attributes");
        assert_eq!(attributes, "Path=/; Max-Age=43200; HttpOnly; SameSite=Strict");
        let id = pair.strip_prefix("cls_session=").expect("its name");
        assert_eq!(id.len(), 40);
        let list = client.request_with(("GET", "/resources/"), &[("Cookie", pair)], "");
        assert_eq!(list.status, 200, "{}", list.body);
        // A backup has nothing with which anybody could sign in.
        let rows = server.select("SELECT id_hash FROM sessions");
        assert_eq!(rows.len(), 1);
        assert!(!rows[0].contains(id));
    }

    pub(super) fn a_wrong_key_begins_none() {
        let server = guarded();
        token(&server, &["ops"]);
        let mut client = server.client();

        for key in ["0123456789012345678901234567890123456789", "", "%00"] {
            let answer = send_key(&mut client, key, &[]);
            assert_eq!(answer.status, 403, "{key}");
            assert!(answer.body.contains("role=\"alert\""));
            assert_eq!(answer.header("Set-Cookie"), None);
        }
        assert!(server.select("SELECT id_hash FROM sessions").is_empty());
        for cookie in ["cls_session=", "cls_session=0123", "other=1"] {
            let headers = [("Cookie", cookie)];
            let list = client.request_with(("GET", "/resources/"), &headers, "");
            assert_eq!(list.status, 401, "{cookie}");
            assert_eq!(list.header("WWW-Authenticate"), Some("Token"));
            let page = client.request_with(("GET", "/admin/tokens/"), &headers, "");
            assert_eq!(page.status, 303);
            assert_eq!(page.header("Location"), Some("/admin/login/?next=%2Fadmin%2Ftokens%2F"));
        }
    }

    pub(super) fn a_change_needs_the_token_of_the_session() {
        const MISSING: &str = r#"{"detail":"CSRF Failed: CSRF token missing."}"#;
        const INCORRECT: &str = r#"{"detail":"CSRF Failed: CSRF token from the 'X-Csrftoken' HTTP header incorrect."}"#;
        let server = guarded();
        let key = token(&server, &["ops", "--can", "acquire,read,break"]);
        let session = Session::begin(&server, &key);
        let other = Session::begin(&server, &key);
        assert_ne!(session.csrf_token, other.csrf_token);
        let mut client = server.client();
        let mut ask = |method: &str, path: &str, csrf_token: Option<&str>| {
            let mut headers = vec![("Cookie", session.cookie.as_str())];
            headers.extend(csrf_token.map(|token| ("X-CSRFToken", token)));
            client.request_with((method, path), &headers, r#"{"locked_by": "k", "reason": "x"}"#)
        };

        for (method, path) in [
            ("PUT", "/resources/a/"),
            ("DELETE", "/resources/a/"),
            ("PATCH", "/resources/"),
            ("POST", "/resources/a/break/"),
            ("LOCK", "/terraform/a/"),
        ] {
            for (shown, said) in [
                (None, MISSING),
                (Some(""), MISSING),
                (Some(other.csrf_token.as_str()), INCORRECT),
            ] {
                let answer = ask(method, path, shown);
                assert_eq!((answer.status, answer.body.as_str()), (403, said), "{method} {shown:?}");
            }
        }
        assert_eq!(server.select("SELECT count(*) FROM resources"), ["0"]);
        let own = Some(session.csrf_token.as_str());
        assert_eq!(ask("PUT", "/resources/a/", own).status, 200);
        assert_eq!(ask("POST", "/resources/a/break/", own).status, 200);
        assert_eq!(ask("GET", "/resources/a/", None).status, 200);
    }

    pub(super) fn what_a_token_may_not_its_session_may_not() {
        let server = guarded();
        let all = token(&server, &["all"]);
        let some = token(&server, &["some", "--prefix", "ci-", "--can", "read"]);
        let (all, some) = (Session::begin(&server, &all), Session::begin(&server, &some));
        let mut client = server.client();
        for name in ["ci-1", "x"] {
            let put = all.ask(
                &mut client,
                "PUT",
                &format!("/resources/{name}/"),
                r#"{"locked_by": "k"}"#,
            );
            assert_eq!(put.status, 200);
        }

        let list = some.ask(&mut client, "GET", "/resources/", "").json();
        let mut status = |method: &str, path: &str| some.ask(&mut client, method, path, BREAK).status;

        assert_eq!(list["count"], 1);
        assert_eq!(status("GET", "/resources/ci-1/"), 200);
        assert_eq!(status("GET", "/resources/x/"), 403);
        assert_eq!(status("POST", "/resources/ci-1/break/"), 403);
        assert_eq!(status("GET", "/tokens/"), 403);
        assert_eq!(status("GET", "/admin/tokens/"), 403);
    }

    pub(super) fn signing_out_ends_the_session() {
        let server = guarded();
        let key = token(&server, &["ops"]);
        let (session, other) = (Session::begin(&server, &key), Session::begin(&server, &key));
        let mut client = server.client();
        let mut sign_out = |csrf_token: &str| {
            let body = format!("csrfmiddlewaretoken={csrf_token}");
            let head = format!(
                "POST /admin/logout/ HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\nContent-Length: {}\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\n\r\n",
                session.cookie,
                body.len()
            );
            client.send_raw(format!("{head}{body}").as_bytes());
            client.answer()
        };

        assert_eq!(sign_out(&other.csrf_token).status, 403);
        let answer = sign_out(&session.csrf_token);

        assert_eq!(answer.status, 303);
        let cookie = answer.header("Set-Cookie").expect("a cookie");
        assert!(cookie.starts_with("cls_session=; Path=/; Max-Age=0;"), "{cookie}");
        let status = |session: &Session| session.ask(&mut server.client(), "GET", "/resources/", "").status;
        assert_eq!((status(&session), status(&other)), (401, 200));
        assert_eq!(server.select("SELECT count(*) FROM sessions"), ["1"]);
    }

    pub(super) fn a_revoked_token_ends_its_sessions() {
        let server = guarded();
        let key = token(&server, &["ops"]);
        let session = Session::begin(&server, &key);
        let mut client = server.client();
        assert_eq!(session.ask(&mut client, "GET", "/resources/", "").status, 200);

        assert!(server.cls().run(&["revoketoken", "ops"]).status.success());

        eventually("the session is over", Duration::from_secs(3), || {
            session.ask(&mut client, "GET", "/resources/", "").status == 401
        });
        assert_eq!(session.ask(&mut client, "GET", "/admin/", "").status, 303);
    }

    pub(super) fn a_deleted_token_takes_its_sessions_along() {
        let server = guarded();
        let key = token(&server, &["ops"]);
        Session::begin(&server, &key);

        server.select("DELETE FROM tokens");

        assert!(server.select("SELECT id_hash FROM sessions").is_empty());
    }

    pub(super) fn a_session_that_is_over_is_none_and_goes() {
        let server = guarded();
        let key = token(&server, &["ops"]);
        let session = Session::begin(&server, &key);

        server.select("UPDATE sessions SET expires_at_us = 1");
        let over = session.ask(&mut server.client(), "GET", "/resources/", "");
        let rows = |expected: &str| assert_eq!(server.select("SELECT count(*) FROM sessions"), [expected]);

        assert_eq!(over.status, 401);
        rows("1");
        Session::begin(&server, &key);
        rows("1");
        server.select("UPDATE sessions SET expires_at_us = 1");
        assert!(server.cls().run(&["cleartokens"]).status.success());
        rows("0");
    }
}

#[test]
fn a_request_with_a_key_of_its_own_is_none_of_the_session() {
    let server = guarded();
    let mine = token(&server, &["mine"]);
    let reader = token(&server, &["reader", "--can", "read"]);
    let session = Session::begin(&server, &reader);
    let mut client = server.client();
    let mut put = |authorization: &str| {
        let headers = [("Cookie", session.cookie.as_str()), ("Authorization", authorization)];
        client.request_with(("PUT", "/resources/a/"), &headers, r#"{"locked_by": "k"}"#)
    };

    // Neither the right of the session nor its CSRF token is asked for.
    let with_key = put(&format!("Token {mine}"));
    let with_nonsense = put("Bearer x");

    assert_eq!(with_key.status, 200, "{}", with_key.body);
    assert_eq!(with_nonsense.status, 401);
}

#[test]
fn a_page_of_another_site_signs_nobody_in() {
    let server = guarded();
    let key = token(&server, &["ops"]);

    for (name, value, status) in [
        ("Sec-Fetch-Site", "cross-site", 403),
        ("Sec-Fetch-Site", "same-site", 403),
        ("Sec-Fetch-Site", "same-origin", 303),
        ("Origin", "https://evil.example", 403),
        ("Origin", "null", 403),
        ("Origin", "http://localhost", 303),
    ] {
        let answer = send_key(&mut server.client(), &key, &[(name, value)]);
        assert_eq!(answer.status, status, "{name}: {value}");
    }
}

#[test]
fn without_tokens_a_page_of_another_site_breaks_no_lock() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.put("a", r#"{"locked_by": "k"}"#).status, 200);
    let mut break_as = |header: (&str, &str)| {
        let target = ("POST", "/resources/a/break/");
        client.request_with(target, &[header], r#"{"reason": "x"}"#).status
    };

    assert_eq!(break_as(("Origin", "http://evil.example")), 403);
    assert_eq!(break_as(("Sec-Fetch-Site", "cross-site")), 403);
    assert_eq!(break_as(("Origin", "http://localhost")), 200);
}

#[test]
fn without_tokens_there_is_no_form_and_no_tokens_page() {
    let server = Server::start();
    let mut client = server.client();

    let form = client.get("/admin/login/");
    let page = client.get("/admin/");

    assert_eq!((form.status, form.header("Location")), (303, Some("/admin/")));
    assert_eq!(page.status, 200);
    assert!(!page.body.contains("/admin/tokens/") && !page.body.contains("Sign out"));
    assert_eq!(csrf_token_in(&page.body), "");
    assert_eq!(client.get("/admin/tokens/").status, 403);
}

#[test]
fn guesses_are_bounded() {
    let server = guarded_with(&[("CLIENT_REQUESTS_PER_SECOND", "5")]);
    let mut client = server.client();

    let wrong: Vec<_> = (0..12).map(|_| send_key(&mut client, "wrong", &[]).status).collect();
    let cookie = [("Cookie", "cls_session=wrong")];
    let guessed = client.request_with(("GET", "/resources/"), &cookie, "");

    assert_eq!(wrong[..5], [403; 5]);
    assert!(wrong.contains(&429), "{wrong:?}");
    assert!(guessed.status == 429 || guessed.status == 401, "{}", guessed.status);
}

#[test]
fn pages_load_nothing_from_elsewhere_and_are_kept_by_no_cache() {
    let server = Server::start();
    let mut client = server.client();
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                  form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

    for path in [
        "/admin/",
        "/admin",
        "/admin/resources/a%2Fb/",
        "/admin/static/admin.css",
        "/admin/tokens/",
    ] {
        let answer = client.get(path);
        assert_eq!(answer.header("Content-Security-Policy"), Some(policy), "{path}");
        assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(answer.header("Referrer-Policy"), Some("same-origin"));
        let is_file = path.contains("static");
        let kept = if is_file { "no-cache" } else { "no-store" };
        assert_eq!(answer.header("Cache-Control"), Some(kept), "{path}");
        if !is_file {
            assert!(
                !answer.body.contains("<script>") && !answer.body.contains("<style"),
                "{path}"
            );
        }
    }
}

#[test]
fn a_file_is_sent_once_until_it_changes() {
    let server = Server::start();
    let mut client = server.client();
    let first = client.get("/admin/static/locks.js");
    let tag = first.header("ETag").expect("a tag");

    let again = client.request_with(("GET", "/admin/static/locks.js"), &[("If-None-Match", tag)], "");

    assert_eq!(first.header("Content-Type"), Some("text/javascript; charset=utf-8"));
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    for path in [
        "/admin/static/",
        "/admin/static/../mod.rs",
        "/admin/static/x.js",
        "/admin/nothing/",
    ] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
    assert_eq!(client.request("POST", "/admin/", "").status, 405);
}

#[test]
fn what_somebody_named_is_text_in_the_page() {
    let server = Server::start();
    let path = "/admin/resources/%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E/";

    let page = server.client().get(path);

    assert_eq!(page.status, 200);
    assert!(!page.body.contains("<script>alert"), "{}", page.body);
    assert!(page.body.contains("&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"));
}
