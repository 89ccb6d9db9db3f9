//! Names and keys that are no plain words: they work exactly or are refused,
//! and never touch another row.

use crate::faults::body;
use crate::support::Server;

/// Every byte as a percent code.
fn encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02X}")).collect()
}

const STRANGE: &[&str] = &[
    "'; DROP TABLE resources; --",
    "' OR '1'='1",
    "%",
    "_",
    "%00",
    "..",
    "..\\..\\etc",
    "?a=b",
    "#fragment",
    "a b",
    "\u{202e}gnp.exe",
    "\u{200b}",
    "e\u{301}",
    "\u{e9}",
    "E\u{301}",
    "\u{1f512}\u{200d}\u{1f511}",
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
    "\u{feff}bom",
    "null",
    "NULL",
    "0",
    "00",
    "1e0",
    "\"",
    "$(id)",
    "\u{ffff}",
    "\u{10ffff}",
    "ß",
    "SS",
    "ı",
    "I",
    "i",
];

#[test]
fn strange_names_work_exactly_and_touch_no_other_row() {
    let server = Server::start();
    let mut client = server.client();

    // All are held at once: two of them that were one row would refuse each other.
    for (i, name) in STRANGE.iter().enumerate() {
        let answer = client.put(&encoded(name), &body(&format!("key-{i}"), ""));
        assert_eq!(answer.status, 200, "{name:?}: {}", answer.body);
    }

    for (i, name) in STRANGE.iter().enumerate() {
        let row = server.select(&format!(
            "SELECT locked_by FROM resources WHERE hex(name) = '{}'",
            hex(name)
        ));
        assert_eq!(row, [format!("key-{i}")], "{name:?}");
        assert_eq!(client.delete(&encoded(name), "key-").status, 400, "{name:?}");
        assert_eq!(
            client.delete(&encoded(name), &format!("key-{i}")).status,
            204,
            "{name:?}"
        );
    }
    assert_eq!(
        server.select("SELECT count(*) FROM resources WHERE locked_by IS NOT NULL"),
        ["0"]
    );
}

#[test]
fn names_that_cannot_be_stored_are_refused_and_leave_no_row() {
    let server = Server::start();
    let mut client = server.client();

    for path in [
        "/resources/%00/",
        "/resources/a%00b/",
        "/resources/../",
        "/resources/a%2Fb/",
        "/resources/../resources/b/",
        "/resources/%2e%2e%2fb/",
        "/resources//",
        &format!("/resources/{}/", "a".repeat(101)),
        &format!("/resources/{}/", "a".repeat(20_000)),
        &format!("/resources/{}/", "%F0%9F%94%92".repeat(101)),
    ] {
        let answer = client.request("PUT", path, &body("k", ""));
        let is_dots = path == "/resources/../" && answer.status == 200;
        assert!(
            is_dots || (400..500).contains(&answer.status),
            "{path}: {}",
            answer.status
        );
        // Some refusals close the connection.
        client = server.client();
    }

    let longest = client.put(&"%F0%9F%94%92".repeat(100), &body("k", ""));
    assert_eq!(longest.status, 200, "100 characters of four bytes: {}", longest.body);
    let stored = server.select("SELECT length(name) || ' ' || hex(substr(name, 1, 1)) FROM resources ORDER BY name");
    assert_eq!(stored, ["2 2E", "100 F09F9492"]);
}

#[test]
fn controls_in_names_work_exactly_or_are_refused() {
    let server = Server::start();
    let mut client = server.client();
    let mut works = Vec::new();

    for control in (0..0x20).chain([0x7f, 0x80, 0x85, 0x9f]).filter_map(char::from_u32) {
        let name = format!("a{control}b");
        let answer = client.put(&encoded(&name), &body("k", ""));
        match answer.status {
            200 => works.push(hex(&name)),
            400 => {}
            status => panic!("{control:?}: {status} {}", answer.body),
        }
    }

    let mut stored = server.select("SELECT hex(name) FROM resources");
    stored.sort();
    works.sort();
    assert_eq!(stored, works);
}

#[test]
fn strange_keys_release_what_they_acquired_and_nothing_else() {
    let server = Server::start();
    let mut client = server.client();

    for key in STRANGE.iter().filter(|key| !key.trim().is_empty()) {
        let escaped: String = key.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        assert_eq!(client.put("a", &body(&escaped, "")).status, 200, "{key:?}");
        let stored = server.select("SELECT hex(locked_by) FROM resources WHERE name = 'a'");
        assert_eq!(stored, [hex(key)], "{key:?}");
        for other in STRANGE.iter().filter(|other| *other != key) {
            let escaped: String = other.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            assert_eq!(client.delete("a", &escaped).status, 400, "{other:?} is not {key:?}");
        }
        assert_eq!(client.delete("a", &escaped).status, 204, "{key:?}");
    }
    for refused in ["\\u0000", "a\\u0000b", "\\ud800", "\\udc00\\ud800", "", " "] {
        let answer = client.put("a", &body(refused, ""));
        assert_eq!(answer.status, 400, "{refused:?}: {}", answer.body);
    }
}
