//! From a release to the next grant: a line on one resource that is served to
//! its end, each releasing as soon as it is granted.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::clients;
use crate::figures::{HandOverRound, System};
use crate::handover::Line;
use crate::load::histogram;
use crate::redis_line::{Contenders, Form, Next};
use crate::stage::{Stage, Started};

/// A line, its coming together included, takes no longer.
const LINE_MAX: Duration = Duration::from_secs(180);

/// Where all ask again and again it may take most of a second until the right one
/// does: so long is a line of those looked at.
const POLLING_MAX: Duration = Duration::from_secs(30);

/// Lines are made anew until there were so many hand-overs.
const HAND_OVERS_MIN: u64 = 100;

pub fn measure(stage: &Stage, started: &Started, system: System, waiters: usize) -> Result<HandOverRound, String> {
    let mut times = histogram();
    match system {
        System::Sqlite | System::Postgres | System::Replicas => {
            for line in lines(waiters) {
                let mut line = Line::for_name(&format!("contended-{line}"));
                line.join(&started.ours, waiters + 1);
                times.add(line.hand_over().times).expect("the same bounds");
            }
        }
        System::RedisAlways | System::RedisEverysec | System::RedisSignal => {
            for line in lines(waiters) {
                serve_redis_line(started, system, waiters, line, &mut times);
            }
        }
        System::EtcdLock | System::Zookeeper | System::Advisory => {
            let numbers = [("waiters", waiters as u64), ("hand-overs", HAND_OVERS_MIN)];
            let address = match system {
                System::Advisory => stage.direct_url.clone(),
                _ => started.rival().address.to_string(),
            };
            return clients::measure(system, "hand-over", &address, &numbers, LINE_MAX);
        }
        other => panic!("{other:?} has no line"),
    }
    Ok(HandOverRound {
        hand_overs: usize::try_from(times.len()).expect("thousands"),
        p50_ms: times.value_at_quantile(0.5) as f64 / 1e3,
        p99_ms: times.value_at_quantile(0.99) as f64 / 1e3,
    })
}

fn lines(waiters: usize) -> std::ops::Range<u64> {
    0..HAND_OVERS_MIN.div_ceil(waiters as u64)
}

fn serve_redis_line(started: &Started, system: System, waiters: usize, line: u64, times: &mut Histogram<u64>) {
    let form = match system {
        System::RedisSignal => Form::Signal,
        _ => Form::Polling,
    };
    let names = (0..=waiters).map(|_| format!("contended-{line}"));
    let mut contenders = Contenders::connect(started.rival().address, form, names);
    contenders.take(0, None);
    contenders.begin(1..waiters + 1);
    contenders.until_refused(1..waiters + 1);
    let wanted = match form {
        Form::Signal => waiters,
        Form::Polling => waiters.min(usize::try_from(HAND_OVERS_MIN).expect("hundreds")),
    };
    let mut released = contenders.release(0);
    let mut granted = 0;
    let begun = Instant::now();
    while granted < wanted && (form == Form::Signal || begun.elapsed() < POLLING_MAX) {
        assert!(begun.elapsed() < LINE_MAX, "{granted} of {wanted} were granted in time");
        contenders.turn(|_, now| {
            let taken = now.duration_since(released).as_micros();
            times.saturating_record(u64::try_from(taken).unwrap_or(u64::MAX));
            granted += 1;
            released = Instant::now();
            Next::Release
        });
    }
}
