//! Loads on servers that are asked by a client library of their own, measured
//! as the benchmark report measures all others: one thread, a closed loop for
//! each connection.
//!
//! `rival-clients SYSTEM MEASURE ADDRESS NAME=NUMBER…`; systems are
//! `etcd`, `etcd-transaction`, `zookeeper` and `advisory`. What was measured is a
//! line of JSON on stdout.
//!
//! | measure | takes | does |
//! | --- | --- | --- |
//! | `throughput` | `connections`, `milliseconds`, `server` (its process) | acquires and releases, each connection names of its own |
//! | `hand-over` | `waiters`, `hand-overs` | a line on one name is served to its end, as often as it takes |
//! | `take-over` | `locks` | each is taken for two seconds by somebody who dies, and somebody waits for it |
//! | `hold` | `locks` | takes them, says so, and keeps them until stdin ends |
//! | `wait` | `waiters` | stands in a hundred lines, says so, and stays until stdin ends |

mod advisory;
mod etcd;
mod measures;
mod session;
mod zookeeper;

use std::collections::HashMap;

use session::Session;

/// How a measure was asked for.
pub struct Arguments {
    measure: String,
    pub address: String,
    numbers: HashMap<String, u64>,
}

impl Arguments {
    pub fn number(&self, name: &str) -> u64 {
        *self
            .numbers
            .get(name)
            .unwrap_or_else(|| panic!("{name}=NUMBER is missing"))
    }
}

fn main() {
    // Whatever fails ends it all, with one line that says what.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::exit(1);
    }));
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [system, measure, address, numbers @ ..] = &words[..] else {
        panic!("SYSTEM MEASURE ADDRESS NAME=NUMBER… are wanted");
    };
    let numbers = numbers.iter().map(|word| {
        let (name, number) = word.split_once('=').expect("NAME=NUMBER");
        (name.to_owned(), number.parse().expect("a number"))
    });
    let arguments = Arguments {
        measure: measure.clone(),
        address: address.clone(),
        numbers: numbers.collect(),
    };
    let measured = match system.as_str() {
        "etcd" => measure_on::<etcd::LockService>(&arguments),
        "etcd-transaction" => measure_on::<etcd::Transactions>(&arguments),
        "zookeeper" => measure_on::<zookeeper::Recipe>(&arguments),
        "advisory" => measure_on::<advisory::Advisory>(&arguments),
        other => panic!("{other} is no system"),
    };
    println!("{measured}");
}

fn measure_on<S: Session>(arguments: &Arguments) -> serde_json::Value {
    match arguments.measure.as_str() {
        "throughput" => measures::throughput::<S>(arguments),
        "hand-over" => measures::hand_over::<S>(arguments),
        "take-over" => measures::take_over::<S>(arguments),
        "hold" => measures::hold::<S>(arguments),
        "wait" => measures::wait::<S>(arguments),
        other => panic!("{other} is no measure"),
    }
}
