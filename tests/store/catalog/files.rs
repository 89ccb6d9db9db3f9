//! What becomes of its connections, and of the file.

use super::*;

#[test]
fn the_log_can_be_written_back_and_emptied_after_a_list() {
    let backend = Sqlite::new();
    let mut store = backend.open();
    grant(&mut store, "r");
    let catalog = store.catalog();
    assert_eq!(catalog.list(&everything()).expect("it works").count, 1);
    grant(&mut store, "s");

    assert_eq!(backend.sql("PRAGMA wal_checkpoint(TRUNCATE)"), ["0|0|0"]);

    assert_eq!(catalog.list(&everything()).expect("it works").count, 2);
}

#[test]
fn one_list_after_another_opens_no_more_files() {
    let backend = Sqlite::new();
    let store = backend.open();
    let path = backend.path().canonicalize().expect("it is there");
    let open = || {
        let descriptors = fs::read_dir("/proc/self/fd").expect("Linux has it").flatten();
        descriptors
            .filter(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == path))
            .count()
    };
    let before = open();

    for _ in 0..10 {
        store.catalog().list(&everything()).expect("it works");
    }

    // SQLite keeps one for the next: to close it would end the locks of the store.
    assert!(open() <= before + 1);
}

#[test]
fn a_list_waits_for_nobody_who_writes() {
    let backend = Sqlite::new();
    let mut store = backend.open();
    grant(&mut store, "r");
    let catalog = store.catalog();
    let mut counts = Vec::new();

    let names = [crate::store::name("s")];
    let in_transaction = store.transaction(&names, Askers::default(), &mut |_, _| {
        counts.push(catalog.list(&everything()).map(|page| page.count));
    });

    assert_eq!(in_transaction, Ok(()));
    assert_eq!(counts, [Ok(1)]);
}

#[test]
fn a_list_goes_by_the_clock_of_the_store() {
    let backend = Sqlite::new();
    let ahead = Timestamp::wall_clock() + Duration::from_secs(3600);
    backend.sql(&format!("UPDATE server_state SET clock_us = {}", ahead.as_us()));
    let mut store = backend.open();
    run(&mut store, &[("r", acquire("k", Some(60)))]);

    let page = store.catalog().list(&everything()).expect("it works");

    assert!(page.now >= ahead && page.rows[0].locked);
}

#[test]
fn a_file_that_is_gone_is_not_read_and_not_made() {
    let backend = Sqlite::new();
    let store = backend.open();
    let catalog = store.catalog();
    catalog.list(&everything()).expect("it works");
    fs::remove_file(backend.path()).expect("it is there");

    let failure = catalog.list(&everything());

    assert!(
        matches!(&failure, Err(StoreError::Failed(reason)) if reason.contains("is gone")),
        "{failure:?}"
    );
    assert!(!backend.path().exists());
}

#[test]
fn a_file_in_the_place_of_another_is_read_when_the_store_serves_from_it() {
    let (backend, restored) = (Sqlite::new(), Sqlite::new());
    put_free(&restored, &["restored"]);
    restored.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    let mut store = backend.open();
    grant(&mut store, "old");
    let catalog = store.catalog();
    assert_eq!(names(&catalog.list(&everything()).expect("it works")), ["old"]);

    for suffix in ["-wal", "-shm"] {
        fs::remove_file(backend.path().with_file_name(format!("db{suffix}"))).expect("it is there");
    }
    fs::rename(restored.path(), backend.path()).expect("it can be replaced");
    assert!(catalog.list(&everything()).is_err(), "nobody has looked at it yet");
    store
        .transaction(&[], Askers::default(), &mut |_, _| ())
        .expect_err("it is another file");
    eventually("the store serves again", SOON, || {
        store.transaction(&[], Askers::default(), &mut |_, _| ()).is_ok()
    });

    assert_eq!(names(&catalog.list(&everything()).expect("it works")), ["restored"]);
}
