//! SIGHUP: certificates are read again, and nobody who is connected notices.

use super::files::{each_wrong_file, restore};
use super::{Site, body, connect, reload, shown, told, trusting, try_connect, waiter};
use crate::support::Certified;

#[test]
fn a_new_certificate_is_shown_and_who_waits_or_is_connected_stays() {
    let site = Site::new();
    let server = site.start();
    let mut holder = site.client(&server);
    assert_eq!(holder.put("held", &body("k", "")).status, 200);
    let mut waiting = waiter(&server, site.client(&server), &mut holder);
    let next_authority = Certified::authority("the next authority");

    site.present(&next_authority.sign("next"));
    let said = reload(&server);

    assert_eq!(said, "the certificate is that of next, valid for 90 more days");
    assert_eq!(shown(&server), "next");
    assert!(try_connect(&server, trusting(&site.authority)).is_err());
    assert_eq!(connect(&server, trusting(&next_authority)).get("/nowhere/").status, 404);
    assert_eq!(holder.delete("held", "k").status, 204, "on a connection from before");
    assert_eq!(waiting.answer().status, 200, "it kept its place");
}

#[test]
fn files_that_cannot_be_used_leave_the_old_ones_in_force() {
    let site = Site::new();
    restore(&site);
    site.write(".env", "TLS_CLIENT_CA=clients.pem\n");
    let server = site.start();
    let known = site.authority.sign("known");
    let served = || {
        let mut connector = site.connector();
        connector.set_certificate(&known.certificate).expect("a certificate");
        connector.set_private_key(&known.key).expect("its key");
        connect(&server, connector).get("/nowhere/").status == 404
    };
    for (what, break_it, expected) in each_wrong_file(&site) {
        restore(&site);
        break_it();
        // It would be in force if the rest were.
        site.write(".env", "TLS_CLIENT_CA=clients.pem\nMAX_TTL=5\n");
        let lines_before = server.log().lines().count();

        let said = reload(&server);

        assert!(said.starts_with(expected), "{what}: {said}");
        assert!(said.ends_with("; everything stays as it was"), "{what}: {said}");
        assert_eq!(shown(&server), "localhost", "{what}");
        assert!(served(), "{what}");
        assert_eq!(
            server.log().lines().count(),
            lines_before + 1,
            "{what}: {}",
            server.log()
        );
    }
    restore(&site);

    assert!(reload(&server).ends_with("; changed DEFAULT_TTL, MAX_TTL"));
    assert_eq!(told(&server).len(), 13);
}

#[test]
fn other_files_are_named_by_the_settings_and_then_read() {
    let site = Site::new();
    site.write(".env", "TLS_CERT=server.pem\nTLS_KEY=server.key\n");
    let server = crate::support::Cls::in_directory(site.path())
        .with("CONNECTIONS_MAX", "16")
        .start();
    let next = site.authority.sign("next");
    site.write("next.pem", &next.certificate_pem());
    site.write("next.key", &next.key_pem());

    site.write(".env", "TLS_CERT=next.pem\nTLS_KEY=next.key\n");
    let said = reload(&server);

    assert!(said.ends_with("; changed TLS_CERT, TLS_KEY"), "{said}");
    assert_eq!(shown(&server), "next");
}

#[test]
fn to_switch_tls_off_needs_a_restart() {
    let site = Site::new();
    site.write(".env", "TLS_CERT=server.pem\nTLS_KEY=server.key\n");
    let server = crate::support::Cls::in_directory(site.path())
        .with("CONNECTIONS_MAX", "16")
        .start();

    site.write(".env", "");
    let said = reload(&server);

    assert!(said.ends_with("; needs a restart: TLS_CERT, TLS_KEY"), "{said}");
    assert_eq!(site.client(&server).get("/nowhere/").status, 404, "as before");
}
