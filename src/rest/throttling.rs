//! How much one client may ask for: what Django REST framework calls
//! throttling, with a bucket in place of its list of times.
//!
//! Workers share what is counted, because a client's connections are spread
//! over them. It is split into shards by client, so that two clients seldom
//! want the same lock; each is held for a look into a table.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use tokio::time::sleep;

use crate::limits::{CLIENTS_COUNTED_MAX, THROTTLED_DELAY};
use crate::metrics::{Metrics, Refusal};
use crate::rest::exceptions::ApiException;

/// Who sends requests, as far as a bound is one for each client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// Whoever is at an address. Of version 6 the first 64 bits, which are one
    /// network: any machine in it has as many addresses as it likes.
    Address(IpAddr),
    /// Whoever has the token of this number, wherever.
    Token(i64),
}

impl Client {
    /// Who sent a request. The address is that of the connection; what headers
    /// say of another one (`X-Forwarded-For`) is not believed.
    pub fn of(http: &HttpRequest) -> Self {
        let ip = http.peer_addr().map(|address| address.ip().to_canonical());
        match ip {
            Some(IpAddr::V6(ip)) => {
                let network = ip.to_bits() & !u128::from(u64::MAX);
                Self::Address(Ipv6Addr::from_bits(network).into())
            }
            Some(ip) => Self::Address(ip),
            // A connection that is no TCP; there is none.
            None => Self::Address(Ipv4Addr::UNSPECIFIED.into()),
        }
    }
}

/// As operators read it: the number of the token, the address, or the network.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Address(IpAddr::V6(network)) => write!(f, "{network}/64"),
            Self::Token(id) => write!(f, "token {id}"),
        }
    }
}

const SHARDS: usize = 64;

/// Something of each client.
#[derive(Debug)]
struct Clients<T> {
    shards: [Mutex<HashMap<Client, T>>; SHARDS],
    /// Seeded by chance, so that nobody can choose addresses that meet.
    hasher: RandomState,
}

impl<T> Clients<T> {
    fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }

    /// Runs `change` on those clients among which this one is.
    fn with_shard<R>(&self, client: &Client, change: impl FnOnce(&mut HashMap<Client, T>) -> R) -> R {
        // The remainder is less than SHARDS.
        let shard = self.hasher.hash_one(client) % SHARDS as u64;
        let shard = &self.shards[shard as usize];
        // Nothing that is done to it can leave it half done.
        change(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// A bucket with room for one second's worth, told by the instant at which it is
/// full again.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// Takes one out, of which there is another after each `interval`. `Err` is
    /// for how long there is none.
    fn take(&mut self, interval: Duration, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.max(now) + interval;
        let wait = full_at.saturating_duration_since(now + SECOND);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.full_at = full_at;
        Ok(())
    }
}

/// A request that came too soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled {
    /// When the next one would be served.
    pub wait: Duration,
    /// How long its answer is to be held back.
    pub delay: Duration,
}

/// How many requests a second each client may send: so many at once, and then
/// one after each interval.
///
/// Of so many a second that are too much each is told so at once. The answers
/// to more than that are held back, so that a client that does not listen is
/// slowed down by its own connections and costs next to nothing.
#[derive(Debug)]
pub struct RequestRate {
    interval: Duration,
    clients: Clients<Asked>,
    /// Who is refused is counted there.
    metrics: Arc<Metrics>,
}

/// What a client has left.
#[derive(Debug)]
struct Asked {
    requests: Bucket,
    refusals: Bucket,
}

impl RequestRate {
    /// At least one a second.
    pub fn new(per_second: u32, metrics: Arc<Metrics>) -> Self {
        Self {
            interval: SECOND / per_second.max(1),
            clients: Clients::new(),
            metrics,
        }
    }

    /// Counts a request that a view answers; who is refused may be held back.
    ///
    /// Errors: 429.
    pub async fn require(&self, client: Client) -> Result<(), ApiException> {
        let Err(throttled) = self.admit(client, Instant::now()) else {
            return Ok(());
        };
        if !throttled.delay.is_zero() {
            // Apart, because each request that waits for a lock would hold room for it.
            Box::pin(sleep(throttled.delay)).await;
        }
        Err(ApiException::too_soon(throttled.wait))
    }

    /// Counts a request.
    ///
    /// Errors: it is one too many. Of those whose buckets are not full
    /// CLIENTS_COUNTED_MAX are known; one that is beyond is not counted.
    pub fn admit(&self, client: Client, now: Instant) -> Result<(), Throttled> {
        let admitted = self.clients.with_shard(&client, |shard| {
            if shard.len() >= CLIENTS_COUNTED_MAX / SHARDS && !shard.contains_key(&client) {
                shard.retain(|_, asked| asked.requests.full_at > now || asked.refusals.full_at > now);
                if shard.len() >= CLIENTS_COUNTED_MAX / SHARDS {
                    return Ok(());
                }
            }
            let full = Bucket { full_at: now };
            let asked = shard.entry(client).or_insert(Asked {
                requests: full,
                refusals: full,
            });
            asked.requests.take(self.interval, now).map_err(|wait| Throttled {
                wait,
                delay: match asked.refusals.take(self.interval, now) {
                    Ok(()) => Duration::ZERO,
                    Err(_) => THROTTLED_DELAY,
                },
            })
        });
        admitted.inspect_err(|_| self.metrics.refusals.count(Refusal::Throttled))
    }
}

/// How many requests of each client wait.
#[derive(Debug)]
pub struct ClientWaiters {
    /// `None` is any number, which then is not counted.
    max: Option<usize>,
    clients: Clients<usize>,
}

impl ClientWaiters {
    /// None wait yet, and at most `max` of one client may.
    pub fn new(max: Option<usize>) -> Self {
        Self {
            max,
            clients: Clients::new(),
        }
    }

    /// Counts one more, as long as what is returned lives. `None` if as many
    /// wait as may.
    pub fn enter(&self, client: Client) -> Option<Waiting<'_>> {
        let Some(max) = self.max else {
            return Some(Waiting { counted: None });
        };
        self.clients.with_shard(&client, |shard| {
            let waiting = shard.get(&client).copied().unwrap_or_default();
            (waiting < max).then(|| {
                shard.insert(client, waiting + 1);
                Waiting {
                    counted: Some((self, client)),
                }
            })
        })
    }
}

/// One that waits.
#[derive(Debug)]
pub struct Waiting<'w> {
    counted: Option<(&'w ClientWaiters, Client)>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some((waiters, client)) = self.counted else {
            return;
        };
        waiters.clients.with_shard(&client, |shard| {
            let left = shard.get(&client).map_or(0, |waiting| waiting - 1);
            match left {
                // So that the table is no longer than the number of those who wait.
                0 => shard.remove(&client),
                _ => shard.insert(client, left),
            };
        });
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn client(address: &str) -> Client {
        let peer = address.parse().expect("an address");
        Client::of(&TestRequest::default().peer_addr(peer).to_http_request())
    }

    fn number(number: u32) -> Client {
        Client::Address(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    #[test]
    fn a_client_is_an_address_or_a_network_of_version_6() {
        assert_eq!(client("192.0.2.1:1"), client("192.0.2.1:2"));
        assert_eq!(client("192.0.2.1:1"), client("[::ffff:192.0.2.1]:1"));
        assert_ne!(client("192.0.2.1:1"), client("192.0.2.2:1"));
        assert_eq!(client("[2001:db8::1]:1"), client("[2001:db8::ffff:1]:2"));
        assert_ne!(client("[2001:db8::1]:1"), client("[2001:db8:0:1::1]:1"));
    }

    #[test]
    fn a_client_is_written_as_operators_know_it() {
        for (client, written) in [
            (client("192.0.2.1:1"), "192.0.2.1"),
            (client("[2001:db8::ffff:1]:2"), "2001:db8::/64"),
            (Client::Token(7), "token 7"),
        ] {
            assert_eq!(client.to_string(), written);
        }
    }

    #[test]
    fn headers_do_not_make_another_client() {
        let request = TestRequest::default().peer_addr("192.0.2.1:1".parse().expect("an address"));
        let request = request.insert_header(("X-Forwarded-For", "192.0.2.9"));
        assert_eq!(Client::of(&request.to_http_request()), client("192.0.2.1:1"));
    }

    #[test]
    fn one_seconds_worth_may_come_at_once_and_then_one_each_interval() {
        let (rate, start) = (RequestRate::new(4, Arc::default()), Instant::now());
        let admit = |ms| rate.admit(number(1), start + Duration::from_millis(ms));

        for _ in 0..4 {
            assert_eq!(admit(0), Ok(()));
        }
        let wait = Duration::from_millis(250);
        let delay = Duration::ZERO;
        assert_eq!(admit(0), Err(Throttled { wait, delay }));
        let wait = Duration::from_millis(1);
        assert_eq!(admit(249), Err(Throttled { wait, delay }));
        assert_eq!(admit(250), Ok(()));
        assert!(admit(250).is_err());
        assert_eq!(rate.admit(number(2), start), Ok(()), "another client is not meant");
        for _ in 0..4 {
            assert_eq!(admit(5000), Ok(()), "no more than a second's worth is saved up");
        }
        assert!(admit(5000).is_err());
    }

    #[test]
    fn who_is_refused_more_often_than_it_may_ask_is_answered_late() {
        let (rate, start) = (RequestRate::new(2, Arc::default()), Instant::now());
        let delay = |ms| {
            let admitted = rate.admit(number(1), start + Duration::from_millis(ms));
            admitted.err().map(|throttled| throttled.delay)
        };

        let delays: Vec<_> = (0..6).map(|_| delay(0)).collect();

        let (at_once, late) = (Some(Duration::ZERO), Some(THROTTLED_DELAY));
        assert_eq!(delays, [None, None, at_once, at_once, late, late]);
        assert_eq!(delay(3000), None, "it has listened");
    }

    #[test]
    fn the_table_has_a_bound_and_room_again_when_buckets_are_full() {
        let (rate, start) = (RequestRate::new(1, Arc::default()), Instant::now());
        let count = u32::try_from(2 * CLIENTS_COUNTED_MAX).expect("it fits");
        let entries = || -> usize {
            let shards = rate.clients.shards.iter();
            shards.map(|shard| shard.lock().expect("no panic").len()).sum()
        };

        for client in 0..count {
            assert_eq!(rate.admit(number(client), start), Ok(()));
        }
        assert_eq!(entries(), CLIENTS_COUNTED_MAX);
        assert!(rate.admit(number(0), start).is_err(), "who is known stays known");

        let later = start + SECOND;
        for client in count..count + 1000 {
            assert_eq!(rate.admit(number(client), later), Ok(()));
            assert!(rate.admit(number(client), later).is_err());
        }
        assert!(entries() < CLIENTS_COUNTED_MAX);
    }

    #[test]
    fn those_who_wait_are_counted_as_long_as_they_do() {
        let waiters = ClientWaiters::new(Some(2));
        let first = waiters.enter(number(1)).expect("room");
        let _second = waiters.enter(number(1)).expect("room");

        assert!(waiters.enter(number(1)).is_none());
        assert!(waiters.enter(number(2)).is_some());
        drop(first);
        let third = waiters.enter(number(1));
        assert!(third.is_some());
        assert!(waiters.enter(number(1)).is_none());

        drop((_second, third));
        let is_empty = |shard: &Mutex<HashMap<_, _>>| shard.lock().expect("no panic").is_empty();
        assert!(waiters.clients.shards.iter().all(is_empty));
        assert!(ClientWaiters::new(Some(0)).enter(number(1)).is_none());
    }
}
