//! The commands of `cls`: what they print, what they refuse, what they leave
//! behind. Where Django has a command of that name the text is Django's.

mod backup;
mod dbshell;
mod failures;
mod logging;
mod migrate;
mod postgres;
mod restore;
mod restore_postgres;
mod runserver;
mod settings;
mod showmigrations;
mod upgrade;

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
        sql_in(&self.path().join("db.sqlite3"), statement)
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

/// What SQL on a file answers.
fn sql_in(file: &Path, statement: &str) -> String {
    let output = Command::new("sqlite3").arg(file).arg(statement).output();
    let output = output.expect("sqlite3 is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The migrations in the folder of a kind of database, oldest first: name, and
/// what the first line of its SQL says of it. All kinds have the same names.
fn migrations(kind: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(kind);
    let mut migrations: Vec<_> = std::fs::read_dir(folder)
        .expect("the migrations")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let sql = std::fs::read_to_string(entry.path().join("up.sql")).expect("a migration");
            let description = sql.lines().next().and_then(|line| line.strip_prefix("-- "));
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, description.expect("it says what it does").to_owned())
        })
        .collect();
    migrations.sort();
    migrations
}

/// What `showmigrations` prints when all are marked like this.
fn all_shown(mark: char) -> String {
    let lines = migrations("sqlite")
        .into_iter()
        .map(|(name, _)| format!(" [{mark}] {name}\n"));
    "central_locking_system\n".to_owned() + &lines.collect::<String>()
}

/// What is printed when all are applied.
fn all_applied() -> String {
    let lines = migrations("sqlite")
        .into_iter()
        .map(|(name, _)| format!("  Applying {name}... OK\n"));
    lines.collect()
}

/// What is printed when all are taken back.
fn all_unapplied() -> String {
    let names = migrations("sqlite").into_iter().rev();
    names.map(|(name, _)| format!("  Unapplying {name}... OK\n")).collect()
}

/// What a command says that needs them all and finds none.
fn none_applied() -> String {
    let names: Vec<_> = migrations("sqlite").into_iter().map(|(name, _)| name).collect();
    format!(
        "you have {} unapplied migration(s): {}; run `cls migrate` to apply them",
        names.len(),
        names.join(", ")
    )
}

/// What `migrate --plan` prints when all are to be applied.
fn plan_of_all(kind: &str) -> String {
    let lines = migrations(kind)
        .into_iter()
        .map(|(name, description)| format!("{name}\n    {description}\n"));
    "Planned operations:\n".to_owned() + &lines.collect::<String>()
}

/// The same for taking all back.
fn plan_of_none(kind: &str) -> String {
    let migrations = migrations(kind).into_iter().rev();
    let lines = migrations.map(|(name, description)| format!("{name}\n    Undo {description}\n"));
    "Planned operations:\n".to_owned() + &lines.collect::<String>()
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
