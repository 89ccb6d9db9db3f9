//! The measures, the same for every system.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::Read;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{LocalSet, spawn_local};

use crate::Arguments;
use crate::session::{Lasting, SHORT, Session};

const WARM_UP: Duration = Duration::from_millis(500);

/// All sessions together use so many names, or one each if they are more.
const NAMES: usize = 1_024;

/// Those who wait stand in so many lines.
const LINES: usize = 100;

/// Sessions that are opened at the same time.
const OPENED_AT_ONCE: usize = 64;

/// So many come into line at a time: etcd reads all of a line for each who comes,
/// and gives up if thousands come at once.
const JOIN_AT_ONCE: usize = 50;

/// What passes before the first release, so that all watch what they wait for: a
/// place in line is seen a moment earlier, and etcd looks after watches that are
/// new every 100 ms.
const SETTLE: Duration = Duration::from_millis(150);

/// Within which a line has to come together.
const IN_LINE_MAX: Duration = Duration::from_secs(100);

/// Lines are not looked at for longer.
const SERVED_MAX: Duration = Duration::from_secs(30);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("epoll")
}

fn run<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(LocalSet::new().run_until(future))
}

/// Processor time that a process used so far, in seconds.
fn processor_seconds(process: &str) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = after_name
        .split(' ')
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<f64>().expect("a number"));
    ticks.sum::<f64>() / TICKS_PER_SECOND
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("sensible bounds")
}

fn record(times: &mut Histogram<u64>, taken: Duration) {
    times.saturating_record(u64::try_from(taken.as_micros()).unwrap_or(u64::MAX).max(1));
}

fn quantile_ms(times: &Histogram<u64>, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64 / 1e3
}

async fn open_many<S: Session>(server: &S::Server, numbers: std::ops::Range<usize>, lasting: Lasting) -> Vec<S> {
    let numbers: Vec<usize> = numbers.collect();
    let mut opened = Vec::new();
    for chunk in numbers.chunks(OPENED_AT_ONCE) {
        opened.extend(join_all(chunk.iter().map(|number| S::open(server, *number, lasting))).await);
    }
    opened
}

pub fn throughput<S: Session>(arguments: &Arguments) -> Value {
    let connections = usize::try_from(arguments.number("connections")).expect("a small number");
    let length = Duration::from_millis(arguments.number("milliseconds"));
    let server_process = arguments.number("server").to_string();
    let names_each = (NAMES / connections).max(1);
    run(async {
        let server = S::server(&arguments.address, connections).await;
        let mut sessions = open_many::<S>(&server, 0..connections, Lasting::Long).await;
        let names = |session: usize| -> Vec<String> {
            let numbers = session * names_each..(session + 1) * names_each;
            numbers.map(|number| format!("bench-{number:06}")).collect()
        };
        // Once over all names, so that what is made for the first lock on each is there.
        join_all(sessions.iter_mut().enumerate().map(|(number, session)| async move {
            for name in names(number) {
                session.acquire(&name).await;
                session.release().await;
            }
        }))
        .await;
        let begin = Instant::now() + WARM_UP;
        let end = begin + length;
        let times = Rc::new(RefCell::new(histogram()));
        let loops = sessions.into_iter().enumerate().map(|(number, mut session)| {
            let (names, times) = (names(number), Rc::clone(&times));
            spawn_local(async move {
                let note = |started: Instant| {
                    let now = Instant::now();
                    if now >= begin && now < end {
                        record(&mut times.borrow_mut(), now - started);
                    }
                };
                for name in names.iter().cycle() {
                    let started = Instant::now();
                    if started >= end {
                        break;
                    }
                    session.acquire(name).await;
                    note(started);
                    let started = Instant::now();
                    session.release().await;
                    note(started);
                }
            })
        });
        let loops: Vec<_> = loops.collect();
        tokio::time::sleep_until(begin.into()).await;
        let before = [processor_seconds(&server_process), processor_seconds("self")];
        tokio::time::sleep_until(end.into()).await;
        let after = [processor_seconds(&server_process), processor_seconds("self")];
        join_all(loops).await;
        let times = times.borrow();
        let us_each = |process: usize| (after[process] - before[process]) * 1e6 / times.len() as f64;
        json!({
            "rate": times.len() as f64 / length.as_secs_f64(),
            "p50_ms": quantile_ms(&times, 0.5),
            "p99_ms": quantile_ms(&times, 0.99),
            "server_us": us_each(0),
            "generator_us": us_each(1),
        })
    })
}

/// Until `count` are in line for `name`, or the time is over.
async fn until_in_line<S: Session>(server: &S::Server, name: &str, count: usize, until: Instant) {
    loop {
        let seen = S::in_line(server, name).await;
        if seen == count {
            return;
        }
        assert!(
            Instant::now() < until,
            "{} seconds were not enough for a line: {seen} stood in it",
            IN_LINE_MAX.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn hand_over<S: Session>(arguments: &Arguments) -> Value {
    let waiters = usize::try_from(arguments.number("waiters")).expect("a small number");
    let hand_overs = arguments.number("hand-overs");
    run(async {
        let server = S::server(&arguments.address, waiters + 1).await;
        let mut sessions = open_many::<S>(&server, 0..waiters + 1, Lasting::Long).await;
        let times = Rc::new(RefCell::new(histogram()));
        let mut line = 0;
        let until = Instant::now() + IN_LINE_MAX;
        while times.borrow().len() < hand_overs {
            let name = format!("contended-{line}");
            line += 1;
            let mut holder = sessions.remove(0);
            holder.acquire(&name).await;
            let released = Rc::new(Cell::new(Instant::now()));
            let mut waiting = Vec::new();
            for mut session in std::mem::take(&mut sessions) {
                let (name, times, released) = (name.clone(), Rc::clone(&times), Rc::clone(&released));
                let in_line = name.clone();
                waiting.push(spawn_local(async move {
                    session.acquire(&name).await;
                    record(&mut times.borrow_mut(), released.get().elapsed());
                    released.set(Instant::now());
                    session.release().await;
                    session
                }));
                if waiting.len() % JOIN_AT_ONCE == 0 || waiting.len() == waiters {
                    until_in_line::<S>(&server, &in_line, waiting.len() + 1, until).await;
                }
            }
            tokio::time::sleep(SETTLE).await;
            released.set(Instant::now());
            holder.release().await;
            let Ok(served) = tokio::time::timeout(SERVED_MAX, join_all(waiting)).await else {
                println!("{}", hand_overs_in(&times.borrow()));
                // Those who still wait would want to give back what they have, which needs a runtime.
                std::process::exit(0);
            };
            sessions = served.into_iter().map(|session| session.expect("it waits")).collect();
            sessions.push(holder);
        }
        hand_overs_in(&times.borrow())
    })
}

fn hand_overs_in(times: &Histogram<u64>) -> Value {
    json!({
        "hand_overs": times.len(),
        "p50_ms": quantile_ms(times, 0.5),
        "p99_ms": quantile_ms(times, 0.99),
    })
}

/// The holders live in a runtime of their own. When that is dropped nothing of
/// theirs runs any more and their connections close, as when a process is killed.
pub fn take_over<S: Session>(arguments: &Arguments) -> Value {
    let locks = usize::try_from(arguments.number("locks")).expect("a small number");
    let holders_runtime = runtime();
    let holders_tasks = LocalSet::new();
    let mut holders = holders_runtime.block_on(holders_tasks.run_until(async {
        let server = S::server(&arguments.address, locks).await;
        open_many::<S>(&server, 0..locks, Lasting::TwoSeconds).await
    }));
    let waiters_runtime = runtime();
    let waiters_tasks = LocalSet::new();
    let (server, mut waiters) = waiters_runtime.block_on(waiters_tasks.run_until(async {
        let server = S::server(&arguments.address, locks).await;
        let waiters = open_many::<S>(&server, locks..2 * locks, Lasting::Long).await;
        (server, waiters)
    }));
    let granted = holders_runtime.block_on(holders_tasks.run_until(async {
        let mut granted = Vec::new();
        for (number, holder) in holders.iter_mut().enumerate() {
            holder.acquire(&format!("taken-{number}")).await;
            granted.push(Instant::now());
        }
        granted
    }));
    drop(holders_tasks);
    drop(holders_runtime);
    let died = Instant::now();
    let after_expiry: Vec<(f64, f64)> = waiters_runtime.block_on(waiters_tasks.run_until(async {
        let taken = waiters.iter_mut().enumerate().map(|(number, waiter)| async move {
            waiter.acquire(&format!("taken-{number}")).await;
            Instant::now()
        });
        let ms = |now: Instant, since: Instant| match now.checked_duration_since(since) {
            Some(late) => late.as_secs_f64() * 1e3,
            None => -(since - now).as_secs_f64() * 1e3,
        };
        let taken = join_all(taken).await;
        let samples = taken.into_iter().zip(granted);
        samples
            .map(|(now, granted)| (ms(now, granted + SHORT), ms(now, died)))
            .collect()
    }));
    drop(server);
    // They never ran their last: what they do when dropped needs a runtime.
    std::mem::forget(holders);
    let (after_expiry, after_death): (Vec<_>, Vec<_>) = after_expiry.into_iter().unzip();
    json!({ "after_expiry_ms": after_expiry, "after_death_ms": after_death })
}

/// Says what is there, and stays until nobody listens any more.
fn stay(what: &Value) {
    println!("{what}");
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).expect("stdin can be read");
    // Nothing is given back: the server goes too.
    std::process::exit(0);
}

pub fn hold<S: Session>(arguments: &Arguments) -> Value {
    let locks = usize::try_from(arguments.number("locks")).expect("a small number");
    run(async {
        let server = S::server(&arguments.address, 1).await;
        let held = S::hold_many(&server, locks).await;
        let held_by = held.len();
        stay(&json!({ "held": locks, "by": held_by }));
        Value::Null
    })
}

pub fn wait<S: Session>(arguments: &Arguments) -> Value {
    let waiters = usize::try_from(arguments.number("waiters")).expect("a small number");
    run(async {
        let server = S::server(&arguments.address, waiters + LINES).await;
        let mut sessions = open_many::<S>(&server, 0..waiters + LINES, Lasting::Long).await;
        let mut waiting = sessions.split_off(LINES);
        for (line, holder) in sessions.iter_mut().enumerate() {
            holder.acquire(&format!("line-{line}")).await;
        }
        let until = Instant::now() + IN_LINE_MAX;
        // One more in each line at a time.
        for (row, waiters) in (1..).zip(waiting.chunks(LINES).map(<[S]>::len).collect::<Vec<_>>()) {
            for (line, mut waiter) in waiting.drain(..waiters).enumerate() {
                spawn_local(async move {
                    waiter.acquire(&format!("line-{line}")).await;
                    panic!("nobody released");
                });
            }
            until_in_line::<S>(&server, &format!("line-{}", waiters - 1), row + 1, until).await;
        }
        tokio::time::sleep(SETTLE).await;
        stay(&json!({ "waiting": waiters }));
        Value::Null
    })
}
