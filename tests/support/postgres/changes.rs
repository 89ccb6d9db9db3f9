//! What a test does to a PostgreSQL server of its own: settings, files, a
//! standby.
//!
//! Separate from the server itself, which most tests only use.

use std::net::TcpListener;
use std::process::Command;

use tempfile::TempDir;

use super::{CREDENTIALS, Cluster, START_WAIT_MAX, is_root, must_run, psql, unprivileged};
use crate::support::eventually;

impl Cluster {
    /// Sets what it reads again without a restart.
    pub fn set(&self, setting: &str, value: &str) {
        let url = self.url_of("postgres");
        psql(&url, &format!("ALTER SYSTEM SET {setting} = '{value}'"));
        psql(&url, "SELECT pg_reload_conf()");
        let changed = format!("SELECT current_setting('{setting}') = '{value}'");
        eventually("the setting is read", START_WAIT_MAX, || psql(&url, &changed) == ["t"]);
    }

    /// Writes a file into its directory that only it may read.
    pub fn write_secret(&self, name: &str, content: &[u8]) {
        let path = self.data.join(name);
        std::fs::write(&path, content).expect("writable");
        must_run(Command::new("chmod").arg("600").arg(&path));
        if is_root() {
            must_run(Command::new("chown").arg("postgres:postgres").arg(&path));
        }
    }

    /// Another server that follows this one, as `name`; asynchronously unless
    /// that is in `synchronous_standby_names`.
    pub fn standby(&self, name: &str) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let data = directory.path().join("data");
        if is_root() {
            must_run(Command::new("chown").arg("postgres").arg(directory.path()));
        }
        let primary = format!("{}?application_name={name}", self.url_of("postgres"));
        must_run(
            unprivileged(&self.binaries.join("pg_basebackup"))
                .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
                .args(["--dbname", &primary])
                .arg("-D")
                .arg(&data),
        );
        let port = free_port();
        let (user, password) = CREDENTIALS;
        let mut standby = Self {
            url: format!("postgres://{user}:{password}@127.0.0.1:{port}"),
            data,
            port,
            binaries: self.binaries.clone(),
            running: None,
            directory: Some(directory),
        };
        standby.run();
        let follows = format!("SELECT 1 FROM pg_stat_replication WHERE application_name = '{name}'");
        eventually("it follows", START_WAIT_MAX, || {
            psql(&self.url_of("postgres"), &follows) == ["1"]
        });
        standby
    }

    /// Makes a standby hear nothing more from this server.
    pub fn cut_off(&self, standby: &Self) {
        standby.set("primary_conninfo", "host=127.0.0.1 port=1");
        let followed = "SELECT 1 FROM pg_stat_replication";
        eventually("it follows no more", START_WAIT_MAX, || {
            psql(&self.url_of("postgres"), followed).is_empty()
        });
    }

    /// Makes a standby the primary, and returns when it is one.
    pub fn promote(&self) {
        assert_eq!(psql(&self.url_of("postgres"), "SELECT pg_promote()"), ["t"]);
    }

    /// Runs SQL in a database on it that another server made.
    pub fn sql(&self, database: &str, statement: &str) -> Vec<String> {
        psql(&self.url_of(database), statement)
    }

    /// The URL of a database on whichever of the two is the primary.
    pub fn url_with(&self, other: &Self, database: &str) -> String {
        let (user, password) = CREDENTIALS;
        format!(
            "postgres://{user}:{password}@127.0.0.1:{},127.0.0.1:{}/{database}?target_session_attrs=read-write",
            self.port, other.port
        )
    }
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("it is bound").port()
}
