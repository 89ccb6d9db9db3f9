//! The HTTP server: connections and their bounds, paths to views, and the way
//! it stops.

mod admission;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use actix_tls::accept::openssl::TlsStream;
use actix_web::dev::Extensions;
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use rustix::net::sockopt;
use rustix::process::Signal;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::sleep;

use crate::admin;
use crate::limits::{
    DESCRIPTORS_RESERVED, DISCONNECT_WAIT_MAX, FIGURES_INTERVAL, HANDSHAKE_WAIT_MAX, HANDSHAKES_MAX, HEAD_WAIT_MAX,
    KEEPALIVE_PROBE_INTERVAL, SHUTDOWN_WAIT_MAX, SOCKET_BUFFER_BYTES, UNREAD_WAIT_MAX,
};
use crate::metrics::{HttpMethod, HttpStatus};
use crate::resources::urls::{self, Action, Route};
use crate::resources::{
    AcquireView, BreakView, CheckView, Context, EventListView, EventStreamView, HealthView, HistoryView, LocksView,
    MetricsView, ReadyView, ReleaseView, RenewView, ResourceListView, ResourceView, SchemaView, TerraformView,
    TokenListView, TokenView, WaitersView,
};
use crate::rest::{
    BodyRoom, Request, RequestId, dispatch, dispatch_to_page, error_response, give_up_body, html_page, prefers_page,
    skip_body,
};
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
    /// How long the server goes on serving when it is told to stop, so that those
    /// who ask whether it is ready send requests elsewhere first.
    pub drain: Duration,
}

/// What a server tells whoever started it.
pub struct Occasions<A, R, S> {
    /// It serves at this address.
    pub announce: A,
    /// It got SIGHUP. Called in a thread of its own.
    pub reload: R,
    /// It was told to stop.
    pub stop: S,
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

/// Serves on `listener` until SIGTERM or SIGINT, and after that for as long as
/// it drains. A second signal ends the drain, and one after it the process.
///
/// Errors: the operating system refuses to listen or to hear signals.
pub async fn serve(
    listener: TcpListener,
    context: Context,
    config: ServerConfig,
    occasions: Occasions<impl FnOnce(SocketAddr), impl Fn() + Send + Sync + 'static, impl FnOnce() + 'static>,
) -> io::Result<()> {
    let Occasions { announce, reload, stop } = occasions;
    let address = listener.local_addr()?;
    bound_connections(&listener)?;
    let open = Arc::new(AtomicUsize::new(0));
    let connections_max = config.connections_max;
    let engine = context.engine.clone();
    let sampled = Arc::clone(&context.metrics);
    let (metrics, readiness) = (Arc::clone(&context.metrics), context.readiness.clone());
    let drain = config.drain;
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
    let mut ends = Ends {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
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
    actix_web::rt::spawn(async move {
        loop {
            sampled.recent.take(&sampled);
            sleep(FIGURES_INTERVAL).await;
        }
    });
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(async move {
        let mut name = ends.next().await;
        readiness.drain();
        metrics.draining.set(1);
        stop();
        if !drain.is_zero() {
            log::info!(
                "{name}: serving for {} more seconds; a second signal stops at once",
                drain.as_secs()
            );
            tokio::select! {
                () = sleep(drain) => {}
                second = ends.next() => name = second,
            }
        }
        log::info!("{name}: stopping; a second signal ends at once");
        engine.drain();
        let stopped = handle.stop(true);
        tokio::select! {
            () = stopped => {}
            _ = ends.next() => std::process::exit(1),
        }
    });
    server.await
}

/// The signals that tell a server to stop.
struct Ends {
    terminate: Signals,
    interrupt: Signals,
}

impl Ends {
    /// The name of the next of them.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
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

/// Answers one request, by the identifier that it has or is given.
async fn handle(http: HttpRequest, payload: Payload, serving: web::Data<Serving>) -> HttpResponse {
    // Pinned where it is made, because what an async function is handed it holds twice.
    let mut answering = pin!(RequestId::of(&http).scope(answer_and_note(http, payload, serving)));
    let mut response = answering.as_mut().await;
    if let Some(id) = answering.take_value() {
        id.put_into(&mut response);
    }
    response
}

/// Answers a request and, where so much is logged, says how: without the query,
/// which may have a key of a lock.
async fn answer_and_note(http: HttpRequest, payload: Payload, serving: web::Data<Serving>) -> HttpResponse {
    let asked =
        log::log_enabled!(log::Level::Debug).then(|| Box::new(format!("{} {}", http.method(), http.uri().path())));
    let response = answer(http, payload, serving).await;
    if let Some(asked) = asked {
        log::debug!("{asked} was answered {}", response.status().as_u16());
    }
    response
}

/// Answers a request, and counts the answer.
async fn answer(http: HttpRequest, payload: Payload, serving: web::Data<Serving>) -> HttpResponse {
    let context = &serving.context;
    let method = HttpMethod::of(http.method().as_str());
    // Less than the whole URI, because each request that waits holds it.
    let target = http.uri().path_and_query().cloned();
    let route = target.as_ref().and_then(|target| urls::route(target.path()));
    let may_stay = match serving.admission.admit(&http, route.as_ref()) {
        Ok(may_stay) => may_stay,
        Err(refusal) => {
            let response = Box::pin(refuse(http, payload, refusal)).await;
            return counted(context, method, response);
        }
    };
    let mut response = match route {
        None => match target.as_ref().and_then(|target| admin::route(target.path())) {
            Some(route) => Box::pin(admin::answer(context, route, Request::new(http, payload))).await,
            None => give_up_body(&http, payload, html_page(StatusCode::NOT_FOUND)),
        },
        Some(route) if prefers_page(&http) => {
            Box::pin(dispatch_to_people(context, route, Request::new(http, payload))).await
        }
        Some(Route::Resource(name)) => {
            dispatch(&ResourceView { context, name: &name }, Request::new(http, payload)).await
        }
        // Apart, so that those who wait for one resource do not hold room for what the others need.
        Some(route) => Box::pin(dispatch_other(context, route, Request::new(http, payload))).await,
    };
    if !may_stay {
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    counted(context, method, response)
}

fn counted(context: &Context, method: HttpMethod, response: HttpResponse) -> HttpResponse {
    let status = HttpStatus::of(response.status().as_u16());
    context.metrics.count_answer(method, status);
    response
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
        Route::Events => dispatch(&EventListView { context }, request).await,
        Route::EventStream => dispatch(&EventStreamView { context }, request).await,
        Route::Tokens => dispatch(&TokenListView { context }, request).await,
        Route::Token(id) => dispatch(&TokenView { context, id: &id }, request).await,
        Route::Waiters(name) => dispatch(&WaitersView { context, name: &name }, request).await,
        Route::Schema => dispatch(&SchemaView { context }, request).await,
        Route::Metrics => dispatch(&MetricsView { context }, request).await,
        Route::Health => dispatch(&HealthView, request).await,
        Route::Ready => dispatch(&ReadyView { context }, request).await,
        Route::Action(name, Action::Acquire) => dispatch(&AcquireView { context, name: &name }, request).await,
        Route::Action(name, Action::Release) => dispatch(&ReleaseView { context, name: &name }, request).await,
        Route::Action(name, Action::Renew) => dispatch(&RenewView { context, name: &name }, request).await,
        Route::Action(name, Action::Break) => dispatch(&BreakView { context, name: &name }, request).await,
        Route::Action(name, Action::History) => dispatch(&HistoryView { context, name: &name }, request).await,
        Route::Action(name, Action::Check) => dispatch(&CheckView { context, name: &name }, request).await,
    }
}
