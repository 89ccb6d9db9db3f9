//! What clients do: mostly what they should.

use std::rc::Rc;
use std::time::Duration;

use central_locking_system::engine::Answer;
use central_locking_system::lock::{
    Acquire, BreakLock, LockedBy, NewLabel, Outcome, Reason, Release, Renew, RequestId, ResourceName, Ttl,
};
use tokio::time::{Instant, sleep};

use crate::judge::{Episode, EpisodeId, Purpose};
use crate::network::{Cut, GivesUp, Request, Response, Told, ask};
use crate::world::World;

/// What a client sets out to do.
#[derive(Clone, Copy, Debug)]
enum Aim {
    /// Takes a lock, holds it and gives it back.
    Cycle,
    /// Waits, and does not wait for the end.
    Impatient,
    /// Takes a second one by the same key while it holds the first.
    Nested,
    /// Takes several at once.
    Together,
    /// Tries to end or renew what it does not have.
    Stranger,
    /// Breaks the lock of whoever has it.
    Breaker,
}

const AIMS: [(usize, Aim); 6] = [
    (60, Aim::Cycle),
    (15, Aim::Impatient),
    (10, Aim::Nested),
    (6, Aim::Together),
    (6, Aim::Stranger),
    (3, Aim::Breaker),
];

/// What came of an attempt to acquire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Had {
    Granted,
    Refused,
    /// Nobody said.
    Perhaps,
}

struct Client {
    world: Rc<World>,
    number: usize,
    episodes: usize,
}

/// A wish with its key.
struct Wish {
    episode: EpisodeId,
    names: Vec<ResourceName>,
    acquire: Acquire,
}

/// Lives until the run ends.
pub async fn live(world: Rc<World>, number: usize) {
    let mut client = Client {
        world,
        number,
        episodes: 0,
    };
    loop {
        let pause = client.world.chance.ms(0..800);
        sleep(pause).await;
        if client.world.is_finishing.get() {
            return;
        }
        match client.world.chance.weighted(&AIMS) {
            Aim::Cycle => client.cycle(false).await,
            Aim::Impatient => client.cycle(true).await,
            Aim::Nested => client.nested().await,
            Aim::Together => client.together().await,
            Aim::Stranger => client.meddle().await,
            Aim::Breaker => client.break_one().await,
        }
    }
}

impl Client {
    fn name(&self) -> ResourceName {
        self.world.chance.pick(&self.world.names).clone()
    }

    fn ttl(&self) -> Option<u32> {
        let chance = &self.world.chance;
        chance.percent(60).then(|| chance.within(1..6) as u32)
    }

    fn timeout(&self) -> Option<Duration> {
        let chance = &self.world.chance;
        let longest_ms = if chance.percent(20) { 20_000 } else { 9000 };
        chance.percent(75).then(|| chance.ms(200..longest_ms))
    }

    fn new_key(&mut self) -> String {
        self.episodes += 1;
        format!("{}-{}", self.number, self.episodes)
    }

    fn wish(&self, key: &str, names: Vec<ResourceName>, ttl_seconds: Option<u32>) -> Wish {
        let has_request_id = self.world.chance.percent(50);
        let episode = self.world.judge.wants(Episode {
            client: self.number,
            key: key.to_owned(),
            names: names.clone(),
            ttl_seconds,
            sent: Instant::now(),
            submitted: None,
            may_end: false,
            ended: 0,
            calls: Vec::new(),
            told: Vec::new(),
            believes: None,
        });
        let request = RequestId::new(&format!("request {episode}"), None, [Some(key)]);
        let acquire = Acquire {
            ttl: ttl_seconds.map(|seconds| Ttl::from_seconds(seconds.into()).expect("in range")),
            request: request.filter(|_| has_request_id),
            ..Acquire::by(locked_by(key))
        };
        Wish {
            episode,
            names,
            acquire,
        }
    }

    async fn cycle(&mut self, is_impatient: bool) {
        let (key, ttl) = (self.new_key(), self.ttl());
        let wish = self.wish(&key, vec![self.name()], ttl);
        let chance = self.world.chance.clone();
        let gives_up = match (is_impatient, ttl) {
            (false, _) => GivesUp::Patiently,
            // Whoever vanishes must not have wanted it for ever.
            (true, Some(_)) if chance.percent(30) => GivesUp::Vanishing(chance.ms(0..1500)),
            (true, _) => GivesUp::Leaving(chance.ms(0..1500)),
        };
        let had = self.acquire(&wish, self.timeout(), gives_up).await;
        match had {
            Had::Refused => return,
            Had::Perhaps if is_impatient && ttl.is_some() => return,
            Had::Perhaps => {}
            Had::Granted => self.hold(&wish).await,
        }
        let forgets = ttl.is_some() && chance.percent(10);
        if !forgets {
            self.release(&wish).await;
        }
    }

    async fn nested(&mut self) {
        let key = self.new_key();
        let first = self.wish(&key, vec![self.name()], None);
        if self.acquire(&first, None, GivesUp::Patiently).await != Had::Refused {
            let others = self.world.names.iter().filter(|name| **name != first.names[0]);
            let others: Vec<_> = others.cloned().collect();
            if !others.is_empty() {
                let second = self.wish(&key, vec![self.world.chance.pick(&others).clone()], None);
                let timeout = self.world.chance.ms(3000..9000);
                let had = self.acquire(&second, Some(timeout), GivesUp::Patiently).await;
                if had != Had::Refused {
                    self.release(&second).await;
                }
            }
            self.release(&first).await;
        }
    }

    async fn together(&mut self) {
        let (key, ttl) = (self.new_key(), self.ttl());
        let mut names = self.world.names.clone();
        while names.len() > 2 && self.world.chance.percent(50) {
            names.remove(self.world.chance.below(names.len()));
        }
        let wish = self.wish(&key, names, ttl);
        let had = self.acquire(&wish, self.timeout(), GivesUp::Patiently).await;
        if had != Had::Refused {
            self.hold(&wish).await;
            self.release_all(&wish).await;
        }
    }

    /// Acquires, and asks again where nobody said what came of it.
    async fn acquire(&self, wish: &Wish, timeout: Option<Duration>, gives_up: GivesUp) -> Had {
        let world = &self.world;
        let wait_until = timeout.map(|timeout| Instant::now() + timeout);
        let mut tries = 0;
        loop {
            let server = world.any_server().await;
            let timeout = wait_until.map(|until| until.saturating_duration_since(Instant::now()));
            let timeout = timeout.filter(|timeout| !timeout.is_zero());
            let call = world
                .judge
                .sends(wish.episode, Purpose::Acquire, server.number, timeout);
            let request = match &wish.names[..] {
                [name] => Request::Acquire(name.clone(), wish.acquire.clone(), timeout),
                names => Request::Together(names.to_vec(), wish.acquire.clone(), timeout),
            };
            // A connection may be dead at one end only.
            let is_cut = wish.acquire.request.is_some() && matches!(gives_up, GivesUp::Patiently) && world.is_lost();
            let gives_up_now = match is_cut {
                true => GivesUp::Vanishing(world.chance.ms(0..1500)),
                false => gives_up,
            };
            let response = ask(world, &server, call, request, gives_up_now).await;
            match had(&response) {
                Had::Perhaps => {}
                Had::Granted => {
                    for name in &wish.names {
                        world.judge.believes(wish.episode, name);
                    }
                    return Had::Granted;
                }
                // Whoever was told nothing before may have had it, and it may have ended since.
                Had::Refused if tries > 0 => return Had::Perhaps,
                Had::Refused => return Had::Refused,
            }
            tries += 1;
            let asks_again = wish.acquire.request.is_some() && tries < 8 && matches!(gives_up, GivesUp::Patiently);
            if !asks_again {
                return Had::Perhaps;
            }
            sleep(world.chance.ms(0..700)).await;
        }
    }

    /// Holds it for a while, and may renew it.
    async fn hold(&self, wish: &Wish) {
        let chance = &self.world.chance;
        sleep(chance.ms(0..self.world.plan.hold_max_ms)).await;
        if let ([name], Some(ttl), true) = (&wish.names[..], wish.acquire.ttl, chance.percent(30)) {
            let renew = Renew {
                locked_by: wish.acquire.locked_by.clone(),
                ttl: Some(ttl),
                label: NewLabel::Kept,
                fencing_token: None,
                address: None,
            };
            let request = Request::Renew(name.clone(), renew);
            let _ = self.once(wish.episode, Purpose::Renew, request).await;
            sleep(chance.ms(0..self.world.plan.hold_max_ms)).await;
        }
    }

    async fn once(&self, episode: EpisodeId, purpose: Purpose, request: Request) -> Result<Response, Cut> {
        let server = self.world.any_server().await;
        let call = self.world.judge.sends(episode, purpose, server.number, None);
        ask(&self.world, &server, call, request, GivesUp::Patiently).await
    }

    /// Releases, until it is known to be released.
    async fn release(&self, wish: &Wish) {
        let world = &self.world;
        world.judge.may_end(wish.episode);
        loop {
            let release = Release::by(Some(wish.acquire.locked_by.clone()));
            let request = Request::Release(wish.names[0].clone(), release);
            if let Ok(Ok(_)) = self.once(wish.episode, Purpose::Release, request).await {
                return;
            }
            sleep(world.chance.ms(10..500)).await;
        }
    }

    async fn release_all(&self, wish: &Wish) {
        let world = &self.world;
        world.judge.may_end(wish.episode);
        loop {
            let release = Release::by(Some(wish.acquire.locked_by.clone()));
            let request = Request::ReleaseEach(wish.names.clone(), release);
            if let Ok(Ok(_)) = self.once(wish.episode, Purpose::Release, request).await {
                return;
            }
            sleep(world.chance.ms(10..500)).await;
        }
    }

    /// With a key that is nobody's.
    async fn meddle(&mut self) {
        let key = self.new_key();
        let wish = self.wish(&key, vec![self.name()], None);
        let request = match self.world.chance.percent(50) {
            true => Request::Release(wish.names[0].clone(), Release::by(Some(locked_by("nobody's")))),
            false => Request::Renew(
                wish.names[0].clone(),
                Renew {
                    locked_by: locked_by("nobody's"),
                    ttl: None,
                    label: NewLabel::Kept,
                    fencing_token: None,
                    address: None,
                },
            ),
        };
        let _ = self.once(wish.episode, Purpose::Other, request).await;
        let _ = self
            .once(wish.episode, Purpose::Other, Request::Look(wish.names[0].clone()))
            .await;
    }

    async fn break_one(&mut self) {
        let key = self.new_key();
        let wish = self.wish(&key, vec![self.name()], None);
        let break_lock = BreakLock {
            by: None,
            reason: Reason::new("it is in the way").expect("well formed"),
            fencing_token: None,
            address: None,
        };
        let request = Request::Break(wish.names[0].clone(), break_lock);
        let _ = self.once(wish.episode, Purpose::Break, request).await;
    }
}

fn locked_by(key: &str) -> LockedBy {
    LockedBy::new(key).expect("well formed")
}

fn had(response: &Result<Response, Cut>) -> Had {
    match response {
        Ok(Ok(Told::Answer(Answer::Decided(outcome, _)))) => match outcome {
            Outcome::Acquired(_)
            | Outcome::AcquiredBefore(_)
            | Outcome::AcquiredTogether(_)
            | Outcome::AcquiredTogetherBefore(_) => Had::Granted,
            _ => Had::Refused,
        },
        Ok(Ok(Told::Answer(Answer::TimedOut))) => Had::Refused,
        _ => Had::Perhaps,
    }
}
