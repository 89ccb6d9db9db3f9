//! What the catalog says, on both databases; and what becomes of its
//! connections on each.

use std::fs;
use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;

use central_locking_system::clock::Timestamp;
use central_locking_system::db::{
    Askers, Catalog, Column, DatabaseUrl, Direction, ListPage, ListQuery, Page, Search, SqliteStore, Store, StoreError,
};
use central_locking_system::lock::{LockedBy, WaitingLines};

use super::postgres::Postgres;
use super::sqlite::Sqlite;
use super::{Backend, acquire, grant, load, run, run_in_line};
use crate::support::{Cluster, PsqlSession, eventually};

/// How long something may take that is noticed first.
const SOON: Duration = Duration::from_secs(5);

/// When all that ever ends has ended; when nothing has.
const LONG_AGO: i64 = 1_000_000;
const FAR_AHEAD: i64 = 9_000_000_000_000_000;

trait Catalogued: Backend {
    fn catalog(&self, store: &Self::Store) -> Catalog;
}

impl Catalogued for Sqlite {
    fn catalog(&self, store: &SqliteStore) -> Catalog {
        store.catalog()
    }
}

impl Catalogued for Postgres {
    fn catalog(&self, _store: &Self::Store) -> Catalog {
        catalog_at(&self.database.url)
    }
}

fn catalog_at(url: &str) -> Catalog {
    match DatabaseUrl::parse(url).expect("it is well formed") {
        DatabaseUrl::Postgres(url) => Catalog::on_postgres(url),
        DatabaseUrl::Sqlite(_) => panic!("not an SQLite file"),
    }
}

macro_rules! every_claim {
    ($($claim:ident)*) => {
        mod on_sqlite {
            $(#[test] fn $claim() { super::$claim::<super::Sqlite>(); })*
        }
        mod on_postgres {
            $(#[test] fn $claim() { super::$claim::<super::Postgres>(); })*
        }
    };
}

mod files;
mod order;
mod search;
mod sessions;

every_claim! {
    a_lock_is_listed_as_it_was_granted
    an_empty_table_has_one_page_without_rows
    an_expired_lock_is_free_before_anything_swept_it
    a_prefix_is_taken_byte_by_byte
    a_prefix_is_looked_for_only_where_it_may_be_seen
    a_key_is_found_by_what_it_holds_now
    what_looks_like_sql_is_a_text
    a_few_held_among_many_are_listed_alike_with_and_without_a_prefix
}

fn everything() -> ListQuery {
    ListQuery {
        within: None,
        locked: None,
        prefix: None,
        search: None,
        ordering: Vec::new(),
        page: Page::Number(1),
        page_size: NonZeroU32::new(1000).expect("it is not zero"),
    }
}

fn names(page: &ListPage) -> Vec<&str> {
    page.rows.iter().map(|row| row.name.as_str()).collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Puts a lock of `key` into the table, that ends at `expires_at_us`.
fn put(backend: &impl Backend, name: &str, key: &str, label: Option<&str>, expires_at_us: Option<i64>) {
    let null = || "NULL".to_owned();
    backend.sql(&format!(
        "INSERT INTO resources (name, locked_by, label, ttl, acquired_at_us, expires_at_us, fencing_token)
         SELECT {name}, {key}, {label}, {ttl}, 500000, {expires_at_us}, count(*) + 1 FROM resources",
        name = quoted(name),
        key = quoted(key),
        label = label.map_or_else(null, quoted),
        ttl = expires_at_us.map_or_else(null, |_| "60".to_owned()),
        expires_at_us = expires_at_us.map_or_else(null, |us| us.to_string()),
    ));
}

/// Puts resources into the table that are free.
fn put_free(backend: &impl Backend, names: &[&str]) {
    for name in names {
        backend.sql(&format!(
            "INSERT INTO resources (name, released_at_us, fencing_token)
             SELECT {}, 500000, count(*) + 1 FROM resources",
            quoted(name)
        ));
    }
}

fn a_lock_is_listed_as_it_was_granted<B: Catalogued>() {
    let backend = B::new();
    let mut store = backend.open();
    run(&mut store, &[("r", acquire("k", Some(60)))]);
    let (_, resources) = load(&mut store, &["r"]);
    let lock = resources[0].lock.as_ref().expect("it was granted");

    let page = backend.catalog(&store).list(&everything()).expect("it works");

    assert_eq!((page.count, page.pages, page.page), (1, 1, 1));
    let row = &page.rows[0];
    assert_eq!((row.name.as_str(), row.locked, row.waiters), ("r", true, 0));
    assert_eq!(
        (row.acquired_at, row.expires_at),
        (Some(lock.acquired_at), lock.expires_at)
    );
    assert_eq!((row.ttl, row.fencing_token), (lock.ttl, resources[0].fencing_token));
    assert!(page.now >= lock.acquired_at && page.now < lock.acquired_at + Duration::from_secs(30));
}

fn an_empty_table_has_one_page_without_rows<B: Catalogued>() {
    let backend = B::new();
    let catalog = backend.catalog(&backend.open());

    for page in [Page::Number(1), Page::Last] {
        let page = catalog.list(&ListQuery { page, ..everything() }).expect("it works");

        assert_eq!((page.count, page.pages, page.page, page.rows.len()), (0, 1, 1, 0));
    }
}

fn an_expired_lock_is_free_before_anything_swept_it<B: Catalogued>() {
    let backend = B::new();
    put(&backend, "expired", "k", Some("was mine"), Some(LONG_AGO));
    put(&backend, "ever", "k", Some("mine"), None);
    put(&backend, "held", "k", None, Some(FAR_AHEAD));
    put_free(&backend, &["released"]);
    let catalog = backend.catalog(&backend.open());
    let list = |locked| catalog.list(&ListQuery { locked, ..everything() }).expect("it works");

    let all = list(None);

    assert_eq!(names(&list(Some(true))), ["ever", "held"]);
    assert_eq!(names(&list(Some(false))), ["expired", "released"]);
    assert_eq!(names(&all), ["ever", "expired", "held", "released"]);
    assert_eq!(all.rows[0].label.as_deref(), Some("mine"));
    let expired = &all.rows[1];
    assert!(!expired.locked && expired.label.is_none() && expired.ttl.is_none());
    assert!(expired.acquired_at.is_none() && expired.expires_at.is_none());
    assert_eq!(expired.fencing_token.as_i64(), 1);
    assert_eq!(all.rows[2].expires_at, Some(Timestamp::from_us(FAR_AHEAD)));
}

fn a_prefix_is_taken_byte_by_byte<B: Catalogued>() {
    let backend = B::new();
    let stored = [
        "a",
        "A",
        "ab",
        "a%",
        "a%b",
        "a_",
        "az",
        "a{",
        "b",
        "é",
        "e\u{301}",
        "a\u{10ffff}",
        "a\u{10ffff}z",
        "\u{10ffff}",
        "\u{10ffff}z",
        "\u{d7ff}",
        "\u{d7ff}z",
        "\u{e000}",
        "\u{7f}",
        "\u{80}",
        "🔒",
        "a'b",
        "a\\b",
    ];
    put_free(&backend, &stored);
    let catalog = backend.catalog(&backend.open());

    for prefix in stored.iter().copied().chain(["", "x", "a\0", "\u{d7fe}"]) {
        let prefix_of = |prefix: &str| Some(prefix.to_owned());
        let query = ListQuery {
            prefix: prefix_of(prefix),
            ..everything()
        };
        let mut expected: Vec<_> = stored.into_iter().filter(|name| name.starts_with(prefix)).collect();
        expected.sort_unstable();

        let page = catalog.list(&query).expect("it works");

        assert_eq!(names(&page), expected, "{prefix:?}");
        assert_eq!(page.count, expected.len() as u64);
    }
}

fn a_key_is_found_by_what_it_holds_now<B: Catalogued>() {
    let backend = B::new();
    put(&backend, "b", "k", None, Some(FAR_AHEAD));
    put(&backend, "a", "k", None, None);
    put(&backend, "expired", "k", None, Some(LONG_AGO));
    put(&backend, "of another", "K", None, None);
    put_free(&backend, &["k"]);
    let catalog = backend.catalog(&backend.open());
    let held_by = |key: &str| {
        let held = catalog
            .held_by(&LockedBy::new(key).expect("well formed"))
            .expect("it works");
        held.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>()
    };

    assert_eq!(held_by("k"), ["a", "b"]);
    assert_eq!(held_by("nobody"), [""; 0]);
}

fn what_looks_like_sql_is_a_text<B: Catalogued>() {
    let backend = B::new();
    let evil = "'; DROP TABLE resources; --";
    put(&backend, evil, evil, Some(evil), None);
    let catalog = backend.catalog(&backend.open());

    let prefix = Some(evil.to_owned());
    let page = catalog.list(&ListQuery { prefix, ..everything() }).expect("it works");

    assert_eq!(names(&page), [evil]);
    assert_eq!(search::found(&catalog, evil, &mut None), [evil]);
    let key = LockedBy::new(evil).expect("well formed");
    assert_eq!(catalog.held_by(&key).expect("it works").len(), 1);
}

fn a_prefix_is_looked_for_only_where_it_may_be_seen<B: Catalogued>() {
    let backend = B::new();
    put_free(&backend, &["a", "ab", "abc", "b", "ca", "cb"]);
    let catalog = backend.catalog(&backend.open());
    let listed = |prefix: Option<&str>, within: &[&str], locked| {
        let query = ListQuery {
            prefix: prefix.map(str::to_owned),
            within: Some(within.iter().map(ToString::to_string).collect()),
            locked,
            ..everything()
        };
        catalog.list(&query).map(|page| (page.count, names(&page).join(" ")))
    };
    for locked in [None, Some(false)] {
        for (prefix, within, expected) in [
            (None, &["a", "cb"][..], "a ab abc cb"),
            (Some(""), &["a", "cb"], "a ab abc cb"),
            (Some("ab"), &["a", "cb"], "ab abc"),
            (Some("a"), &["ab", "cb"], "ab abc"),
            (Some("c"), &["ca", "a", "cb"], "ca cb"),
            // One that is within another is not counted twice.
            (None, &["a", "ab"], "a ab abc"),
            (Some("abc"), &["a", "ab"], "abc"),
            (Some("b"), &["a", "cb"], ""),
        ] {
            let (count, listed) = listed(prefix, within, locked).expect("it works");
            assert_eq!(listed, expected, "{prefix:?} within {within:?}");
            assert_eq!(count as usize, expected.split_whitespace().count());
        }
    }

    backend.sql("ALTER TABLE resources RENAME TO out_of_sight");

    for locked in [None, Some(true)] {
        assert!(
            listed(Some("a"), &["a"], locked).is_err(),
            "there is nothing to look at"
        );
        let empty = listed(Some("b"), &["a", "c"], locked).expect("nobody looks");
        assert_eq!(empty, (0, String::new()));
    }
}

fn a_few_held_among_many_are_listed_alike_with_and_without_a_prefix<B: Catalogued>() {
    let backend = B::new();
    // More than are looked up one by one.
    backend.sql(
        "WITH RECURSIVE numbers (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM numbers WHERE number < 24999)
         INSERT INTO resources (name, locked_by, acquired_at_us, released_at_us, fencing_token)
         SELECT 'r' || CAST(100000 + number * 7 % 25000 AS TEXT),
                CASE WHEN number % 1000 = 0 THEN 'k' END,
                CASE WHEN number % 1000 = 0 THEN number END,
                CASE WHEN number % 1000 > 0 THEN 1 END,
                number + 1
           FROM numbers",
    );
    let catalog = backend.catalog(&backend.open());
    let expected: Vec<_> = (0..25)
        .map(|thousand| format!("r{}", 100_000 + thousand * 7000 % 25_000))
        .collect();
    let mut sorted = expected.clone();
    sorted.sort_unstable();

    for prefix in [None, Some("r1".to_owned()), Some("r".to_owned())] {
        let held = ListQuery {
            locked: Some(true),
            prefix,
            ..everything()
        };
        assert_eq!(names(&catalog.list(&held).expect("it works")), sorted);
        let ordering = vec![(Column::AcquiredAt, Direction::Ascending)];
        let by_time = ListQuery {
            ordering,
            ..held.clone()
        };
        assert_eq!(names(&catalog.list(&by_time).expect("it works")), expected);
        let page_size = NonZeroU32::new(5).expect("it is not zero");
        let free = ListQuery {
            locked: Some(false),
            page: Page::Last,
            page_size,
            ..held
        };
        let page = catalog.list(&free).expect("it works");
        assert_eq!(page.count, 24_975);
        assert_eq!(names(&page), ["r124995", "r124996", "r124997", "r124998", "r124999"]);
    }
}
