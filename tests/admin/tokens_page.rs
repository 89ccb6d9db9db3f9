//! The page of tokens.

use super::{PAGE_WAIT_MAX, names, sign_in};
use crate::access::{guarded, token};
use crate::support::{Browser, eventually};

#[test]
fn a_token_is_made_and_revoked() {
    let server = guarded();
    let root = token(&server, &["root", "--can", "acquire,read,admin"]);
    let browser = Browser::start();
    sign_in(&browser, &server, &root);
    browser.click(".top nav a[href='/admin/tokens/']");
    eventually("the list is there", PAGE_WAIT_MAX, || names(&browser) == ["root"]);

    browser.click("#add");
    browser.type_into("#name", "ci <b>");
    browser.click("#add-form [value=acquire]");
    browser.type_into("#prefixes", "ci-\ndeploy/");
    browser.type_into("#days", "7");
    browser.click("#add-form [value=break]");
    browser.click("#add-form .primary");
    // More than the own token may.
    eventually("it is refused", PAGE_WAIT_MAX, || {
        browser.text("#add-problem").contains("permission")
    });
    browser.click("#add-form [value=break]");
    browser.click("#add-form .primary");
    eventually("the key is shown", PAGE_WAIT_MAX, || browser.text("#key").len() == 40);
    let key = browser.text("#key");
    browser.click("#key-dialog .primary");
    eventually("it is listed", PAGE_WAIT_MAX, || names(&browser) == ["ci <b>", "root"]);
    let is_left = browser.run(&format!("return document.documentElement.outerHTML.includes('{key}')"));
    assert_eq!(is_left, false);
    assert_eq!(
        server.select("SELECT verbs, prefixes, expires_at_us - created_at_us > 604000000000 FROM tokens WHERE id = 2"),
        [r#"read|["ci-","deploy/"]|1"#]
    );

    browser.click("[aria-label='Revoke token 2 of ci <b>']");
    browser.click("#revoke-cancel");
    assert_eq!(
        server.select("SELECT count(*) FROM tokens WHERE revoked_at_us IS NULL"),
        ["2"]
    );
    browser.click("[aria-label='Revoke token 2 of ci <b>']");
    browser.click("#revoke-form .danger");
    eventually("it is said", PAGE_WAIT_MAX, || {
        browser.text("#done").contains("is revoked")
    });
    eventually("it is shown", PAGE_WAIT_MAX, || {
        browser.text("#rows tr:first-child").contains("Revoked")
    });
    assert_eq!(
        server.select("SELECT id FROM tokens WHERE revoked_at_us IS NULL"),
        ["1"]
    );
    assert_eq!(browser.complaints(), [""; 0]);
}
