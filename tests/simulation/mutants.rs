//! Faults that were put into the server on purpose, each of which the judge has to
//! see.
//!
//! All are put into one copy of the sources, which is compiled once; which of them is
//! alive is said when it runs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seeds within which each has to be seen.
const SEEDS_MAX: u64 = 6000;

/// What is done to the sources.
struct Mutant {
    name: &'static str,
    file: &'static str,
    /// What stands there, once.
    original: &'static str,
    /// What stands there instead; MUTATED says whether this one is alive.
    mutated: &'static str,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "double-grant",
        file: "src/lock/decide.rs",
        original: "if rules.forbid(now, resource, &acquire.locked_by) {",
        mutated: "if !MUTATED && rules.forbid(now, resource, &acquire.locked_by) {",
    },
    Mutant {
        name: "token-reuse",
        file: "src/lock/decide.rs",
        original: "self.0 = FencingToken::new(self.0.as_i64() + 1);",
        mutated: "self.0 = FencingToken::new(self.0.as_i64() + i64::from(!MUTATED));",
    },
    Mutant {
        name: "stale-renew",
        file: "src/lock/decide.rs",
        original: "let Some(lock) = resource.lock.as_mut().filter(|lock| lock.holds_at(now)) else {",
        mutated: "let Some(lock) = resource.lock.as_mut().filter(|lock| MUTATED || lock.holds_at(now)) else {",
    },
    Mutant {
        name: "early-expiry",
        file: "src/lock/resource.rs",
        original: "self.expires_at.is_none_or(|expires_at| now < expires_at)",
        mutated: "self.expires_at.is_none_or(|at| now + Duration::from_millis(500 * u64::from(MUTATED)) < at)",
    },
    Mutant {
        name: "release-by-anybody",
        file: "src/lock/decide.rs",
        original: "let is_holder = holder.is_some_and(|lock| release.locked_by.as_ref() == Some(&lock.locked_by));",
        mutated: "let is_holder = holder.is_some_and(|lock| MUTATED || release.locked_by.as_ref() == Some(&lock.locked_by));",
    },
    Mutant {
        name: "barging",
        file: "src/lock/batch.rs",
        original: "        if !resource.is_free_at(self.now) {\n            return false;",
        mutated: "        if MUTATED || !resource.is_free_at(self.now) {\n            return false;",
    },
    Mutant {
        name: "last-come-first-served",
        file: "src/lock/waiting_line.rs",
        original: "        self.line(name).next()\n",
        mutated: "        if MUTATED { self.line(name).last() } else { self.line(name).next() }\n",
    },
    Mutant {
        name: "lost-wake-up",
        file: "src/lock/batch.rs",
        original: "(Outcome::Released | Outcome::Broken(_), _) => self.serve(row),",
        mutated: "(Outcome::Released | Outcome::Broken(_), _) if !MUTATED => self.serve(row),",
    },
    Mutant {
        name: "end-not-looked-after",
        file: "src/engine/batcher/outcome.rs",
        original: "                        self.timers.arm(expires, name.clone());",
        mutated: "                        if !MUTATED { self.timers.arm(expires, name.clone()); }",
    },
    Mutant {
        name: "ghost-grant",
        file: "src/engine/messages.rs",
        original: "!self.reply.is_closed() && time::now() < self.wait_until",
        mutated: "MUTATED || !self.reply.is_closed() && time::now() < self.wait_until",
    },
    Mutant {
        name: "grant-not-given-back",
        file: "src/engine/batcher/outcome.rs",
        original: "            self.returns.extend(names.into_iter().cloned().zip(tokens));",
        mutated: "            if !MUTATED { self.returns.extend(names.into_iter().cloned().zip(tokens)); }",
    },
    Mutant {
        name: "late-timeout",
        file: "src/engine/handle.rs",
        original: "() = tokio::time::sleep_until(deadline.into()) => pending.last_look(),",
        mutated: "() = tokio::time::sleep_until((deadline + Duration::from_millis(100 * u64::from(MUTATED))).into()) => pending.last_look(),",
    },
    Mutant {
        name: "answer-without-commit",
        file: "src/engine/batcher.rs",
        original: "        match (result, decisions) {\n            (Ok(()), Some(decisions)) => {",
        mutated: "        match (if MUTATED { Ok(()) } else { result }, decisions) {\n            (Ok(()), Some(decisions)) => {",
    },
    Mutant {
        name: "unknown-commit-believed-to-have-failed",
        file: "src/engine/batcher.rs",
        original: "let is_unknown = matches!(error, StoreError::Unknown(_));",
        mutated: "let is_unknown = !MUTATED && matches!(error, StoreError::Unknown(_));",
    },
    Mutant {
        name: "waiter-lost-with-a-failed-commit",
        file: "src/engine/batcher/outcome.rs",
        original: "                self.lines.put_back(waiter);",
        mutated: "                if !MUTATED { self.lines.put_back(waiter); }",
    },
    Mutant {
        name: "waiter-lost-on-reconnect",
        file: "src/engine/batcher/upkeep.rs",
        original: "        if self.hearing.is_some() {\n            self.unsettled.extend(self.lines.names().cloned());\n        }\n        Ok(())",
        mutated: "        if self.hearing.is_some() && !MUTATED {\n            self.unsettled.extend(self.lines.names().cloned());\n        }\n        Ok(())",
    },
    Mutant {
        name: "promise-not-looked-after",
        file: "src/engine/batcher/own_work.rs",
        original: "            self.timers.promise(until, name);",
        mutated: "            if !MUTATED { self.timers.promise(until, name); }",
    },
    Mutant {
        name: "announcement-not-taken",
        file: "src/engine/batcher/own_work.rs",
        original: "                Announcement::Free(name) => self.timers.arm(now, name),",
        mutated: "                Announcement::Free(name) => if !MUTATED { self.timers.arm(now, name) },",
    },
    Mutant {
        name: "deadlock-left-standing",
        file: "src/lock/batch/circle.rs",
        original: "        let (mut suspected, mut unseen) = (Vec::new(), Vec::new());",
        mutated: "        if MUTATED { return Circle::None; }\n        let (mut suspected, mut unseen) = (Vec::new(), Vec::new());",
    },
    Mutant {
        name: "departure-not-told",
        file: "src/engine/batcher.rs",
        original: "                self.left.push((name.clone(), waiter.place));",
        mutated: "                if !MUTATED { self.left.push((name.clone(), waiter.place)); }",
    },
    Mutant {
        name: "tried-over-and-over",
        file: "src/engine/batcher/upkeep.rs",
        original: "            self.retry_at = time::now();\n",
        mutated: "            if !MUTATED { self.retry_at = time::now(); }\n",
    },
];

/// What the copy has beside: which of them is alive.
const ALIVE: &str = r#"
/// Whether this mutant is alive.
pub fn mutated(name: &str) -> bool {
    static ALIVE: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    ALIVE.get_or_init(|| std::env::var("MUTANT").ok()).as_deref() == Some(name)
}
"#;

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).expect("a directory can be made");
        for entry in fs::read_dir(from).expect("a directory of sources") {
            let name = entry.expect("an entry").file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        fs::copy(from, to).unwrap_or_else(|error| panic!("{} is not copied: {error}", from.display()));
    }
}

/// The sources with all mutants in them.
fn mutated_sources() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
    let _ = fs::remove_dir_all(&sources);
    for part in ["src", "migrations", "build.rs", "tests/simulation"] {
        fs::create_dir_all(sources.join(part).parent().expect("below")).expect("a directory can be made");
        copy(&root.join(part), &sources.join(part));
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("a manifest");
    // A workspace of its own, with this one test; and another version, so that what is compiled of it is kept apart.
    let is_kept = |section: &&str| !section.starts_with("[bench]]") && !section.contains("path = \"tests/main.rs\"");
    let sections: Vec<_> = manifest.split("\n[").filter(is_kept).collect();
    let manifest = sections.join("\n[") + "\n[workspace]\n";
    let version = concat!("version = \"", env!("CARGO_PKG_VERSION"), "\"");
    let marked = concat!("version = \"", env!("CARGO_PKG_VERSION"), "+mutants\"");
    let lock = fs::read_to_string(root.join("Cargo.lock")).expect("a file of versions");
    let ours = concat!("name = \"", env!("CARGO_PKG_NAME"), "\"\n");
    let lock = lock.replacen(&format!("{ours}{version}"), &format!("{ours}{marked}"), 1);
    fs::write(sources.join("Cargo.toml"), manifest.replacen(version, marked, 1)).expect("a file can be written");
    fs::write(sources.join("Cargo.lock"), lock).expect("a file can be written");
    for mutant in MUTANTS {
        let path = sources.join(mutant.file);
        let source = fs::read_to_string(&path).expect("a source file");
        let alive = format!("crate::mutated(\"{}\")", mutant.name);
        let count = source.matches(mutant.original).count();
        assert_eq!(count, 1, "mutant {}: its place in {} is gone", mutant.name, mutant.file);
        let source = source.replace(mutant.original, &mutant.mutated.replace("MUTATED", &alive));
        fs::write(&path, source).expect("a file can be written");
    }
    let library = sources.join("src/lib.rs");
    let source = fs::read_to_string(&library).expect("a source file");
    fs::write(&library, source + ALIVE).expect("a file can be written");
    sources
}

/// Compiles them; answers with the program.
fn compile(sources: &Path) -> PathBuf {
    // The directory of the crates that are compiled already.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is below");
    let output = Command::new(env!("CARGO"))
        .current_dir(sources)
        .args(["test", "--no-run", "--offline", "--locked", "--test", "simulation"])
        .args(["--message-format", "json"])
        .env("CARGO_TARGET_DIR", target)
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let programs = said.lines().filter_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        rest.split_once('"').map(|(program, _)| PathBuf::from(program))
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the mutants do not compile:\n{errors}\n{said}");
    programs.into_iter().next_back().expect("cargo names the program")
}

#[test]
fn each_mutant_is_seen() {
    let program = compile(&mutated_sources());
    let mut unseen = Vec::new();
    for mutant in MUTANTS {
        let output = Command::new(&program)
            .args(["what_is_promised_is_kept_whatever_goes_wrong", "--exact"])
            .env("MUTANT", mutant.name)
            .env("SIMULATION_FROM", "0")
            .env("SIMULATION_SEEDS", SEEDS_MAX.to_string())
            .env("RUST_BACKTRACE", "0")
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let seen = said.lines().find(|line| line.starts_with("seed "));
        println!("{}: {}", mutant.name, seen.unwrap_or("not seen"));
        if seen.is_none() || output.status.success() {
            unseen.push(mutant.name);
        }
    }
    assert!(unseen.is_empty(), "not seen: {unseen:?}");
}
