//! How long it takes to list a page of a table of a million rows, and to find
//! what a key holds, by those who only look.

use std::num::NonZeroU32;
use std::time::Instant;

use central_locking_system::db::{
    Catalog, Column, Database, DatabaseUrl, Direction, IfMissing, ListQuery, Page, Search,
};
use central_locking_system::lock::LockedBy;

use crate::postgres::Cluster;
use crate::postgres_server::psql;
use crate::rows::run_sqlite;
use crate::servers::{Kind, fresh_directory, migrate};

const ROWS: usize = 1_000_000;
const CALLS: usize = 50;
const PAGE_SIZE: NonZeroU32 = NonZeroU32::new(100).expect("it is not zero");

/// Names that begin alike by the thousand, in the order of chance; every second
/// is held, by 50 keys; every sixth for an hour only; every fourth has a label.
const FILL: &str = "
    INSERT INTO resources (name, locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token, label)
    SELECT 'service-' || substr(CAST(1000 + number * CAST(7919 AS BIGINT) % 1000000 / 1000 AS TEXT), 2) || '/job-' || number,
           CASE WHEN number % 2 = 0 THEN 'key-' || (number % 100) END,
           CASE WHEN number % 6 = 0 THEN 3600 END,
           CASE WHEN number % 2 = 0 THEN now_us + number END,
           CASE WHEN number % 6 = 0 THEN now_us + 3600000000 END,
           CASE WHEN number % 2 = 1 THEN now_us END,
           number + 1,
           CASE WHEN number % 4 = 0 THEN 'nightly run of worker ' || number END
      FROM numbers";

/// Prints a table for each database.
pub fn run(cluster: &Cluster) {
    let directory = fresh_directory();
    let path = directory.path().canonicalize().expect("it is there");
    let sqlite = format!("sqlite://{}/list.sqlite3", path.display());
    migrate(Kind::Cls, &sqlite);
    run_sqlite(
        &sqlite,
        &format!(
            "WITH RECURSIVE numbers (number, now_us) AS (
                 SELECT 0, unixepoch() * 1000000 UNION ALL SELECT number + 1, now_us FROM numbers LIMIT {ROWS}
             ) {FILL}"
        ),
    );
    measure("SQLite", &sqlite);
    let postgres = cluster.database(Kind::Cls, 0);
    let numbers =
        format!("WITH numbers AS (SELECT number, clock_us() AS now_us FROM generate_series(0, {ROWS} - 1) AS number)");
    psql(&postgres, &format!("{numbers} {FILL}"));
    psql(&postgres, "VACUUM ANALYZE resources");
    psql(&postgres, "CHECKPOINT");
    measure("PostgreSQL", &postgres);
}

fn measure(database: &str, url: &str) {
    let url = DatabaseUrl::parse(url).expect("well formed");
    let opened = Database::open(&url, IfMissing::Refuse).expect("it is there");
    let (_store, catalog) = opened.into_store_and_catalog().expect("it opens");
    println!("Lists of {PAGE_SIZE} among {ROWS} rows on {database}, count included, {CALLS} calls:\n");
    println!("| asked for | rows | p50 ms | p99 ms |");
    println!("| --- | ---: | ---: | ---: |");
    let all = ListQuery {
        within: None,
        locked: None,
        prefix: None,
        search: None,
        ordering: Vec::new(),
        page: Page::Number(1),
        page_size: PAGE_SIZE,
    };
    let prefix = |text: &str| ListQuery {
        prefix: Some(text.to_owned()),
        ..all.clone()
    };
    let one = prefix("service-500/");
    list(&catalog, "a prefix of one", &prefix("service-500/job-500000"));
    list(&catalog, "a prefix of a thousandth", &one);
    let locked = ListQuery {
        locked: Some(true),
        ..one.clone()
    };
    list(&catalog, "the same, held", &locked);
    let newest = vec![(Column::AcquiredAt, Direction::Descending)];
    let by_time = ListQuery {
        ordering: newest,
        ..one.clone()
    };
    list(&catalog, "the same, the newest first", &by_time);
    list(
        &catalog,
        "the same, the last page",
        &ListQuery {
            page: Page::Last,
            ..one
        },
    );
    list(&catalog, "a prefix of a tenth", &prefix("service-5"));
    list(&catalog, "a prefix of all", &prefix("service-"));
    list(&catalog, "all", &all);
    for (what, page) in [("all, page 100", 100), ("all, page 5000", 5000)] {
        list(
            &catalog,
            what,
            &ListQuery {
                page: Page::Number(page),
                ..all.clone()
            },
        );
    }
    list(
        &catalog,
        "all, the last page",
        &ListQuery {
            page: Page::Last,
            ..all.clone()
        },
    );
    list(
        &catalog,
        "all that are held",
        &ListQuery {
            locked: Some(true),
            ..all.clone()
        },
    );
    let by_time = ListQuery {
        ordering: by_time.ordering,
        ..all.clone()
    };
    list(&catalog, "all, the newest first", &by_time);
    let search = Search::new("worker 7123");
    list(&catalog, "two words anywhere", &ListQuery { search, ..all });
    let key = LockedBy::new("key-2").expect("well formed");
    time("what a key holds", || catalog.held_by(&key).expect("it works").len());
    println!();
}

fn list(catalog: &Catalog, what: &str, query: &ListQuery) {
    time(what, || {
        let page = catalog.list(query).expect("it works");
        assert!(!page.rows.is_empty(), "{what}");
        usize::try_from(page.count).expect("there are fewer")
    });
}

fn time(what: &str, call: impl Fn() -> usize) {
    let mut rows = call();
    let mut times: Vec<_> = (0..CALLS)
        .map(|_| {
            let started = Instant::now();
            rows = call();
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!(
        "| {what} | {rows} | {:.2} | {:.2} |",
        times[CALLS / 2],
        times[CALLS * 99 / 100]
    );
}
