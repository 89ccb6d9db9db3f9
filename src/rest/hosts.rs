//! Which hosts are served: Django's `ALLOWED_HOSTS`.
//!
//! A web page may give its own name the address of this machine (DNS
//! rebinding), and then reach what listens there from the browser of whoever
//! looks at it. The browser still says the page's name in `Host`.

use std::net::SocketAddr;

use actix_web::HttpRequest;
use actix_web::http::header::HOST;

/// Hosts that are served, each in lower case: a name, an address, `.name` for
/// a name and all of its subdomains, or `*` for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    /// Those that an operator lists.
    pub fn new(patterns: &[String]) -> Self {
        Self(patterns.iter().map(|pattern| pattern.to_ascii_lowercase()).collect())
    }

    /// What is allowed where an operator lists none, to a server that listens
    /// on `address`: on loopback what Django allows in debug mode, and that
    /// address; else any, because other machines know it by names of their own.
    pub fn default_at(address: SocketAddr) -> Self {
        let ip = address.ip();
        if !ip.is_loopback() {
            return Self(vec!["*".to_owned()]);
        }
        let own = match address {
            SocketAddr::V4(_) => ip.to_string(),
            SocketAddr::V6(_) => format!("[{ip}]"),
        };
        Self([".localhost", "127.0.0.1", "[::1]", &own].map(str::to_owned).to_vec())
    }

    /// Whether the host of a request is one and is among them: Django's
    /// `validate_host`. Compares without a copy, because each request is asked.
    pub fn allow(&self, http: &HttpRequest) -> bool {
        let Some(name) = name_of(host_of(http)) else {
            return false;
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        self.0.iter().any(|pattern| is_match(pattern, name))
    }
}

fn is_match(pattern: &str, name: &str) -> bool {
    if let Some(domain) = pattern.strip_prefix('.') {
        let (name, domain) = (name.as_bytes(), domain.as_bytes());
        let Some(at) = name.len().checked_sub(domain.len()) else {
            return false;
        };
        return name[at..].eq_ignore_ascii_case(domain) && (at == 0 || name[at - 1] == b'.');
    }
    pattern == "*" || name.eq_ignore_ascii_case(pattern)
}

/// The host that a request is for, and perhaps a port, as the client wrote it.
pub fn host_of(http: &HttpRequest) -> &str {
    match (http.uri().authority(), http.headers().get(HOST)) {
        // Then the header does not count (RFC 9112, section 3.2.2).
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().unwrap_or_default(),
        // HTTP/1.0; this is the address that the server listens on.
        (None, None) => http.app_config().host(),
    }
}

/// The name or the address of a host without its port, or `None` if it is no
/// host: Django's `host_validation_re`, and underscores, which names in
/// container networks have.
pub fn name_of(host: &str) -> Option<&str> {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let is_address = |byte: u8| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.';
        let valid = address.contains(':') && address.bytes().all(is_address);
        let valid = valid && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
        return valid.then(|| &host[..address.len() + 2]);
    }
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let valid = !name.is_empty() && name.bytes().all(is_name) && port.is_none_or(is_port);
    valid.then_some(name)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn allow(patterns: &[&str], uri: &str, host: &str) -> bool {
        let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
        let http = TestRequest::with_uri(uri).insert_header((HOST, host)).to_http_request();
        AllowedHosts::new(&patterns).allow(&http)
    }

    #[test]
    fn a_host_is_matched_as_django_does() {
        for (pattern, host, allowed) in [
            ("example.com", "example.com", true),
            ("example.com", "EXAMPLE.com:8000", true),
            ("Example.COM", "example.com.", true),
            ("example.com", "example.com.:80", true),
            ("example.com", "www.example.com", false),
            ("example.com", "example.com.evil", false),
            ("example.com", "notexample.com", false),
            ("example.com", "example.com..", false),
            (".example.com", "example.com", true),
            (".example.com", "a.b.Example.com:1", true),
            (".example.com", "notexample.com", false),
            (".example.com", "com", false),
            ("127.0.0.1", "127.0.0.1:8000", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("[::1]", "[::1]", true),
            ("[::1]", "[::1]:8000", true),
            ("[::1]", "[::2]", false),
            ("*", "anything", true),
            ("*", "", false),
            ("*", "a/b", false),
            ("*", "a:b", false),
            ("*", "[::1", false),
        ] {
            assert_eq!(allow(&[pattern], "/", host), allowed, "{pattern} {host}");
        }
        assert!(!allow(&[], "/", "localhost"));
        assert!(allow(&["a", "b"], "/", "b"));
    }

    #[test]
    fn the_target_counts_before_the_header() {
        assert!(allow(&["good"], "http://good:80/x", "evil"));
        assert!(!allow(&["good"], "http://evil/x", "good"));
        assert!(!allow(&["good"], "http://user@good/x", "good"));
    }

    #[test]
    fn a_request_without_a_host_is_for_the_address_of_the_server() {
        let http = TestRequest::with_uri("/").to_http_request();
        let own = host_of(&http).to_owned();
        let name = name_of(&own).expect("an address").to_owned();

        assert!(AllowedHosts::new(&[name]).allow(&http));
        assert!(!AllowedHosts::new(&["other".to_owned()]).allow(&http));
    }

    #[test]
    fn by_default_loopback_serves_what_is_local_and_others_serve_all() {
        for (address, own) in [
            ("127.0.0.1:80", "127.0.0.1"),
            ("127.0.0.9:80", "127.0.0.9"),
            ("[::1]:80", "[::1]"),
        ] {
            let AllowedHosts(patterns) = AllowedHosts::default_at(address.parse().expect("an address"));
            assert_eq!(patterns, [".localhost", "127.0.0.1", "[::1]", own]);
        }
        for address in ["0.0.0.0:80", "192.0.2.1:80", "[::]:80"] {
            let AllowedHosts(patterns) = AllowedHosts::default_at(address.parse().expect("an address"));
            assert_eq!(patterns, ["*"]);
        }
    }
}
