//! Several servers on one database: what one has told, no other tells again or
//! leaves out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{all_events, by, id_of};
use crate::replicas::Replicas;
use crate::support::{Client, EventStream, eventually};

const CYCLES: usize = 120;
const WRITERS: usize = 6;

/// Acquires and releases at one server while the others do; on names of its own
/// and on some that all want.
fn write(address: SocketAddr, writer: usize) {
    let mut client = Client::connect(address);
    for number in 0..CYCLES {
        let name = match number % 3 {
            0 => format!("common-{}", number % 4),
            _ => format!("own-{writer}-{}", number % 5),
        };
        let key = format!("w{writer}");
        let acquired = client.put(&name, &by(&key, ", \"timeout\": 20"));
        assert_eq!(acquired.status, 200, "{}", acquired.body);
        assert_eq!(client.delete(&name, &key).status, 204);
    }
}

#[test]
fn whoever_goes_from_server_to_server_is_told_each_event_once_and_in_order() {
    let replicas = Replicas::start(3);
    let addresses = replicas.addresses();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let address = addresses[writer % addresses.len()];
            std::thread::spawn(move || write(address, writer))
        })
        .collect();
    let expected = WRITERS * CYCLES * 2;
    let until = Instant::now() + Duration::from_secs(90);

    // One by streams that are cut off, each time at another server.
    let told = {
        let addresses = addresses.clone();
        std::thread::spawn(move || {
            let mut told: Vec<i64> = Vec::new();
            let mut cuts = 0_usize;
            while told.len() < expected || cuts < 100 {
                assert!(Instant::now() < until, "{} of {expected} after {cuts} cuts", told.len());
                let last = told.last().copied().unwrap_or(0).to_string();
                let address = addresses[cuts % addresses.len()];
                let mut stream = EventStream::open(address, "", &[("Last-Event-ID", &last)]);
                cuts += 1;
                let count = (told.len() * 7 + cuts) % 41;
                let wait_max = Duration::from_millis(if cuts > 100 { 2000 } else { 150 });
                told.extend(stream.next(count, wait_max).into_iter().map(|(id, _)| id));
            }
            told
        })
    };
    // Another by lists.
    let mut listed: Vec<i64> = Vec::new();
    let mut looks = 0_usize;
    while listed.len() < expected {
        assert!(Instant::now() < until, "{} of {expected} listed", listed.len());
        let mut client = Client::connect(addresses[looks % addresses.len()]);
        looks += 1;
        let since = listed.last().copied().unwrap_or(0);
        listed.extend(all_events(&mut client, since, 50).iter().map(id_of));
    }

    writers.into_iter().for_each(|writer| writer.join().expect("it ends"));
    let told = told.join().expect("it ends");
    let mut client = Client::connect(addresses[0]);
    let in_table: Vec<_> = all_events(&mut client, 0, 1000).iter().map(id_of).collect();
    assert_eq!(in_table.len(), expected);
    assert_eq!(told, in_table);
    assert_eq!(listed, in_table);
}

#[test]
fn an_event_is_not_shown_as_long_as_one_before_it_may_come() {
    let replicas = Replicas::start(1);
    let database = replicas.database();
    let mut client = Client::connect(replicas.addresses()[0]);
    assert_eq!(client.put("first", &by("k", "")).status, 200);
    let known = all_events(&mut client, 0, 100);

    // As a server that has taken numbers and has not committed.
    let mut other = database.session();
    other.sql("BEGIN");
    other.sql("SELECT pg_advisory_xact_lock_shared((1129075574::bigint << 32) | 3)");
    let taken: i64 = other.sql("SELECT nextval('lock_event_ids')")[0]
        .parse()
        .expect("a number");
    assert_eq!(client.put("second", &by("k", "")).status, 200);
    let since = id_of(&known[0]);
    let path = format!("/events/?since={since}");

    assert_eq!(
        client.get(&path).status,
        503,
        "not the second, which has a higher number"
    );

    other.sql(&format!(
        "INSERT INTO lock_events (id, at_us, event, resource, fencing_token) VALUES ({taken}, 1, 'released', 'x', 1)"
    ));
    other.sql("COMMIT");

    let told = all_events(&mut client, since, 100);
    let names: Vec<_> = told
        .iter()
        .map(|event| event["resource"].as_str().expect("text"))
        .collect();
    assert_eq!(names, ["x", "second"]);
}

#[test]
fn numbers_that_were_set_back_are_passed() {
    let replicas = Replicas::start(1);
    let database = replicas.database();
    let mut client = Client::connect(replicas.addresses()[0]);
    let mut cycle = |name: &str| {
        let acquired = client.put(name, &by("k", "")).status;
        (acquired, client.delete(name, "k").status)
    };
    for _ in 0..20 {
        assert_eq!(cycle("before"), (200, 204));
    }

    database.sql("SELECT setval('lock_event_ids', 1, false)");

    // What was taken again is refused, and after that nothing is.
    let mut refused = 0;
    eventually("it goes on", Duration::from_secs(10), || {
        let is_done = cycle("after") == (200, 204);
        refused += u32::from(!is_done);
        is_done
    });
    assert!(refused <= 2, "{refused}");
    assert_eq!(cycle("after"), (200, 204));
    let events = all_events(&mut client, 0, 100);
    let of = |name: &str| {
        events
            .iter()
            .filter(|event| event["resource"] == name)
            .map(id_of)
            .collect::<Vec<_>>()
    };
    assert!(of("before").last() < of("after").first(), "{events:?}");
    assert!(of("after").is_sorted());
}
