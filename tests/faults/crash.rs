//! `kill -9`: what was answered is true afterwards.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::faults::{body, directory, is_held, sql};
use crate::support::{Client, Cls, Server, eventually};

const CLIENTS: usize = 8;
const NAMES_EACH: usize = 6;

/// What a client knows of one resource. Only one client uses it.
#[derive(Clone, Debug, PartialEq)]
enum Known {
    Held(String),
    Free,
    /// No answer came to a request with this key.
    Maybe(String),
}

/// Acquires and releases until the server is gone.
fn work(
    address: SocketAddr,
    client_id: usize,
    round: usize,
    acknowledged: &AtomicUsize,
) -> (HashMap<String, Known>, i64) {
    let mut known: HashMap<String, Known> = HashMap::new();
    let mut client = Client::connect(address);
    let mut highest = 0;
    for step in 0.. {
        let name = format!("c{client_id}-{}", step % NAMES_EACH);
        let (method, key, after) = match known.get(&name) {
            Some(Known::Held(key)) if step % 5 != 0 => ("DELETE", key.clone(), Known::Free),
            // Not every lock is released at once, so that some are held when the end comes.
            Some(Known::Held(_)) => continue,
            _ => {
                let key = format!("{round}-{step}");
                ("PUT", key.clone(), Known::Held(key))
            }
        };
        let request = format!("/resources/{name}/");
        // Set first: the request may arrive although writing it seems to fail.
        known.insert(name.clone(), Known::Maybe(key.clone()));
        let Ok(answer) = client.try_request(method, &request, &body(&key, "")) else {
            return (known, highest);
        };
        match (method, answer.status) {
            ("PUT", 200) => {
                assert!(answer.fencing_token() > highest, "tokens rise");
                highest = answer.fencing_token();
            }
            ("DELETE", 204) => {}
            (_, status) => panic!("{method} {name}: {status} {}", answer.body),
        }
        known.insert(name, after);
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    unreachable!("it ends with the server");
}

#[test]
fn acknowledged_locks_and_releases_survive_kill_9() {
    let mut server = Server::start();
    let mut highest = 0;
    let (mut held, mut freed) = (0, 0);

    for round in 0..6 {
        let acknowledged = AtomicUsize::new(0);
        let known: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CLIENTS)
                .map(|client_id| {
                    let (address, acknowledged) = (server.address, &acknowledged);
                    scope.spawn(move || work(address, client_id, round, acknowledged))
                })
                .collect();
            eventually("enough work is under way", Duration::from_secs(20), || {
                acknowledged.load(Ordering::Relaxed) > 200 + 37 * round
            });
            server.kill();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("only true answers"))
                .collect()
        });
        server = server.kill_and_restart();

        highest = known.iter().map(|(_, token)| *token).fold(highest, i64::max);
        let mut client = server.client();
        for (name, known) in known.into_iter().flat_map(|(known, _)| known) {
            let is_held = is_held(&mut client, &name);
            let key = match (known, is_held) {
                (Known::Held(key), true) => {
                    held += 1;
                    key
                }
                (Known::Maybe(key), true) => key,
                (Known::Free, false) => {
                    freed += 1;
                    "probe".to_owned()
                }
                (Known::Maybe(_), false) => "probe".to_owned(),
                (known, is_held) => panic!("round {round}: {name} was {known:?}, held after restart: {is_held}"),
            };
            assert_eq!(client.delete(&name, &key).status, 204, "{name} is released by its key");
        }
        let token = client.put("the-next", &body("k", ", \"ttl\": 1000000")).fencing_token();
        assert!(token > highest, "{token} after {highest}");
        highest = token;
        assert_eq!(client.delete("the-next", "k").status, 204);
    }

    assert!(held > 20 && freed > 20, "a test of nothing: {held} held, {freed} freed");
}

/// How many times slower a build without optimization may be.
const SLOWNESS: u32 = if cfg!(debug_assertions) { 4 } else { 1 };

#[test]
fn with_100_000_rows_it_is_ready_within_a_second_of_kill_9() {
    let directory = directory();
    let cls = Cls::in_directory(directory.path());
    assert!(cls.run(&["migrate"]).status.success());
    let script = "BEGIN;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
         INSERT INTO resources (name, locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token)
         SELECT printf('invoice-%06d', i), iif(i % 2, 'key-' || hex(randomblob(16)), NULL),
                iif(i % 4 = 1, 3600, NULL), iif(i % 2, 1, NULL),
                iif(i % 4 = 1, unixepoch() * 1000000 + 3600000000, NULL), iif(i % 2, NULL, 1), i
           FROM n;
         UPDATE server_state SET fencing_token = 100000;
         COMMIT;";
    sql(&directory.path().join("db.sqlite3"), script);
    let server = cls.start();
    let mut client = server.client();
    // Something to replay.
    for i in 0..300 {
        assert_eq!(client.put(&format!("fresh-{i}"), &body("k", "")).status, 200);
    }

    drop(server);
    let started = Instant::now();
    let server = cls.start();
    let mut client = server.client();
    assert!(is_held(&mut client, "fresh-299"));
    let ready = started.elapsed();

    assert!(ready < Duration::from_secs(1) * SLOWNESS, "ready after {ready:?}");
    assert!(is_held(&mut client, "invoice-000001"));
}
