//! Redis's protocol and the lock that its documentation describes: `SET NX PX`
//! with a random value, and a script that deletes the key if it has that value.

use std::net::SocketAddr;

use crate::rivals_started::ask;

const RELEASE: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";

/// The same, and whoever waits first is told by an element of a list.
const RELEASE_AND_SIGNAL: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('del', KEYS[1]) \
     redis.call('lpush', KEYS[2], 1) redis.call('pexpire', KEYS[2], 30000) return 1 else return 0 end";

/// The digests of both scripts, which Redis knows by now.
#[derive(Clone)]
pub struct Scripts {
    release: String,
    release_and_signal: String,
}

impl Scripts {
    pub fn load(address: SocketAddr) -> Self {
        let load = |script: &str| {
            let answer = ask(address, &command(&["SCRIPT", "LOAD", script]));
            answer.lines().nth(1).expect("a digest").to_owned()
        };
        Self {
            release: load(RELEASE),
            release_and_signal: load(RELEASE_AND_SIGNAL),
        }
    }

    /// Answered 204, or 400 if the key has another value.
    pub fn release(&self, name: &str, value: &str) -> Vec<u8> {
        command(&["EVALSHA", &self.release, "1", name, value])
    }

    pub fn release_and_signal(&self, name: &str, value: &str) -> Vec<u8> {
        let list = list_of(name);
        command(&["EVALSHA", &self.release_and_signal, "2", name, &list, value])
    }
}

/// Answered 200, or 404 if somebody holds it.
pub fn acquire(name: &str, value: &str, ttl_ms: u32) -> Vec<u8> {
    command(&["SET", name, value, "NX", "PX", &ttl_ms.to_string()])
}

/// Answered 200 when there is something in the list.
pub fn wait_for_signal(name: &str) -> Vec<u8> {
    command(&["BLPOP", &list_of(name), "0"])
}

fn list_of(name: &str) -> String {
    format!("{name}:released")
}

pub fn random_value() -> String {
    let number = || getrandom::u64().expect("the system has chance");
    format!("{:016x}{:016x}", number(), number())
}

pub fn command(words: &[&str]) -> Vec<u8> {
    let words = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), words.collect::<String>()).into_bytes()
}

/// A whole answer, and the status that HTTP would have for it: 200 for a string
/// or a list, 404 for none, 204 and 400 for numbers and zero, 500 for an error.
pub fn answer(read: &[u8]) -> Option<(usize, u16)> {
    let end = read.windows(2).position(|window| window == b"\r\n")? + 2;
    let number = || -> Option<i64> { std::str::from_utf8(&read[1..end - 2]).ok()?.parse().ok() };
    match read[0] {
        b'+' => Some((end, 200)),
        b':' => Some((end, if number()? == 0 { 400 } else { 204 })),
        b'$' => match usize::try_from(number()?) {
            Ok(length) => (read.len() >= end + length + 2).then_some((end + length + 2, 200)),
            Err(_) => Some((end, 404)),
        },
        b'*' => match usize::try_from(number()?) {
            Ok(elements) => (0..elements).try_fold((end, 200), |(so_far, status), _| {
                answer(&read[so_far..]).map(|(length, _)| (so_far + length, status))
            }),
            Err(_) => Some((end, 404)),
        },
        _ => Some((end, 500)),
    }
}
