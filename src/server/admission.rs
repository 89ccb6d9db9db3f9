//! Who is let in: what a request must pass before anything else is done for
//! it, the cheapest first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::UPGRADE;

use super::OpenConnection;
use crate::limits::RETRY_AFTER;
use crate::resources::urls::Route;
use crate::rest::exceptions::ApiException;
use crate::rest::throttling::{Client, RequestRate};
use crate::rest::{AllowedHosts, is_cross_site};

/// What is asked of each request.
#[derive(Debug)]
pub struct Admission {
    /// The hosts that are served.
    pub hosts: AllowedHosts,
    /// How often a client may ask; `None` is any number of times.
    pub request_rate: Option<Arc<RequestRate>>,
}

/// A request that is not let in.
pub(super) struct Refusal {
    pub exception: ApiException,
    /// How long its answer is held back.
    pub delay: Duration,
}

impl From<ApiException> for Refusal {
    fn from(exception: ApiException) -> Self {
        Self {
            exception,
            delay: Duration::ZERO,
        }
    }
}

impl Admission {
    /// Lets in what is for `route`. Who watches the server is let in at any rate,
    /// and by connections beyond the bound, which is when that matters most; who
    /// asks only whether it lives or is ready, by whatever name. Says whether the
    /// connection may stay open.
    ///
    /// Errors: too many connections are open, the host is not served, what
    /// follows is not going to be HTTP, a page of another site sent it, or the
    /// client has asked too often.
    pub(super) fn admit(&self, http: &HttpRequest, route: Option<&Route<'_>>) -> Result<bool, Refusal> {
        let is_probe = matches!(route, Some(Route::Health | Route::Ready));
        let is_watching = is_probe || matches!(route, Some(Route::Metrics));
        let connection = http.conn_data::<OpenConnection>();
        let may_stay = connection.is_none_or(|connection| !connection.refused);
        if !may_stay && !is_watching {
            let exception = ApiException {
                closes_connection: true,
                ..ApiException::service_unavailable("too many connections are open", RETRY_AFTER)
            };
            return Err(exception.into());
        }
        if !is_probe && !self.hosts.allow(http) {
            return Err(ApiException::suspicious_operation().into());
        }
        if leaves_http(http) {
            let exception = ApiException {
                closes_connection: true,
                ..ApiException::suspicious_operation()
            };
            return Err(exception.into());
        }
        if changes_from_elsewhere(http) {
            return Err(ApiException::permission_denied().into());
        }
        let Some(request_rate) = self.request_rate.as_ref().filter(|_| !is_watching) else {
            return Ok(may_stay);
        };
        let admitted = request_rate.admit(Client::of(http), Instant::now());
        admitted.map(|()| may_stay).map_err(|throttled| Refusal {
            exception: ApiException::too_soon(throttled.wait),
            delay: throttled.delay,
        })
    }
}

/// Whether a browser says that a page of another site sends this, and it is not
/// only to look: a form needs no permission of the server to be sent, and where
/// no tokens are asked for it would take and break locks.
fn changes_from_elsewhere(http: &HttpRequest) -> bool {
    let is_safe = matches!(*http.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    !is_safe && is_cross_site(http)
}

/// Whether actix takes all that follows for another protocol, whatever the head
/// says of its length. A proxy that goes by the length would send the next
/// request of somebody else into it.
fn leaves_http(http: &HttpRequest) -> bool {
    let mut protocols = http.headers().get_all(UPGRADE);
    http.method() == Method::CONNECT || protocols.any(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}
