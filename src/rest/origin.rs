//! Which site sent a request, as far as a browser tells.

use actix_web::HttpRequest;
use actix_web::http::header::ORIGIN;

use crate::rest::hosts::host_of;

/// Whether a browser says that a page of another site sends this.
///
/// `Sec-Fetch-Site` goes before `Origin`, because a proxy may have changed the
/// host. Browsers leave it out where the connection is not encrypted and does
/// not stay on the machine.
pub fn is_cross_site(http: &HttpRequest) -> bool {
    let headers = http.headers();
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    // The scheme is not compared: whatever ends TLS before us changes it.
    let host = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    host.is_none_or(|(_, host)| !host.eq_ignore_ascii_case(host_of(http)))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_page_of_another_site_is_known_by_what_its_browser_says() {
        for (headers, is_foreign) in [
            (&[][..], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://b")], false),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "cross-site"), ("origin", "http://a:1")], true),
            (&[("origin", "http://a:1")], false),
            (&[("origin", "https://A:1")], false),
            (&[("origin", "http://a:2")], true),
            (&[("origin", "http://a")], true),
            (&[("origin", "http://b:1")], true),
            (&[("origin", "null")], true),
            (&[("origin", "")], true),
        ] {
            let mut http = TestRequest::default().insert_header(("host", "a:1"));
            for header in headers {
                http = http.insert_header(*header);
            }
            assert_eq!(is_cross_site(&http.to_http_request()), is_foreign, "{headers:?}");
        }
    }
}
