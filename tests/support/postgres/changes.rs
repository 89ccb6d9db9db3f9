//! What a test does to a PostgreSQL server of its own: settings, files, a
//! standby.
//!
//! Separate from the server itself, which most tests only use.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{Cluster, is_running};
use crate::support::eventually;
use crate::support::postgres_server::{
    CREDENTIALS, PostgresFiles, START_WAIT_MAX, is_root, must_run, psql, try_psql, unprivileged,
};

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
        let path = self.files().data.join(name);
        std::fs::write(&path, content).expect("writable");
        must_run(Command::new("chmod").arg("600").arg(&path));
        if is_root() {
            must_run(Command::new("chown").arg("postgres:postgres").arg(&path));
        }
    }

    /// Moves its log to a directory that is there, with a restart.
    pub fn move_log_to(&mut self, directory: &Path) {
        self.crash();
        let log = self.files().data.join("pg_wal");
        let moved = directory.join("pg_wal");
        must_run(Command::new("cp").args(["-a"]).arg(&log).arg(&moved));
        must_run(Command::new("rm").arg("-r").arg(&log));
        std::os::unix::fs::symlink(moved, log).expect("it was removed");
        self.run();
    }

    /// Waits until it works again after a crash, by itself or, where it gave
    /// up, run anew.
    pub fn recover(&mut self) {
        let url = self.url_of("postgres");
        let pid = self.process.as_ref().expect("it ran").pid;
        let mut works = false;
        eventually("it recovers or ends", START_WAIT_MAX, || {
            works = try_psql(&url, "SELECT 1").is_ok();
            works || !is_running(pid)
        });
        if !works {
            let mut ended = self.process.take().expect("it ran");
            // Ended before its input is, it removes nothing.
            ended.shell.kill().expect("a child of ours");
            drop(ended);
            self.run();
        }
    }

    /// Another server that follows this one, as `name`; asynchronously unless
    /// that is in `synchronous_standby_names`.
    pub fn standby(&self, name: &str) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let files = self.files().follow(directory.path(), name);
        let standby = Self::run_on(files, directory);
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

    /// The same where it may refuse.
    pub fn try_sql(&self, database: &str, statement: &str) -> Result<Vec<String>, String> {
        try_psql(&self.url_of(database), statement)
    }

    /// The URL of a database on whichever of the two is the primary.
    pub fn url_with(&self, other: &Self, database: &str) -> String {
        self.files().url_with(other.files(), database)
    }
}

impl PostgresFiles {
    /// Copies those of a running server, for one that follows it as `name`.
    fn follow(&self, directory: &Path, name: &str) -> Self {
        let files = Self::in_directory(directory, self.settings.clone());
        let primary = format!("{}/postgres?application_name={name}", self.url());
        must_run(
            unprivileged(&self.binaries.join("pg_basebackup"))
                .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
                .args(["--dbname", &primary])
                .arg("-D")
                .arg(&files.data),
        );
        files
    }

    /// The URL of a database on whichever of the two servers is the primary.
    fn url_with(&self, other: &Self, database: &str) -> String {
        let (user, password) = CREDENTIALS;
        format!(
            "postgres://{user}:{password}@127.0.0.1:{},127.0.0.1:{}/{database}?target_session_attrs=read-write",
            self.port, other.port
        )
    }
}
