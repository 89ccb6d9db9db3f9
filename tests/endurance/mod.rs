//! Hours of work in which nothing may grow: names that are all new, waiters who
//! leave, locks that nobody releases, streams that nobody reads.
//!
//! The ordinary run lasts a quarter of a minute. `ENDURANCE_SECONDS=3600` is an
//! hour with a million names on each backend, whose table of samples is also left
//! in `target/tmp/endurance-{backend}.txt`.

mod bounds;
mod churn;
mod crowd;
mod sample;
mod subject;

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::endurance::bounds::{Bounds, broken};
use crate::endurance::churn::{Counts, churn};
use crate::endurance::sample::{Sample, header};
use crate::endurance::subject::Subject;
use crate::support::{eventually, on_postgres};

/// Names that are new in a second: a million and some in an hour. Some 800
/// requests are made for them.
const NAMES_PER_SECOND: u32 = 300;

/// Connections that make them. Each waits for its answers, so there are enough
/// for the rate where an answer takes 20 ms.
const WORKERS: u32 = 8;

/// Seconds of the ordinary run.
const SECONDS: u64 = 15;

/// Samples of a run, at most: fewer where the machine is busy.
const SAMPLES: u32 = 30;

/// How long a server may take to notice that its clients are gone.
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(15);

/// What a run does.
#[derive(Clone, Copy)]
struct Plan {
    seconds: u64,
    /// How long a row is idle until it is made to look older than PRUNE_AFTER_DAYS.
    idle: Duration,
    /// HISTORY_EVENTS_MAX.
    events_max: u64,
}

impl Plan {
    fn from_environment() -> Self {
        let asked = std::env::var("ENDURANCE_SECONDS").ok();
        let seconds = asked.map_or(SECONDS, |text| text.parse().expect("ENDURANCE_SECONDS is a number"));
        Self {
            seconds,
            // Both are reached in the first third, so that what comes after it is to be flat.
            idle: Duration::from_secs(seconds) / 10,
            events_max: seconds / 15 * 2 * u64::from(NAMES_PER_SECOND),
        }
    }

    fn is_long(&self) -> bool {
        self.seconds > SECONDS
    }

    /// How often autovacuum looks. Each minute, if nobody says otherwise; in the
    /// ordinary run it would not.
    fn vacuum_interval(&self) -> Duration {
        Duration::from_secs(if self.is_long() { 60 } else { 1 })
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(self.seconds) / SAMPLES
    }
}

#[test]
fn nothing_grows_on_sqlite() {
    endure("sqlite");
}

#[test]
fn nothing_grows_on_postgresql() {
    on_postgres(|| endure("postgresql"));
}

fn endure(backend: &str) {
    let plan = Plan::from_environment();
    let subject = Subject::start(&plan);
    let counts = Arc::new(Counts::default());
    crowd::warm_up(subject.server.address, &counts);
    subject.until_descriptors_rest();
    let base = subject.sample(&counts, Instant::now());

    let began = Instant::now();
    let end = began + Duration::from_secs(plan.seconds);
    let work = start_work(&subject, &counts, end);
    let mut samples = Vec::new();
    let (mut next_ageing, mut next_sample) = (began, began + plan.interval());
    while next_sample <= end {
        // The run is as long as it is: nobody is waited for.
        thread::sleep(next_ageing.min(next_sample).saturating_duration_since(Instant::now()));
        let now = Instant::now();
        if now >= next_ageing {
            subject.age(plan.idle);
            next_ageing = now + plan.idle / 10;
        }
        if now >= next_sample {
            samples.push(subject.sample(&counts, began));
            next_sample = now + plan.interval();
        }
    }
    for worker in work {
        worker.join().expect("what it asked was answered as it must be");
    }
    eventually("nobody waits any more", SETTLE_WAIT_MAX, || subject.waiters() == 0);
    subject.until_descriptors_rest();
    subject.require_true_metrics(&counts);
    subject.vacuum();
    let settled = subject.sample(&counts, began);

    show(backend, &plan, &base, &samples, &settled);
    let bounds = Bounds::of(&plan, subject.is_on_postgres(), settled.names);
    let broken = broken(&bounds, &base, &samples, &settled);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What one client does until the end of the run.
type Work = Box<dyn FnOnce(&Counts) + Send>;

fn start_work(subject: &Subject, counts: &Arc<Counts>, end: Instant) -> Vec<JoinHandle<()>> {
    let address = subject.server.address;
    let spawn = |name: String, work: Work| {
        let counts = Arc::clone(counts);
        let spawned = thread::Builder::new().name(name).spawn(move || work(&counts));
        spawned.expect("a thread")
    };
    let workers = (0..WORKERS).map(|worker| {
        let work = move |counts: &Counts| churn(address, worker, counts, end);
        spawn(format!("worker {worker}"), Box::new(work))
    });
    let others: [(&str, Work); 4] = [
        (
            "lines",
            Box::new(move |counts| crowd::wait_in_lines(address, counts, end)),
        ),
        (
            "reader",
            Box::new(move |counts| crowd::read_events(address, counts, end)),
        ),
        ("deaf", Box::new(move |_| crowd::read_no_events(address, end))),
        ("guests", Box::new(move |_| crowd::come_and_go(address, end))),
    ];
    let others = others.map(|(name, work)| spawn(name.to_owned(), work));
    workers.chain(others).collect()
}

/// Prints what was measured, and leaves it in a file after a long run.
fn show(backend: &str, plan: &Plan, base: &Sample, samples: &[Sample], settled: &Sample) {
    let mut table = format!("{backend}, {} s\n{}\n", plan.seconds, header());
    for sample in [base].into_iter().chain(samples).chain([settled]) {
        table.push_str(&format!("{sample}\n"));
    }
    println!("{table}");
    if plan.is_long() {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("endurance-{backend}.txt"));
        std::fs::write(&path, table).expect("the target directory is ours");
    }
}
