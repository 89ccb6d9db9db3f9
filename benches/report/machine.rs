//! What the figures were made on and with.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::figures::{Machine, Version};
use crate::postgres_server::must_run;
use crate::rivals_started::class_path;

/// As it is before anything is measured.
pub fn describe() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, name: &str, separator: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        let value = line.split_once(separator).map_or("", |(_, value)| value);
        value.trim().trim_matches('"').to_owned()
    };
    let memory_kib: f64 = after(&read("/proc/meminfo"), "MemTotal", ":")
        .trim_end_matches(" kB")
        .parse()
        .expect("Linux says so");
    Machine {
        processor: after(&read("/proc/cpuinfo"), "model name", ":"),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        memory_gib: memory_kib / 1024.0 / 1024.0,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        distribution: after(&read("/etc/os-release"), "PRETTY_NAME", "="),
        file_system: must_run(Command::new("stat").args(["--file-system", "--format=%T", "."]))
            .trim()
            .to_owned(),
        fsync_ms: Vec::new(),
        busy_with_others: Vec::new(),
    }
}

/// How many processors are at work while nothing is measured: the mean of two
/// seconds.
pub fn busy() -> f64 {
    let before = ProcessorTime::now();
    thread::sleep(Duration::from_secs(2));
    let after = ProcessorTime::now();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    (after.busy - before.busy) / (after.all - before.all) * cores as f64
}

/// What all processors together did since the machine was started, in ticks.
struct ProcessorTime {
    busy: f64,
    all: f64,
}

impl ProcessorTime {
    fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").expect("Linux has it");
        let times = stat.lines().next().and_then(|line| line.strip_prefix("cpu "));
        let times: Vec<f64> = times
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|time| time.parse().ok())
            .collect();
        // user, nice, system, idle, iowait, irq, softirq, steal; what follows is in those (proc(5)).
        let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = times[..] else {
            panic!("/proc/stat begins with {stat:.80}");
        };
        let busy = user + nice + system + irq + softirq + steal;
        Self {
            busy,
            all: busy + idle + iowait,
        }
    }
}

/// Each program that is there, as it names itself.
pub fn versions(postgres: &str) -> Vec<Version> {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    let word_after = |text: String, before: &str| {
        let rest = text.split_once(before)?.1;
        let end = rest.find([' ', ',', '\n', '-']).unwrap_or(rest.len());
        Some(rest[..end].trim_matches('"').to_owned())
    };
    let zookeeper = said(
        "java",
        &["-cp", &class_path(), "org.apache.zookeeper.version.VersionInfoMain"],
    );
    let java = said("java", &["--version"]);
    let found = [
        ("this server", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("PostgreSQL", postgres.split(' ').next().map(str::to_owned)),
        (
            "Redis",
            said("redis-server", &["--version"]).and_then(|said| word_after(said, "v=")),
        ),
        (
            "etcd",
            said("etcd", &["--version"]).and_then(|said| word_after(said, "Version: ")),
        ),
        ("ZooKeeper", zookeeper.and_then(|said| word_after(said, "version "))),
        ("Java, for it", java.and_then(|said| word_after(said, "openjdk "))),
    ];
    let found = found.into_iter().filter_map(|(program, version)| {
        Some(Version {
            program: program.to_owned(),
            version: version?,
        })
    });
    found.collect()
}
