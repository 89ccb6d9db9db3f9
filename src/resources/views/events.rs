//! What happened: to one resource, to all, and as it happens.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use actix_web::http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::web::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{UNKNOWN, look_up, may_wait, ok};
use crate::access::Verb;
use crate::db::{EventPage, EventQuery, RecordedEvent};
use crate::engine::Subscription;
use crate::limits::{STREAM_BEAT_INTERVAL, STREAM_RETRY, TOKENS_LOOK_INTERVAL};
use crate::lock::ResourceName;
use crate::resources::Context;
use crate::resources::bodies::Event;
use crate::resources::event_filters::{EventFilters, StreamFilters};
use crate::resources::filters::{PAGES, page_of};
use crate::resources::permissions::Caller;
use crate::rest::exceptions::ApiException;
use crate::rest::pagination::{Page, PaginatedResponse};
use crate::rest::throttling::Client;
use crate::rest::{Renderer, Request, Response, View, ViewResult};

/// What a client of a stream was told last (HTML, section 9.2.4).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What nginx takes as a wish not to hold an answer back.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Pieces of a stream that are kept for a client that does not read.
const STREAM_PIECES_KEPT: usize = 2;

/// `/resources/{name}/history/`.
pub struct HistoryView<'a> {
    /// What it works with.
    pub context: &'a Context,
    /// From the path, not validated.
    pub name: &'a str,
}

/// `/events/`.
pub struct EventListView<'a> {
    /// What it works with.
    pub context: &'a Context,
}

/// `/events/stream/`.
pub struct EventStreamView<'a> {
    /// What it works with.
    pub context: &'a Context,
}

read_only_view!(HistoryView, "History", &[Renderer::JSON]);
read_only_view!(EventListView, "Event List", &[Renderer::JSON]);
read_only_view!(
    EventStreamView,
    "Event Stream",
    &[Renderer::JSON, Renderer::EVENT_STREAM]
);

impl HistoryView<'_> {
    async fn get(&self, request: &Request, caller: Caller) -> ViewResult {
        caller.require_on(Verb::Read, self.name)?;
        let query = request.query();
        let page_size = NonZeroU32::new(PAGES.size(&query)?).expect("sizes begin with 1");
        let number = page_of(&query)?;
        let unknown = || ApiException::new(StatusCode::NOT_FOUND, UNKNOWN);
        let name = ResourceName::new(self.name).ok_or_else(unknown)?;
        let catalog = self.context.catalog.clone();
        let found = look_up(move || catalog.history(&name, number, page_size)).await?;
        let found = found.ok_or_else(unknown)?;
        let page = PAGES.page(&request.absolute_url()?, &query, page_size.get(), found.count)?;
        Ok(ok(Events::new(page, found, &caller)))
    }
}

impl EventListView<'_> {
    async fn get(&self, request: &Request, caller: Caller) -> ViewResult {
        caller.require(Verb::Read)?;
        let query = request.query();
        let filters = EventFilters::read(&query)?;
        let (number, page_size) = (filters.page, filters.page_size);
        let wanted = EventQuery {
            within: caller.prefixes(),
            ..filters.wanted
        };
        let catalog = self.context.catalog.clone();
        let found = look_up(move || catalog.events(&wanted, number, page_size)).await?;
        let page = PAGES.page(&request.absolute_url()?, &query, page_size.get(), found.count)?;
        Ok(ok(Events::new(page, found, &caller)))
    }
}

/// A page of events, to be rendered.
struct Events {
    page: Page,
    events: Vec<RecordedEvent>,
    sees_all: bool,
}

impl Events {
    fn new(page: Page, found: EventPage, caller: &Caller) -> Self {
        Self {
            page,
            events: found.events,
            sees_all: caller.prefixes().is_none(),
        }
    }
}

impl serde::Serialize for Events {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let events = self.events.iter().map(|event| Event::of(event, self.sees_all));
        let response: PaginatedResponse<Event<'_>> = self.page.clone().response(events.collect());
        response.serialize(serializer)
    }
}

impl EventStreamView<'_> {
    async fn get(&self, request: &Request, caller: Caller) -> ViewResult {
        caller.require(Verb::Read)?;
        let last_event_id = request.header_text(LAST_EVENT_ID);
        let filters = StreamFilters::read(&request.query(), last_event_id.as_deref())?;
        // Refused here, where there is somebody to be told; counted below, for as long as the stream lasts.
        drop(may_wait(self.context, request, &caller)?);
        let (sender, mut pieces) = mpsc::channel(STREAM_PIECES_KEPT);
        let stream = Stream {
            context: self.context.clone(),
            client: caller.client(request),
            prefixes: caller.prefixes(),
            caller,
            filters,
            sender,
        };
        if *request.method() == Method::GET {
            actix_web::rt::spawn(stream.run());
        }
        let stream = futures_util::stream::poll_fn(move |task| pieces.poll_recv(task));
        Ok(Response::stream(stream)
            .with_header(CACHE_CONTROL, HeaderValue::from_static("no-store"))
            .with_header(X_ACCEL_BUFFERING, HeaderValue::from_static("no")))
    }
}

/// One that is told what happens, until its connection ends, its token does, or
/// the server stops.
struct Stream {
    context: Context,
    client: Client,
    caller: Caller,
    prefixes: Option<Vec<String>>,
    filters: StreamFilters,
    sender: mpsc::Sender<Bytes>,
}

impl Stream {
    async fn run(self) {
        let Some(_waiting) = self.context.client_waiters.enter(self.client) else {
            return;
        };
        let mut subscription = self.context.feed.subscribe(self.filters.since);
        let retry = format!("retry: {}\n\n", STREAM_RETRY.as_millis());
        if self.sender.send(retry.into()).await.is_err() {
            return;
        }
        tokio::select! {
            () = self.sender.closed() => {}
            () = self.tell(&mut subscription) => {}
        }
    }

    async fn tell(&self, subscription: &mut Subscription) {
        let mut told_at = Instant::now();
        // Beside the look at events, a look at whether the token is good still.
        loop {
            let next = timeout(TOKENS_LOOK_INTERVAL, subscription.next()).await;
            if self.context.access.require_still(&self.caller).await.is_err() {
                return;
            }
            let text = match next {
                Ok(Ok(Some(events))) => self.write(&events),
                Ok(Ok(None)) => return,
                Ok(Err(error)) => {
                    log::warn!("a stream of events ends: {error}");
                    return;
                }
                Err(_) => String::new(),
            };
            let is_due = told_at.elapsed() >= STREAM_BEAT_INTERVAL;
            let text = match subscription.told() {
                // Says where to go on after all that did not concern this client; it fires no event.
                Some(told) if text.is_empty() && is_due => format!("id: {told}\n\n"),
                None if text.is_empty() && is_due => ":\n\n".to_owned(),
                _ => text,
            };
            if !text.is_empty() {
                told_at = Instant::now();
                if self.sender.send(text.into()).await.is_err() {
                    return;
                }
            }
        }
    }

    fn write(&self, events: &[Arc<RecordedEvent>]) -> String {
        let is_asked_for = |event: &&Arc<RecordedEvent>| {
            let begins_with = |prefix: &String| event.resource.starts_with(prefix.as_str());
            self.filters.prefix.as_ref().is_none_or(begins_with)
                && self
                    .prefixes
                    .as_ref()
                    .is_none_or(|prefixes| prefixes.iter().any(begins_with))
        };
        let mut text = String::new();
        for event in events.iter().filter(is_asked_for) {
            // It has no line breaks: JSON escapes them.
            let data = serde_json::to_string(&Event::of(event, self.prefixes.is_none())).expect("text and numbers");
            text.push_str(&format!("id: {}\nevent: lock\ndata: {data}\n\n", event.id));
        }
        text
    }
}
