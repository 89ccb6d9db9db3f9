//! The library between a server and its files: compiled, put before a process,
//! told what is to fail, and its log.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::crash::recording;
use crate::support::Cls;

/// An error number of Linux.
pub const EIO: i64 = 5;
/// The same for a full disk.
pub const ENOSPC: i64 = 28;
/// No error: of a write only the first half is done.
pub const HALF: i64 = 0;

/// For as long as nobody calls it off.
pub const LASTING: i64 = i64::MAX;

/// Kinds of calls, as the library numbers them.
pub mod call {
    pub const READ: i64 = 1;
    pub const WRITE: i64 = 2;
    pub const RESIZE: i64 = 4;
    pub const SYNC: i64 = 8;
    pub const CREATE: i64 = 16;
    pub const UNLINK: i64 = 32;
    pub const RENAME: i64 = 64;
    pub const LINK: i64 = 128;
}

/// Kinds of files.
pub mod place {
    pub const DATABASE: i64 = 1;
    pub const LOG: i64 = 2;
    pub const DIRECTORY: i64 = 8;
    pub const ANY: i64 = 31;
}

/// What is to fail, and how.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub calls: i64,
    pub places: i64,
    /// Calls of these that pass before the first that fails.
    pub pass: i64,
    pub error: i64,
    /// So many fail.
    pub times: i64,
}

/// Size of the library's `struct control`.
const CONTROL_BYTES: u64 = 7 * 8;
/// Where it counts the calls that failed.
const FAILED_AT: u64 = 6 * 8;

/// A directory for a database, and what happens in it.
pub struct Shim {
    outer: TempDir,
    control: File,
}

impl Shim {
    pub fn new() -> Self {
        let outer = TempDir::new().expect("a temporary directory");
        fs::create_dir(outer.path().join("data")).expect("a directory in it");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let control = options.open(outer.path().join("control")).expect("a file in it");
        control.set_len(CONTROL_BYTES).expect("it can be made longer");
        File::create(outer.path().join("log")).expect("a file in it");
        Self { outer, control }
    }

    /// One whose directory has the files of another, all of it on disk.
    pub fn beginning_with(files: &Path) -> Self {
        let shim = Self::new();
        let mut names = Vec::new();
        for entry in fs::read_dir(files).expect("a directory") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("names are text");
            let copy = shim.directory().join(&name);
            fs::copy(entry.path(), &copy).expect("there is room");
            names.push((name, fs::metadata(copy).expect("it is there").ino()));
        }
        let mut log = Vec::new();
        for (name, inode) in &names {
            let content = fs::read(shim.directory().join(name)).expect("it is there");
            recording::append(&mut log, call::CREATE, *inode, 0, name.as_bytes(), &[]);
            recording::append(&mut log, call::WRITE, *inode, content.len(), &[], &content);
            recording::append(&mut log, call::SYNC, *inode, 0, &[], &[]);
        }
        let listed = names
            .iter()
            .flat_map(|(name, inode)| [&inode.to_ne_bytes()[..], name.as_bytes(), &[0]].concat());
        recording::append(&mut log, call::SYNC, 0, 0, &[], &listed.collect::<Vec<_>>());
        fs::write(shim.outer.path().join("log"), log).expect("there is room");
        shim
    }

    /// The directory, absolute and without links.
    pub fn directory(&self) -> PathBuf {
        self.outer.path().canonicalize().expect("it is there").join("data")
    }

    pub fn database(&self) -> PathBuf {
        self.directory().join("db.sqlite3")
    }

    fn variables(&self) -> [(&'static str, PathBuf); 4] {
        let outer = self.outer.path().canonicalize().expect("it is there");
        [
            ("LD_PRELOAD", library().to_owned()),
            ("CRASH_DIRECTORY", outer.join("data")),
            ("CRASH_LOG", outer.join("log")),
            ("CRASH_CONTROL", outer.join("control")),
        ]
    }

    /// `cls` behind the library. What it logs lies elsewhere.
    pub fn cls(&self) -> Cls {
        let database = format!("sqlite://{}", self.database().display());
        let cls = Cls::in_directory(self.outer.path()).with("DATABASE_URL", &database);
        let variables = self.variables().into_iter();
        variables.fold(cls, |cls, (name, value)| cls.with(name, &value.display().to_string()))
    }

    /// Another program behind the library.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.envs(self.variables());
        command
    }

    /// How far the log has come: all that has happened so far is before it.
    pub fn position(&self) -> u64 {
        let log = fs::metadata(self.outer.path().join("log"));
        log.expect("it is there").len()
    }

    /// The log so far.
    pub fn log(&self) -> Vec<u8> {
        fs::read(self.outer.path().join("log")).expect("it is there")
    }

    /// From now on, until it is called off.
    pub fn fail(&self, fault: Fault) {
        self.call_off();
        let words = [fault.calls, fault.places, fault.pass, fault.error, fault.times, 0];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.control.write_all_at(&bytes, 8).expect("it can be written");
        self.control
            .write_all_at(&1_i64.to_ne_bytes(), 0)
            .expect("it can be written");
    }

    pub fn call_off(&self) {
        self.control.write_all_at(&[0; 8], 0).expect("it can be written");
    }

    /// How many calls failed since the last order.
    pub fn failed(&self) -> i64 {
        let mut word = [0; 8];
        self.control.read_exact_at(&mut word, FAILED_AT).expect("it is there");
        i64::from_ne_bytes(word)
    }
}

/// The library, compiled once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<TempDir> = OnceLock::new();
    let build = || {
        let directory = TempDir::new().expect("a temporary directory");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/disk_shim.c");
        let mut compiler = Command::new("cc");
        compiler.args([
            "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-pthread", "-o",
        ]);
        compiler.arg(directory.path().join("shim.so")).arg(source);
        assert!(compiler.status().expect("cc is installed").success());
        directory
    };
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| LIBRARY.get_or_init(build).path().join("shim.so"))
}
