//! The commands of `cls`: what they print, what they refuse, what they leave
//! behind. Where Django has a command of that name the text is Django's.

mod dbshell;
mod failures;
mod migrate;
mod postgres;
mod runserver;
mod settings;
mod showmigrations;

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::Cls;

/// An empty directory to work in.
struct Desk {
    directory: TempDir,
}

impl Desk {
    fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        Self { directory }
    }

    /// With a migrated database.
    fn migrated() -> Self {
        let desk = Self::new();
        desk.succeeds(&["migrate"]);
        desk
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Few connections, so that no limit of the machine is worth a warning.
    fn cls(&self) -> Cls {
        Cls::in_directory(self.path()).with("CONNECTIONS_MAX", "16")
    }

    fn sql(&self, statement: &str) -> String {
        let output = Command::new("sqlite3")
            .arg(self.path().join("db.sqlite3"))
            .arg(statement)
            .output()
            .expect("sqlite3 is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// What a command that succeeds prints; it complains about nothing.
    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.cls().run(arguments);
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        text(&output.stdout)
    }

    /// Every file and its content.
    fn content(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(self.path())
            .expect("our directory")
            .map(|entry| {
                let entry = entry.expect("an entry");
                let name = entry.file_name().to_string_lossy().into_owned();
                (name, std::fs::read(entry.path()).unwrap_or_default())
            })
            .collect();
        files.sort();
        files
    }

    /// The one line of a command that fails and leaves everything as it was.
    fn refuses(&self, cls: &Cls, arguments: &[&str], code: i32) -> String {
        let before = self.content();
        let line = failure(&cls.run(arguments), code);
        assert_eq!(self.content(), before, "{arguments:?} left something behind");
        line
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is text")
}

/// The one line of a command that failed.
fn failure(output: &Output, code: i32) -> String {
    let complaint = text(&output.stderr);
    let line = complaint.strip_prefix("cls: ").and_then(|line| line.strip_suffix('\n'));
    let line = line.unwrap_or_else(|| panic!("not one line of ours: {complaint}"));
    assert!(!line.contains('\n'), "more than one line: {complaint}");
    assert_eq!(output.status.code(), Some(code), "{complaint}");
    line.to_owned()
}
