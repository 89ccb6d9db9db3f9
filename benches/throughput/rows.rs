//! What it costs that a table is large: the same load on few rows and on many.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use crate::load::Load;
use crate::postgres::{Cluster, free_all};
use crate::rounds::{Figures, ROUND_LENGTH, alternate, print_head, print_row};
use crate::servers::{Kind, ServerProcess, fresh_directory, migrate};

const FEW: usize = 1_000;
const MANY: usize = 1_000_000;
const CONNECTIONS: usize = 256;

/// A table, and how many of its names are in use: spread over the whole.
struct Table {
    rows: usize,
    used: usize,
    url: String,
}

/// As many names from both, then more from the large one: those are more pages
/// to write, which is not the fault of the rows beside them.
const TABLES: [(usize, usize); 3] = [(FEW, FEW), (MANY, FEW), (MANY, 10 * FEW)];

/// Prints rates and latencies on both databases, and the ratios.
pub fn run(cluster: &Cluster) {
    let (few, many) = (cluster.database(Kind::Cls, FEW), cluster.database(Kind::Cls, MANY));
    run_on("PostgreSQL", free_all, |rows| {
        if rows == FEW { few.clone() } else { many.clone() }
    });
    let directory = fresh_directory();
    let path = directory.path().canonicalize().expect("it is there");
    let url_of = |rows| format!("sqlite://{}/{rows}.sqlite3", path.display());
    for rows in [FEW, MANY] {
        make_sqlite(&url_of(rows), rows);
    }
    run_on("SQLite", free_all_sqlite, url_of);
}

fn run_on(database: &str, free_all: fn(&str), url_of: impl Fn(usize) -> String) {
    let tables = TABLES.map(|(rows, used)| Table {
        rows,
        used,
        url: url_of(rows),
    });
    print_head(
        &format!(
            "Acquire/release pairs from {CONNECTIONS} connections on {database}, processor time of the server alone"
        ),
        "names of rows",
    );
    let figures = alternate(&tables, |table| measure(table, free_all));
    for (table, figures) in tables.iter().zip(&figures) {
        print_row(Kind::Cls.title(), &format!("{} of {}", table.used, table.rows), figures);
    }
    println!(
        "\n- {MANY} rows cost {:.0} % against {FEW} (asked: at most 10)\n",
        100.0 * (1.0 - figures[1].rate / figures[0].rate)
    );
}

fn measure(table: &Table, free_all: fn(&str)) -> Figures {
    free_all(&table.url);
    let server = ServerProcess::start_on(Kind::Cls, &table.url);
    let load = Load {
        address: server.address(),
        connections: CONNECTIONS,
        names: table.used,
        every: table.rows / table.used,
        strict: true,
    };
    load.run(ROUND_LENGTH, || server.processor_seconds()).into()
}

fn make_sqlite(url: &str, rows: usize) {
    migrate(Kind::Cls, url);
    run_sqlite(
        url,
        &format!(
            "WITH RECURSIVE numbers (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM numbers LIMIT {rows})
             INSERT INTO resources (name, released_at_us, fencing_token)
             SELECT printf('bench-%06d', number), unixepoch() * 1000000, 0 FROM numbers"
        ),
    );
}

fn free_all_sqlite(url: &str) {
    let free = "UPDATE resources SET locked_by = NULL, ttl = NULL, acquired_at_us = NULL, expires_at_us = NULL
                 WHERE locked_by IS NOT NULL";
    run_sqlite(url, free);
}

pub fn run_sqlite(url: &str, statements: &str) {
    let path = url.trim_start_matches("sqlite://");
    let mut conn = SqliteConnection::establish(path).expect("SQLite opens it");
    conn.batch_execute(statements).expect("the statements are right");
}
