//! Those who are asked by a client library of their own: a program beside this
//! one does that, and says what came of it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::figures::System;

/// Where `benches/report/run` has it built.
const PROGRAM: &str = "target/clients/release/rival-clients";

fn command(system: System, measure: &str, address: &str, numbers: &[(&str, u64)]) -> Command {
    let system = match system {
        System::EtcdLock | System::EtcdJson => "etcd",
        System::EtcdTransaction => "etcd-transaction",
        System::Zookeeper => "zookeeper",
        System::Advisory => "advisory",
        other => panic!("{other:?} is asked by this program itself"),
    };
    let mut command = Command::new(PROGRAM);
    command
        .args([system, measure, address])
        .args(numbers.iter().map(|(name, number)| format!("{name}={number}")))
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What was measured; `Err` says why nothing was, or not within `limit`.
pub fn measure<T: DeserializeOwned>(
    system: System,
    measure: &str,
    address: &str,
    numbers: &[(&str, u64)],
    limit: Duration,
) -> Result<T, String> {
    let mut child = command(system, measure, address, numbers)
        .spawn()
        .map_err(|error| format!("{PROGRAM}: {error}"))?;
    let until = Instant::now() + limit;
    while child.try_wait().expect("a child of ours").is_none() {
        if Instant::now() > until {
            child.kill().expect("a child of ours");
            child.wait().expect("a child of ours");
            return Err(format!("it was not done within {} seconds", limit.as_secs()));
        }
        thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output().expect("a child of ours");
    if !output.status.success() {
        return Err(last_line(&String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

/// Somebody who holds locks or waits for them until this value is dropped.
pub struct Staying(Child);

impl Staying {
    pub fn start(system: System, measure: &str, address: &str, numbers: &[(&str, u64)]) -> Result<Self, String> {
        let mut child = command(system, measure, address, numbers)
            .spawn()
            .map_err(|error| format!("{PROGRAM}: {error}"))?;
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("text");
        let mut staying = Self(child);
        if line.is_empty() {
            let mut said = String::new();
            let stderr = staying.0.stderr.as_mut().expect("stderr is piped");
            stderr.read_to_string(&mut said).expect("text");
            return Err(last_line(&said));
        }
        Ok(staying)
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn last_line(said: &str) -> String {
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    last.unwrap_or("it ended without a word").trim().to_owned()
}
