//! What encryption costs while connections are kept.

use std::fs;

use openssl::ssl::{SslConnector, SslMethod};

use crate::NAMES;
use crate::certificates::Certified;
use crate::load::Load;
use crate::rounds::{Figures, ROUND_LENGTH, alternate, print_head, print_row};
use crate::servers::{Kind, ServerProcess, fresh_directory};

/// Connections, if none are chosen.
const CONNECTIONS: usize = 256;

/// Prints rates and latencies without and with TLS, and the ratio.
pub fn run(connections: Option<usize>) {
    let connections = connections.unwrap_or(CONNECTIONS);
    print_head(
        &format!("Acquire/release pairs over {NAMES} names on SQLite, connections kept"),
        "connections",
    );
    let certificates = fresh_directory();
    let (certificate, key) = (certificates.path().join("c.pem"), certificates.path().join("k.pem"));
    let authority = Certified::authority("bench");
    let server = authority.sign("localhost");
    fs::write(&certificate, server.certificate_pem())
        .and_then(|()| fs::write(&key, server.key_pem()))
        .expect("a file can be made here");
    let absolute = |path| {
        let path = fs::canonicalize(path).expect("it is there");
        path.into_os_string().into_string().expect("a path of text")
    };
    let variables = [("TLS_CERT", absolute(certificate)), ("TLS_KEY", absolute(key))];
    let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("memory");
    connector
        .cert_store_mut()
        .add_cert(authority.certificate)
        .expect("a certificate");
    let connector = connector.build();

    let ways = [("plain", None), ("TLS", Some(&connector))];
    let figures = alternate(&ways, |(_, connector)| {
        let variables = if connector.is_some() { &variables[..] } else { &[] };
        measure(variables, *connector, connections)
    });
    for ((title, _), figures) in ways.iter().zip(&figures) {
        print_row(title, &connections.to_string(), figures);
    }
    let [plain, encrypted] = &figures[..] else {
        unreachable!("two are measured");
    };
    println!(
        "\n- at {connections}: TLS/plain {:.2} (asked: 0.70)\n",
        encrypted.rate / plain.rate
    );
}

fn measure(variables: &[(&str, String)], connector: Option<&SslConnector>, connections: usize) -> Figures {
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let server = ServerProcess::start_with(Kind::Cls, &variables);
    let load = Load {
        address: server.address(),
        connections,
        names: NAMES,
        every: 1,
        strict: true,
    };
    load.run_over(connector, ROUND_LENGTH, || server.processor_seconds())
        .into()
}
