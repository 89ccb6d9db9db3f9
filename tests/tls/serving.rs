//! What is the same over TLS, and what a handshake agrees on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use openssl::ssl::{SslSessionCacheMode, SslVersion};

use super::{Site, body, connect, trusting, try_connect};
use crate::support::Certified;

#[test]
fn a_lock_is_acquired_and_released_on_one_connection() {
    let site = Site::new();
    let server = site.start();
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let mut connector = site.connector();
        connector.set_min_proto_version(Some(version)).expect("a version");
        connector.set_max_proto_version(Some(version)).expect("a version");
        let mut client = connect(&server, connector);

        for _ in 0..3 {
            assert_eq!(client.put("r", &body("k", "")).status, 200);
            assert_eq!(client.delete("r", "k").status, 204);
        }
        let large = "x".repeat(300_000);
        let refused = client.put("r", &body("k", &format!(", \"more\": \"{large}\"")));
        assert_eq!(refused.status, 200, "a body of many records");
        assert_eq!(client.delete("r", "k").status, 204);

        assert_eq!(client.ssl().version2(), Some(version));
    }
}

#[test]
fn the_cookie_of_a_session_is_never_sent_in_the_clear() {
    let site = Site::new();
    let cls = site.cls().with("AUTH", "required");
    assert!(cls.run(&["migrate"]).status.success());
    let made = cls.run(&["createtoken", "ann"]);
    let key = String::from_utf8(made.stdout).expect("text");
    let server = cls.start();

    let form = "application/x-www-form-urlencoded";
    let target = ("POST", "/admin/login/");
    let answer = site
        .client(&server)
        .request_as(target, form, &format!("token={}", key.trim()));

    assert_eq!(answer.status, 303, "{}", answer.body);
    let cookie = answer.header("Set-Cookie").expect("a cookie");
    assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Secure"), "{cookie}");
}

#[test]
fn the_first_answer_does_not_wait_for_an_acknowledgement() {
    let site = Site::new();
    let server = site.start();
    let connector = site.connector().build();
    let request = b"GET /resources/unknown/ HTTP/1.1\r\nHost: localhost\r\n\r\n";

    let first_answer = || {
        // Without TCP_NODELAY, as most clients are.
        let stream = TcpStream::connect(server.address).expect("the server accepts connections");
        let mut stream = connector.connect("localhost", stream).expect("a handshake");
        let asked = Instant::now();
        stream.write_all(request).expect("the server reads");
        let answered = stream.read(&mut [0; 1024]).expect("the server answers");
        assert!(answered > 0);
        asked.elapsed()
    };

    // On a busy machine one may take long; a delayed acknowledgement takes 40 ms each time.
    let quickest = (0..10).map(|_| first_answer()).min().expect("ten");
    assert!(quickest < Duration::from_millis(30), "{quickest:?}");
}

#[test]
fn versions_before_1_2_are_refused() {
    let site = Site::new();
    let server = site.start();
    let mut connector = site.connector();
    connector.set_cipher_list("ALL:@SECLEVEL=0").expect("ciphers");
    connector
        .set_min_proto_version(Some(SslVersion::TLS1))
        .expect("a version");
    connector
        .set_max_proto_version(Some(SslVersion::TLS1_1))
        .expect("a version");

    let refused = try_connect(&server, connector).err().expect("no agreement");

    assert!(refused.contains("alert protocol version"), "{refused}");
}

#[test]
fn only_http_1_1_is_agreed_on() {
    let site = Site::new();
    let server = site.start();
    for (offered, agreed) in [
        (&b"\x02h2\x08http/1.1"[..], Some(&b"http/1.1"[..])),
        (b"\x02h2", None),
        (b"\x05other", None),
    ] {
        let mut connector = site.connector();
        connector.set_alpn_protos(offered).expect("protocols");

        let mut client = connect(&server, connector);

        assert_eq!(client.ssl().selected_alpn_protocol(), agreed);
        assert_eq!(client.get("/nowhere/").status, 404);
    }
}

#[test]
fn links_and_the_banner_say_https() {
    let site = Site::new();
    let server = site.start();
    let mut client = site.client(&server);
    for name in ["a", "b"] {
        assert_eq!(client.put(name, &body("k", "")).status, 200);
    }

    let page = client.get("/resources/?page_size=1").json();

    assert_eq!(page["next"], "https://localhost/resources/?page=2&page_size=1");
}

#[test]
fn those_who_signed_the_certificate_are_sent_with_it() {
    let site = Site::new();
    let middle = site.authority.sign_authority("in between");
    let server_s = middle.sign("localhost");
    site.present(&server_s);
    let alone = site.start();
    assert!(
        try_connect(&alone, site.connector()).is_err(),
        "nobody knows who is in between"
    );
    drop(alone);
    site.write("server.pem", &(server_s.certificate_pem() + &middle.certificate_pem()));

    let server = site.start();

    assert_eq!(site.client(&server).get("/nowhere/").status, 404);
}

#[test]
fn who_trusts_another_authority_is_not_served() {
    let site = Site::new();
    let server = site.start();

    let refused = try_connect(&server, trusting(&Certified::authority("another")));

    assert!(refused.err().expect("no trust").contains("certificate verify failed"));
}

#[test]
fn no_session_is_given_that_could_be_resumed() {
    let site = Site::new();
    let server = site.start();
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let given = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&given);
        let mut connector = site.connector();
        connector.set_max_proto_version(Some(version)).expect("a version");
        connector.set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
        connector.set_new_session_callback(move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });

        let mut client = connect(&server, connector);
        // Tickets come before the first answer.
        assert_eq!(client.get("/nowhere/").status, 404);

        assert_eq!(given.load(Ordering::Relaxed), 0, "{version:?}");
    }
}
