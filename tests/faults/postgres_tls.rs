//! TLS to PostgreSQL, with the library that is compiled in: what is asked for
//! is had, and what cannot be had is refused.

use std::path::Path;

use tempfile::TempDir;

use crate::faults::{acquire, assert_refused, directory, must_run};
use crate::support::{Cls, Cluster, PostgresDatabase};

/// An authority that signs certificates.
struct Authority {
    directory: TempDir,
}

impl Authority {
    fn new() -> Self {
        let authority = Self { directory: directory() };
        authority.make(
            "ca",
            &[
                "-subj",
                "/CN=an authority",
                "-addext",
                "basicConstraints=critical,CA:TRUE",
            ],
        );
        authority
    }

    /// Its own certificate, which those who trust it are given.
    fn certificate(&self) -> String {
        self.file("ca.crt")
    }

    /// A key and a certificate for a host.
    fn certify(&self, host: &str) -> (Vec<u8>, Vec<u8>) {
        let (certificate, key) = (self.file("ca.crt"), self.file("ca.key"));
        let signed_by = ["-CA", &certificate, "-CAkey", &key];
        let name = format!("subjectAltName=DNS:{host}");
        let subject = format!("/CN={host}");
        self.make(host, &[&signed_by[..], &["-subj", &subject, "-addext", &name]].concat());
        let read = |ending| std::fs::read(self.file(&format!("{host}.{ending}"))).expect("it was made");
        (read("key"), read("crt"))
    }

    fn make(&self, name: &str, arguments: &[&str]) {
        let (key, certificate) = (self.file(&format!("{name}.key")), self.file(&format!("{name}.crt")));
        let common = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"];
        let files = ["-keyout", &key, "-out", &certificate];
        must_run("openssl", &[&common[..], &files, arguments].concat());
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}

/// A PostgreSQL server that has TLS, with a certificate for `host`.
fn cluster_for(authority: &Authority, host: &str) -> Cluster {
    let cluster = Cluster::of_its_own();
    let (key, certificate) = authority.certify(host);
    cluster.write_secret("server.key", &key);
    cluster.write_secret("server.crt", &certificate);
    cluster.set("ssl", "on");
    cluster
}

/// The database's URL, by the name that certificates have, with options.
fn url(database: &PostgresDatabase, options: &str) -> String {
    let by_name = database.url.replace("@127.0.0.1", "@localhost");
    format!("{by_name}?{options}")
}

fn cls(directory: &Path, url: &str) -> Cls {
    Cls::in_directory(directory).with("DATABASE_URL", url)
}

#[test]
fn the_session_that_serves_is_encrypted_and_the_server_verified() {
    let authority = Authority::new();
    let cluster = cluster_for(&authority, "localhost");
    let database = cluster.database();
    let trusted = format!("sslmode=verify-full&sslrootcert={}", authority.certificate());
    let encrypted = "SELECT ssl, version FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE datname = current_database() AND application_name LIKE 'cls runserver%'";

    for options in ["sslmode=require", &trusted, "sslmode=verify-full&sslrootcert=system"] {
        let logs = directory();
        let cls = cls(logs.path(), &url(&database, options)).with("SSL_CERT_FILE", &authority.certificate());
        let mut commands = vec![&["migrate"][..], &["check"]];
        // Only a recent `psql` knows the certificates of the machine by that name.
        if !options.contains("system") {
            commands.push(&["dbshell", "--", "-c", "SELECT 1"]);
        }
        for command in commands {
            let output = cls.run(command);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{options} {command:?}: {said}");
        }
        let server = cls.start();
        let mut client = server.client();
        acquire(&mut client, "r", "k");
        assert_eq!(client.delete("r", "k").status, 204);

        assert_eq!(database.sql(encrypted), ["t|TLSv1.3"], "{options}");
    }
}

#[test]
fn a_server_that_cannot_be_verified_is_refused_with_what_to_do() {
    let (authority, other) = (Authority::new(), Authority::new());
    let cluster = cluster_for(&authority, "localhost");
    let elsewhere = cluster_for(&authority, "elsewhere.test");
    let plain = Cluster::of_its_own();
    let verify = |certificate: &str| format!("sslmode=verify-full&sslrootcert={certificate}");
    let missing = other.file("missing.crt");

    for (cluster, options, reason, cure) in [
        (
            &cluster,
            verify(&other.certificate()),
            "certificate verify failed",
            "set sslrootcert in DATABASE_URL to a file with the certificate of the authority that signed the server's",
        ),
        (
            &cluster,
            verify(&missing),
            "does not exist",
            "set sslrootcert in DATABASE_URL to a file with the certificate of the authority that signed the server's",
        ),
        (
            &elsewhere,
            verify(&authority.certificate()),
            "server certificate for \"elsewhere.test\" does not match host name \"localhost\"",
            "write the host in DATABASE_URL as the certificate has it, or give the server one for this name",
        ),
        (
            &plain,
            "sslmode=require".to_owned(),
            "server does not support SSL, but SSL was required",
            "turn ssl on there, or correct sslmode in DATABASE_URL",
        ),
    ] {
        let database = cluster.database();
        let logs = directory();
        let cls = cls(logs.path(), &url(&database, &options));
        for command in [&["runserver", "127.0.0.1:0"][..], &["check"], &["migrate"]] {
            let output = cls.run(command);

            assert_refused(&output, reason);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("cannot connect to postgresql://cls@localhost:"), "{said}");
            assert!(said.trim_end().ends_with(&format!("; {cure}")), "{said}");
        }
    }
}
