//! The scripts and the style sheet, which are the same for everybody.

use std::sync::LazyLock;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue};
use sha2::{Digest, Sha256};

use super::plain;
use crate::rest::{ETag, Page, Request};

/// A file, and what it is.
struct File {
    name: &'static str,
    media_type: &'static str,
    content: &'static str,
}

macro_rules! files {
    ($($media_type:literal: $($name:literal)*;)*) => {
        [$($(File {
            name: $name,
            media_type: $media_type,
            content: include_str!(concat!("static/", $name)),
        },)*)*]
    };
}

static FILES: [File; 9] = files! {
    "text/css; charset=utf-8": "admin.css";
    "text/javascript; charset=utf-8":
        "api.js" "dom.js" "figures.js" "locks.js" "page.js" "resource.js" "stream.js" "tokens.js";
};

/// The tag of each: the beginning of its hash.
static TAGS: LazyLock<Vec<ETag>> = LazyLock::new(|| {
    let tags = FILES.iter().map(|file| {
        let hash = Sha256::digest(file.content);
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        ETag::weak(format_args!("{:016x}", u64::from_be_bytes(first)))
    });
    tags.collect()
});

/// Answers with a file. A browser that has it asks whether it is still the same,
/// so that nobody goes on with the scripts of an older server.
pub(super) fn serve(request: &Request, name: &str) -> Page {
    let Some(at) = FILES.iter().position(|file| file.name == name) else {
        return plain(StatusCode::NOT_FOUND, "There is no such file.");
    };
    let (file, tag) = (&FILES[at], &TAGS[at]);
    let is_known = request.already_has(tag);
    Page {
        status: if is_known {
            StatusCode::NOT_MODIFIED
        } else {
            StatusCode::OK
        },
        body: if is_known {
            String::new()
        } else {
            file.content.to_owned()
        },
        headers: vec![
            (CONTENT_TYPE, HeaderValue::from_static(file.media_type)),
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (ETAG, tag.into()),
        ],
    }
}
