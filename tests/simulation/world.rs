//! One run: servers, a database, clients, and what goes wrong.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use central_locking_system::lock::ResourceName;
use tokio::runtime::Builder;
use tokio::sync::{Notify, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::chance::Chance;
use crate::client;
use crate::database::Database;
use crate::fault;
use crate::judge::{Judge, LOOK_INTERVAL, Verdict};
use crate::network::Response;
use crate::plan::Plan;
use crate::server::Server;

/// When nobody begins anything any more, how long what was begun may take.
const FINISHED_MAX: Duration = Duration::from_secs(90);

/// Longer than anything takes that goes on by itself, but for the waits of clients that
/// have vanished.
const QUIET: Duration = Duration::from_secs(12);

/// As long as any client waits.
const WAITS_MAX: Duration = Duration::from_secs(20);

pub struct World {
    pub plan: Plan,
    pub chance: Chance,
    pub judge: Judge,
    pub database: Database,
    pub names: Vec<ResourceName>,
    /// Somebody may have unlocked rows.
    pub rows_unlocked: Notify,
    /// Of a hundred messages so many are lost.
    pub lost_percent: Cell<usize>,
    /// Nobody begins anything any more.
    pub is_finishing: Cell<bool>,
    /// Connections of those who are gone, of which nobody was told.
    pub vanished: RefCell<Vec<oneshot::Receiver<Response>>>,
    servers: RefCell<Vec<Rc<Server>>>,
    servers_started: Cell<usize>,
}

/// What became of a run.
pub struct Run {
    pub plan: Plan,
    pub verdict: Option<Verdict>,
    pub history: String,
    pub counts: BTreeMap<&'static str, usize>,
}

/// Runs what comes of a seed.
pub fn run(seed: u64) -> Run {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let local = LocalSet::new();
    let run = local.block_on(&runtime, async {
        let chance = Chance::of(seed);
        let plan = Plan::of(&chance);
        let judge = Judge::new(&plan);
        let world = Rc::new(World {
            names: (0..plan.names).map(name).collect(),
            database: Database::new(&plan, chance.clone(), judge.clone()),
            rows_unlocked: Notify::new(),
            lost_percent: Cell::new(0),
            is_finishing: Cell::new(false),
            vanished: RefCell::default(),
            servers: RefCell::default(),
            servers_started: Cell::new(0),
            plan: plan.clone(),
            chance,
            judge: judge.clone(),
        });
        tokio::select! {
            biased;
            () = judge.convinced.notified() => {}
            () = world.live() => {}
        }
        for server in world.servers.take() {
            server.kill();
        }
        Run {
            plan,
            verdict: judge.verdict(),
            history: judge.history(),
            counts: judge.counts(),
        }
    });
    drop(local);
    run
}

fn name(number: usize) -> ResourceName {
    ResourceName::new(&format!("r{number}")).expect("well formed")
}

impl World {
    async fn live(self: &Rc<Self>) {
        for _ in 0..self.plan.servers {
            self.start_server();
        }
        let looker = Rc::clone(self);
        spawn_local(async move {
            loop {
                sleep(LOOK_INTERVAL).await;
                looker.look();
            }
        });
        let clients = (0..self.plan.clients).map(|number| spawn_local(client::live(Rc::clone(self), number)));
        let clients: Vec<_> = clients.collect();
        let disturbs = spawn_local(fault::disturb(Rc::clone(self)));
        sleep(self.plan.activity).await;
        self.is_finishing.set(true);
        disturbs.await.expect("it does not panic");
        let finish = async {
            for client in clients {
                client.await.expect("it does not panic");
            }
        };
        if timeout(FINISHED_MAX, finish).await.is_err() {
            self.judge.note("some clients are not done");
        }
        sleep(QUIET).await;
        if self.judge.is_anybody_waiting() {
            sleep(WAITS_MAX).await;
        }
        let now = self.database.lock().now(self.plan.kind);
        self.judge.end(now);
    }

    fn look(&self) {
        let now = self.database.lock().now(self.plan.kind);
        self.judge.look(now);
    }

    pub fn start_server(self: &Rc<Self>) {
        let number = self.servers_started.get() + 1;
        self.servers_started.set(number);
        self.judge.note(&format!("server {number}: starts"));
        let server = Server::start(self, number);
        let mut servers = self.servers.borrow_mut();
        servers.retain(|server| !server.has_ended());
        servers.push(server);
    }

    /// One that lives, if any does.
    pub fn some_server(&self) -> Option<Rc<Server>> {
        let servers = self.servers.borrow();
        let living: Vec<_> = servers.iter().filter(|server| !server.has_ended()).cloned().collect();
        (!living.is_empty()).then(|| Rc::clone(self.chance.pick(&living)))
    }

    /// Waits for one.
    pub async fn any_server(&self) -> Rc<Server> {
        loop {
            match self.some_server() {
                Some(server) => return server,
                None => sleep(self.chance.ms(1..50)).await,
            }
        }
    }

    /// If there is anything new for them.
    pub fn wake_who_wait_for_rows(&self) {
        if self.database.lock().take_unlocked() {
            self.rows_unlocked.notify_waiters();
        }
    }

    /// How long a message takes.
    pub fn latency(&self) -> Duration {
        match self.chance.percent(50) {
            true => Duration::ZERO,
            false => self.chance.ms(0..8),
        }
    }

    pub fn is_lost(&self) -> bool {
        self.chance.percent(self.lost_percent.get())
    }

    /// Ends all sessions for announcements; each server has another after a while.
    pub fn cut_ears(self: &Rc<Self>) {
        for server in self.servers.borrow().iter().filter(|server| !server.has_ended()) {
            let (server, world) = (Rc::clone(server), Rc::clone(self));
            spawn_local(async move {
                server.set_connected(&world, false);
                while !world.database.lock().is_up {
                    sleep(world.chance.ms(20..300)).await;
                }
                server.set_connected(&world, true);
            });
        }
    }
}
