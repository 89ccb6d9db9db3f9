//! Keeps a lock by renewing it, and knows when it is not to be believed in any
//! more.

use std::cell::Cell;
use std::time::Duration;

use serde_json::json;

use super::Wish;
use crate::client::{Alarm, Api, Failure, Method, Pauses, Question, SinceBoot, path_of};

/// A lock that was granted.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) name: String,
    pub(super) fencing_token: i64,
    /// When the request was begun from which its ttl counts at the latest.
    pub(super) asked: SinceBoot,
}

/// How a lock was lost.
#[derive(Debug)]
pub(super) enum Loss {
    /// It could not be renewed for so long that it may be over.
    NotTrusted(Failure),
    /// The server says so.
    Told(String),
}

/// A lock that is kept.
pub(super) struct Keeper<'k> {
    api: &'k Api,
    wish: &'k Wish,
    grant: &'k Grant,
    /// When the latest request was begun that was answered.
    asked: Cell<SinceBoot>,
}

impl<'k> Keeper<'k> {
    pub(super) fn new(api: &'k Api, wish: &'k Wish, grant: &'k Grant) -> Self {
        Self {
            api,
            wish,
            grant,
            asked: Cell::new(grant.asked),
        }
    }

    /// Until when the lock is believed in.
    pub(super) fn trusted_until(&self) -> SinceBoot {
        self.wish.terms().trusted_until(self.asked.get())
    }

    /// Renews it until it is lost.
    pub(super) async fn keep(&self, mut alarm: Alarm) -> (&Grant, Loss) {
        let terms = self.wish.terms();
        loop {
            alarm.until(terms.renew_at(self.asked.get())).await;
            let renewed = renew(self.api, self.wish, self.grant, self.trusted_until(), &mut alarm);
            match renewed.await {
                Ok(asked) => self.asked.set(asked),
                Err(loss) => return (self.grant, loss),
            }
        }
    }
}

/// Asks for a lock to be renewed until that is done, or `deadline` has come. Says
/// when the request was begun that did it.
pub(super) async fn renew(
    api: &Api,
    wish: &Wish,
    grant: &Grant,
    deadline: SinceBoot,
    alarm: &mut Alarm,
) -> Result<SinceBoot, Loss> {
    let body = json!({"locked_by": wish.key, "ttl": wish.ttl, "fencing_token": grant.fencing_token});
    let question = Question::new(Method::PATCH, path_of(&grant.name)).with_body(body);
    let time_max = wish.terms().attempt_time_max();
    let mut pauses = Pauses::default();
    let mut failure = Failure::Unreachable("there was no time to ask".to_owned());
    loop {
        let began = SinceBoot::now();
        if began >= deadline {
            return Err(Loss::NotTrusted(failure));
        }
        let time_max = time_max.min(deadline - began);
        let answer = tokio::select! {
            answer = api.ask(&question, time_max) => answer,
            // The timers of requests stand still while the machine is suspended.
            () = alarm.until(deadline) => return Err(Loss::NotTrusted(failure)),
        };
        failure = match answer {
            Ok(reply) if reply.status == 200 => return Ok(began),
            Ok(reply) if reply.status == 400 && reply.body["Error"].is_string() => {
                return Err(Loss::Told(told(&reply)));
            }
            // The token was revoked, or the like: it is ours for as long as it lasts.
            Ok(reply) => Failure::Unreachable(reply.said()),
            Err(failure) => failure,
        };
        // Seldom enough not to be a burden, often enough to be in time.
        let pause = pauses
            .next(failure.retry_after())
            .min(time_max.max(Duration::from_millis(50)));
        alarm.until((SinceBoot::now() + pause).min(deadline)).await;
    }
}

/// What the server says of a lock that is not held; and of one that was broken by
/// whom and why.
fn told(reply: &crate::client::Reply) -> String {
    let broken = &reply.body["broken"];
    match broken["reason"].as_str() {
        Some(reason) => {
            let by = broken["by"].as_str().unwrap_or("somebody");
            format!("it was broken by {by}: {reason}")
        }
        None => reply.said(),
    }
}
