//! What the server counts, and how Prometheus reads it.
//!
//! Knows nothing of the rest. Every series is made here, at the start, and none
//! comes of anything that a client sends: so there are as many as this file
//! lists, and nobody's name or key is among them. Who counts adds to a number by
//! its place, without a lock and without looking for a label; the thread that
//! decides counts in a [`Tally`] of its own, and adds that once a batch.

mod labels;
mod recent;
mod tally;

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry, TextEncoder};

pub use self::labels::{HttpMethod, HttpStatus, Refusal, Way};
use self::labels::{Label, series};
pub use self::recent::{Recent, Sample};
pub use self::tally::Tally;
use crate::limits::{BATCH_OPERATIONS_MAX, CATALOG_CONNECTIONS_MAX};

/// The version of the text format that [`Metrics::exposition`] writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Seconds of what takes as long as a commit.
const QUICK_SECONDS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// Seconds of what takes as long as clients like.
const LONG_SECONDS: [f64; 14] = [
    0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0,
];

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    grants: Counters<Way>,
    grants_returned: IntCounter,
    /// Requests that did not get what they asked for.
    pub refusals: Counters<Refusal>,
    releases: IntCounter,
    renewals: IntCounter,
    expirations: IntCounter,
    breaks: IntCounter,
    /// Requests in line at this server.
    pub waiters: IntGauge,
    /// Those in its longest line.
    pub longest_line: IntGauge,
    hold_seconds: Histogram,
    wait_seconds: Histogram,
    hand_over_seconds: Histogram,
    commit_seconds: Histogram,
    batch_operations: Histogram,
    /// Operations in the queue.
    pub queued_operations: IntGauge,
    /// Connections on which lists are read at this moment.
    pub catalog_connections: IntGauge,
    listener_connected: IntGauge,
    /// 1 while the database fails.
    pub database_failing: IntGauge,
    /// 1 from the signal to stop on.
    pub draining: IntGauge,
    http_requests: Vec<Counters<HttpStatus>>,
    /// What all this was like in the last minutes.
    pub recent: Recent,
}

/// A counter for each value of a label.
#[derive(Debug)]
pub struct Counters<L> {
    each: Vec<IntCounter>,
    of: std::marker::PhantomData<L>,
}

impl<L: Label> Counters<L> {
    /// Counts one.
    pub fn count(&self, label: L) {
        self.each[label.place()].inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing has happened yet, and the process has just begun.
    pub fn new() -> Self {
        let registry = Registry::new();
        let made = Made(&registry);
        made.gauge_with(
            Opts::new("cls_build_info", "The version that runs; the value is always 1.")
                .const_label("version", env!("CARGO_PKG_VERSION")),
        )
        .set(1);
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // As Prometheus's own libraries call it.
        made.started(
            "process_start_time_seconds",
            "When the process began, in seconds since 1970.",
        )
        .set(since_1970.as_secs_f64());
        made.gauge(
            "cls_catalog_connections_max",
            "Connections on which lists can be read at a time.",
        )
        .set(i64::try_from(CATALOG_CONNECTIONS_MAX).unwrap_or(i64::MAX));
        Self {
            grants: made.counters("cls_grants_total", "Locks that were granted, and grants that were told again."),
            grants_returned: made.counter(
                "cls_grants_returned_total",
                "Grants that were undone because nobody learned of them.",
            ),
            refusals: made.counters(
                "cls_refusals_total",
                "Requests to acquire, release, renew or break that did not get what they asked for.",
            ),
            releases: made.counter("cls_releases_total", "Locks that their holders released."),
            renewals: made.counter("cls_renewals_total", "Locks that their holders renewed."),
            expirations: made.counter(
                "cls_expirations_total",
                "Locks that ended with their ttl, counted by the server that saw it first.",
            ),
            breaks: made.counter("cls_breaks_total", "Locks that were broken over HTTP."),
            waiters: made.gauge("cls_waiters", "Requests that wait for locks at this server."),
            longest_line: made.gauge(
                "cls_longest_line_waiters",
                "Requests that wait for that resource for which most wait at this server.",
            ),
            hold_seconds: made.histogram(
                "cls_hold_seconds",
                "From the grant of a lock until it was released, broken or over.",
                &LONG_SECONDS,
            ),
            wait_seconds: made.histogram(
                "cls_wait_seconds",
                "From coming into line until the grant, of those who were granted what they waited for.",
                &LONG_SECONDS,
            ),
            hand_over_seconds: made.histogram(
                "cls_hand_over_seconds",
                "From the decision that freed a resource for somebody in line until that request had its answer, commit \
                 included.",
                &QUICK_SECONDS,
            ),
            commit_seconds: made.histogram(
                "cls_commit_seconds",
                "From the decisions of a transaction that changed something until they were on disk.",
                &QUICK_SECONDS,
            ),
            batch_operations: made.histogram(
                "cls_batch_operations",
                "Operations that clients asked for in one transaction.",
                &batch_sizes(),
            ),
            queued_operations: made.gauge("cls_queued_operations", "Operations that wait for a transaction."),
            catalog_connections: made.gauge(
                "cls_catalog_connections_in_use",
                "Connections on which lists are being read.",
            ),
            listener_connected: gauge(Opts::new(
                "cls_listener_connected",
                "Whether this server listens for what others announce on PostgreSQL.",
            )),
            database_failing: made.gauge("cls_database_failing", "Whether the database failed and has not worked since."),
            draining: made.gauge("cls_draining", "Whether the server was told to stop."),
            http_requests: series::<HttpMethod>()
                .map(|method| {
                    let opts = Opts::new("cls_http_requests_total", "Requests that were answered, by class of status.");
                    made.counters_with(opts.const_label(HttpMethod::NAME, method))
                })
                .collect(),
            recent: Recent::default(),
            registry,
        }
    }

    /// Counts an answer.
    pub fn count_answer(&self, method: HttpMethod, status: HttpStatus) {
        self.http_requests[method.place()].count(status);
    }

    /// The gauge that says whether this server listens; from now on it is shown.
    pub fn listener(&self) -> IntGauge {
        register(&self.registry, self.listener_connected.clone())
    }

    /// All of it in Prometheus's text format.
    ///
    /// Errors: it cannot be written.
    pub fn exposition(&self) -> Result<String, String> {
        let families = self.registry.gather();
        let text = TextEncoder::new().encode_to_string(&families);
        text.map_err(|error| error.to_string())
    }
}

/// Powers of two up to what fits into a transaction.
fn batch_sizes() -> Vec<f64> {
    let sizes = std::iter::successors(Some(1.0), |size| Some(size * 2.0));
    sizes.take_while(|size| *size <= BATCH_OPERATIONS_MAX as f64).collect()
}

/// Makes metrics that are shown.
struct Made<'r>(&'r Registry);

impl Made<'_> {
    fn counter(&self, name: &str, help: &str) -> IntCounter {
        register(self.0, counter(Opts::new(name, help)))
    }

    fn counters<L: Label>(&self, name: &str, help: &str) -> Counters<L> {
        self.counters_with(Opts::new(name, help))
    }

    fn counters_with<L: Label>(&self, opts: Opts) -> Counters<L> {
        let each = series::<L>().map(|value| register(self.0, counter(opts.clone().const_label(L::NAME, value))));
        Counters {
            each: each.collect(),
            of: std::marker::PhantomData,
        }
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.gauge_with(Opts::new(name, help))
    }

    fn gauge_with(&self, opts: Opts) -> IntGauge {
        register(self.0, gauge(opts))
    }

    fn started(&self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::with_opts(Opts::new(name, help));
        register(self.0, gauge.expect("the name is well formed"))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let histogram = Histogram::with_opts(opts);
        register(
            self.0,
            histogram.expect("the name is well formed, and the buckets rise"),
        )
    }
}

fn counter(opts: Opts) -> IntCounter {
    IntCounter::with_opts(opts).expect("the name is well formed")
}

fn gauge(opts: Opts) -> IntGauge {
    IntGauge::with_opts(opts).expect("the name is well formed")
}

fn register<M: Collector + Clone + 'static>(registry: &Registry, metric: M) -> M {
    let registered = registry.register(Box::new(metric.clone()));
    registered.expect("no other has its name and labels");
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'t>(text: &'t str, series: &str) -> Option<&'t str> {
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
    }

    #[test]
    fn what_one_thread_counted_is_shown_when_it_is_added() {
        let metrics = Metrics::new();
        let tally = Tally::of(&metrics);
        tally.grants(Way::AfterWaiting, 2);
        tally.refusal(Refusal::Locked);
        tally.hold(std::time::Duration::from_millis(20));

        let before = metrics.exposition().expect("text");
        tally.add();
        let after = metrics.exposition().expect("text");
        tally.add();

        for (series, then) in [
            ("cls_grants_total{how=\"after_waiting\"}", "2"),
            ("cls_grants_total{how=\"at_once\"}", "0"),
            ("cls_refusals_total{reason=\"locked\"}", "1"),
            ("cls_hold_seconds_count", "1"),
            ("cls_hold_seconds_bucket{le=\"0.01\"}", "0"),
            ("cls_hold_seconds_bucket{le=\"0.1\"}", "1"),
        ] {
            assert_eq!(line(&before, series), Some("0"), "{series}");
            assert_eq!(line(&after, series), Some(then), "{series}");
        }
        assert_eq!(metrics.exposition().expect("text"), after, "it is added once");
    }

    #[test]
    fn a_listener_is_shown_where_there_is_one() {
        let metrics = Metrics::new();
        assert!(!metrics.exposition().expect("text").contains("cls_listener_connected"));

        metrics.listener().set(1);

        let text = metrics.exposition().expect("text");
        assert_eq!(line(&text, "cls_listener_connected"), Some("1"));
    }
}
