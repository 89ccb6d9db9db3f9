//! Acquire and release where nobody is in the way: each connection over names
//! of its own, one request at a time.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mio::Poll;

use crate::figures::{System, ThroughputRound};
use crate::load::{Connection, Step, drive_over, request, request_to};
use crate::redis::{self, Scripts};
use crate::rivals_started::ask;
use crate::servers::processor_seconds_of;
use crate::stage::{Stage, Started};
use crate::{NAMES, clients};

/// Beyond what is measured: opening connections, and touching every name once.
const SPARE: Duration = Duration::from_secs(60);

/// Long enough for any run, so that nothing has to be kept alive.
const ETCD_LEASE_SECONDS: u32 = 3_600;

const REDIS_TTL_MS: u32 = 60_000;

pub fn measure(
    stage: &Stage,
    started: &Started,
    system: System,
    connections: usize,
    seconds: f64,
) -> Result<ThroughputRound, String> {
    let names_each = NAMES / connections;
    let scripts = |pair: &dyn Fn(usize, usize) -> [Step; 2]| -> Vec<Vec<Step>> {
        let script = |connection: usize| {
            let numbers = connection * names_each..(connection + 1) * names_each;
            numbers.flat_map(|number| pair(connection, number)).collect()
        };
        (0..connections).map(script).collect()
    };
    match system {
        System::Sqlite | System::Postgres | System::Replicas | System::Constants => {
            let addresses: Vec<_> = started.ours.iter().map(|server| server.address()).collect();
            let open = |poll: &Poll, number: usize| Connection::open(addresses[number % addresses.len()], poll, number);
            Ok(drive(started, open, &scripts(&|_, number| ours(number)), seconds))
        }
        System::RedisAlways | System::RedisEverysec | System::RedisSignal => {
            let address = started.rival().address;
            let known = Scripts::load(address);
            let open = |poll: &Poll, number| Connection::open(address, poll, number).framed_by(redis::answer);
            Ok(drive(
                started,
                open,
                &scripts(&|_, number| redis_pair(&known, number)),
                seconds,
            ))
        }
        System::EtcdJson => {
            let address = started.rival().address;
            let leases: Vec<_> = (0..connections).map(|_| lease(address)).collect();
            let pair = |connection: usize, number| etcd_pair(leases[connection], number);
            let open = |poll: &Poll, number| Connection::open(address, poll, number);
            Ok(drive(started, open, &scripts(&pair), seconds))
        }
        System::EtcdLock | System::EtcdTransaction | System::Zookeeper => {
            let length = Duration::from_secs_f64(seconds);
            let numbers = [
                ("connections", connections as u64),
                (
                    "milliseconds",
                    u64::try_from(length.as_millis()).expect("a few seconds"),
                ),
                ("server", u64::from(started.rival().pid())),
            ];
            let address = started.rival().address.to_string();
            clients::measure(system, "throughput", &address, &numbers, length + SPARE)
        }
        System::Advisory => stage.pgbench("pgbench_advisory.sql", connections, seconds),
        System::Naive => stage.pgbench("pgbench_naive.sql", connections, seconds),
    }
}

fn drive(
    started: &Started,
    open: impl Fn(&Poll, usize) -> Connection,
    scripts: &[Vec<Step>],
    seconds: f64,
) -> ThroughputRound {
    // It is asked for the server's time as the measurement begins and as it ends.
    let own_seconds = RefCell::new(Vec::new());
    let measured = drive_over(open, scripts, true, Duration::from_secs_f64(seconds), || {
        own_seconds.borrow_mut().push(processor_seconds_of(std::process::id()));
        started.processor_seconds()
    });
    let own_seconds = own_seconds.into_inner();
    let used = own_seconds[own_seconds.len() - 1] - own_seconds[0];
    ThroughputRound {
        rate: measured.rate(),
        p50_ms: measured.quantile_ms(0.5),
        p99_ms: measured.quantile_ms(0.99),
        server_us: measured.processor_us(),
        generator_us: Some(used * 1e6 / (measured.rate() * seconds)),
    }
}

fn ours(number: usize) -> [Step; 2] {
    let name = format!("bench-{number:06}");
    let body = format!("{{\"locked_by\":\"key-{number:06}\"}}");
    let step = |method, status| Step {
        request: request(method, &name, &body),
        status,
    };
    [step("PUT", 200), step("DELETE", 204)]
}

fn redis_pair(scripts: &Scripts, number: usize) -> [Step; 2] {
    let (name, value) = (format!("bench-{number:06}"), redis::random_value());
    [
        Step {
            request: redis::acquire(&name, &value, REDIS_TTL_MS),
            status: 200,
        },
        Step {
            request: scripts.release(&name, &value),
            status: 204,
        },
    ]
}

/// A lease of etcd, asked for by its JSON gateway.
fn lease(address: SocketAddr) -> i64 {
    let body = format!("{{\"TTL\":{ETCD_LEASE_SECONDS}}}");
    let request = format!(
        "POST /v3/lease/grant HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = ask(address, request.as_bytes());
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let granted: serde_json::Value = serde_json::from_str(body).expect("JSON");
    granted["ID"]
        .as_str()
        .expect("a number in text")
        .parse()
        .expect("a number")
}

/// The lock's key is the name and the lease, so both requests are known before.
fn etcd_pair(lease: i64, number: usize) -> [Step; 2] {
    let name = format!("bench-{number:06}");
    let key = BASE64.encode(format!("{name}/{lease:x}"));
    let name = BASE64.encode(name);
    let step = |path, body: &str| Step {
        request: request_to("POST", path, body),
        status: 200,
    };
    [
        step(
            "/v3/lock/lock",
            &format!("{{\"name\":\"{name}\",\"lease\":\"{lease}\"}}"),
        ),
        step("/v3/lock/unlock", &format!("{{\"key\":\"{key}\"}}")),
    ]
}
