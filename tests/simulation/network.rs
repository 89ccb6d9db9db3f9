//! From a client to a server and back.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use central_locking_system::engine::{Answer, Engine, Unavailable};
use central_locking_system::lock::{Acquire, BreakLock, Outcome, Release, Renew, ResourceName, Snapshot};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::judge::CallId;
use crate::server::Server;
use crate::world::World;

/// What a client asks.
#[derive(Clone, Debug)]
pub enum Request {
    Acquire(ResourceName, Acquire, Option<Duration>),
    Together(Vec<ResourceName>, Acquire, Option<Duration>),
    Release(ResourceName, Release),
    ReleaseEach(Vec<ResourceName>, Release),
    Renew(ResourceName, Renew),
    Break(ResourceName, BreakLock),
    Look(ResourceName),
}

/// What a server answers.
#[derive(Clone, Debug)]
pub enum Told {
    Answer(Answer),
    Outcome(Outcome),
    Count(usize),
    Seen(Box<Snapshot>),
}

pub type Response = Result<Told, Unavailable>;

/// That no answer came.
#[derive(Clone, Copy, Debug)]
pub struct Cut;

/// How a client gives up.
#[derive(Clone, Copy, Debug)]
pub enum GivesUp {
    /// After as long as no server should take.
    Patiently,
    /// After so long it closes its connection.
    Leaving(Duration),
    /// After so long it is gone, and nobody is told.
    Vanishing(Duration),
}

/// Sends a request and waits for the answer.
pub async fn ask(
    world: &Rc<World>,
    server: &Rc<Server>,
    call: CallId,
    request: Request,
    gives_up: GivesUp,
) -> Result<Response, Cut> {
    let (respond, mut response) = oneshot::channel();
    if world.is_lost() {
        sleep(world.latency()).await;
        world.judge.never_arrived(call);
        return Err(Cut);
    }
    let serving = serve(Rc::clone(world), Rc::clone(server), call, request.clone(), respond);
    server.spawn(serving);
    let patience = match gives_up {
        GivesUp::Patiently => request.patience(),
        GivesUp::Leaving(after) | GivesUp::Vanishing(after) => after,
    };
    match timeout(patience, &mut response).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(_)) => Err(Cut),
        Err(_) => {
            if let GivesUp::Vanishing(_) = gives_up {
                world.vanished.borrow_mut().push(response);
            }
            Err(Cut)
        }
    }
}

impl Request {
    fn patience(&self) -> Duration {
        let waits = match self {
            Self::Acquire(.., timeout) | Self::Together(.., timeout) => timeout.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        waits + Duration::from_secs(10)
    }
}

/// What happens at the server.
async fn serve(
    world: Rc<World>,
    server: Rc<Server>,
    call: CallId,
    request: Request,
    mut respond: oneshot::Sender<Response>,
) {
    sleep(world.latency()).await;
    // It takes a moment until the server sees that the client has closed the connection.
    let unseen = world.latency();
    let response = {
        let mut handler = pin!(handle(&server.engine, request));
        let mut closed = pin!(async {
            respond.closed().await;
            sleep(unseen).await;
        });
        poll_fn(|cx| {
            if !server.gate.is_open(cx) {
                return Poll::Pending;
            }
            if closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            world.judge.submitted(call);
            let response = handler.as_mut().poll(cx).map(Some);
            server.look_at_queue();
            response
        })
        .await
    };
    server.look_at_queue();
    let Some(response) = response else {
        world.judge.left(call);
        return;
    };
    world.judge.answered(call, &response);
    sleep(world.latency()).await;
    if !world.is_lost() {
        // The client may have left.
        let _ = respond.send(response);
    }
}

/// As the views do.
async fn handle(engine: &Engine, request: Request) -> Response {
    match request {
        Request::Acquire(name, acquire, timeout) => engine.acquire(name, acquire, timeout).await.map(Told::Answer),
        Request::Together(names, acquire, timeout) => {
            engine.acquire_together(names, acquire, timeout).await.map(Told::Answer)
        }
        Request::Release(name, release) => engine.release(name, release).await.map(Told::Outcome),
        Request::ReleaseEach(names, release) => engine.release_each(names, release).await.map(Told::Count),
        Request::Renew(name, renew) => engine.renew(name, renew).await.map(Told::Outcome),
        Request::Break(name, break_lock) => engine.break_lock(name, break_lock).await.map(Told::Outcome),
        Request::Look(name) => engine.look(name).await.map(Box::new).map(Told::Seen),
    }
}

/// What is done by a process that may stand still.
pub struct Gated<F> {
    pub server: Rc<Server>,
    pub work: Pin<Box<F>>,
}

impl<F: Future<Output = ()>> Future for Gated<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.server.gate.is_open(cx) {
            return Poll::Pending;
        }
        self.work.as_mut().poll(cx)
    }
}
