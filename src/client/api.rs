//! One request to a server, and what can be known of its answer.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, LOCATION, RETRY_AFTER,
};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Identity, Url};
use serde_json::Value;
use thiserror::Error;

pub use reqwest::Method;

use crate::limits::{ANSWER_BYTES_MAX, CONNECT_WAIT_MAX, KEEPALIVE_PROBE_INTERVAL};

/// What stays as it is in a name in a path (RFC 3986, unreserved).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where a server is, and how it is spoken to.
#[derive(Clone, Default)]
pub struct Server {
    /// `http://` or `https://`, and a path if it is not at the root.
    pub url: String,
    /// The key of a token. It is not to be printed.
    pub token: Option<String>,
    /// Certificates of those who may have signed the server's, beside those that
    /// the machine knows.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate and its key, where the server asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why no request can be made at all.
#[derive(Debug, Error)]
pub enum ApiError {
    /// It is none.
    #[error("{0:?} is no URL of a server; write for example http://127.0.0.1:8000 or https://locks.example:8443")]
    Url(String),
    /// It would be seen by all who see the arguments of a process.
    #[error("the URL holds a user or a password; give the key of a token by --token-file or CLS_TOKEN")]
    Credentials,
    /// No header can hold it.
    #[error("the token has characters that no key has; look at the file or the variable that it comes from")]
    Token,
    /// A file cannot be read, or is not what it has to be.
    #[error("cannot use {0}: {1}")]
    File(String, String),
    /// The library refuses.
    #[error("cannot make requests: {0}")]
    Client(String),
}

/// Why a request has no answer from which something can be known. It may have
/// been carried out all the same.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// Nobody answered in time, or the connection was lost.
    #[error("{0}")]
    Unreachable(String),
    /// The server cannot decide now (503), or wants to be asked less (429).
    #[error("{said}")]
    Busy {
        /// What it said.
        said: String,
        /// How long it is to be left alone.
        retry_after: Option<Duration>,
    },
    /// Whatever answers is no such server.
    #[error("{0}")]
    Foreign(String),
}

impl Failure {
    /// How long the server is to be left alone, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            Self::Unreachable(_) | Self::Foreign(_) => None,
        }
    }
}

/// An answer of a server that has decided.
#[derive(Debug)]
pub struct Reply {
    /// Of HTTP: 200, 204, 304, or 400 to 499.
    pub status: u16,
    /// The body; null if there is none.
    pub body: Value,
    /// What header `Fencing-Token` says.
    pub fencing_token: Option<i64>,
    /// What header `ETag` says.
    pub tag: Option<String>,
}

impl Reply {
    /// Whether the body says this under `Error`.
    pub fn is_error(&self, error: &str) -> bool {
        self.body["Error"] == error
    }

    /// What people are shown of a refusal.
    pub fn said(&self) -> String {
        let text = ["Error", "detail"].iter().find_map(|key| self.body[*key].as_str());
        match text {
            Some(text) => text.to_owned(),
            None => format!("{} ({})", self.body, self.status),
        }
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Question<'q> {
    method: Method,
    path: String,
    body: Option<Value>,
    idempotency_key: Option<&'q str>,
    known_tag: Option<&'q str>,
}

impl<'q> Question<'q> {
    /// One without a body; the path begins with a slash.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            body: None,
            idempotency_key: None,
            known_tag: None,
        }
    }

    /// The same with a body.
    pub fn with_body(self, body: Value) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }

    /// The same, to be known by this if it is asked again.
    pub fn once(self, idempotency_key: &'q str) -> Self {
        Self {
            idempotency_key: Some(idempotency_key),
            ..self
        }
    }

    /// The same, of something that is known as it was with this `ETag`.
    pub fn unless(self, known_tag: Option<&'q str>) -> Self {
        Self { known_tag, ..self }
    }
}

/// A server that can be asked. Cloning copies a pointer.
#[derive(Clone)]
pub struct Api {
    client: Client,
    /// Without a slash at its end.
    base: String,
}

/// The path of a resource, whose name may have slashes. No path leads to `.` and
/// `..`: URLs are read so that even `%2E` is none (WHATWG).
pub fn path_of(name: &str) -> String {
    format!("/locks/{}/", utf8_percent_encode(name, UNRESERVED))
}

impl Api {
    /// Reads what has to be known before a request can be made; connects to
    /// nobody.
    ///
    /// Errors: the URL, the token or a file is not usable.
    pub fn new(server: &Server) -> Result<Self, ApiError> {
        let url = Url::parse(&server.url).ok().filter(|url| {
            let is_http = ["http", "https"].contains(&url.scheme());
            is_http && url.has_host() && url.query().is_none() && url.fragment().is_none()
        });
        let url = url.ok_or_else(|| ApiError::Url(without_credentials(&server.url)))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ApiError::Credentials);
        }
        let mut headers = HeaderMap::new();
        if let Some(token) = &server.token {
            let mut value = HeaderValue::try_from(format!("Token {token}")).map_err(|_| ApiError::Token)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut client = Client::builder()
            .user_agent(concat!("cls/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(Policy::none())
            .connect_timeout(CONNECT_WAIT_MAX)
            .tcp_keepalive(KEEPALIVE_PROBE_INTERVAL);
        if let Some(path) = &server.ca_file {
            let found = Certificate::from_pem_bundle(&read(path)?).map_err(|e| unusable(path, chain(&e)))?;
            if found.is_empty() {
                return Err(unusable(path, "there is no certificate in it".to_owned()));
            }
            for certificate in found {
                client = client.add_root_certificate(certificate);
            }
        }
        if let Some((certificate, key)) = &server.identity {
            let identity = Identity::from_pkcs8_pem(&read(certificate)?, &read(key)?);
            client = client.identity(identity.map_err(|e| unusable(certificate, chain(&e)))?);
        }
        Ok(Self {
            client: client.build().map_err(|e| match &server.identity {
                // Whether the two belong together is seen here only.
                Some((certificate, _)) => unusable(certificate, chain(&e)),
                None => ApiError::Client(chain(&e)),
            })?,
            base: url.as_str().trim_end_matches('/').to_owned(),
        })
    }

    /// Where the server is.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Sends one request and reads its answer, within `time_max`.
    pub async fn ask(&self, question: &Question<'_>, time_max: Duration) -> Result<Reply, Failure> {
        let Question {
            method,
            path,
            body,
            idempotency_key,
            known_tag,
        } = question;
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.base));
        request = request.timeout(time_max);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        if let Some(key) = idempotency_key {
            request = request.header("Idempotency-Key", *key);
        }
        if let Some(tag) = known_tag {
            request = request.header(IF_NONE_MATCH, *tag);
        }
        let mut response = request.send().await.map_err(|e| unreachable(&e))?;
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| unreachable(&e))? {
            text.extend_from_slice(&chunk);
            if text.len() > ANSWER_BYTES_MAX {
                return Err(Failure::Foreign("its answer is too long for a lock server".to_owned()));
            }
        }
        let body = serde_json::from_slice(&text).ok();
        understand(response.status().as_u16(), response.headers(), body, text.is_empty())
    }
}

fn understand(status: u16, headers: &HeaderMap, body: Option<Value>, is_empty: bool) -> Result<Reply, Failure> {
    let number = |name| headers.get(name)?.to_str().ok()?.parse().ok();
    let said = |body: Option<&Value>| {
        let said = body.and_then(|body| body["detail"].as_str());
        said.map_or_else(|| format!("it answers {status}"), str::to_owned)
    };
    match (status, body) {
        (204 | 304, None) => Ok((status, Value::Null)),
        (200 | 400..=428 | 430..=499, Some(body)) if body.is_object() => Ok((status, body)),
        (429, body) | (500.., body) => {
            let retry_after = number(RETRY_AFTER.as_str()).and_then(|seconds: i64| u64::try_from(seconds).ok());
            return Err(Failure::Busy {
                said: said(body.as_ref()),
                retry_after: retry_after.map(Duration::from_secs),
            });
        }
        (300..=399, _) => {
            let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
            let location = location.unwrap_or("elsewhere");
            return Err(Failure::Foreign(format!(
                "it answers {status}, and leads to {location}"
            )));
        }
        _ if is_empty => return Err(Failure::Foreign(format!("it answers {status} and nothing else"))),
        _ => {
            return Err(Failure::Foreign(format!(
                "it answers {status} and no JSON; is it a lock server?"
            )));
        }
    }
    .map(|(status, body)| Reply {
        status,
        body,
        fencing_token: number("fencing-token"),
        tag: headers.get(ETAG).and_then(|tag| Some(tag.to_str().ok()?.to_owned())),
    })
}

fn unreachable(error: &reqwest::Error) -> Failure {
    Failure::Unreachable(if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        chain(error)
    })
}

/// The innermost reason, which says most. The URL is known to whoever reads it.
fn chain(error: &reqwest::Error) -> String {
    let mut innermost = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        innermost = error.to_string();
        source = error.source();
    }
    innermost
}

fn read(path: &PathBuf) -> Result<Vec<u8>, ApiError> {
    std::fs::read(path).map_err(|e| unusable(path, e.to_string()))
}

fn unusable(path: &std::path::Path, why: String) -> ApiError {
    ApiError::File(path.display().to_string(), why)
}

/// A text that should have been a URL, without what may be a password.
fn without_credentials(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Server {
        Server {
            url: url.to_owned(),
            ..Server::default()
        }
    }

    #[test]
    fn a_url_is_taken_with_its_path_and_nothing_else() {
        for (url, base) in [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("https://locks.example/", "https://locks.example"),
            ("http://[::1]:8000/locks/", "http://[::1]:8000/locks"),
        ] {
            assert_eq!(Api::new(&server(url)).map(|api| api.base).ok().as_deref(), Some(base));
        }
        for url in [
            "",
            "localhost:8000",
            "ftp://x",
            "http://",
            "http://x/?a=b",
            "http://x/#y",
            "/",
        ] {
            assert!(matches!(Api::new(&server(url)), Err(ApiError::Url(_))), "{url}");
        }
    }

    #[test]
    fn no_secret_is_in_an_error() {
        for url in ["http://u:hunter2@x/", "ftp://u:hunter2@x", "u:hunter2@x"] {
            let error = Api::new(&server(url)).err().expect("refused").to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let token = Some("hunter2\n".to_owned());
        let with_token = Server {
            token,
            ..server("http://x")
        };
        let error = Api::new(&with_token).err().expect("refused").to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_name_is_one_segment_of_a_path() {
        for (name, path) in [
            ("nightly-report", "/locks/nightly-report/"),
            ("deploy/prod", "/locks/deploy%2Fprod/"),
            ("ü ?#", "/locks/%C3%BC%20%3F%23/"),
        ] {
            assert_eq!(path_of(name), path);
        }
    }

    #[test]
    fn what_an_answer_says_depends_on_its_status() {
        let understand = |status, text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static("3"));
            headers.insert("fencing-token", HeaderValue::from_static("7"));
            understand(status, &headers, serde_json::from_str(text).ok(), text.is_empty())
        };

        let reply = understand(200, r#"{"Success": "x"}"#).expect("an answer");
        assert_eq!((reply.status, reply.fencing_token), (200, Some(7)));
        assert!(understand(204, "").is_ok());
        let refused = understand(400, r#"{"Error": "Resource is locked."}"#).expect("an answer");
        assert!(refused.is_error("Resource is locked."));
        for status in [429, 500, 503] {
            let busy = Failure::Busy {
                said: "later".to_owned(),
                retry_after: Some(Duration::from_secs(3)),
            };
            assert_eq!(understand(status, r#"{"detail": "later"}"#).err(), Some(busy));
        }
        for (status, text) in [(200, "<html>"), (200, ""), (200, "[1]"), (404, "<html>"), (301, "")] {
            assert!(
                matches!(understand(status, text), Err(Failure::Foreign(_))),
                "{status} {text}"
            );
        }
    }
}
