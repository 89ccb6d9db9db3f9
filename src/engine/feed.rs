//! What happens, told as it happens to whoever subscribes.
//!
//! A thread reads new events from the table, once for all subscribers, and only
//! while there are some: it is woken by the batcher after each commit that
//! recorded something, and looks by itself for what others record. It publishes
//! the latest events and the instant up to which there are no others. A subscriber
//! has its own place among them; what the thread does not have any more it reads
//! from the table. So each gets each event once and in order, however slow it is,
//! and whichever server it is at: the order is that of the table.
//!
//! # Who may do what between two lines
//!
//! * *An event is committed as the thread looks.* The batcher sets `is_news`
//!   after its commit, the thread takes it before it looks: either the look sees
//!   the event, or there is another look.
//! * *Somebody subscribes as the thread goes to sleep.* Both hold the lock on the
//!   same state for it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, Builder};

use tokio::sync::watch;

use crate::db::{Catalog, RecordedEvent, StoreError};
use crate::engine::Engine;
use crate::engine::shared::{Shared, lock};
use crate::limits::{FEED_EVENTS_KEPT, FEED_EVENTS_READ, FEED_LOOK_INTERVAL, FEED_PAUSE, FEED_RETRY_INTERVAL};
use crate::lock::EventId;

/// A way to subscribe. Cloning copies pointers.
#[derive(Clone)]
pub struct Feed {
    catalog: Catalog,
    shared: Arc<Shared>,
    latest: watch::Receiver<Latest>,
}

/// For the thread to know when to look; part of what is shared with the batcher.
#[derive(Debug, Default)]
pub(super) struct FeedState {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    subscribers: usize,
    /// Rises when somebody subscribes after nobody had.
    period: u64,
    is_news: bool,
    is_over: bool,
}

impl FeedState {
    /// Something was committed.
    pub(super) fn note_news(&self) {
        let mut state = lock(&self.state);
        if state.subscribers > 0 {
            state.is_news = true;
            self.changed.notify_one();
        }
    }

    /// Nothing is told any more.
    pub(super) fn end(&self) {
        lock(&self.state).is_over = true;
        self.changed.notify_one();
    }

    /// Says in which period that is.
    fn subscribe(&self) -> u64 {
        let mut state = lock(&self.state);
        if state.subscribers == 0 {
            state.period += 1;
        }
        state.subscribers += 1;
        state.is_news = true;
        self.changed.notify_one();
        state.period
    }

    fn unsubscribe(&self) {
        lock(&self.state).subscribers -= 1;
    }

    /// Waits until somebody wants to know, and there may be something to know.
    /// Answers with the period; `None` is the end.
    fn wait(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        while state.subscribers == 0 && !state.is_over {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let is_idle = |state: &mut State| !state.is_news && !state.is_over;
        let waited = self.changed.wait_timeout_while(state, FEED_LOOK_INTERVAL, is_idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_news = false;
        (!state.is_over).then_some(state.period)
    }
}

/// What the thread publishes.
#[derive(Clone, Debug, Default)]
struct Latest {
    /// All that follow `after`, up to `through`.
    events: VecDeque<Arc<RecordedEvent>>,
    after: EventId,
    through: EventId,
    /// The period in which it was read: what was left of an earlier one says
    /// nothing of now.
    period: u64,
}

impl Latest {
    /// There are these too, and no others up to `through`.
    fn extend(&mut self, events: Vec<RecordedEvent>, through: EventId) {
        self.events.extend(events.into_iter().map(Arc::new));
        self.through = through;
        while self.events.len() > FEED_EVENTS_KEPT {
            if let Some(forgotten) = self.events.pop_front() {
                self.after = forgotten.id();
            }
        }
    }
}

impl Feed {
    /// Starts the thread. It ends when the engine is drained or ends.
    ///
    /// Errors: there is no thread.
    pub fn spawn(engine: &Engine, catalog: Catalog) -> std::io::Result<Self> {
        let (publisher, latest) = watch::channel(Latest::default());
        let shared = engine.shared();
        let feed = Self {
            catalog: catalog.clone(),
            shared: Arc::clone(&shared),
            latest,
        };
        let read = move || read_again_and_again(&catalog, &shared.feed, &publisher);
        Builder::new().name("feed".to_owned()).spawn(read)?;
        Ok(feed)
    }

    /// Subscribes to what follows `after`; `None` is whatever happens from now on.
    pub fn subscribe(&self, after: Option<EventId>) -> Subscription {
        Subscription {
            period: self.shared.feed.subscribe(),
            feed: self.clone(),
            latest: self.latest.clone(),
            after,
        }
    }
}

fn read_again_and_again(catalog: &Catalog, state: &FeedState, publisher: &watch::Sender<Latest>) {
    let mut is_failing = false;
    while let Some(period) = state.wait() {
        let looked = look(catalog, publisher, period);
        match looked {
            Ok(()) => thread::sleep(FEED_PAUSE),
            Err(ref error) => {
                if !is_failing {
                    log::warn!("events cannot be read, and are told later: {error}");
                }
                thread::sleep(FEED_RETRY_INTERVAL);
            }
        }
        is_failing = looked.is_err();
    }
}

fn look(catalog: &Catalog, publisher: &watch::Sender<Latest>, period: u64) -> Result<(), StoreError> {
    let horizon = catalog.horizon()?;
    if publisher.borrow().period != period {
        publisher.send_replace(Latest {
            events: VecDeque::new(),
            after: horizon,
            through: horizon,
            period,
        });
        return Ok(());
    }
    let mut through = publisher.borrow().through;
    while through < horizon {
        let events = catalog.events_after(through, horizon, FEED_EVENTS_READ)?;
        through = match events.last() {
            Some(last) if events.len() == FEED_EVENTS_READ as usize => last.id(),
            _ => horizon,
        };
        publisher.send_modify(|latest| latest.extend(events, through));
    }
    Ok(())
}

/// A place among the events.
pub struct Subscription {
    feed: Feed,
    latest: watch::Receiver<Latest>,
    period: u64,
    /// What was told last; `None` is what there is when it is asked first.
    after: Option<EventId>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.feed.shared.feed.unsubscribe();
    }
}

impl Subscription {
    /// The events that follow, as soon as there are some; `None` when nothing is
    /// told any more. Nothing is lost if the future is dropped.
    ///
    /// Errors: the table cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<Arc<RecordedEvent>>>, StoreError> {
        loop {
            let seen = {
                let (after, period) = (self.after, self.period);
                let latest = self.latest.borrow_and_update();
                (latest.period >= period).then(|| look_into(after, &latest))
            };
            match seen {
                Some((after, Look::These(events))) if !events.is_empty() => {
                    self.after = Some(after);
                    return Ok(Some(events));
                }
                Some((after, Look::InTable(through))) => {
                    if let Some(events) = self.read(after, through).await? {
                        return Ok(Some(events));
                    }
                    continue;
                }
                Some((after, Look::These(_))) => self.after = Some(after),
                None => {}
            }
            if self.latest.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    async fn read(&mut self, after: EventId, through: EventId) -> Result<Option<Vec<Arc<RecordedEvent>>>, StoreError> {
        let catalog = self.feed.catalog.clone();
        let read = move || catalog.events_after(after, through, FEED_EVENTS_READ);
        let read = tokio::task::spawn_blocking(read).await;
        let events = read.map_err(|_| StoreError::Failed("no thread is left".to_owned()))??;
        self.after = Some(match events.last() {
            Some(last) if events.len() == FEED_EVENTS_READ as usize => last.id(),
            _ => through,
        });
        let events: Vec<_> = events.into_iter().map(Arc::new).collect();
        Ok(Some(events).filter(|events| !events.is_empty()))
    }

    /// Up to which event all have been told, or are not to be.
    pub fn told(&self) -> Option<EventId> {
        self.after
    }
}

/// Where a subscriber finds what follows.
enum Look {
    /// Here.
    These(Vec<Arc<RecordedEvent>>),
    /// In the table, up to this one.
    InTable(EventId),
}

/// What there is for somebody who was told up to `after`, and up to where that
/// goes if it is here.
fn look_into(after: Option<EventId>, latest: &Latest) -> (EventId, Look) {
    let after = after.unwrap_or(latest.through);
    if after < latest.after {
        return (after, Look::InTable(latest.through));
    }
    let from = latest.events.partition_point(|event| event.id() <= after);
    let events = latest.events.range(from..).cloned().collect();
    (after.max(latest.through), Look::These(events))
}
