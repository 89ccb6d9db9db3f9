//! A migration that is cut off.

use std::time::{Duration, Instant};

use crate::faults::{acquire, directory, sql};
use crate::support::Cls;

#[test]
fn a_migration_cut_off_by_kill_9_is_completed_by_the_next_start() {
    let mut cut_off = 0;
    for attempt in 0..25_u32 {
        let directory = directory();
        let cls = Cls::in_directory(directory.path());
        let mut first = cls.spawn(&["runserver", "127.0.0.1:0"]);
        // The fault is a moment, so it is hit by time: denser where the migration runs.
        let moment = Instant::now() + Duration::from_micros(u64::from(attempt.pow(2)) * 320);
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        first.kill().expect("it runs or has ended");
        first.wait().expect("a child of ours");
        let database = directory.path().join("db.sqlite3");
        let is_migrated = database.exists() && !sql(&database, ".tables").is_empty();
        cut_off += u32::from(!is_migrated);

        let server = cls.start();

        acquire(&mut server.client(), "a", "k");
        assert_eq!(server.select("PRAGMA quick_check"), ["ok"]);
    }
    assert!(
        (1..25).contains(&cut_off),
        "never before or never after it: {cut_off} of 25"
    );
}
