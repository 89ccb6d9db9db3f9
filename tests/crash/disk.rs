//! The disk as it may be after the power was lost.
//!
//! What is assumed is the least that POSIX and disks promise. A write is on disk
//! when the file was synced after it. Before that it may be there or not, and of
//! each of its sectors for itself, in any order; so may the new size of a file. A
//! sector is written whole or not at all, and writing it harms no other one. A
//! name is on disk when its directory was synced, which syncing the file does not
//! do. After a sync that failed the system takes what was to be synced for
//! written: no later sync makes up for it, only writing it again does.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::crash::chance::Chance;
use crate::crash::recording::{Data, Event, Inode};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// A file, also one that had the same inode as another before.
type FileId = usize;

#[derive(Clone, Debug)]
enum Change<'l> {
    Write { offset: u64, data: Data<'l> },
    Resize(u64),
}

/// A change that no sync has followed yet.
#[derive(Clone, Debug)]
struct Pending<'l> {
    change: Change<'l>,
    /// Whether a sync failed after it, so that no later one writes it.
    is_given_up: bool,
}

#[derive(Clone, Debug, Default)]
struct FileState<'l> {
    on_disk: Content,
    pending: Vec<Pending<'l>>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, FileId),
    Remove(String),
    Rename(String, String, FileId),
}

/// A directory, and what of it is on disk.
#[derive(Default)]
pub struct Disk<'l> {
    files: Vec<FileState<'l>>,
    by_inode: HashMap<Inode, FileId>,
    /// As its users see it.
    names: BTreeMap<String, FileId>,
    names_on_disk: BTreeMap<String, FileId>,
    pending_names: Vec<NameChange>,
}

impl<'l> Disk<'l> {
    /// One more thing happens.
    pub fn apply(&mut self, event: &Event<'l>) {
        match *event {
            Event::Write { file, offset, data } => self.change(file, Change::Write { offset, data }),
            Event::Resize { file, length } => self.change(file, Change::Resize(length)),
            Event::Sync { file, is_done } => {
                let file = self.file_of(file);
                match is_done {
                    true => self.files[file].settle(),
                    false => self.files[file].give_up(),
                }
            }
            Event::Create { name, file } => {
                self.files.push(FileState::default());
                let id = self.files.len() - 1;
                self.by_inode.insert(file, id);
                self.change_name(NameChange::Set(name.to_owned(), id));
            }
            Event::Unlink { name } => self.change_name(NameChange::Remove(name.to_owned())),
            Event::Link { from, to } => {
                let id = self.names[from];
                self.change_name(NameChange::Set(to.to_owned(), id));
            }
            Event::Rename { from, to } => {
                let id = self.names[from];
                self.change_name(NameChange::Rename(from.to_owned(), to.to_owned(), id));
            }
            Event::SyncDirectory { ref listing, is_done } => {
                self.see(listing);
                if is_done {
                    self.names_on_disk = self.names.clone();
                    self.pending_names.clear();
                }
            }
        }
    }

    fn file_of(&self, inode: Inode) -> FileId {
        let file = self.by_inode.get(&inode);
        *file.unwrap_or_else(|| panic!("a file that nobody has made: inode {inode}"))
    }

    fn change(&mut self, inode: Inode, change: Change<'l>) {
        let file = self.file_of(inode);
        self.files[file].pending.push(Pending {
            change,
            is_given_up: false,
        });
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }

    /// What was done to the directory unseen: `cls` renames with a call that is
    /// not in the C library.
    fn see(&mut self, listing: &[(&str, Inode)]) {
        let seen: BTreeMap<_, _> = listing
            .iter()
            .map(|(name, inode)| ((*name).to_owned(), self.file_of(*inode)))
            .collect();
        let gone: Vec<_> = self
            .names
            .clone()
            .into_iter()
            .filter(|(name, _)| !seen.contains_key(name))
            .collect();
        for (name, id) in &seen {
            if self.names.get(name) != Some(id) {
                let renamed = gone.iter().find(|(_, gone)| gone == id);
                self.change_name(match renamed {
                    Some((from, _)) => NameChange::Rename(from.clone(), name.clone(), *id),
                    None => NameChange::Set(name.clone(), *id),
                });
            }
        }
        for (name, _) in gone {
            if self.names.contains_key(&name) {
                self.change_name(NameChange::Remove(name));
            }
        }
    }

    /// How many changes may be on disk or not.
    pub fn pending(&self) -> usize {
        let of_files = self.files.iter().map(|file| file.pending.len());
        of_files.sum::<usize>() + self.pending_names.len()
    }

    /// The disk, if the power is lost now and that is `kept`.
    pub fn after(&self, kept: Kept, chance: &mut Chance) -> Image {
        let mut account = String::new();
        let mut choice = Choice {
            kept,
            spared: chance.among(0..self.pending().max(1)),
            chance,
            seen: 0,
        };
        let mut names = self.names_on_disk.clone();
        for change in &self.pending_names {
            let is_kept = choice.keeps();
            note(&mut account, is_kept, &format!("{change:?}"));
            if is_kept {
                change.apply(&mut names);
            }
        }
        let mut files = BTreeMap::new();
        for (name, id) in names {
            let content = self.files[id].after(&mut choice, &mut account, &name);
            files.insert(name, content);
        }
        Image { files, account }
    }
}

fn note(account: &mut String, is_kept: bool, what: &str) {
    let verb = if is_kept { "kept" } else { "lost" };
    writeln!(account, "  {verb} {what}").expect("a string takes all");
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, FileId>) {
        match self {
            Self::Set(name, id) => {
                names.insert(name.clone(), *id);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to, id) => {
                names.remove(from);
                names.insert(to.clone(), *id);
            }
        }
    }
}

impl<'l> FileState<'l> {
    fn give_up(&mut self) {
        for pending in &mut self.pending {
            pending.is_given_up |= matches!(pending.change, Change::Write { .. });
        }
    }

    /// All but what was given up is on disk now.
    fn settle(&mut self) {
        let mut left: Vec<Pending<'l>> = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            if pending.is_given_up {
                left.push(pending);
                continue;
            }
            self.on_disk.apply(&pending.change);
            // Written again, so nothing of what was below it can come back or be missed.
            left = match pending.change {
                Change::Write { offset, data } => {
                    let beyond = |earlier| outside(earlier, offset, offset + data.len());
                    left.into_iter().flat_map(beyond).collect()
                }
                Change::Resize(length) => left
                    .into_iter()
                    .flat_map(|earlier| outside(earlier, length, u64::MAX))
                    .collect(),
            };
        }
        self.pending = left;
    }

    fn after(&self, choice: &mut Choice<'_>, account: &mut String, name: &str) -> Content {
        let mut content = self.on_disk.clone();
        if self.pending.is_empty() {
            return content;
        }
        let mut cuts = HashMap::new();
        let length = self.pending.len();
        for (index, pending) in self.pending.iter().enumerate() {
            let (offset, data) = match pending.change {
                Change::Resize(length) => {
                    let is_kept = choice.keeps();
                    note(account, is_kept, &format!("{name}: resized to {length}"));
                    if is_kept {
                        content.apply(&pending.change);
                    }
                    continue;
                }
                Change::Write { offset, data } => (offset, data),
            };
            let whole = choice.keeps();
            let mut of_sectors = Vec::new();
            for (from, to) in sectors(offset, data.len()) {
                let is_kept = match choice.kept {
                    // In the order of the writes, but each sector for itself.
                    Kept::Reordered => {
                        let sector = (offset + from) / SECTOR_BYTES;
                        let cut = cuts.entry(sector).or_insert_with(|| choice.chance.among(0..length + 1));
                        index < *cut
                    }
                    Kept::Torn => choice.chance.one_in(2),
                    _ => whole,
                };
                of_sectors.push(is_kept);
                if is_kept {
                    let data = data.part(from, to);
                    let offset = offset + from;
                    content.apply(&Change::Write { offset, data });
                }
            }
            let kept = of_sectors.iter().filter(|kept| **kept).count();
            let all = of_sectors.len();
            // The size may be on disk before the data is.
            let end = offset + data.len();
            let is_longer = kept < all && end > content.length && choice.chance.one_in(2);
            if is_longer {
                content.length = end;
            }
            let longer = if is_longer { ", and the size" } else { "" };
            let written = format!(
                "{name}: {} bytes at {offset}, {kept} of {all} sectors{longer}",
                data.len()
            );
            note(account, kept > 0, &written);
        }
        content
    }
}

/// The parts of a write by sectors of the disk, as offsets within it.
fn sectors(offset: u64, length: u64) -> Vec<(u64, u64)> {
    let first = offset / SECTOR_BYTES;
    let last = (offset + length).div_ceil(SECTOR_BYTES);
    let bound = |sector: u64| (sector * SECTOR_BYTES).clamp(offset, offset + length) - offset;
    (first..last).map(|sector| (bound(sector), bound(sector + 1))).collect()
}

/// What of a pending write is not between `from` and `to`.
fn outside(pending: Pending<'_>, from: u64, to: u64) -> Vec<Pending<'_>> {
    let Change::Write { offset, data } = pending.change else {
        return vec![pending];
    };
    let end = offset + data.len();
    let parts = [(offset, from.clamp(offset, end)), (to.clamp(offset, end), end)];
    let parts = parts.into_iter().filter(|(from, to)| from < to);
    parts
        .map(|(from, to)| Pending {
            change: Change::Write {
                offset: from,
                data: data.part(from - offset, to - offset),
            },
            is_given_up: pending.is_given_up,
        })
        .collect()
}

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// The beginning; what follows is zeros.
    bytes: Vec<u8>,
    length: u64,
}

impl Content {
    fn apply(&mut self, change: &Change<'_>) {
        match *change {
            Change::Resize(length) => {
                self.bytes.truncate(length as usize);
                self.length = length;
            }
            Change::Write { offset, data } => {
                let (from, end) = (offset as usize, (offset + data.len()) as usize);
                self.length = self.length.max(end as u64);
                match data {
                    Data::Bytes(bytes) => {
                        if self.bytes.len() < end {
                            self.bytes.resize(end, 0);
                        }
                        self.bytes[from..end].copy_from_slice(bytes);
                    }
                    Data::Zeros(_) => {
                        let known = self.bytes.len();
                        self.bytes[from.min(known)..end.min(known)].fill(0);
                    }
                }
            }
        }
    }
}

/// What of the changes that were not synced is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Nothing,
    Everything,
    /// All but one.
    AllButOne,
    /// One alone.
    One,
    /// Any of them.
    Some,
    /// Any of the sectors of each.
    Torn,
    /// Of each sector what it was at some instant.
    Reordered,
}

impl Kept {
    pub const ALL: [Self; 7] = [
        Self::Nothing,
        Self::Everything,
        Self::AllButOne,
        Self::One,
        Self::Some,
        Self::Torn,
        Self::Reordered,
    ];
}

struct Choice<'c> {
    kept: Kept,
    chance: &'c mut Chance,
    /// The number of the change that is treated in another way than all others.
    spared: usize,
    seen: usize,
}

impl Choice<'_> {
    fn keeps(&mut self) -> bool {
        let is_spared = self.seen == self.spared;
        self.seen += 1;
        match self.kept {
            Kept::Nothing => false,
            Kept::Everything => true,
            Kept::AllButOne => !is_spared,
            Kept::One => is_spared,
            Kept::Some | Kept::Torn | Kept::Reordered => self.chance.one_in(2),
        }
    }
}

/// The files of a directory.
pub struct Image {
    files: BTreeMap<String, Content>,
    /// What was kept and what was lost, a line each.
    pub account: String,
}

impl Image {
    /// Makes the files in an empty directory.
    pub fn write(&self, directory: &Path) {
        for (name, content) in &self.files {
            let file = File::create(directory.join(name)).expect("a new file");
            file.write_all_at(&content.bytes, 0).expect("there is room");
            file.set_len(content.length).expect("there is room");
        }
    }

    /// Removes the files of another image.
    pub fn clear(directory: &Path) {
        for entry in fs::read_dir(directory).expect("a directory") {
            fs::remove_file(entry.expect("an entry").path()).expect("it can be removed");
        }
    }
}
