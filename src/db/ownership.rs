//! The side file by which one process owns an SQLite file.
//!
//! SQLite itself lets many processes in; two lock servers on one file would
//! hand over to each other's waiters by chance. The operating system drops
//! the lock with the process, however it ends.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::db::DatabaseError;

/// Held for as long as this value lives.
#[derive(Debug)]
pub struct Ownership {
    file: File,
}

impl Ownership {
    /// Takes the lock for the database at `path`, or says who has it.
    pub fn take(path: &Path) -> Result<Self, DatabaseError> {
        // By whatever name the file is called, there is one owner.
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let side = side_file(&real);
        let failed = |source: io::Error| match source.kind() {
            // The directory is what is missing; the operator named the database.
            io::ErrorKind::NotFound => DatabaseError::unusable(path, source),
            _ => DatabaseError::unusable(&side, source),
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&side)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // What the file says is for people; if it cannot be read the refusal stands all the same.
                let read = file.read_to_string(&mut owner);
                let owner = match read {
                    Ok(_) if !owner.trim().is_empty() => owner.trim().replace('\n', " "),
                    _ => "another process".to_owned(),
                };
                return Err(DatabaseError::Owned {
                    path: path.to_owned(),
                    owner,
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut ownership = Self { file };
        ownership
            .describe(&format!("cls (pid {})", std::process::id()))
            .map_err(failed)?;
        Ok(ownership)
    }

    /// Writes down who the owner is, for the next one to read.
    pub fn describe(&mut self, owner: &str) -> io::Result<()> {
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(owner.as_bytes())
    }
}

fn side_file(path: &Path) -> PathBuf {
    let mut side = OsString::from(path);
    side.push("-owner");
    PathBuf::from(side)
}
