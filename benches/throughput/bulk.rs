//! Everything that a key holds, renewed and released at once: the heartbeat of a
//! process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::load::request_to;
use crate::postgres::Cluster;
use crate::postgres_server::psql;
use crate::rows::run_sqlite;
use crate::servers::{Kind, ServerProcess, fresh_directory, migrate};

/// Locks of the key.
const HELD: usize = 10_000;
const CALLS: usize = 20;

/// The first are held for an hour by one key, the others are free.
const FILL: &str = "
    INSERT INTO resources (name, locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token)
    SELECT 'job-' || (number * CAST(7919 AS BIGINT) % 1000003),
           CASE WHEN number < 10000 THEN 'worker' END,
           CASE WHEN number < 10000 THEN 3600 END,
           CASE WHEN number < 10000 THEN now_us END,
           CASE WHEN number < 10000 THEN now_us + 3600000000 END,
           CASE WHEN number >= 10000 THEN now_us END,
           number + 1
      FROM numbers";

/// Prints a table for both databases.
pub fn run(cluster: &Cluster) {
    println!("{HELD} locks of one key, {CALLS} renewals (asked: below 150 ms on SQLite):\n");
    println!("| database | rows | renewal p50 ms | longest | release ms |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    let directory = fresh_directory();
    let path = directory.path().canonicalize().expect("it is there");
    for rows in [HELD, 1_000_000] {
        let url = format!("sqlite://{}/{rows}.sqlite3", path.display());
        migrate(Kind::Cls, &url);
        run_sqlite(
            &url,
            &format!(
                "WITH RECURSIVE numbers (number, now_us) AS (
                     SELECT 0, unixepoch() * 1000000 UNION ALL SELECT number + 1, now_us FROM numbers LIMIT {rows}
                 ) {FILL}"
            ),
        );
        measure("SQLite", rows, &url);
    }
    for rows in [HELD, 1_000_000] {
        let url = cluster.database(Kind::Cls, 0);
        let numbers = format!(
            "WITH numbers AS (SELECT number, clock_us() AS now_us FROM generate_series(0, {rows} - 1) AS number)"
        );
        psql(&url, &format!("{numbers} {FILL}"));
        psql(&url, "VACUUM ANALYZE resources");
        measure("PostgreSQL", rows, &url);
    }
    println!();
}

fn measure(database: &str, rows: usize, url: &str) {
    let server = ServerProcess::start_on(Kind::Cls, url);
    let body = "{\"locked_by\":\"worker\"}";
    let call = |method: &str, expected: &str| {
        let started = Instant::now();
        let answer = ask(server.address(), &request_to(method, "/resources/", body));
        assert!(answer.ends_with(expected), "{answer}");
        started.elapsed().as_secs_f64() * 1e3
    };
    let renewed = format!("{{\"renewed\":{HELD}}}");
    let mut times: Vec<_> = (0..CALLS).map(|_| call("PATCH", &renewed)).collect();
    times.sort_by(f64::total_cmp);
    let released = call("DELETE", &format!("{{\"released\":{HELD}}}"));
    println!(
        "| {database} | {rows} | {:.0} | {:.0} | {released:.0} |",
        times[CALLS / 2],
        times[CALLS - 1]
    );
}

fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.write_all(request).expect("the server reads");
    let mut answer = String::new();
    let mut chunk = [0; 4096];
    while !answer.ends_with('}') {
        let length = stream.read(&mut chunk).expect("the server answers");
        assert!(length > 0, "the server closed the connection: {answer}");
        answer.push_str(std::str::from_utf8(&chunk[..length]).expect("text"));
    }
    answer
}
