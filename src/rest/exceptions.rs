//! What can be wrong with a request: status, detail and code, as Django REST
//! framework's `APIException` and its kin.

use std::borrow::Cow;
use std::time::Duration;

use actix_web::http::StatusCode;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problems {
    /// A list of messages.
    Messages(Vec<String>),
    /// The messages of a list's items, by their places: an object whose keys
    /// are numbers.
    Items(Vec<(usize, Vec<String>)>),
}

impl From<Vec<String>> for Problems {
    fn from(messages: Vec<String>) -> Self {
        Self::Messages(messages)
    }
}

impl Serialize for Problems {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Messages(messages) => messages.serialize(serializer),
            Self::Items(items) => serializer.collect_map(items.iter().map(|(at, messages)| (at, messages))),
        }
    }
}

/// The problems of a request's fields: each field's name with what is wrong,
/// in the order of the serializer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldErrors(Vec<(&'static str, Problems)>);

impl FieldErrors {
    /// What is wrong with the body as a whole.
    pub fn non_field(message: String) -> Self {
        Self(vec![("non_field_errors", vec![message].into())])
    }

    /// Keeps the value of a valid field; notes what is wrong with another.
    pub fn check<T>(&mut self, field: &'static str, result: Result<T, impl Into<Problems>>) -> Option<T> {
        result.map_err(|problems| self.0.push((field, problems.into()))).ok()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for FieldErrors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (field, problems) in &self.0 {
            map.serialize_entry(field, problems)?;
        }
        map.end()
    }
}

/// What the body of an error says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// `{"detail": …}`.
    Message(Cow<'static, str>),
    /// An object of lists.
    Fields(FieldErrors),
    /// Django's own page for a request that it refuses before any view.
    Page,
}

/// A request that is answered with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiException {
    /// The status of the answer.
    pub status: StatusCode,
    /// Its body.
    pub detail: Detail,
    /// When to come again.
    pub retry_after: Option<Duration>,
    /// Whether the connection cannot be used any more: the rest of the body
    /// is not going to be read.
    pub closes_connection: bool,
}

impl ApiException {
    /// An error with a message of its own.
    pub fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            detail: Detail::Message(message.into()),
            retry_after: None,
            closes_connection: false,
        }
    }

    /// 400, `ValidationError`.
    pub fn validation_error(errors: FieldErrors) -> Self {
        Self {
            detail: Detail::Fields(errors),
            ..Self::new(StatusCode::BAD_REQUEST, "")
        }
    }

    /// 400, `ParseError`.
    pub fn parse_error(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400, Django's `SuspiciousOperation`, for instance too many fields.
    pub fn suspicious_operation() -> Self {
        Self {
            detail: Detail::Page,
            ..Self::new(StatusCode::BAD_REQUEST, "")
        }
    }

    /// 403, `PermissionDenied`.
    pub fn permission_denied() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "You do not have permission to perform this action.",
        )
    }

    /// 404, `NotFound`.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found.")
    }

    /// 405, `MethodNotAllowed`.
    pub fn method_not_allowed(method: &str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("Method \"{method}\" not allowed."),
        )
    }

    /// 406, `NotAcceptable`.
    pub fn not_acceptable() -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            "Could not satisfy the request Accept header.",
        )
    }

    /// 415, `UnsupportedMediaType`.
    pub fn unsupported_media_type(media_type: &str) -> Self {
        let message = format!("Unsupported media type \"{media_type}\" in request.");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    }

    /// 408: the body took too long.
    pub fn body_timed_out(wait_max: Duration) -> Self {
        let message = format!("The request body did not arrive within {} seconds.", wait_max.as_secs());
        Self {
            closes_connection: true,
            ..Self::new(StatusCode::REQUEST_TIMEOUT, message)
        }
    }

    /// 413: the body is too large.
    pub fn body_too_large(bytes_max: usize) -> Self {
        let message = format!("The request body is larger than {bytes_max} bytes.");
        Self {
            closes_connection: true,
            ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
        }
    }

    /// 429, `Throttled`: the client may come again after `wait`.
    pub fn too_soon(wait: Duration) -> Self {
        let retry_after = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        let seconds = match retry_after.as_secs() {
            1 => "second",
            _ => "seconds",
        };
        let message = format!(
            "Request was throttled. Expected available in {} {seconds}.",
            retry_after.as_secs()
        );
        Self {
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, message)
        }
    }

    /// 429 for lack of something else than time.
    pub fn throttled(reason: &str, retry_after: Duration) -> Self {
        let message = format!("Request was throttled: {reason}.");
        Self {
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, message)
        }
    }

    /// 503: it can only be said later.
    pub fn service_unavailable(reason: &str, retry_after: Duration) -> Self {
        let message = format!("Service temporarily unavailable: {reason}.");
        Self {
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_too_short() {
        for (ms, seconds, told) in [(1, 1, "1 second"), (1000, 1, "1 second"), (1001, 2, "2 seconds")] {
            let exception = ApiException::too_soon(Duration::from_millis(ms));
            let message = format!("Request was throttled. Expected available in {told}.");
            assert_eq!(exception.detail, Detail::Message(message.into()));
            assert_eq!(exception.retry_after, Some(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn fields_come_in_order_and_a_list_tells_its_items() {
        let mut errors = FieldErrors::default();
        let items = vec![
            (1, vec!["One.".to_owned()]),
            (10, vec!["Ten.".to_owned(), "More.".to_owned()]),
        ];
        let valid: Result<_, Problems> = Ok(7);

        assert_eq!(errors.check("valid", valid), Some(7));
        assert!(errors.is_empty());
        assert_eq!(errors.check::<()>("resources", Err(Problems::Items(items))), None);
        assert_eq!(errors.check::<()>("label", Err(vec!["Wrong.".to_owned()])), None);
        assert_eq!(
            serde_json::to_string(&errors).expect("it can be written"),
            r#"{"resources":{"1":["One."],"10":["Ten.","More."]},"label":["Wrong."]}"#
        );
    }
}
