//! The HTTP server: connections and their bounds, paths to views, and the way
//! it stops.

mod admission;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use actix_tls::accept::openssl::TlsStream;
use actix_web::dev::Extensions;
use actix_web::http::StatusCode;
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use rustix::net::sockopt;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin;
use crate::limits::{
    DESCRIPTORS_RESERVED, DISCONNECT_WAIT_MAX, HANDSHAKE_WAIT_MAX, HANDSHAKES_MAX, HEAD_WAIT_MAX,
    KEEPALIVE_PROBE_INTERVAL, SHUTDOWN_WAIT_MAX, SOCKET_BUFFER_BYTES, UNREAD_WAIT_MAX,
};
use crate::resources::urls::{self, Action, Route};
use crate::resources::{
    AcquireView, BreakView, CheckView, Context, LocksView, ReleaseView, RenewView, ResourceListView, ResourceView,
    SchemaView, TerraformView, TokenListView, TokenView, WaitersView,
};
use crate::rest::{BodyRoom, Request, dispatch, dispatch_to_page, error_response, give_up_body, html_page, skip_body};
use crate::tls::Tls;

use admission::Refusal;

pub use admission::Admission;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;

/// How the server serves.
pub struct ServerConfig {
    /// Threads that serve connections.
    pub workers: usize,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// Connections that may be open; the next is answered 503.
    pub connections_max: usize,
    /// What encrypts connections; `None` if they are not.
    pub tls: Option<Tls>,
    /// What each request must pass.
    pub admission: Admission,
}

/// What answers requests.
struct Serving {
    admission: Arc<Admission>,
    context: Context,
}

/// Counts connections; each holds one of these.
struct OpenConnection {
    open: Arc<AtomicUsize>,
    refused: bool,
}

impl OpenConnection {
    fn admit(open: &Arc<AtomicUsize>, connections_max: usize) -> Self {
        let before = open.fetch_add(1, Ordering::Relaxed);
        Self {
            open: Arc::clone(open),
            refused: before >= connections_max,
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves on `listener` until SIGTERM or SIGINT; `announce` is told its
/// address. A second signal ends the process at once. At each SIGHUP `reload` is
/// called, in a thread of its own.
///
/// Errors: the operating system refuses to listen or to hear signals.
pub async fn serve(
    listener: TcpListener,
    context: Context,
    config: ServerConfig,
    announce: impl FnOnce(SocketAddr),
    reload: impl Fn() + Send + Sync + 'static,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    bound_connections(&listener)?;
    let open = Arc::new(AtomicUsize::new(0));
    let connections_max = config.connections_max;
    let engine = context.engine.clone();
    let admission = Arc::new(config.admission);
    let body_room = BodyRoom::default();
    let server = HttpServer::new(move || {
        let serving = Serving {
            admission: Arc::clone(&admission),
            context: context.clone(),
        };
        App::new()
            .app_data(web::Data::new(serving))
            .app_data(web::Data::new(body_room.clone()))
            .default_service(web::to(handle))
    })
    .on_connect(move |connection, extensions: &mut Extensions| {
        if let Some(encrypted) = connection.downcast_ref::<TlsStream<TcpStream>>() {
            acknowledge(encrypted.get_ref());
        }
        extensions.insert(OpenConnection::admit(&open, connections_max));
    })
    .workers(config.workers)
    .keep_alive(config.keep_alive)
    .tls_handshake_timeout(HANDSHAKE_WAIT_MAX)
    .max_connection_rate(HANDSHAKES_MAX)
    .client_request_timeout(HEAD_WAIT_MAX)
    .client_disconnect_timeout(DISCONNECT_WAIT_MAX)
    // Else a request goes on when its client has left.
    .h1_allow_half_closed(false)
    // A few beyond the bound, to answer them 503; the rest wait in the backlog.
    .max_connections((connections_max + DESCRIPTORS_RESERVED / 2).div_ceil(config.workers))
    .shutdown_timeout(SHUTDOWN_WAIT_MAX.as_secs())
    .disable_signals();
    let server = match config.tls {
        Some(tls) => server.listen_openssl(listener, tls.acceptor().map_err(io::Error::other)?)?,
        None => server.listen(listener)?,
    };
    // Before anybody learns that it serves: from then on a signal must not end it unheard.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    announce(address);
    let reload = Arc::new(reload);
    actix_web::rt::spawn(async move {
        while hangup.recv().await.is_some() {
            let reload = Arc::clone(&reload);
            // Not here, because a file may be on a disk that does not answer, and SIGTERM must be heard.
            thread::spawn(move || reload());
        }
    });
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        log::info!("{name}: stopping; a second signal ends at once");
        engine.drain();
        let stopped = handle.stop(true);
        tokio::select! {
            () = stopped => {}
            _ = terminate.recv() => std::process::exit(1),
            _ = interrupt.recv() => std::process::exit(1),
        }
    });
    server.await
}

/// Sets what each connection to `listener` inherits: how much of it the system
/// keeps, how long a client may leave its answers unread, and how one is found
/// that has vanished.
fn bound_connections(listener: &TcpListener) -> io::Result<()> {
    sockopt::set_socket_send_buffer_size(listener, SOCKET_BUFFER_BYTES)?;
    sockopt::set_socket_recv_buffer_size(listener, SOCKET_BUFFER_BYTES)?;
    sockopt::set_tcp_user_timeout(listener, UNREAD_WAIT_MAX.as_millis().try_into().unwrap_or(u32::MAX))?;
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, KEEPALIVE_PROBE_INTERVAL)?;
    sockopt::set_tcp_keepintvl(listener, KEEPALIVE_PROBE_INTERVAL)?;
    // Again, because the standard library's backlog is short.
    rustix::net::listen(listener, BACKLOG)?;
    Ok(())
}

/// Acknowledges at once what was received, the end of a handshake.
///
/// Nothing is sent after that end in TLS 1.3, so the system would wait up to
/// 40 ms for something to send it with; and as long would a client that has not
/// set TCP_NODELAY, with its first request in hand (RFC 896).
fn acknowledge(stream: &TcpStream) {
    if let Err(error) = sockopt::set_tcp_quickack(stream, true) {
        log::debug!("a handshake is not acknowledged at once: {error}");
    }
}

/// Makes a write beyond the limit of file sizes (`ulimit -f`) fail like one to
/// a full disk, where the system would end the process by SIGXFSZ. It stays so
/// for as long as the process lives.
///
/// Errors: the signal cannot be handled. Panics outside of a runtime.
pub fn survive_file_size_limit() -> io::Result<()> {
    let file_size_limit = SignalKind::from_raw(Signal::XFSZ.as_raw());
    // To have a handler is all; nobody listens.
    signal(file_size_limit).map(drop)
}

/// Answers one request.
async fn handle(http: HttpRequest, payload: Payload, serving: web::Data<Serving>) -> HttpResponse {
    if let Err(refusal) = serving.admission.admit(&http) {
        return Box::pin(refuse(http, payload, refusal)).await;
    }
    // Less than the whole URI, because each request that waits holds it.
    let target = http.uri().path_and_query().cloned();
    let context = &serving.context;
    let Some(route) = target.as_ref().and_then(|target| urls::route(target.path())) else {
        return match target.as_ref().and_then(|target| admin::route(target.path())) {
            Some(route) => Box::pin(admin::answer(context, route, Request::new(http, payload))).await,
            None => give_up_body(&http, payload, html_page(StatusCode::NOT_FOUND)),
        };
    };
    let request = Request::new(http, payload);
    match route {
        route if request.prefers_page() => Box::pin(dispatch_to_people(context, route, request)).await,
        Route::Resource(name) => dispatch(&ResourceView { context, name: &name }, request).await,
        // Apart, so that those who wait for one resource do not hold room for what the others need.
        route => Box::pin(dispatch_other(context, route, request)).await,
    }
}

async fn refuse(http: HttpRequest, mut payload: Payload, refusal: Refusal) -> HttpResponse {
    if !refusal.delay.is_zero() {
        tokio::time::sleep(refusal.delay).await;
    }
    let closes_connection = refusal.exception.closes_connection;
    let mut response = error_response(refusal.exception);
    if !closes_connection {
        skip_body(&mut payload).await.close_if_malformed(&mut response);
    }
    give_up_body(&http, payload, response)
}

/// Answers somebody who looks at it in a browser; the original's browsable API.
async fn dispatch_to_people(context: &Context, route: Route<'_>, request: Request) -> HttpResponse {
    match route {
        Route::Resource(name) => {
            let view = ResourceView { context, name: &name };
            dispatch_to_page(&view, request, |request, answer, json| {
                admin::browsable(request, answer, Some(&name), json)
            })
            .await
        }
        Route::Resources => {
            let view = ResourceListView { context };
            dispatch_to_page(&view, request, |request, answer, json| {
                admin::browsable(request, answer, None, json)
            })
            .await
        }
        route => dispatch_other(context, route, request).await,
    }
}

async fn dispatch_other(context: &Context, route: Route<'_>, request: Request) -> HttpResponse {
    match route {
        Route::Resource(name) => dispatch(&ResourceView { context, name: &name }, request).await,
        Route::Resources => dispatch(&ResourceListView { context }, request).await,
        Route::Locks => dispatch(&LocksView { context }, request).await,
        Route::Terraform(name) => dispatch(&TerraformView { context, name: &name }, request).await,
        Route::Tokens => dispatch(&TokenListView { context }, request).await,
        Route::Token(id) => dispatch(&TokenView { context, id: &id }, request).await,
        Route::Waiters(name) => dispatch(&WaitersView { context, name: &name }, request).await,
        Route::Schema => dispatch(&SchemaView { context }, request).await,
        Route::Action(name, Action::Acquire) => dispatch(&AcquireView { context, name: &name }, request).await,
        Route::Action(name, Action::Release) => dispatch(&ReleaseView { context, name: &name }, request).await,
        Route::Action(name, Action::Renew) => dispatch(&RenewView { context, name: &name }, request).await,
        Route::Action(name, Action::Break) => dispatch(&BreakView { context, name: &name }, request).await,
        Route::Action(name, Action::Check) => dispatch(&CheckView { context, name: &name }, request).await,
    }
}
