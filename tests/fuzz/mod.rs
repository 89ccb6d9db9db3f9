//! Fuzzing on the stable toolchain: inputs of a corpus are mutated for a while,
//! and the claim of a target must hold for each.
//!
//! Part of the unit tests, because what is fuzzed is private; in this folder,
//! because its corpus is. Without instrumentation, since that would compile every
//! dependency once more. What guides it instead is what a target says of an
//! input: one of which it says something new is mutated further.
//!
//! `FUZZ_SECONDS=600 cargo test --lib fuzz` looks for longer, `FUZZ_SEED` begins
//! as another run did. An input that breaks a claim is written to `target/fuzz`;
//! it belongs into the corpus when what it found is mended.

mod mutate;

use std::collections::HashSet;
use std::env;
use std::fmt::Debug;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use self::mutate::Mutator;

/// How long a target is fuzzed if nobody says.
const SECONDS: f64 = 1.0;

/// Inputs that are mutated further.
const INPUTS_MAX: usize = 4096;

/// Holds `claim`, which panics where it is broken, against the inputs of the
/// corpus of `target` and `seeds`, then against mutations of them. What the claim
/// answers is what became of the input; it should have few values.
pub fn fuzz<T: Hash>(target: &str, seeds: Vec<Vec<u8>>, claim: impl Fn(&[u8]) -> T) {
    let seed = variable("FUZZ_SEED").unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |since| since.as_nanos() as u64)
    });
    let until = Instant::now() + Duration::from_secs_f64(variable("FUZZ_SECONDS").unwrap_or(SECONDS));
    let check = |input: &[u8]| {
        // It is handed on below, with the input.
        let became = catch_unwind(AssertUnwindSafe(|| claim(input))).unwrap_or_else(|_| {
            let kept = keep(target, input);
            panic!(
                "{target}: an input breaks the claim above; it is in {}, FUZZ_SEED was {seed}: {:?}",
                kept.display(),
                String::from_utf8_lossy(&input[..input.len().min(500)])
            )
        });
        digest(&became)
    };
    let mut inputs = corpus(target);
    assert!(!inputs.is_empty(), "{target} has no corpus");
    inputs.extend(seeds);
    let mut seen: HashSet<u64> = inputs.iter().map(|input| check(input)).collect();
    let mut mutator = Mutator::new(seed);
    while Instant::now() < until {
        let input = mutator.mutate(&inputs);
        if seen.insert(check(&input)) && inputs.len() < INPUTS_MAX {
            inputs.push(input);
        }
    }
}

/// The same for inputs that are text; what is no UTF-8 is replaced.
pub fn fuzz_text<T: Hash>(target: &str, seeds: Vec<String>, claim: impl Fn(&str) -> T) {
    let seeds = seeds.into_iter().map(String::into_bytes).collect();
    fuzz(target, seeds, |input| claim(&String::from_utf8_lossy(input)));
}

/// What an error says, without the numbers and the words in it that come from
/// the input.
pub fn kind(error: &impl Debug) -> String {
    let said = format!("{error:?}");
    let words = said.split(|c: char| !c.is_ascii_alphabetic());
    words.filter(|word| word.len() > 3).take(6).collect()
}

/// The bodies of the recorded conformance cases, each after a line with its
/// media type.
pub fn recorded_bodies() -> Vec<Vec<u8>> {
    let with_type = |request: &Value| {
        let content_type = request["headers"]["Content-Type"].as_str().unwrap_or_default();
        let body = request["body"].as_str()?;
        Some(format!("{content_type}\n{body}").into_bytes())
    };
    recorded_requests().iter().filter_map(with_type).collect()
}

/// Their paths.
pub fn recorded_paths() -> Vec<String> {
    let path = |request: &Value| request["path"].as_str().map(str::to_owned);
    recorded_requests().iter().filter_map(path).collect()
}

fn recorded_requests() -> Vec<Value> {
    let cases = include_str!("../conformance/cases.jsonl").lines();
    let cases = cases.chain(include_str!("../conformance/extra.jsonl").lines());
    cases
        .map(|case| serde_json::from_str::<Value>(case).expect("a case a line")["request"].take())
        .collect()
}

fn variable<T: FromStr<Err: Debug>>(name: &str) -> Option<T> {
    let value = env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|error| panic!("{name}: {error:?}")))
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| file.expect("an entry").path())
        .collect();
    // In one order everywhere, so that a seed leads to the same inputs.
    files.sort();
    let read = |file| fs::read(file).expect("a file of the corpus");
    files.iter().map(read).collect()
}

/// Writes down an input that broke something.
fn keep(target: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz").join(target);
    fs::create_dir_all(&folder).expect("target can be written to");
    let file = folder.join(format!("{:016x}", digest(&input)));
    fs::write(&file, input).expect("target can be written to");
    file
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[test]
#[should_panic(expected = "an input breaks the claim above")]
fn a_claim_that_only_a_mutation_breaks_is_broken() {
    // Each character more is told, and so is kept and mutated further.
    fuzz_text("itself", Vec::new(), |path| {
        let alike = "/resource%".bytes().zip(path.bytes()).take_while(|(a, b)| a == b);
        let alike = alike.count();
        assert!(alike < 10 || path.len() > 40);
        alike
    });
}
