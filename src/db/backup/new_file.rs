//! A file that is under its name complete and on disk, or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Gid, RenameFlags, Uid, renameat_with};
use rustix::io::Errno;

use crate::db::sqlite::open_file::{JOURNAL, beside, sync_directory_of};

/// One that is still being written, under a name for the time being. Dropped
/// without having been placed, it is removed.
pub(super) struct NewFile {
    path: PathBuf,
}

impl NewFile {
    /// An empty one in the directory of `path`, for its owner's eyes only: it will
    /// hold the keys of locks.
    pub(super) fn beside(path: &Path) -> io::Result<Self> {
        // Not by the number of the process, which in a container is the same each time.
        let chance = getrandom::u64().map_err(io::Error::other)?;
        let path = beside(path, &format!(".partial-{chance:016x}"));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it the owner and the permissions of another file.
    pub(super) fn belong_as(&self, other: &fs::Metadata) -> io::Result<()> {
        let own = fs::metadata(&self.path)?;
        if (own.uid(), own.gid()) != (other.uid(), other.gid()) {
            let (uid, gid) = (Uid::from_raw(other.uid()), Gid::from_raw(other.gid()));
            rustix::fs::chown(&self.path, Some(uid), Some(gid))?;
        }
        fs::set_permissions(&self.path, Permissions::from_mode(other.mode() & 0o7777))
    }

    /// Returns when all of it is on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// Gives it its name, if nobody has that.
    ///
    /// Errors: `AlreadyExists` if somebody has.
    pub(super) fn place_as_new(self, path: &Path) -> io::Result<()> {
        match renameat_with(CWD, &self.path, CWD, path, RenameFlags::NOREPLACE) {
            // Not every file system can be told not to replace.
            Err(Errno::INVAL | Errno::NOSYS) if path.symlink_metadata().is_ok() => {
                return Err(ErrorKind::AlreadyExists.into());
            }
            Err(Errno::INVAL | Errno::NOSYS) => fs::rename(&self.path, path)?,
            renamed => renamed?,
        }
        sync_directory_of(path)
    }

    /// Gives it its name, and takes that from whatever has it.
    pub(super) fn place(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        sync_directory_of(path)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // It has another name, or nobody misses it.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(beside(&self.path, JOURNAL));
    }
}
