//! What no path, no body and no query can do to the app.

use std::borrow::Cow;
use std::fmt::Debug;

use actix_web::web::Bytes;
use futures_util::FutureExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::access::AtRest;
use crate::fuzz::{fuzz, fuzz_text, kind, recorded_bodies, recorded_paths};
use crate::limits::{LABEL_CHARS_MAX, LIST_PAGE_SIZE_MAX, NAME_CHARS_MAX, NAMES_TOGETHER_MAX};
use crate::resources::RequestLimits;
use crate::resources::filters::Filters;
use crate::resources::lock_info::LockInfo;
use crate::resources::serializers::{Fields, Reading};
use crate::resources::urls::{Route, route};
use crate::rest::Query;
use crate::rest::exceptions::FieldErrors;
use crate::rest::fields::Input;
use crate::rest::parsers::{Data, parse};

const LIMITS: RequestLimits = RequestLimits {
    default_ttl: Some(30),
    max_ttl: 3600,
    max_timeout: 60,
};

/// A shorter key may stand in an error by chance.
const KEY_BYTES_MIN: usize = 16;

#[test]
fn a_route_has_a_name_that_leads_back_to_it() {
    fuzz_text("path", recorded_paths(), |path| {
        let found = route(path);
        let (name, action) = match &found {
            Some(Route::Resource(name)) => (name, None),
            Some(Route::Action(name, action)) => (name, Some(*action)),
            other => return format!("{other:?}"),
        };
        assert!(!name.is_empty());
        let encoded = utf8_percent_encode(name, NON_ALPHANUMERIC);
        let back = format!("/locks/{encoded}/");
        assert_eq!(route(&back), Some(Route::Resource(Cow::Borrowed(name.as_ref()))));
        let bare = path
            .strip_suffix('/')
            .filter(|bare| bare.strip_prefix("/resource").is_some());
        assert!(bare.is_none_or(|bare| route(bare) == found));
        format!("{action:?} {}", path.contains('%'))
    });
}

fn limited_ttl(seconds: Option<u32>) {
    assert!(seconds.is_none_or(|seconds| (1..=LIMITS.max_ttl).contains(&seconds)));
}

/// What was refused, which never repeats the key.
fn refused(errors: &FieldErrors, data: &Data<'_>) -> String {
    let told = serde_json::to_string(errors).expect("it can be written");
    if let Input::Text(key, None) = data.get("locked_by") {
        assert!(key.len() < KEY_BYTES_MIN || !told.contains(key.as_ref()), "{told}");
    }
    kind(&told)
}

/// Reads one body as everything that a body can be.
fn require_valid(data: &Data<'_>, key: &str) -> Result<Vec<String>, FieldErrors> {
    let fields = || {
        let reading = Reading {
            limits: LIMITS,
            at_rest: &AtRest::Plain,
            owner: None,
            idempotency_key: Some(key),
        };
        Fields::new(data, reading)
    };
    let mut became = Vec::new();
    match fields()?.acquisition(key) {
        Ok(acquisition) => {
            assert!(acquisition.wanted.as_str().chars().count() <= NAME_CHARS_MAX);
            let timeout = acquisition.timeout.map(|timeout| timeout.as_secs());
            assert!(timeout.is_none_or(|seconds| (1..=60).contains(&seconds)));
            let acquire = &acquisition.acquire;
            limited_ttl(acquire.ttl.map(|ttl| ttl.as_seconds()));
            let label = acquire.label.as_ref().map_or(0, |label| label.as_str().chars().count());
            assert!(label <= LABEL_CHARS_MAX && acquire.ttl.is_some());
            assert_no_key(acquire, acquire.locked_by.reveal(), data);
            became.push(format!("{} {label}", acquire.request.is_some()));
        }
        Err(errors) => became.push(refused(&errors, data)),
    }
    became.push(match fields()?.acquisition_together() {
        Ok(acquisition) => {
            let names = &acquisition.wanted;
            assert!((1..=NAMES_TOGETHER_MAX).contains(&names.len()));
            assert!(
                names
                    .iter()
                    .all(|name| (1..=NAME_CHARS_MAX).contains(&name.as_str().chars().count()))
            );
            format!("{}", names.len().min(4))
        }
        Err(errors) => kind(&serde_json::to_string(&errors).expect("it can be written")),
    });
    match fields()?.release() {
        Ok(fields) => {
            let release = &fields.release;
            assert_eq!(fields.errors.is_some(), release.locked_by.is_none());
            assert!(fields.errors.is_none() || release.request.is_none());
            fields.errors.iter().for_each(|errors| drop(refused(errors, data)));
        }
        Err(errors) => drop(refused(&errors, data)),
    }
    match fields()?.renewal() {
        Ok(renew) => {
            limited_ttl(renew.ttl.map(|ttl| ttl.as_seconds()));
            assert_no_key(&renew, renew.locked_by.reveal(), data);
        }
        Err(errors) => became.push(refused(&errors, data)),
    }
    match fields()?.checked_token() {
        Ok(token) => assert!(token.as_i64() >= 0),
        Err(errors) => became.push(refused(&errors, data)),
    }
    if let Ok(info) = LockInfo::read(data) {
        let kept = info.to_kept();
        let label = info.label();
        let again: LockInfo = serde_json::from_str(kept.reveal()).expect("it can be read again");
        assert_eq!(again.to_kept(), kept);
        assert!(info.id.len() < KEY_BYTES_MIN || !format!("{kept:?}").contains(&info.id));
        became.push(format!("{}", label.is_some()));
    }
    Ok(became)
}

fn assert_no_key(printed: &impl Debug, key: &str, data: &Data<'_>) {
    let printed = format!("{printed:?}");
    // A label may be the same text, and is shown.
    let is_label = match data.get("label") {
        Input::Text(label, _) => label.contains(key),
        Input::FormText(label) | Input::Number(label) => label.contains(key),
        _ => false,
    };
    assert!(
        key.len() < KEY_BYTES_MIN || is_label || !printed.contains(key),
        "{printed}"
    );
}

#[test]
fn what_a_serializer_accepts_keeps_to_its_bounds() {
    fuzz("serializers", recorded_bodies(), |input| {
        let mut parts = input.splitn(2, |byte| *byte == b'\n');
        let content_type = String::from_utf8_lossy(parts.next().unwrap_or_default());
        let body = Bytes::copy_from_slice(parts.next().unwrap_or_default());
        let mut decoded = String::new();
        let data = parse(&body, &mut decoded, &content_type).now_or_never();
        match data.expect("the body is there") {
            Ok(data) => match require_valid(&data, &content_type) {
                Ok(became) => became.join(" "),
                Err(errors) => kind(&errors),
            },
            Err(_) => String::new(),
        }
    });
}

#[test]
fn a_list_is_never_longer_than_its_bounds() {
    let queries = recorded_paths()
        .into_iter()
        .filter_map(|path| Some(path.split_once('?')?.1.to_owned()));

    fuzz_text("filters", queries.collect(), |text| {
        let query = Query::parse(text);
        match Filters::read(&query) {
            Ok(filters) => {
                let wanted = &filters.wanted;
                assert!(wanted.page_size.get() <= LIST_PAGE_SIZE_MAX);
                let prefix = wanted.prefix.as_ref().map_or(0, |prefix| prefix.chars().count());
                assert!(prefix <= NAME_CHARS_MAX && wanted.ordering.len() <= 6);
                let page = filters.page("/", &query, u64::MAX);
                let is_next = page.as_ref().is_ok_and(|page| page.next.is_some());
                format!("{:?} {} {is_next}", wanted.locked, wanted.ordering.len())
            }
            Err(error) => kind(&error),
        }
    });
}
