//! What the disk of the servers takes to keep something.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use crate::servers::fresh_directory;

/// The median of writing and syncing 4 KiB within a file, on the disk the
/// servers use.
pub fn fsync_ms() -> f64 {
    let directory = fresh_directory();
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(directory.path().join("fsync"))
        .expect("a file can be made here");
    file.write_all_at(&[1; 1 << 20], 0)
        .and_then(|()| file.sync_all())
        .expect("the disk takes a megabyte");
    let mut times: Vec<_> = (0..500)
        .map(|number| {
            let started = Instant::now();
            file.write_all_at(&[2; 4096], number % 256 * 4096)
                .and_then(|()| file.sync_data())
                .expect("the disk syncs");
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
