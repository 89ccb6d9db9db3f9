//! How the pages look, and whether everybody can use them.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{PAGE_WAIT_MAX, names, sign_in};
use crate::access::{guarded, token};
use crate::support::{Browser, Client, Server, eventually};

/// axe-core, which finds what keeps people from a page: names, roles, contrast.
fn axe() -> String {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/axe/lib");
    let python = fs::read_dir(packages)
        .expect("axe-core is missing; tests/run installs it")
        .next();
    let python = python.expect("a version of Python").expect("an entry").path();
    let script = python.join("site-packages/axe_core_python/axe.min.js");
    fs::read_to_string(script).expect("axe-core is missing; tests/run installs it")
}

/// What it finds in the page as it is.
fn obstacles(browser: &Browser, axe: &str) -> Vec<String> {
    browser.run(axe);
    let found = browser.run_until_done(
        "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']}).then((results) => done( \
         results.violations.map((it) => `${it.id}: ${it.nodes.map((node) => node.html).join(' ')}`)))",
    );
    let found = found.as_array().unwrap_or_else(|| panic!("{found}")).iter();
    found.map(|it| it.as_str().unwrap_or_default().to_owned()).collect()
}

/// A server on which something goes on, the browser of somebody who may see all
/// of it, and those who wait.
fn busy() -> (Server, Browser, Vec<Client>) {
    let server = guarded();
    let key = token(&server, &["ann", "--can", "acquire,read,break,admin"]);
    let ci = token(&server, &["ci-runner", "--prefix", "deploy/", "--prefix", "ci-"]);
    let mut client = server.client();
    let locks = [
        ("deploy%2Fprod", "release 7, ann@build-3", 600, &ci),
        ("deploy%2Fstaging", "release 8, ann@build-3", 600, &ci),
        ("ci-runner-12", "pipeline 4711", 90, &ci),
        ("nightly-report", "report of Tuesday, host 7", 3600, &key),
        ("backup%2Fdb-7", "pg_basebackup, db-7", 14_400, &key),
        ("migrate%2Forders", "manage.py migrate, web-2", 120, &key),
        ("billing-close", "month of October", 86_400, &key),
        ("reindex-search", "", 1800, &key),
        ("import-customers", "cron@etl-1:2201", 45, &key),
        ("cache-warm", "cron@web-1:811", 40, &key),
    ];
    for (name, label, ttl, key) in locks {
        let body = json!({"locked_by": "k", "ttl": ttl, "label": label}).to_string();
        let authorization = format!("Token {key}");
        let target = format!("/locks/{name}/");
        let answer = client.request_with(("PUT", &target), &[("Authorization", &authorization)], &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    // Each was taken at a time of its own.
    server.select("UPDATE resources SET acquired_at_us = acquired_at_us - 41000000 * id * id");
    let waiters = [
        "release 9, ann@build-3",
        "release 10, bob@build-1",
        "hotfix, bob@build-1",
    ]
    .map(|label| {
        let mut waiter = server.client();
        let body = json!({"locked_by": "w", "timeout": 600, "label": label}).to_string();
        let authorization = format!("Token {ci}");
        let target = ("PUT", "/locks/deploy%2Fprod/");
        waiter.send_with(target, &[("Authorization", &authorization)], &body);
        waiter
    });
    let browser = Browser::start();
    sign_in(&browser, &server, &key);
    eventually("the locks are there", PAGE_WAIT_MAX, || names(&browser).len() >= 9);
    (server, browser, waiters.into())
}

fn is_as_wide_as(browser: &Browser, width: u32) {
    let wide = browser.run("return document.documentElement.scrollWidth");
    assert!(wide.as_u64() <= Some(width.into()), "{}: {wide} wide", browser.url());
}

#[test]
fn nobody_is_kept_from_any_page() {
    let axe = axe();
    let (server, browser, _waiters) = busy();
    let pages = [
        ("/admin/", "#rows tr"),
        ("/admin/resources/deploy%2Fprod/", "#break:not([hidden])"),
        ("/admin/tokens/", "#rows tr"),
        ("/admin/server/", "figure svg polyline"),
        ("/locks/deploy%2Fprod/", "pre"),
        ("/admin/login/", "#token"),
    ];
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")] {
        browser.resize(width, 740);
        browser.prefer(scheme);
        for (path, sign) in pages {
            browser.open(&format!("{}{path}", server.base_url()));
            eventually("it is there", PAGE_WAIT_MAX, || browser.has(sign));
            assert_eq!(obstacles(&browser, &axe), [""; 0], "{path} {width} {scheme}");
            is_as_wide_as(&browser, width);
            for (page, button, dialog) in [
                ("/admin/resources/deploy%2Fprod/", "#break", "#break-dialog"),
                ("/admin/tokens/", "#add", "#add-dialog"),
            ] {
                if page == path {
                    browser.click(button);
                    eventually("it is asked", PAGE_WAIT_MAX, || browser.has(&format!("{dialog}[open]")));
                    assert_eq!(obstacles(&browser, &axe), [""; 0], "{dialog} {width} {scheme}");
                    is_as_wide_as(&browser, width);
                }
            }
        }
    }
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn an_obstacle_is_found() {
    let axe = axe();
    let server = Server::start();
    let browser = Browser::start();
    browser.open(&format!("{}/admin/", server.base_url()));

    browser.run("document.querySelector('#search').closest('label').replaceWith(document.querySelector('#search'))");
    browser
        .run("document.querySelector('h1').className = 'skip'; document.body.append(document.createElement('button'))");

    let found = obstacles(&browser, &axe).concat();
    assert!(found.contains("button-name"), "{found}");
}

#[test]
fn dark_is_dark_and_narrow_has_all_columns() {
    let (_server, browser, _waiters) = busy();
    let background = || {
        let color = browser.run("return getComputedStyle(document.body).backgroundColor");
        color.as_str().expect("text").to_owned()
    };

    browser.prefer("light");
    let light = background();
    browser.prefer("dark");
    let dark = background();
    browser.resize(360, 740);

    assert_eq!(
        (light.as_str(), dark.as_str()),
        ("rgb(246, 248, 249)", "rgb(18, 24, 28)")
    );
    is_as_wide_as(&browser, 360);
    let seen = browser.run(
        "const cells = [...document.querySelectorAll('#rows tr:first-child td')]; \
         return cells.length === 7 && cells.every((cell) => { \
         const box = cell.getBoundingClientRect(); return box.width > 0 && box.right <= 360; })",
    );
    assert_eq!(seen, true);
}

/// The pictures that README shows: `PICTURES=docs cargo test pictures` makes them.
#[test]
fn pictures_for_the_manual_can_be_made() {
    let kept = std::env::var_os("PICTURES");
    let own = tempfile::tempdir().expect("a temporary directory");
    let folder = kept.map_or(own.path().to_owned(), Into::into);
    let (_server, browser, _waiters) = busy();
    browser.tool("Emulation.setScrollbarsHidden", json!({"hidden": true}));
    for (name, width, height, scheme) in [
        ("admin-wide", 1200, 640, "light"),
        ("admin-narrow", 360, 740, "light"),
        ("admin-dark", 1200, 640, "dark"),
    ] {
        browser.resize(width, height);
        browser.prefer(scheme);
        let picture = browser.picture();
        assert!(picture.len() < 200 << 10, "{name}: {} bytes", picture.len());
        fs::write(folder.join(format!("{name}.png")), picture).expect("a picture");
    }
}
