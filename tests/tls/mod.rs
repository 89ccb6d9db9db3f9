//! TLS to clients, on real servers with certificates that the test makes; and
//! SIGHUP, by which they are changed.

mod asking;
mod connections;
mod files;
mod mutual;
mod reload;
mod serving;
mod settings;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{Certified, Client, Cls, Server, eventually};

/// A directory with an authority's certificate and key for a server, and the
/// settings that name them.
struct Site {
    directory: TempDir,
    authority: Certified,
    presented: Certified,
}

impl Site {
    fn new() -> Self {
        let authority = Certified::authority("our authority");
        let site = Self {
            directory: TempDir::new().expect("a temporary directory"),
            presented: authority.sign("localhost"),
            authority,
        };
        site.present(&site.presented);
        site
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path().join(name);
        std::fs::write(&path, content).expect("writable");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
    }

    /// Puts the files there that the settings name.
    fn present(&self, certified: &Certified) {
        self.write("server.pem", &certified.certificate_pem());
        self.write("server.key", &certified.key_pem());
    }

    /// Few connections, so that no limit of the machine is worth a warning.
    fn cls(&self) -> Cls {
        Cls::in_directory(self.path())
            .with("CONNECTIONS_MAX", "2000")
            .with("WORKERS", "1")
            .with("TLS_CERT", "server.pem")
            .with("TLS_KEY", "server.key")
    }

    fn start(&self) -> Server {
        self.cls().start()
    }

    /// One that believes our authority.
    fn client(&self, server: &Server) -> Client {
        connect(server, self.connector())
    }

    fn connector(&self) -> SslConnectorBuilder {
        let mut connector = trusting(&self.authority);
        connector.set_alpn_protos(b"\x02h2\x08http/1.1").expect("protocols");
        connector
    }
}

/// What verifies servers by an authority.
fn trusting(authority: &Certified) -> SslConnectorBuilder {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("memory");
    let mut store = X509StoreBuilder::new().expect("memory");
    store.add_cert(authority.certificate.clone()).expect("a certificate");
    connector.set_cert_store(store.build());
    connector.set_verify(SslVerifyMode::PEER);
    connector
}

fn connect(server: &Server, connector: SslConnectorBuilder) -> Client {
    try_connect(server, connector).unwrap_or_else(|error| panic!("{error}: {}", server.log()))
}

fn try_connect(server: &Server, connector: SslConnectorBuilder) -> Result<Client, String> {
    let configuration = connector.build().configure().expect("memory");
    Client::try_connect_tls(server.address, configuration).map_err(|error| error.to_string())
}

/// The name in the certificate that a new connection is shown, whoever signed it.
fn shown(server: &Server) -> String {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("memory");
    connector.set_verify(SslVerifyMode::NONE);
    let client = connect(server, connector);
    let certificate = client.ssl().peer_certificate().expect("a server shows one");
    let name = certificate.subject_name().entries().next().expect("it has a name");
    name.data().to_string().expect("text")
}

/// What it logged so far of SIGHUP.
fn told(server: &Server) -> Vec<String> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| line.split_once("] SIGHUP: "));
    lines.map(|(_, said)| said.to_owned()).collect()
}

/// Sends SIGHUP and answers with the one line that it logs of it.
fn reload(server: &Server) -> String {
    let before = told(server).len();
    server.signal(Signal::HUP);
    eventually("it says what came of SIGHUP", Duration::from_secs(5), || {
        told(server).len() > before
    });
    told(server).remove(before)
}

fn body(key: &str, more: &str) -> String {
    format!("{{\"locked_by\": \"{key}\"{more}}}")
}

/// A client that waits for `held`, in line when this returns.
fn waiter(server: &Server, mut client: Client, watcher: &mut Client) -> Client {
    client.send_put("held", &body("waiter", ", \"timeout\": 60"));
    eventually("it stands in line", Duration::from_secs(5), || waiting(watcher) == 1);
    assert!(told(server).len() < 100);
    client
}

/// How many wait for `held`.
fn waiting(client: &mut Client) -> i64 {
    let answer = client.get("/resources/held/");
    answer.json()["waiters"].as_i64().expect("a number")
}
