//! One trial: clients work, something breaks again and again and heals, and what
//! they saw is judged.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread::{self, sleep};
use std::time::{Duration, Instant, SystemTime};

use super::checker::{Stuck, check};
use super::clients::{Arena, NAMES, TTL_MAX, Visitor, acquire, release};
use super::history::{Answer, Asked, Operation};

/// How long each fault is repeated, in seconds; more find more.
const SECONDS: &str = "LINEARIZABILITY_SECONDS";

/// Without that variable: so that all trials together take about a minute.
const DURATION: Duration = Duration::from_secs(4);

const CLIENTS: usize = 16;

/// Until something is granted again after the last fault: three seconds for a
/// server that is gone, the longest ttl, and as much again on a busy machine.
const HEAL_WAIT_MAX: Duration = Duration::from_secs(15);

/// For how long the last client tries to be answered.
const LAST_TRIES: Duration = Duration::from_secs(20);

/// Lines of a history that are shown where it is illegal; a file has all.
const SHOWN: usize = 30;

/// How long it is made shorter, at most.
const SHORTENING_MAX: Duration = Duration::from_secs(20);

/// How long a fault is to be repeated.
pub fn duration() -> Duration {
    let seconds = std::env::var(SECONDS).ok();
    seconds.map_or(DURATION, |seconds| {
        Duration::from_secs(seconds.parse().unwrap_or_else(|e| panic!("{SECONDS}={seconds}: {e}")))
    })
}

/// Ends the work of the clients also if the test fails.
struct Closing<'a>(&'a Arena);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Lets clients work at the servers in `arena` while `fault` happens, which
/// breaks something and heals it, again and again; then judges what they saw.
pub fn judge(what: &str, arena: Arena, fault: impl FnMut(&Arena)) {
    judge_for(duration(), what, arena, fault);
}

/// The same for so long.
pub fn judge_for(lasting: Duration, what: &str, arena: Arena, mut fault: impl FnMut(&Arena)) {
    let seed = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64);
    let began = Instant::now();
    let mut faults = 0;
    // A history says more than that it ended badly, so it is judged first.
    let mut complaints = Vec::new();
    thread::scope(|scope| {
        let closing = Closing(&arena);
        for number in 0..CLIENTS {
            let visitor = Visitor::new(number, &arena, seed);
            scope.spawn(move || visitor.work());
        }
        let mut works = goes_on(&arena);
        while works && (faults == 0 || began.elapsed() < lasting) {
            fault(&arena);
            faults += 1;
            works = goes_on(&arena);
        }
        if !works {
            complaints.push(format!("after {faults} faults: nothing is granted any more"));
        }
        drop(closing);
    });
    let mut last = Visitor::patient(CLIENTS, &arena);
    for (name, key) in arena.leftovers() {
        surely(&mut last, name, || release(key, None, None));
    }
    complaints.extend(NAMES.into_iter().filter_map(|name| take(&mut last, name, &arena).err()));

    let worked = began.elapsed();
    let judged = Instant::now();
    let mut told = Told::default();
    for (name, operations) in arena.history() {
        told.add(&operations);
        if !complaints.is_empty() {
            complaints.push(write(what, name, &operations).display().to_string());
        }
        if let Err(stuck) = check(&operations) {
            panic!("{}", illegal(what, name, &operations, &stuck));
        }
    }
    println!(
        "{what}: {} operations in {worked:.1?}, {} without an answer, {} grants, {faults} faults; judged in {:.1?}",
        told.operations,
        told.unknown,
        told.grants,
        judged.elapsed()
    );
    assert!(complaints.is_empty(), "{what}: {}", complaints.join("; "));
    assert!(told.grants > 50 && told.operations > 300, "a test of nothing: {told:?}");
}

/// Waits until more is granted than was on its way.
fn goes_on(arena: &Arena) -> bool {
    let before = arena.grants.load(Ordering::Relaxed);
    let until = Instant::now() + HEAL_WAIT_MAX;
    while arena.grants.load(Ordering::Relaxed) <= before + CLIENTS {
        if Instant::now() > until {
            return false;
        }
        sleep(Duration::from_millis(2));
    }
    true
}

/// Asks until there is an answer.
fn surely(visitor: &mut Visitor<'_>, name: &'static str, mut asked: impl FnMut() -> Asked) -> Answer {
    let began = Instant::now();
    loop {
        match visitor.ask(name, asked()) {
            Some(answer) if !matches!(answer, Answer::Unknown(_)) => return answer,
            _ => assert!(began.elapsed() < LAST_TRIES, "{name}: no answer in {LAST_TRIES:?}"),
        }
    }
}

/// Takes what nobody holds any more, and gives it back.
///
/// Errors: it is held by nobody who knows, for longer than any ttl.
fn take(last: &mut Visitor<'_>, name: &'static str, arena: &Arena) -> Result<(), String> {
    surely(last, name, || Asked::Look);
    let (answer, key) = loop {
        let key = arena.number();
        match last.ask(name, acquire(key, arena.number(), None, TTL_MAX + 2)) {
            Some(answer) if !matches!(answer, Answer::Unknown(_)) => break (answer, key),
            _ => surely(last, name, || release(key, None, None)),
        };
    };
    let Answer::Granted { token } = answer else {
        let held = surely(last, name, || Asked::Look);
        return Err(format!("{name} is held by nobody who knows: {held:?}"));
    };
    surely(last, name, || Asked::Check { token });
    surely(last, name, || release(key, None, None));
    surely(last, name, || Asked::Look);
    Ok(())
}

#[derive(Debug, Default)]
struct Told {
    operations: usize,
    unknown: usize,
    grants: usize,
}

impl Told {
    fn add(&mut self, operations: &[Operation]) {
        let count = |is: fn(&Answer) -> bool| operations.iter().filter(|operation| is(&operation.answer)).count();
        self.operations += operations.len();
        self.unknown += count(|answer| matches!(answer, Answer::Unknown(_)));
        self.grants += count(|answer| matches!(answer, Answer::Granted { .. }));
    }
}

/// Says what is wrong with a history, and writes the whole of it to a file.
fn illegal(what: &str, name: &str, operations: &[Operation], stuck: &Stuck) -> String {
    let file = write(what, name, operations);
    let at = &operations[stuck.at];
    let verdict = match stuck.gave_up {
        true => "the search gave up, stuck at",
        false => "not linearizable: in no order can this be answered so:",
    };
    let mut text = format!("{what}: {name}: {verdict}\n{at}\nBefore it the resource was one of\n");
    for state in stuck.before.iter().take(5) {
        writeln!(text, "  {state}").expect("a string");
    }
    let shortened = shorten(operations, stuck);
    let left_out = shortened.len().saturating_sub(SHOWN);
    writeln!(
        text,
        "The history without what does not matter for it, but for the first {left_out} operations; \
         all {} are in {}:\n      sent      ended",
        operations.len(),
        file.display()
    )
    .expect("a string");
    for operation in &shortened[left_out..] {
        writeln!(text, "{operation}").expect("a string");
    }
    text
}

/// The operations up to where it is stuck, without observations that are not
/// needed to be stuck.
fn shorten(operations: &[Operation], stuck: &Stuck) -> Vec<Operation> {
    let until = operations[stuck.at].ended;
    let mut left: Vec<_> = operations
        .iter()
        .filter(|operation| operation.sent <= until)
        .cloned()
        .collect();
    left.sort_by_key(|operation| operation.sent);
    let began = Instant::now();
    let mut size = left.len() / 2;
    while size > 0 && !stuck.gave_up {
        let mut from = 0;
        while from < left.len() && began.elapsed() < SHORTENING_MAX {
            let to = (from + size).min(left.len());
            let within = |at: usize| (from..to).contains(&at);
            let fewer: Vec<_> = left
                .iter()
                .enumerate()
                .filter(|(at, operation)| !(within(*at) && operation.is_observation()))
                .map(|(_, operation)| operation.clone())
                .collect();
            if fewer.len() < left.len() && check(&fewer).is_err_and(|stuck| !stuck.gave_up) {
                left = fewer;
            } else {
                from = to;
            }
        }
        size /= 2;
    }
    left
}

fn write(what: &str, name: &str, operations: &[Operation]) -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}.txt", what.replace(' ', "-")));
    let mut sorted: Vec<_> = operations.iter().collect();
    sorted.sort_by_key(|operation| operation.sent);
    let lines: String = sorted.iter().map(|operation| format!("{operation}\n")).collect();
    std::fs::write(&file, lines).expect("cargo made the directory");
    file
}
