//! `cls runserver`.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use chrono::Local;
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::access::AtRest;
use crate::db::{Database, DatabaseUrl, IfMissing, Ownership, Target};
use crate::engine::{Batcher, Engine, Feed, Readiness, Tokens};
use crate::limits::{BATCHER_END_WAIT_MAX, DESCRIPTORS_RESERVED};
use crate::management::CommandError;
use crate::management::logging::Logging;
use crate::management::migrate::run_plan;
use crate::management::notify;
use crate::management::reload::{Reload, policy, request_limits, warn_of};
use crate::metrics::Metrics;
use crate::resources::{Access, Context, CurrentLimits};
use crate::rest::AllowedHosts;
use crate::rest::throttling::{ClientWaiters, RequestRate};
use crate::server::{Admission, Occasions, ServerConfig, serve, survive_file_size_limit};
use crate::settings::{Auth, Environment, KeysAtRest, Settings};
use crate::tls::{Identity, Tls};

const DEFAULT_ADDRESS: &str = "127.0.0.1";
const DEFAULT_PORT: &str = "8000";

/// Between two looks whether the batcher thread has ended.
const END_LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Connections without which it is not worth while to start.
const CONNECTIONS_MIN: usize = 8;

/// Serve the API. On SQLite, missing migrations are applied first.
#[derive(Debug, Args)]
pub struct Runserver {
    /// Where to listen: PORT, ADDR:PORT or, for version 6, `[ADDR]:PORT`.
    #[arg(default_value_t = format!("{DEFAULT_ADDRESS}:{DEFAULT_PORT}"))]
    address: String,
    /// Apply missing migrations first, also on PostgreSQL.
    #[arg(long)]
    migrate: bool,
    /// Refuse to start instead of applying missing migrations.
    #[arg(long, conflicts_with = "migrate")]
    no_migrate: bool,
}

impl Runserver {
    pub(super) fn run(
        self,
        settings: Settings,
        environment: Environment,
        logging: Logging,
    ) -> Result<(), CommandError> {
        let address = parse_address(&self.address)?;
        let auth = match settings.auth {
            Some(auth) => auth,
            None if address.ip().is_loopback() => Auth::Off,
            None => return Err(CommandError::AuthUnset(address)),
        };
        let identity = settings.tls.as_ref().map(Identity::load).transpose()?;
        let url = DatabaseUrl::parse(settings.database_url.reveal())?;
        let room = room_for_connections()?;
        let system = actix_web::rt::System::new();
        // From before the first write on.
        system.block_on(async { survive_file_size_limit() })?;
        // A file belongs to one server, which may migrate it; a PostgreSQL database is migrated when somebody says so.
        let migrate = self.migrate || (url.path().is_some() && !self.no_migrate);
        // Looked at before anything is made: what is refused leaves no trace.
        if migrate {
            Database::open(&url, IfMissing::Pretend)?.migrations()?;
        } else {
            Database::open(&url, IfMissing::Refuse)?.require_migrated()?;
        }
        let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => CommandError::PortInUse(address),
            _ => CommandError::Bind(address, error),
        })?;
        // A PostgreSQL database is owned by the very session that commits to it.
        let mut ownership = url.path().map(Ownership::take).transpose()?;
        let mut database = if migrate {
            let mut database = Database::open(&url, IfMissing::Create)?;
            apply_missing(&mut database)?;
            database
        } else {
            Database::open(&url, IfMissing::Refuse)?
        };
        database.require_migrated()?;
        let (store, catalog) = database.into_store_and_catalog()?;
        say("System check identified no issues (0 silenced).");
        let connections_max = connections_max(settings.connections_max, room);
        let metrics = Arc::new(Metrics::new());
        let client_rate = settings.client_requests_per_second;
        let client_rate = client_rate.map(|rate| Arc::new(RequestRate::new(rate, Arc::clone(&metrics))));
        let config = ServerConfig {
            workers: settings.workers,
            keep_alive: settings.keep_alive,
            connections_max,
            admission: Admission {
                hosts: match &settings.allowed_hosts {
                    Some(hosts) => AllowedHosts::new(hosts),
                    None => AllowedHosts::default_at(address),
                },
                // With tokens a client is known when its token is.
                request_rate: client_rate.clone().filter(|_| auth == Auth::Off),
            },
            tls: identity.map(present),
            drain: settings.drain,
        };
        let tls = config.tls.clone();
        let waiters_max = settings.waiters_max.min(waiters_that_leave_room(connections_max));
        let access = match auth {
            Auth::Off => Access::Open,
            Auth::Required => Access::Tokens(Tokens::watch(catalog.clone())?, client_rate, catalog.clone()),
        };
        let (engine, batcher) = Batcher::spawn(store, policy(&settings, waiters_max), Arc::clone(&metrics))?;
        let announce = |bound: SocketAddr| {
            let owner = format!("cls runserver {bound} (pid {})", std::process::id());
            if let Some(Err(error)) = ownership.as_mut().map(|ownership| ownership.describe(&owner)) {
                log::warn!("cannot write down who owns the database: {error}");
            }
            banner(bound, &url, auth, tls.is_some());
            notify::ready();
        };
        let limits = Arc::new(CurrentLimits::new(request_limits(&settings)));
        let context = Context {
            engine: engine.clone(),
            feed: Feed::spawn(&engine, catalog.clone())?,
            readiness: Readiness::of(catalog.clone()),
            registrar: catalog.registrar(),
            catalog,
            metrics,
            limits: Arc::clone(&limits),
            access,
            at_rest: match (settings.locked_by_at_rest, &settings.secret_key) {
                (KeysAtRest::Hashed, Some(secret)) => AtRest::hashed(secret.reveal()),
                _ => AtRest::Plain,
            },
            client_waiters: Arc::new(ClientWaiters::new(settings.client_waiters_max)),
        };
        let reload = Reload {
            environment,
            logging,
            running: Mutex::new(settings),
            tls: tls.clone(),
            engine: engine.clone(),
            limits,
            waiters_max,
        };
        let drain = config.drain;
        let occasions = Occasions {
            announce,
            reload: move || notify::around_reload(|| reload.run()),
            stop: move || notify::stopping(drain),
        };
        let served = system.block_on(serve(listener, context, config, occasions));
        let is_ended = end(engine, batcher);
        served?;
        if !is_ended {
            return Err(CommandError::Hangs);
        }
        log::info!("stopped");
        Ok(())
    }
}

/// Ends the batcher thread when it has done what is queued. Says whether it
/// did: it may hang in a database that says nothing.
fn end(engine: Engine, batcher: JoinHandle<()>) -> bool {
    // In a thread, because the queue may be full and nobody empty it.
    thread::spawn(move || engine.stop());
    let until = Instant::now() + BATCHER_END_WAIT_MAX;
    while !batcher.is_finished() && Instant::now() < until {
        thread::sleep(END_LOOK_INTERVAL);
    }
    let is_ended = batcher.is_finished();
    if is_ended {
        batcher.join().expect("a panic of the batcher ends the process");
    }
    is_ended
}

fn apply_missing(database: &mut Database) -> Result<(), CommandError> {
    database.wait_to_migrate()?;
    let mut migrations = database.migrations()?;
    let plan = migrations.plan(&Target::Latest)?;
    if !plan.is_empty() {
        say("Running migrations:");
        run_plan(&mut migrations, &plan)?;
    }
    Ok(())
}

/// Says what connections will be shown.
fn present(identity: Identity) -> Tls {
    log::info!("the certificate is that of {}", identity.description());
    warn_of(&identity);
    Tls::new(identity)
}

/// Prints a line. A server that nobody reads serves all the same.
fn say(line: impl fmt::Display) {
    if let Err(error) = writeln!(io::stdout(), "{line}") {
        log::debug!("cannot print: {error}");
    }
}

fn banner(bound: SocketAddr, url: &DatabaseUrl, auth: Auth, is_encrypted: bool) {
    say(Local::now().format("%B %d, %Y - %H:%M:%S"));
    say(format_args!(
        "Central Locking System version {}, using {url}",
        env!("CARGO_PKG_VERSION")
    ));
    let scheme = if is_encrypted { "https" } else { "http" };
    say(format_args!("Starting server at {scheme}://{bound}/"));
    say("Quit the server with CONTROL-C.");
    log::info!("serving on {bound}");
    if auth == Auth::Off && !bound.ip().is_loopback() {
        log::warn!("whoever can reach {bound} can acquire every resource, and break every lock");
    }
}

/// `PORT`, `ADDR:PORT`, `[IPV6]:PORT` or `NAME:PORT`; an address of `0` is all.
fn parse_address(text: &str) -> Result<SocketAddr, CommandError> {
    let (host, port) = text.rsplit_once(':').unwrap_or((DEFAULT_ADDRESS, text));
    let host = if host == "0" { "0.0.0.0" } else { host };
    let wrong = || CommandError::Address(text.to_owned());
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bare.is_none() && host.contains(':') {
        return Err(wrong());
    }
    let mut addresses = (bare.unwrap_or(host), port).to_socket_addrs().map_err(|_| wrong())?;
    addresses.next().ok_or_else(wrong)
}

/// Raises the limit of open files as far as it goes, and answers with how many
/// connections fit into it.
fn room_for_connections() -> Result<usize, CommandError> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!("cannot raise the limit of open files: {error}");
    }
    let files = getrlimit(Resource::Nofile).current;
    let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    let room = files.saturating_sub(DESCRIPTORS_RESERVED);
    if room < CONNECTIONS_MIN {
        return Err(CommandError::FewFiles(files));
    }
    Ok(room)
}

fn connections_max(wanted: usize, room: usize) -> usize {
    if room < wanted {
        log::warn!("the limit of open files allows {room} connections, not {wanted}; raise it with ulimit -n");
    }
    wanted.min(room)
}

/// How many may wait so that a sixth of the connections is left for those who
/// release.
fn waiters_that_leave_room(connections_max: usize) -> usize {
    connections_max - connections_max.div_ceil(6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_address() {
        for (text, expected) in [
            ("8001", Some("127.0.0.1:8001")),
            ("0:8001", Some("0.0.0.0:8001")),
            ("127.0.0.2:80", Some("127.0.0.2:80")),
            ("[::1]:8000", Some("[::1]:8000")),
            ("127.0.0.1", None),
            ("127.0.0.1:", None),
            ("127.0.0.1:65536", None),
            ("::1", None),
            (":8000:", None),
            ("", None),
            ("x y:8000", None),
        ] {
            let address = parse_address(text).ok().map(|address| address.to_string());
            assert_eq!(address.as_deref(), expected, "{text}");
        }
    }
}
