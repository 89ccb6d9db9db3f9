//! A server: the real engine, given its turns by hand.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::task::{Context, Waker};
use std::time::Duration;

use central_locking_system::db::{Announcement, History, Kept};
use central_locking_system::engine::{Batcher, Engine, Policy};
use central_locking_system::limits::{IDLE_IN_TRANSACTION_MAX, KEPT_FREE_MAX};
use central_locking_system::lock::Rules;
use central_locking_system::metrics::Metrics;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, spawn_local, yield_now};
use tokio::time::{Instant, sleep, sleep_until};

use crate::baton::{Runner, Said, Wait};
use crate::database::Ear;
use crate::network::Gated;
use crate::store::SimulatedStore;
use crate::world::World;

/// Turns without any time passing; more would be for ever.
const TURNS_AT_ONCE_MAX: u32 = 1000;

/// More than any run has.
const MANY: usize = 10_000;

pub struct Server {
    pub number: usize,
    pub engine: Engine,
    pub gate: Gate,
    world: std::rc::Weak<World>,
    /// There may be something in the queue.
    queued: Notify,
    tasks: RefCell<Vec<AbortHandle>>,
    has_ended: Cell<bool>,
    ended: Notify,
    hears: UnboundedSender<(Duration, Vec<Announcement>)>,
}

/// Whether a process runs or stands still.
#[derive(Default)]
pub struct Gate {
    is_shut: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Gate {
    /// If not, whoever asks is woken when it is.
    pub fn is_open(&self, cx: &Context<'_>) -> bool {
        if self.is_shut.get() {
            self.waiting.borrow_mut().push(cx.waker().clone());
        }
        !self.is_shut.get()
    }

    fn set_shut(&self, is_shut: bool) {
        self.is_shut.set(is_shut);
        if !is_shut {
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl Server {
    /// Starts one more on the database.
    pub fn start(world: &Rc<World>, number: usize) -> Rc<Self> {
        let (tell, told) = sync_channel(1);
        let (database, judge, runtime) = (world.database.clone(), world.judge.clone(), Handle::current());
        let runner = Runner::start(move |baton| {
            let _context = runtime.enter();
            let (store, replica) = SimulatedStore::open(database, baton.clone(), number);
            let (engine, mut batcher, _) = Batcher::new(store, policy(), Arc::new(Metrics::default()));
            tell.send((engine, replica)).expect("it is waited for");
            loop {
                baton.wait(Wait::ForWork(batcher.due()));
                judge.turn_began(number);
                let goes_on = batcher.turn();
                judge.turn_ended(number);
                if !goes_on {
                    break;
                }
            }
            batcher.finish(|pause| baton.wait(Wait::For(pause)));
        });
        let Said::Waits(first) = runner.go_on() else {
            panic!("a server does not start");
        };
        let (engine, replica) = told.recv().expect("it has started");
        let (hears, heard) = unbounded_channel();
        let server = Rc::new(Self {
            number,
            engine,
            gate: Gate::default(),
            world: Rc::downgrade(world),
            queued: Notify::new(),
            tasks: RefCell::default(),
            has_ended: Cell::new(false),
            ended: Notify::new(),
            hears: hears.clone(),
        });
        let ear = Ear {
            to: hears,
            replica,
            is_connected: true,
            is_deaf: false,
        };
        world.database.lock().connect_ear(number, ear);
        server.hear(Duration::ZERO, vec![Announcement::Anything]);
        server.spawn(drive(Rc::clone(&server), runner, first));
        server.spawn(listen(Rc::clone(&server), heard));
        server
    }

    /// Runs something in its process, as long as that lives.
    pub fn spawn(self: &Rc<Self>, work: impl Future<Output = ()> + 'static) {
        if self.has_ended() {
            return;
        }
        let mut tasks = self.tasks.borrow_mut();
        tasks.retain(|task| !task.is_finished());
        let gated = Gated {
            server: Rc::clone(self),
            work: Box::pin(work),
        };
        tasks.push(spawn_local(gated).abort_handle());
    }

    /// The batcher sees for itself whether something is queued.
    pub fn look_at_queue(&self) {
        self.queued.notify_one();
    }

    pub fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    fn world(&self) -> Rc<World> {
        self.world.upgrade().expect("it outlives its servers")
    }

    fn hear(&self, delay: Duration, heard: Vec<Announcement>) {
        // It may have been killed.
        let _ = self.hears.send((delay, heard));
    }

    /// Ends the process, wherever it is.
    pub fn kill(&self) {
        let world = self.world();
        if let Some(transaction) = world.judge.transaction_of(self.number) {
            world.database.lock().end(transaction);
            world.wake_who_wait_for_rows();
        }
        world.judge.killed(self.number);
        world.database.lock().remove_ear(self.number);
        for task in self.tasks.take() {
            task.abort();
        }
        self.end();
    }

    /// Tells it to stop, and waits until it has.
    pub async fn stop(&self) {
        let world = self.world();
        world.judge.stopping(self.number);
        self.engine.drain();
        self.look_at_queue();
        sleep(world.chance.ms(0..50)).await;
        self.engine.stop();
        self.look_at_queue();
        while !self.has_ended() {
            self.ended.notified().await;
        }
        // What was answered at the last moment is sent yet.
        sleep(world.latency() + world.latency()).await;
        world.judge.killed(self.number);
        world.database.lock().remove_ear(self.number);
        for task in self.tasks.take() {
            task.abort();
        }
    }

    /// Has the process stand still. The database ends a transaction of which it
    /// hears nothing.
    pub async fn pause(&self, lasts: Duration) {
        let world = self.world();
        world.judge.paused(self.number, lasts);
        self.gate.set_shut(true);
        if lasts > IDLE_IN_TRANSACTION_MAX {
            sleep(IDLE_IN_TRANSACTION_MAX).await;
            if let Some(transaction) = world.judge.transaction_of(self.number) {
                world.database.lock().end(transaction);
                world.wake_who_wait_for_rows();
            }
            sleep(lasts - IDLE_IN_TRANSACTION_MAX).await;
        } else {
            sleep(lasts).await;
        }
        world.judge.goes_on(self.number);
        self.gate.set_shut(false);
    }

    /// Ends its session for announcements; it has another after a while.
    pub async fn cut_ear(&self, lasts: Duration) {
        let world = self.world();
        world
            .judge
            .trouble_for(Some(self.number), lasts, "it hears nothing, and knows it");
        self.set_connected(&world, false);
        sleep(lasts).await;
        self.set_connected(&world, true);
        world.judge.trouble(Some(self.number), "it hears again");
    }

    /// Whether what is announced reaches it. After a gap it is told that there was
    /// one.
    pub fn set_connected(&self, world: &World, is_connected: bool) {
        if let Some(ear) = world.database.lock().ear(self.number) {
            ear.is_connected = is_connected;
            let heard = match is_connected {
                true => Announcement::Anything,
                false => Announcement::Lost,
            };
            self.hear(Duration::ZERO, vec![heard]);
        }
    }

    pub async fn deafen(&self, lasts: Duration) {
        let world = self.world();
        world
            .judge
            .trouble_for(Some(self.number), lasts, "it hears nothing, and does not know it");
        let deafen = |is_deaf| {
            if let Some(ear) = world.database.lock().ear(self.number) {
                ear.is_deaf = is_deaf;
            }
        };
        deafen(true);
        sleep(lasts).await;
        // Nothing but a new session can end it, and that is known.
        deafen(false);
        self.hear(Duration::ZERO, vec![Announcement::Lost]);
        self.hear(Duration::ZERO, vec![Announcement::Anything]);
        world.judge.trouble(Some(self.number), "it hears again");
    }

    fn end(&self) {
        self.has_ended.set(true);
        self.ended.notify_waiters();
    }
}

/// Gives the batcher its turns.
async fn drive(server: Rc<Server>, runner: Runner, first: Wait) {
    let world = server.world();
    let mut wait = first;
    let mut busy = (Instant::now(), 0);
    loop {
        // Time passes only when everybody waits.
        busy = match Instant::now() {
            now if now == busy.0 => (now, busy.1 + 1),
            now => (now, 0),
        };
        if busy.1 > TURNS_AT_ONCE_MAX {
            world.judge.panicked(server.number, "it goes round and round");
            break;
        }
        match wait {
            Wait::For(time) => sleep(time).await,
            Wait::ForRows(until) => {
                tokio::select! {
                    biased;
                    () = world.rows_unlocked.notified() => {}
                    () = sleep_until(until) => {}
                }
            }
            Wait::ForWork(None) => yield_now().await,
            Wait::ForWork(Some(due)) => {
                tokio::select! {
                    biased;
                    () = server.queued.notified() => {}
                    () = sleep_until(due.into()) => {}
                }
                // It may take a moment until the thread runs.
                if world.chance.percent(20) {
                    sleep(world.chance.ms(0..3)).await;
                }
            }
        }
        let said = runner.go_on();
        world.wake_who_wait_for_rows();
        match said {
            Said::Waits(next) => wait = next,
            Said::Ended => break,
            Said::Panicked(text) => {
                world.judge.panicked(server.number, &text);
                break;
            }
        }
    }
    server.end();
}

/// Tells the engine what is heard, each after its delay.
async fn listen(server: Rc<Server>, mut heard: UnboundedReceiver<(Duration, Vec<Announcement>)>) {
    while let Some((delay, announcements)) = heard.recv().await {
        let tell = {
            let server = Rc::clone(&server);
            async move {
                sleep(delay).await;
                server.engine.announce(announcements);
                server.look_at_queue();
            }
        };
        server.spawn(tell);
    }
}

fn policy() -> Policy {
    Policy {
        rules: Rules {
            lock_delay: Duration::ZERO,
            kept_free_max: KEPT_FREE_MAX,
        },
        operations_queued_max: MANY,
        waiters_max: MANY,
        waiters_per_resource_max: MANY,
        client_locks_max: None,
        prune_after_days: 0,
        history: History::Off,
        events_kept: Kept {
            events_max: None,
            age_max: None,
        },
    }
}
