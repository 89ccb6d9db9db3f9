//! Crashes: where the power is lost, and what is asked of the disk afterwards.

use std::fmt;
use std::path::Path;

use tempfile::TempDir;

use crate::crash::chance::Chance;
use crate::crash::disk::{Disk, Image, Kept};
use crate::crash::recording::{self, At, Event};

/// Where files are made, read once and removed.
const MEMORY: &str = "/dev/shm";
/// Lines of the account that are shown.
const ACCOUNT_LINES_MAX: usize = 40;
/// Cores of a small machine.
const THREADS: usize = 2;

/// The number in an environment variable, or `ordinary`.
fn number(variable: &str, ordinary: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
        Err(_) => ordinary,
    }
}

/// CRASH_SEED, by which chance is had again.
pub fn seed() -> u64 {
    number("CRASH_SEED", 1)
}

/// How often a test tries, which is `ordinary` of all that is tried ordinarily.
pub fn count(ordinary: usize) -> usize {
    let points = number("CRASH_POINTS", ORDINARY_POINTS as u64) as usize;
    (points * ordinary).div_ceil(ORDINARY_POINTS)
}

/// CRASH_POINTS, if it is not set: how many crashes all tests try together, about.
const ORDINARY_POINTS: usize = 1_000;

/// The power is lost when so many events have happened.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    number: usize,
    events: usize,
    /// How far the log had come.
    pub position: u64,
    kept: Kept,
    chance: u64,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            events, position, kept, ..
        } = self;
        write!(
            f,
            "crash {} after event {events} (byte {position} of the log), {kept:?} kept",
            self.number
        )
    }
}

/// So many crashes, in the order of the log. Of three one is at any event, one
/// just behind an event of those that are few, and one at an answer.
fn points(events: &[At<'_>], answers: &[u64], count: usize, seed: u64) -> Vec<Point> {
    let mut chance = Chance::of(seed);
    let is_rare = |event: &Event<'_>| !matches!(event, Event::Write { .. } | Event::Sync { is_done: true, .. });
    let rare: Vec<usize> = (0..events.len()).filter(|index| is_rare(&events[*index].1)).collect();
    let mut points: Vec<_> = (0..count)
        .map(|number| {
            let index = match number % 3 {
                0 if !rare.is_empty() => {
                    let near = rare[chance.among(0..rare.len())] + chance.among(0..4);
                    near.min(events.len() - 1)
                }
                1 if !answers.is_empty() => {
                    let answered = answers[chance.among(0..answers.len())];
                    events.partition_point(|(end, _)| *end <= answered).saturating_sub(1)
                }
                _ => chance.among(0..events.len()),
            };
            Point {
                number,
                events: index + 1,
                position: events[index].0,
                kept: Kept::ALL[chance.among(0..Kept::ALL.len())],
                chance: chance.next(),
            }
        })
        .collect();
    points.sort_by_key(|point| point.events);
    points
}

/// What was tried.
#[derive(Debug, Default)]
pub struct Tried {
    pub crashes: usize,
    /// Those at which something may have been on disk or not.
    pub open: usize,
}

/// Loses the power `count` times and has `check` look at a directory with what
/// was left. `answers` are the positions at which something was acknowledged.
/// The first that it refuses, with an account of what was on disk.
pub fn find_loss(
    log: &[u8],
    answers: &[u64],
    count: usize,
    check: impl Fn(&Path, &Point) -> Result<(), String> + Sync,
) -> Result<Tried, String> {
    let events = recording::read(log);
    let points = points(&events, answers, count, seed());
    let results: Vec<_> = std::thread::scope(|scope| {
        let (events, points, check) = (&events, &points, &check);
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || try_all(events, points.iter().skip(thread).step_by(THREADS), check)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it ends"))
            .collect()
    });
    let mut tried = Tried {
        crashes: points.len(),
        open: 0,
    };
    for result in results {
        tried.open += result?;
    }
    Ok(tried)
}

fn try_all<'p>(
    events: &[At<'_>],
    points: impl Iterator<Item = &'p Point>,
    check: &impl Fn(&Path, &Point) -> Result<(), String>,
) -> Result<usize, String> {
    let in_memory = Path::new(MEMORY).is_dir();
    let directory = if in_memory {
        TempDir::new_in(MEMORY)
    } else {
        TempDir::new()
    };
    let directory = directory.expect("a temporary directory");
    let mut disk = Disk::default();
    let (mut happened, mut open) = (0, 0);
    for point in points {
        for (_, event) in &events[happened..point.events] {
            disk.apply(event);
        }
        happened = point.events;
        open += usize::from(disk.pending() > 0);
        let image = disk.after(point.kept, &mut Chance::of(point.chance));
        image.write(directory.path());
        check(directory.path(), point).map_err(|loss| account(&loss, point, &image))?;
        Image::clear(directory.path());
    }
    Ok(open)
}

fn account(loss: &str, point: &Point, image: &Image) -> String {
    let lines: Vec<_> = image.account.lines().collect();
    let left_out = lines.len().saturating_sub(ACCOUNT_LINES_MAX);
    let shown = lines[left_out..].join("\n");
    format!(
        "{loss}\n{point}; again with CRASH_SEED={}\nnot synced, {left_out} more before:\n{shown}",
        seed()
    )
}
