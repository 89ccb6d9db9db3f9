//! The words and tables. Whatever depends on a figure is chosen by it.

use std::fmt::Write as _;

use super::figures::{Figures, Memory, System};
use super::statistics::quantile;
use super::targets;

pub fn render(figures: &Figures) -> String {
    let parts = [
        head(figures),
        targets(figures),
        systems(figures),
        throughput(figures),
        hand_over(figures),
        take_over(figures),
        memory(figures),
        failed(figures),
        machine(figures),
    ];
    parts.concat()
}

fn head(figures: &Figures) -> String {
    let run = &figures.run;
    let form = if run.quick {
        "in its quick form, each thing once and briefly"
    } else {
        "in its full form"
    };
    let quiet = if is_quiet(figures) {
        "Nothing else was going on on this machine."
    } else {
        "**Other work was going on on this machine**: what is said below holds for figures of this run beside each other, and roughly; the absolute ones are better on a quiet one."
    };
    format!(
        "# Benchmarks\n\n\
         This server (`cls`) beside other ways to get a lock: acquire and release, hand-over in a line, take-over after \
         a holder's death, and memory. One command measures all of it in one run on one machine and writes this page:\n\n\
         ```sh\nbenches/report/run           # {full} minutes\nbenches/report/run --quick   # {quick}\n```\n\n\
         This is the run of {date}, {form}, which took {minutes:.0} minutes. {quiet} Every sentence here that depends on \
         a figure was chosen by it; the raw ones are in [`figures.json`](benchmarks/figures.json), of which \
         `benches/report/run --from docs/benchmarks/figures.json` makes this page again.\n\n",
        full = "about 25",
        quick = "about 7",
        date = run.date,
        minutes = run.minutes,
    )
}

/// Processors that may be at work for others on a quiet machine: there is always something.
const BUSY_MAX: f64 = 0.2;

/// The most that was seen.
fn busy_with_others(figures: &Figures) -> f64 {
    quantile(&figures.machine.busy_with_others, 1.0)
}

fn is_quiet(figures: &Figures) -> bool {
    busy_with_others(figures) < BUSY_MAX
}

fn targets(figures: &Figures) -> String {
    let mut text = "## What is asked of it\n\n| asked | of | measured | |\n| --- | --- | --- | --- |\n".to_owned();
    for target in targets::all(figures) {
        let (asked, of) = (target.asked, target.of.title());
        let _ = writeln!(text, "| {asked} | {of} | {} | {} |", target.measured, target.verdict);
    }
    text + "\nA rival is durable if what it answered is on disk by then.\n\n"
}

fn measured_systems(figures: &Figures) -> Vec<System> {
    let of_pairs = figures.throughput.iter().map(|row| row.system);
    let of_lines = figures.hand_over.iter().map(|row| row.system);
    let measured: Vec<_> = of_pairs.chain(of_lines).collect();
    let all = System::ALL.into_iter();
    all.filter(|system| measured.contains(system)).collect()
}

fn systems(figures: &Figures) -> String {
    let mut text = "## Who is measured\n\n| | asked | on disk |\n| --- | --- | --- |\n".to_owned();
    for system in measured_systems(figures) {
        let on_disk = system.durability().in_words();
        let _ = writeln!(text, "| {} | {} | {on_disk} |", system.title(), system.asked());
    }
    text + "\nEach is one server (three cls where it says so) with the settings that it comes with, except for those \
            that say when it syncs; on a fresh directory of the same disk, on loopback, and started anew for every \
            round. etcd and ZooKeeper are meant to run as three that agree: one of them alone, as here, is quicker than \
            three and survives nothing.\n\n\
            Whoever asks is one thread that drives all connections: for HTTP and Redis's protocol the same loop over \
            epoll, for gRPC, ZooKeeper and advisory locks in line a real client on one thread of tokio, and else \
            pgbench, with two threads. It shares the cores with the server; what it takes itself is in the tables.\n\n"
}

fn throughput(figures: &Figures) -> String {
    let run = &figures.run;
    let mut text = format!(
        "## Acquire and release\n\n\
         Each connection acquires and releases names that nobody else wants, one request at a time; an operation is an \
         acquire or a release, and its time is from the request to the answer. Measured in {} of {} s, in which all take \
         turns; the median, in brackets the lowest and the highest.\n\n\
         ![Operations a second by system and connections](benchmarks/throughput.svg)\n\n\
         | | connections | operations/s | p50 ms | p99 ms | server µs/operation | generator µs/operation |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        counted(run.throughput_rounds, "round", "rounds"),
        run.throughput_seconds,
    );
    for connections in figures.connections() {
        for system in System::ALL {
            let mut rows = figures.throughput.iter();
            let Some(row) = rows.find(|row| row.system == system && row.connections == connections) else {
                continue;
            };
            let (low, high) = row.range();
            let range = if row.rounds.len() > 1 {
                format!(" ({low:.0}–{high:.0})")
            } else {
                String::new()
            };
            let generator = row.median(|round| round.generator_us.unwrap_or(f64::NAN));
            let _ = writeln!(
                text,
                "| {} | {connections} | {:.0}{range} | {:.2} | {:.2} | {:.1} | {} |",
                system.title(),
                row.median(|round| round.rate),
                row.median(|round| round.p50_ms),
                row.median(|round| round.p99_ms),
                row.median(|round| round.server_us),
                if generator.is_nan() {
                    String::new()
                } else {
                    format!("{generator:.1}")
                },
            );
        }
    }
    text += "\nThe server's time has that of its database in it, if there is one; pgbench's own is not known.\n\n";
    if let (Some(ours), Some(ceiling)) = (
        figures.rate(System::Sqlite, targets::CONNECTIONS),
        figures.rate(System::Constants, targets::CONNECTIONS),
    ) {
        let _ = writeln!(
            text,
            "From {} connections {} reaches {:.0} % of the ceiling.\n",
            targets::CONNECTIONS,
            System::Sqlite.title(),
            100.0 * ours / ceiling
        );
    }
    let mut comparison = Comparison::default();
    for connections in figures.connections() {
        for ours in [System::Sqlite, System::Postgres, System::Replicas] {
            let rate = |system: System| figures.rate(system, connections);
            let from = format!("From {}", counted(connections, "connection", "connections"));
            comparison.add(&from, ours, rate, Better::Higher, "operations/s");
        }
    }
    text + &comparison.with_reasons(System::why_quick)
}

fn hand_over(figures: &Figures) -> String {
    let mut text = format!(
        "## Hand-over\n\n\
         So many wait for one resource that somebody holds. It is released, and each releases as soon as it is granted, \
         until the line is empty. The time of a hand-over is from sending the release to receiving the next grant, both \
         seen by the one who asks; lines of few are made anew until there were 100. Where every answer is on disk a release costs one fsync at least, \
         which takes {:.2} ms here.\n\n\
         ![Time of a hand-over by system and waiters](benchmarks/hand-over.svg)\n\n\
         | | waiters | hand-overs | p50 ms | p99 ms | fsyncs at the median |\n\
         | --- | ---: | ---: | ---: | ---: | ---: |\n",
        figures.fsync_ms(),
    );
    for waiters in figures.waiters() {
        for system in System::ALL {
            if let Some(row) = figures.line(system, waiters) {
                let (p50_ms, p99_ms) = (row.p50_ms(), row.p99_ms());
                let fsyncs = p50_ms / figures.fsync_ms();
                let title = system.title();
                let count: usize = row.rounds.iter().map(|round| round.hand_overs).sum();
                let _ = writeln!(
                    text,
                    "| {title} | {waiters} | {count} | {p50_ms:.2} | {p99_ms:.2} | {fsyncs:.1} |"
                );
            }
        }
    }
    text += "\nRedis knows no line: who asks in the right moment is served, whoever came first, and of those who ask again \
             and again 100 hand-overs are waited for. No line is looked at for longer than half a minute. An advisory lock's \
             waiter is a process of PostgreSQL each, of which thousands are not measured.\n\n";
    let mut comparison = Comparison::default();
    for waiters in figures.waiters() {
        for ours in [System::Sqlite, System::Postgres, System::Replicas] {
            let p50_ms = |system: System| figures.line(system, waiters).map(|row| row.p50_ms());
            let to = format!("To {}, at the median,", counted(waiters, "waiter", "waiters"));
            comparison.add(&to, ours, p50_ms, Better::Lower, "ms");
        }
    }
    text + &comparison.with_reasons(System::why_quick_to_hand_over)
}

fn take_over(figures: &Figures) -> String {
    let run = &figures.run;
    let mut text = format!(
        "## Take-over\n\n\
         A lock is taken for two seconds and its holder is not heard of again; one waits for it. The time is from the \
         expiry, two seconds after the holder was told that it has the lock, to the grant; it is \
         below zero if the holder was told late. {} locks in each of {}.\n\n\
         ![Time from the expiry to the next grant](benchmarks/take-over.svg)\n\n\
         | | soonest ms | median ms | slowest ms |\n| --- | ---: | ---: | ---: |\n",
        run.take_over_locks,
        counted(run.take_over_rounds, "round", "rounds"),
    );
    for system in System::ALL {
        if let Some(row) = figures.take_over.iter().find(|row| row.system == system) {
            let [soonest, median, slowest] = [0.0, 0.5, 1.0].map(|share| quantile(&row.after_ms, share));
            let title = system.title();
            let what = if system.expires() { "" } else { " (from the death)" };
            let _ = writeln!(text, "| {title}{what} | {soonest:.1} | {median:.1} | {slowest:.1} |");
        }
    }
    text += "\nWhoever waits does so at another of the three cls than the holder did. Redis frees the key on time, and the \
             next who asks has it. etcd looks for leases that are over twice a second, and ZooKeeper counts the time of \
             a session in ticks, here of a second; both free all that ended meanwhile at once. An advisory lock has no end: it is free when the connection closes, \
             as it does when a process dies, and as it does not when a machine does.\n\n";
    let mut comparison = Comparison::default();
    for ours in [System::Sqlite, System::Postgres, System::Replicas] {
        let median = |system: System| {
            let mut rows = figures.take_over.iter();
            let row = rows.find(|row| row.system == system && system.expires())?;
            Some(quantile(&row.after_ms, 0.5))
        };
        comparison.add("At the median", ours, median, Better::Lower, "ms after the expiry");
    }
    text + &comparison.with_reasons(System::why_quick_to_take_over)
}

fn memory(figures: &Figures) -> String {
    let run = &figures.run;
    let mib = |kib: u64| format!("{:.1}", kib as f64 / 1024.0);
    let mut text = format!(
        "## Memory\n\n\
         Resident memory of the server, in MiB, and of the database if that is another one: idle, with {} locks held, \
         and, started anew, with {} who wait in a hundred lines. Of pages that processes share each has its part.\n\n\
         ![Resident memory by system](benchmarks/memory.svg)\n\n\
         | | idle | with locks held | with those who wait | KiB for a lock | KiB for one who waits |\n\
         | --- | ---: | ---: | ---: | ---: | ---: |\n",
        run.held, run.waiting,
    );
    for system in System::ALL {
        let Some(row) = figures.memory.iter().find(|row| row.system == system) else {
            continue;
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.2} | {:.2} |",
            system.title(),
            mib(row.idle_kib),
            mib(row.held_kib),
            mib(row.waiting_kib.1),
            kib_of_a_lock(row, run.held),
            kib_of_a_waiter(row, run.waiting),
        );
    }
    text += "\nWho waits has a connection of its own at cls, Redis (blocked, as with BLPOP) and ZooKeeper, and is a stream \
             on one of 256 at etcd. Java takes what it may before it looks for what is free, so ZooKeeper's figures say \
             what it takes and not what it needs.\n\n";
    let row_of = |system: System| figures.memory.iter().find(|row| row.system == system);
    let mut comparison = Comparison::default();
    for ours in [System::Sqlite, System::Postgres] {
        let held = |system: System| row_of(system).map(|row| kib_of_a_lock(row, run.held));
        comparison.add("For a lock", ours, held, Better::Lower, "KiB of memory");
        let waits = |system: System| row_of(system).map(|row| kib_of_a_waiter(row, run.waiting));
        comparison.add("For one who waits", ours, waits, Better::Lower, "KiB of memory");
    }
    text + &comparison.with_reasons(System::why_small)
}

fn kib_of_a_lock(row: &Memory, held: usize) -> f64 {
    (row.held_kib as f64 - row.idle_kib as f64) / held as f64
}

fn kib_of_a_waiter(row: &Memory, waiting: usize) -> f64 {
    let (before, with) = row.waiting_kib;
    (with as f64 - before as f64) / waiting as f64
}

fn failed(figures: &Figures) -> String {
    if figures.failed.is_empty() {
        return String::new();
    }
    let mut text = "## What could not be measured\n\n".to_owned();
    for failed in &figures.failed {
        let why = failed.why.lines().next().unwrap_or_default().replace('|', "\\|");
        let _ = writeln!(text, "- {}, {}: `{}`", failed.system.title(), failed.what, why.trim());
    }
    text + "\n"
}

fn machine(figures: &Figures) -> String {
    let machine = &figures.machine;
    let versions = figures.versions.iter();
    let versions: Vec<_> = versions
        .map(|version| format!("{} {}", version.program, version.version))
        .collect();
    let [fastest, slowest] = [0.0, 1.0].map(|share| quantile(&machine.fsync_ms, share));
    format!(
        "## The machine\n\n\
         {cores} cores of {processor}, {memory:.0} GiB of memory, {distribution}, Linux {kernel}; the servers' \
         directories on {file_system}, which takes {fsync:.2} ms at the median to write and sync 4 KiB ({fastest:.2} to \
         {slowest:.2} at the start of each round). At the start of each round other work took {busy:.2} of the cores at \
         most.\n\n\
         {versions}.\n",
        cores = machine.cores,
        processor = machine.processor,
        memory = machine.memory_gib,
        distribution = machine.distribution,
        kernel = machine.kernel,
        file_system = machine.file_system,
        fsync = figures.fsync_ms(),
        busy = busy_with_others(figures),
        versions = versions.join(", "),
    )
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Better {
    Higher,
    Lower,
}

/// Lines that say which rivals are better than ours and, once each, why.
#[derive(Default)]
struct Comparison {
    lines: String,
    ahead: Vec<System>,
}

impl Comparison {
    /// Adds a line, if ours was measured.
    fn add(&mut self, when: &str, ours: System, value: impl Fn(System) -> Option<f64>, better: Better, unit: &str) {
        let Some(our_value) = value(ours) else {
            return;
        };
        let rivals = System::ALL.into_iter().filter(|system| system.is_rival());
        let mut ahead: Vec<_> = rivals
            .filter_map(|system| Some((system, value(system)?)))
            .filter(|(_, rivals_value)| match better {
                Better::Higher => *rivals_value > our_value,
                Better::Lower => *rivals_value < our_value,
            })
            .collect();
        ahead.sort_by(|(_, a), (_, b)| match better {
            Better::Higher => b.total_cmp(a),
            Better::Lower => a.total_cmp(b),
        });
        let named = ahead
            .iter()
            .map(|(system, value)| format!("{} ({})", system.title(), short(*value)));
        let behind = match &named.collect::<Vec<_>>()[..] {
            [] => "nobody".to_owned(),
            [one] => one.clone(),
            [all @ .., last] => format!("{} and {last}", all.join("; ")),
        };
        let (title, our_value) = (ours.title(), short(our_value));
        let _ = writeln!(self.lines, "- {when} {title} ({our_value} {unit}) is behind {behind}.");
        self.ahead.extend(ahead.iter().map(|(system, _)| system));
    }

    fn with_reasons(self, why: impl Fn(System) -> &'static str) -> String {
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        for system in System::ALL.into_iter().filter(|system| self.ahead.contains(system)) {
            match reasons.iter_mut().find(|(reason, _)| *reason == why(system)) {
                Some((_, same)) => same.push(system.title()),
                None => reasons.push((why(system), vec![system.title()])),
            }
        }
        let reasons = reasons.into_iter();
        let reasons = reasons.map(|(reason, titles)| format!("- {}: {reason}.\n", titles.join("; ")));
        let reasons = reasons.collect::<String>();
        let head = if reasons.is_empty() {
            ""
        } else {
            "\nWhy they can be ahead:\n\n"
        };
        format!("{}{head}{reasons}\n", self.lines)
    }
}

/// A number with as many digits as it takes.
fn short(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    if count == 1 {
        format!("one {one}")
    } else {
        format!("{count} {many}")
    }
}
