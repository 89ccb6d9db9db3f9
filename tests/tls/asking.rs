//! `cls lock` and its like to a server that speaks TLS.

use std::process::Output;

use super::Site;
use crate::support::{Certified, Cls, Server};

/// Asks the server by the name in its certificate.
fn status(site: &Site, server: &Server, options: &[&str]) -> (Option<i32>, String) {
    let url = format!("https://localhost:{}", server.address.port());
    let cls = Cls::in_directory(site.path()).with("CLS_URL", &url);
    let Output { status, stderr, .. } = cls.run(&[&["status", "--retry", "0"], options].concat());
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn a_server_is_believed_if_the_file_of_authorities_knows_it() {
    let site = Site::new();
    site.write("ca.pem", &site.authority.certificate_pem());
    site.write("other.pem", &Certified::authority("another").certificate_pem());
    let server = site.start();

    assert_eq!(
        status(&site, &server, &["--ca-file", "ca.pem"]),
        (Some(0), String::new())
    );
    for options in [&[][..], &["--ca-file", "other.pem"]] {
        let (code, said) = status(&site, &server, options);
        assert_eq!(code, Some(69), "{said}");
        assert!(said.contains("certificate verify failed"), "{said}");
    }
    // By an address that is not in its certificate.
    let other = site
        .cls()
        .with("DATABASE_URL", "sqlite://other.sqlite3")
        .try_start(&["runserver", "127.0.0.2:0"]);
    let other = other.unwrap_or_else(|log| panic!("the server did not start: {log}"));
    let url = format!("https://{}", other.address);
    let (code, said) = status(&site, &server, &["--ca-file", "ca.pem", "--url", &url]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("certificate verify failed"), "{said}");
    // What is not encrypted is not answered.
    let url = format!("http://{}", server.address);
    assert_eq!(status(&site, &server, &["--url", &url]).0, Some(69));
}

#[test]
fn a_certificate_is_shown_to_a_server_that_asks_for_one() {
    let clients = Certified::authority("of clients");
    let site = Site::new();
    site.write("ca.pem", &site.authority.certificate_pem());
    site.write("clients.pem", &clients.certificate_pem());
    let known = clients.sign("known");
    site.write("client.pem", &known.certificate_pem());
    site.write("client.key", &known.key_pem());
    let server = site.cls().with("TLS_CLIENT_CA", "clients.pem").start();

    let shows = [
        "--ca-file",
        "ca.pem",
        "--cert",
        "client.pem",
        "--cert-key",
        "client.key",
    ];
    assert_eq!(status(&site, &server, &shows), (Some(0), String::new()));
    assert_eq!(status(&site, &server, &shows[..2]).0, Some(69));
    for (options, said) in [
        (&shows[..4], "--cert-key"),
        (
            &["--cert", "client.pem", "--cert-key", "server.key"],
            "cannot use client.pem",
        ),
        (
            &["--cert", "client.key", "--cert-key", "client.pem"],
            "cannot use client.key",
        ),
        (&["--cert", "no.pem", "--cert-key", "client.key"], "cannot use no.pem"),
    ] {
        let (code, told) = status(&site, &server, options);
        assert_eq!(code, Some(64), "{options:?}: {told}");
        assert!(told.contains(said), "{options:?}: {told}");
    }
}
