//! What operators and their programs see of a server: metrics, health, and how
//! it comes and goes.

mod drain;
mod files;
mod health;
mod metrics;
mod notify;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::{Client, Cluster, PostgresDatabase, PsqlSession, Server};

/// How long something may take that must come.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What `/metrics/` showed: each series with its value.
pub struct Scrape {
    pub text: String,
    series: BTreeMap<String, f64>,
}

impl Scrape {
    pub fn of(server: &Server) -> Self {
        let answer = server.client().get("/metrics/");
        assert_eq!(answer.status, 200, "{}", answer.body);
        Self::read(answer.body)
    }

    fn read(text: String) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let series = samples.map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            (series.to_owned(), value.parse().expect("a number"))
        });
        Self {
            series: series.collect(),
            text,
        }
    }

    /// The value of a series, if it is shown.
    pub fn find(&self, series: &str) -> Option<f64> {
        self.series.get(series).copied()
    }

    pub fn value(&self, series: &str) -> f64 {
        self.find(series)
            .unwrap_or_else(|| panic!("no {series} in {}", self.text))
    }

    /// The names of all metrics, as their types are stated.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.split(' ').next())
    }

    /// The names of all samples: of a histogram three.
    pub fn sample_names(&self) -> impl Iterator<Item = &str> {
        let names = self.series.keys();
        names.map(|series| series.split('{').next().expect("one piece at least"))
    }
}

/// Returns when a series has this value.
fn eventually_is(server: &Server, series: &str, expected: f64) {
    crate::support::eventually(&format!("{series} is {expected}"), WAIT_MAX, || {
        Scrape::of(server).find(series) == Some(expected)
    });
}

fn by(key: &str, more: &str) -> String {
    format!("{{\"locked_by\": \"{key}\"{more}}}")
}

/// Sends a request that waits for `name` and returns when `count` do.
fn in_line(server: &Server, name: &str, body: &str, count: usize) -> Client {
    let mut client = server.client();
    client.send_put(name, body);
    crate::support::eventually("it waits", WAIT_MAX, || {
        server.client().get(&format!("/resources/{name}/")).json()["waiters"] == count
    });
    client
}

/// Ends all connections to a database and lets nobody in, or lets them in again.
fn refuse_connections(database: &PostgresDatabase, refuses: bool) {
    // From another one: nobody can shut out itself.
    let mut session = PsqlSession::on(&Cluster::shared().url_of("postgres"));
    let (name, allowed) = (&database.name, !refuses);
    session.sql(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}"));
    if refuses {
        session.sql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        ));
    }
}
