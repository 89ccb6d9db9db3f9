//! Files that cannot be used: refused at the start, in one line that names the
//! setting and the file.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::Site;
use crate::support::{Certified, Days};

/// What is wrong, what makes it so, and how the line begins that says it.
type WrongFile<'a> = (&'static str, Box<dyn Fn() + 'a>, &'static str);

/// Each way in which the files of a site can be wrong, and what is said of it.
pub(super) fn each_wrong_file(site: &Site) -> Vec<WrongFile<'_>> {
    let other = site.authority.sign("another");
    let pair = &site.presented;
    let damaged = pair.certificate_pem().replace("MII", "AAA").replace("MIIB", "");
    let (other_key, encrypted) = (other.key_pem(), pair.encrypted_key_pem());
    let chain_upside_down = site.authority.certificate_pem() + &pair.certificate_pem();
    vec![
        (
            "a certificate that is not there",
            Box::new(|| std::fs::remove_file(site.path().join("server.pem")).expect("it is there")),
            "TLS_CERT: cannot read server.pem: No such file or directory",
        ),
        (
            "a key that is not there",
            Box::new(|| std::fs::remove_file(site.path().join("server.key")).expect("it is there")),
            "TLS_KEY: cannot read server.key: No such file or directory",
        ),
        (
            "a directory",
            Box::new(|| {
                let path = site.path().join("server.pem");
                std::fs::remove_file(&path).expect("it is there");
                std::fs::create_dir(&path).expect("a directory");
            }),
            "TLS_CERT: server.pem is not a regular file",
        ),
        (
            "an empty certificate",
            Box::new(|| site.write("server.pem", "")),
            "TLS_CERT: there is no certificate in server.pem",
        ),
        (
            "a key for a certificate",
            Box::new(|| site.write("server.pem", &pair.key_pem())),
            "TLS_CERT: there is no certificate in server.pem",
        ),
        (
            "half a certificate",
            Box::new(move || site.write("server.pem", &damaged)),
            "TLS_CERT: a certificate in server.pem is damaged",
        ),
        (
            "a certificate without an end",
            Box::new(|| site.write("server.pem", &"-----BEGIN CERTIFICATE-----\n".repeat(50_000))),
            "TLS_CERT: server.pem is larger than 1048576 bytes",
        ),
        (
            "a certificate for a key",
            Box::new(|| site.write("server.key", &pair.certificate_pem())),
            "TLS_KEY: there is no private key in server.key",
        ),
        (
            "another key",
            Box::new(move || site.write("server.key", &other_key)),
            "TLS_KEY: server.key is not the key of the first certificate in server.pem",
        ),
        (
            "a chain upside down",
            Box::new(move || site.write("server.pem", &chain_upside_down)),
            "TLS_KEY: server.key is not the key of the first certificate in server.pem",
        ),
        (
            "a passphrase",
            Box::new(move || site.write("server.key", &encrypted)),
            "TLS_KEY: server.key is encrypted with a passphrase",
        ),
        (
            "no authority",
            Box::new(|| site.write("clients.pem", "nobody")),
            "TLS_CLIENT_CA: there is no certificate in clients.pem",
        ),
    ]
}

/// As it was before somebody broke it.
pub(super) fn restore(site: &Site) {
    // Only one of them does.
    let _ = std::fs::remove_dir(site.path().join("server.pem"));
    site.present(&site.presented);
    site.write("clients.pem", &site.authority.certificate_pem());
}

/// The one line of a command that fails.
fn refused(site: &Site, cls: &crate::support::Cls, command: &[&str]) -> String {
    // What is not refused would serve for ever.
    let output = cls.clone().under(&["timeout", "20"]).run(command);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stderr).expect("output is text");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!site.path().join("db.sqlite3").exists(), "it left something behind");
    said.strip_prefix("cls: ")
        .expect("a line of ours")
        .trim_end()
        .to_owned()
}

#[test]
fn what_cannot_be_used_is_refused_at_the_start() {
    let site = Site::new();
    let cls = site.cls().with("TLS_CLIENT_CA", "clients.pem");
    for (what, break_it, expected) in each_wrong_file(&site) {
        restore(&site);
        break_it();
        for command in [&["runserver", "127.0.0.1:0"][..], &["check"]] {
            let line = refused(&site, &cls, command);
            assert!(line.starts_with(expected), "{what}: {line}");
        }
    }
    restore(&site);
    drop(cls.start());
}

#[test]
fn a_key_that_is_too_weak_is_refused() {
    let site = Site::new();
    site.present(&Certified::self_signed_weak("localhost"));

    let line = refused(&site, &site.cls(), &["runserver", "127.0.0.1:0"]);

    assert!(
        line.starts_with("TLS_CERT: server.pem cannot be used: ee key too small; make a key of"),
        "{line}"
    );
}

#[test]
fn half_of_the_settings_is_refused() {
    let site = Site::new();
    let bare = || crate::support::Cls::in_directory(site.path());
    for (cls, set, missing) in [
        (bare().with("TLS_CERT", "server.pem"), "TLS_CERT", "TLS_KEY"),
        (bare().with("TLS_KEY", "server.key"), "TLS_KEY", "TLS_CERT"),
        (bare().with("TLS_CLIENT_CA", "clients.pem"), "TLS_CLIENT_CA", "TLS_CERT"),
    ] {
        let line = refused(&site, &cls, &["runserver", "127.0.0.1:0"]);
        let expected = format!("{set} is set and {missing} is not; TLS needs TLS_CERT and TLS_KEY");
        assert_eq!(line, expected);
    }
}

#[test]
fn a_certificate_is_told_of_and_warned_of_if_it_is_out_of_date() {
    let site = Site::new();
    for (days, description, warning) in [
        (Days { from: -1, until: 90 }, "valid for 90 more days", None),
        (
            Days { from: -90, until: -1 },
            "valid for 0 more days",
            Some("TLS_CERT: the certificate of localhost expired at "),
        ),
        (
            Days { from: 2, until: 90 },
            "valid for 90 more days",
            Some("TLS_CERT: the certificate of localhost is not valid before "),
        ),
    ] {
        site.present(&site.authority.sign_for("localhost", days));
        // What ran before logged there too.
        let _ = std::fs::remove_file(site.path().join("stderr.log"));

        let log = site.start().log();

        let told = format!("the certificate is that of localhost, {description}");
        assert!(log.contains(&told), "{log}");
        assert_eq!(
            log.matches("TLS_CERT: the certificate").count(),
            usize::from(warning.is_some()),
            "{log}"
        );
        assert!(warning.is_none_or(|warning| log.contains(warning)), "{log}");
    }
}

#[test]
fn a_key_that_everybody_can_read_is_warned_of() {
    let site = Site::new();
    let warning = "TLS_KEY: everybody on this machine can read server.key; take that from them with chmod o-r";
    assert!(!site.start().log().contains(warning));

    let readable = Permissions::from_mode(0o644);
    std::fs::set_permissions(site.path().join("server.key"), readable).expect("it is ours");

    assert!(site.start().log().contains(warning));
}
