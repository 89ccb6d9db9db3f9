//! `TLS_CLIENT_CA`: only those come in whom one of these authorities knows.

use openssl::ssl::SslVersion;

use super::{Site, body, connect, reload, try_connect};
use crate::support::{Certified, Client, Days, Server};

/// A site that lets clients of `authority` in.
fn site_for(authority: &Certified) -> Site {
    let site = Site::new();
    site.write("clients.pem", &authority.certificate_pem());
    site
}

fn start(site: &Site) -> Server {
    site.cls().with("TLS_CLIENT_CA", "clients.pem").start()
}

/// Whether a client with this certificate, or none, gets an answer.
fn is_served(site: &Site, server: &Server, shows: Option<&Certified>) -> bool {
    [SslVersion::TLS1_2, SslVersion::TLS1_3].into_iter().all(|version| {
        let mut connector = site.connector();
        connector.set_max_proto_version(Some(version)).expect("a version");
        if let Some(certified) = shows {
            connector
                .set_certificate(&certified.certificate)
                .expect("a certificate");
            connector.set_private_key(&certified.key).expect("its key");
        }
        // From 1.3 on a client believes that it is connected before the server has looked.
        try_connect(server, connector).is_ok_and(answers)
    })
}

fn answers(mut client: Client) -> bool {
    client
        .try_request("GET", "/nowhere/", "")
        .is_ok_and(|answer| answer.status == 404)
}

#[test]
fn only_clients_of_the_authority_are_served() {
    let clients = Certified::authority("of clients");
    let site = site_for(&clients);
    let settings = site.cls().with("TLS_CLIENT_CA", "clients.pem");
    let server = settings
        .with("RUST_LOG", "info,central_locking_system::tls=debug")
        .start();
    let middle = clients.sign_authority("in between");
    let expired = clients.sign_for("late", Days { from: -9, until: -1 });

    assert!(is_served(&site, &server, Some(&clients.sign("known"))));
    for (who, certified) in [
        ("without a certificate", None),
        ("of the server's authority", Some(site.authority.sign("stranger"))),
        (
            "of another authority with that name",
            Some(Certified::authority("of clients").sign("forged")),
        ),
        ("who brings not all of the chain", Some(middle.sign("far"))),
        ("whose certificate has expired", Some(expired)),
    ] {
        assert!(!is_served(&site, &server, certified.as_ref()), "{who}");
    }
    assert!(is_served(&site, &server, Some(&clients.sign("known"))), "it goes on");
    for reason in [
        "the certificate of late is refused: certificate has expired",
        "the certificate of forged is refused: certificate signature failure",
    ] {
        assert!(server.log().contains(reason), "{}", server.log());
    }
}

#[test]
fn an_authority_need_not_be_a_root_and_there_may_be_several() {
    let (root, other) = (Certified::authority("root"), Certified::authority("other"));
    let middle = root.sign_authority("in between");
    let site = Site::new();
    site.write("clients.pem", &(middle.certificate_pem() + &other.certificate_pem()));
    let server = start(&site);

    assert!(is_served(&site, &server, Some(&middle.sign("a"))));
    assert!(is_served(&site, &server, Some(&other.sign("b"))));
    assert!(!is_served(&site, &server, Some(&root.sign("c"))));
}

#[test]
fn who_is_let_in_changes_at_a_reload_for_new_connections() {
    let (old, new) = (Certified::authority("old"), Certified::authority("new"));
    let site = site_for(&old);
    let server = start(&site);
    let (known, next) = (old.sign("known"), new.sign("next"));
    let mut connector = site.connector();
    connector.set_certificate(&known.certificate).expect("a certificate");
    connector.set_private_key(&known.key).expect("its key");
    let mut open = connect(&server, connector);
    assert_eq!(open.put("r", &body("k", "")).status, 200);

    site.write("clients.pem", &new.certificate_pem());
    reload(&server);

    assert!(!is_served(&site, &server, Some(&known)));
    assert!(is_served(&site, &server, Some(&next)));
    assert_eq!(open.delete("r", "k").status, 204, "who is connected stays");
}

#[test]
fn clients_can_be_asked_for_a_certificate_and_not_any_more_at_a_reload() {
    let clients = Certified::authority("of clients");
    let site = site_for(&clients);
    let server = site.start();
    let known = clients.sign("known");
    assert!(is_served(&site, &server, None));

    site.write(".env", "TLS_CLIENT_CA=clients.pem\n");
    let told = reload(&server);

    assert!(told.ends_with("; changed TLS_CLIENT_CA"), "{told}");
    assert!(!is_served(&site, &server, None));
    assert!(is_served(&site, &server, Some(&known)));

    site.write(".env", "");
    reload(&server);

    assert!(is_served(&site, &server, None));
}

#[test]
fn curl_does_what_the_readme_says() {
    let clients = Certified::authority("of clients");
    let site = site_for(&clients);
    let server = start(&site);
    let client = clients.sign("worker");
    site.write("ca.pem", &site.authority.certificate_pem());
    site.write("worker.pem", &client.certificate_pem());
    site.write("worker.key", &client.key_pem());

    let output = std::process::Command::new("curl")
        .args([
            "-sS",
            "--cacert",
            "ca.pem",
            "--cert",
            "worker.pem",
            "--key",
            "worker.key",
        ])
        .args([
            "-X",
            "PUT",
            "-H",
            "Content-Type: application/json",
            "-d",
            &body("k", ""),
        ])
        .arg(format!("https://localhost:{}/resources/r/", server.address.port()))
        .current_dir(site.path())
        .output()
        .expect("curl is installed");

    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        r#"{"Success":"Resource is acquired."}"#,
        "{output:?}"
    );
}
