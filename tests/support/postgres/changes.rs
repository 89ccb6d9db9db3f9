//! What a test does to a PostgreSQL server of its own: settings, files.
//!
//! Separate from the server itself, which most tests only use.

use std::process::Command;

use super::{Cluster, START_WAIT_MAX, is_root, must_run, psql};
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
}
