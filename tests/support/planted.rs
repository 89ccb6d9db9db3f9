//! What no log may show: the keys that tests sent, and the passwords of their
//! databases. Every server's log is searched when it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};

use percent_encoding::percent_decode_str;

/// A shorter key may stand in a log by chance.
const KEY_CHARS_MIN: usize = 6;

/// Keys that are remembered of one server, which may be sent a million.
const KEYS_MAX: usize = 1000;

/// Bytes of what is sent at once that are looked at: whoever sends more repeats
/// itself, and means to be quick.
const BYTES_MAX: usize = 1024;

const FIELD: &[u8] = b"locked_by";

/// What each server was sent.
static SENT: Mutex<BTreeMap<SocketAddr, BTreeSet<String>>> = Mutex::new(BTreeMap::new());

fn sent() -> MutexGuard<'static, BTreeMap<SocketAddr, BTreeSet<String>>> {
    SENT.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Notes the keys in what `server` is sent.
pub fn note_keys(server: SocketAddr, request: &[u8]) {
    let request = &request[..request.len().min(BYTES_MAX)];
    let fields = request.windows(FIELD.len()).enumerate();
    for (at, _) in fields.filter(|(_, window)| *window == FIELD) {
        let rest = request[at + FIELD.len()..].iter();
        let key: Vec<u8> = rest
            .skip_while(|byte| b"\": =".contains(byte))
            .take_while(|byte| is_part(char::from(**byte)))
            .copied()
            .collect();
        let mut sent = sent();
        let keys = sent.entry(server).or_default();
        if key.len() >= KEY_CHARS_MIN && keys.len() < KEYS_MAX {
            keys.insert(String::from_utf8_lossy(&key).into_owned());
        }
    }
}

/// The keys that `server` was sent. They are forgotten: another server may get
/// the address.
pub fn take_keys(server: SocketAddr) -> BTreeSet<String> {
    sent().remove(&server).unwrap_or_default()
}

/// The password in the URL of a database, as it is and as it stands there.
pub fn passwords_in(url: &str) -> BTreeSet<String> {
    let credentials = url.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
    let password = credentials.and_then(|(credentials, _)| credentials.split_once(':'));
    let written = password.map(|(_, password)| password.to_owned());
    let decoded = written
        .as_deref()
        .map(|text| percent_decode_str(text).decode_utf8_lossy());
    decoded.into_iter().map(Into::into).chain(written.clone()).collect()
}

fn is_part(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-_.".contains(character)
}

/// Whether a line has `secret`, not as a part of a longer word.
fn shows(line: &str, secret: &str) -> bool {
    line.match_indices(secret).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + secret.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// The first line of a log that shows one of `secrets`, or a body.
pub fn line_that_tells<'l>(log: &'l str, secrets: &BTreeSet<String>) -> Option<&'l str> {
    let shows_field = |line: &str| {
        let mut after = line.split("locked_by").skip(1);
        after.any(|after| after.trim_start_matches(['"', '\\', ' ']).starts_with([':', '=']))
    };
    log.lines()
        .find(|line| shows_field(line) || secrets.iter().any(|secret| shows(line, secret)))
}

#[test]
fn a_key_and_a_password_are_found_in_a_log() {
    let server = SocketAddr::from(([127, 0, 0, 1], 0));
    note_keys(server, b"PUT\r\n\r\n{\"locked_by\": \"holder\", \"ttl\": 1}");
    note_keys(server, b"PUT\r\n\r\nlocked_by=other-key&ttl=1");
    note_keys(server, b"PUT\r\n\r\n{\"locked_by\": \"k\"}");
    let mut secrets = take_keys(server);
    secrets.extend(passwords_in("postgres://cls:pass%40word@h/db"));

    assert_eq!(
        Vec::from_iter(&secrets),
        ["holder", "other-key", "pass%40word", "pass@word"]
    );
    for (log, told) in [
        ("fine\nLock of holder\n", Some("Lock of holder")),
        ("using cls:pass@word@h", Some("using cls:pass@word@h")),
        (r#"{"locked_by": "k"}"#, Some(r#"{"locked_by": "k"}"#)),
        ("locked_by=k", Some("locked_by=k")),
        ("stakeholder holders", None),
        ("row \"x\" has an impossible locked_by", None),
        ("", None),
    ] {
        assert_eq!(line_that_tells(log, &secrets), told, "{log}");
    }
    assert!(take_keys(server).is_empty());
    assert!(passwords_in("sqlite://db.sqlite3").is_empty());
}
