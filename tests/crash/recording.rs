//! The log of `disk_shim.c`: what happened to the files of a directory, in order.

use crate::crash::shim::call;

/// Bytes of a record's head.
const HEAD_BYTES: usize = 40;

/// The number of an inode. A later file may have that of one that is gone.
pub type Inode = u64;

/// What was written.
#[derive(Clone, Copy, Debug)]
pub enum Data<'l> {
    Bytes(&'l [u8]),
    Zeros(u64),
}

impl<'l> Data<'l> {
    pub fn len(self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(length) => length,
        }
    }

    /// The part from `from` up to `to`.
    pub fn part(self, from: u64, to: u64) -> Data<'l> {
        match self {
            Self::Bytes(bytes) => Data::Bytes(&bytes[from as usize..to as usize]),
            Self::Zeros(_) => Data::Zeros(to - from),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Event<'l> {
    Write {
        file: Inode,
        offset: u64,
        data: Data<'l>,
    },
    Resize {
        file: Inode,
        length: u64,
    },
    Sync {
        file: Inode,
        is_done: bool,
    },
    SyncDirectory {
        listing: Vec<(&'l str, Inode)>,
        is_done: bool,
    },
    Create {
        name: &'l str,
        file: Inode,
    },
    Unlink {
        name: &'l str,
    },
    Rename {
        from: &'l str,
        to: &'l str,
    },
    Link {
        from: &'l str,
        to: &'l str,
    },
}

/// An event and the position in the log behind it.
pub type At<'l> = (u64, Event<'l>);

/// All events of a log.
pub fn read(log: &[u8]) -> Vec<At<'_>> {
    let mut events = Vec::new();
    let mut at = 0;
    while at < log.len() {
        let word = |from: usize| u32::from_ne_bytes(log[at + from..at + from + 4].try_into().expect("four bytes"));
        let long = |from: usize| u64::from_ne_bytes(log[at + from..at + from + 8].try_into().expect("eight bytes"));
        let (file, offset, length) = (long(8), long(16), long(24));
        let names_end = at + HEAD_BYTES + word(32) as usize;
        let end = names_end + word(36) as usize;
        let names = std::str::from_utf8(&log[at + HEAD_BYTES..names_end]).expect("names are text");
        let data = &log[names_end..end];
        let is_done = word(4) == 0;
        let two_names = || names.split_once('\0').expect("two names");
        let event = match i64::from(word(0)) {
            call::WRITE if data.is_empty() => Event::Write {
                file,
                offset,
                data: Data::Zeros(length),
            },
            call::WRITE => Event::Write {
                file,
                offset,
                data: Data::Bytes(data),
            },
            call::RESIZE => Event::Resize { file, length },
            call::SYNC if file == 0 => Event::SyncDirectory {
                listing: listing(data),
                is_done,
            },
            call::SYNC => Event::Sync { file, is_done },
            call::CREATE => Event::Create { name: names, file },
            call::UNLINK => Event::Unlink { name: names },
            call::RENAME => Event::Rename {
                from: two_names().0,
                to: two_names().1,
            },
            call::LINK => Event::Link {
                from: two_names().0,
                to: two_names().1,
            },
            kind => panic!("a record of kind {kind} at {at}"),
        };
        events.push((end as u64, event));
        at = end;
    }
    events
}

/// Appends a record to a log that begins with files that are there already.
pub fn append(log: &mut Vec<u8>, kind: i64, file: Inode, length: usize, names: &[u8], data: &[u8]) {
    log.extend((kind as u32).to_ne_bytes());
    log.extend(0_u32.to_ne_bytes());
    for long in [file, 0, length as u64] {
        log.extend(long.to_ne_bytes());
    }
    log.extend((names.len() as u32).to_ne_bytes());
    log.extend((data.len() as u32).to_ne_bytes());
    log.extend(names);
    log.extend(data);
}

fn listing(mut data: &[u8]) -> Vec<(&str, Inode)> {
    let mut entries = Vec::new();
    while let Some((inode, rest)) = data.split_first_chunk::<8>() {
        let length = rest.iter().position(|byte| *byte == 0).expect("a name ends");
        let name = std::str::from_utf8(&rest[..length]).expect("names are text");
        entries.push((name, u64::from_ne_bytes(*inode)));
        data = &rest[length + 1..];
    }
    entries
}
