//! The way to a lock: asks, waits in line, and asks again.
//!
//! One `Idempotency-Key` goes with all that is asked, so that whichever request
//! is answered, there is one grant. While it waits, the same is asked once more
//! now and then by another connection, before the first one is given up: the
//! server lets the newest take over the place in line.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::Wish;
use super::keep::{Grant, Loss, renew};
use super::release::release;
use super::talk::Talk;
use super::waiting::show_who_is_waited_for;
use crate::client::{Alarm, Api, Failure, Method, Pauses, Question, Reply, SinceBoot, path_of};
use crate::limits::{ASK_AGAIN_INTERVAL, GIVE_BACK_WAIT_MAX, TIMEOUT_SECONDS_MAX};
use crate::management::server_options::{refused, unreachable};
use crate::management::{CommandError, random_text};

/// How long somebody waits for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    None,
    Until(SinceBoot),
    ForEver,
}

/// Why there is no lock.
#[derive(Debug)]
pub(super) enum NotAcquired {
    /// Somebody else has it, and nobody waits.
    Held,
    /// Somebody else had it for all that time.
    TimedOut,
    /// The wait would never end.
    Deadlock,
    /// We are to end.
    Interrupted(Signal),
    /// The server cannot be asked, or refuses to be.
    Failed(CommandError),
}

impl NotAcquired {
    /// Whether there may be a grant of which nothing is known.
    pub(super) fn may_be_granted(&self) -> bool {
        !matches!(self, Self::Held | Self::Deadlock)
    }
}

impl From<CommandError> for NotAcquired {
    fn from(error: CommandError) -> Self {
        Self::Failed(error)
    }
}

impl From<std::io::Error> for NotAcquired {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Patience {
    /// Seconds to wait in line; `None` is not at all.
    fn timeout(self, timeout_max: u32) -> Option<u32> {
        match self {
            Self::None => None,
            Self::ForEver => Some(timeout_max),
            Self::Until(until) => {
                let seconds = until.left().as_secs_f64().ceil().max(1.0);
                // Too many are as many as there are.
                Some(timeout_max.min(seconds as u32))
            }
        }
    }

    /// The moment at which it ends, or one that will not be lived to see.
    fn end(self) -> SinceBoot {
        match self {
            Self::Until(until) => until,
            Self::None | Self::ForEver => SinceBoot::now() + Duration::from_secs(u32::MAX.into()),
        }
    }
}

/// What is known of the server while it is asked.
struct Course<'t> {
    patience: Patience,
    /// The most seconds that it lets anybody wait.
    timeout_max: u32,
    /// Since when it has not answered, and what came in place of its last answer.
    failing: Option<(SinceBoot, Failure)>,
    retry: Duration,
    pauses: Pauses,
    talk: &'t Talk,
}

/// Acquires all that is wished for. All grants are believed in for most of their
/// ttl when this returns.
pub(super) async fn acquire(
    api: &Api,
    wish: &Wish,
    patience: Patience,
    retry: Duration,
    talk: &Talk,
) -> Result<Vec<Grant>, NotAcquired> {
    let mut course = Course {
        patience,
        timeout_max: TIMEOUT_SECONDS_MAX,
        failing: None,
        retry,
        pauses: Pauses::default(),
        talk,
    };
    let mut alarm = Alarm::new()?;
    loop {
        let grants = {
            let asking = course.ask_until_granted(api, wish);
            let showing = show_who_is_waited_for(api, wish, patience != Patience::None);
            tokio::select! {
                grants = asking => grants?,
                never = showing => match never {},
            }
        };
        match still_held(api, wish, grants, &mut alarm).await {
            Ok(grants) => return Ok(grants),
            Err(Loss::NotTrusted(failure)) => return Err(NotAcquired::Failed(unreachable(api, &failure))),
            Err(Loss::Told(said)) => talk.warn(format!("{} was lost at once: {said}; asking again", wish.shown())),
        }
    }
}

/// Asks for those to be renewed that were asked for so long ago that they may be
/// over: the server counts from the grant, and when that was we do not know.
async fn still_held(api: &Api, wish: &Wish, grants: Vec<Grant>, alarm: &mut Alarm) -> Result<Vec<Grant>, Loss> {
    let terms = wish.terms();
    let mut held = Vec::with_capacity(grants.len());
    for grant in &grants {
        let mut asked = grant.asked;
        if terms.renew_at(asked).has_come() {
            let until = SinceBoot::now() + Duration::from_secs(wish.ttl.into());
            asked = match renew(api, wish, grant, until, alarm).await {
                Ok(asked) => asked,
                Err(loss) => {
                    // Those that are ours yet would be in our own way.
                    let _ = release(api, wish, &grants, GIVE_BACK_WAIT_MAX).await;
                    return Err(loss);
                }
            };
        }
        held.push(Grant { asked, ..grant.clone() });
    }
    Ok(held)
}

impl Course<'_> {
    async fn ask_until_granted(&mut self, api: &Api, wish: &Wish) -> Result<Vec<Grant>, NotAcquired> {
        let request = random_text()?;
        let end = self.patience.end();
        let (mut end_alarm, mut again_alarm) = (Alarm::new()?, Alarm::new()?);
        let mut asked = FuturesUnordered::new();
        loop {
            if end.has_come() {
                return Err(self.out_of_time(api));
            }
            let interval = ASK_AGAIN_INTERVAL.min(Duration::from_secs(self.timeout_max.into()) / 2);
            asked.push(attempt(
                api,
                wish,
                &request,
                self.patience.timeout(self.timeout_max),
                interval,
            ));
            let again = SinceBoot::now() + interval;
            // Until the server has nothing to say any more, and is asked anew.
            let pause = loop {
                tokio::select! {
                    () = end_alarm.until(end) => return Err(self.out_of_time(api)),
                    () = again_alarm.until(again), if self.patience != Patience::None => break Duration::ZERO,
                    Some((began, answer)) = asked.next() => match answer {
                        Ok(reply) => {
                            self.failing = None;
                            match understand(wish, began, &reply)? {
                                Answer::Granted(grants) => return Ok(grants),
                                Answer::AskLess(timeout_max) => {
                                    self.timeout_max = timeout_max;
                                    break Duration::ZERO;
                                }
                                Answer::AskAgain if asked.is_empty() && SinceBoot::now() - began > interval => {
                                    break Duration::ZERO;
                                }
                                // Who is told so at once is not to be asked again and again.
                                Answer::AskAgain if asked.is_empty() => break self.pauses.next(None),
                                Answer::AskAgain => {}
                            }
                        }
                        // A newer one is on its way.
                        Err(_) if !asked.is_empty() => {}
                        Err(failure) => break self.pause(api, &failure)?,
                    },
                }
            };
            if !pause.is_zero() {
                again_alarm.until((SinceBoot::now() + pause).min(end)).await;
            }
        }
    }

    /// Why there is no lock when the wait is over: not because somebody else has it
    /// if nobody answers.
    fn out_of_time(&self, api: &Api) -> NotAcquired {
        match &self.failing {
            Some((_, failure)) => NotAcquired::Failed(unreachable(api, failure)),
            None => NotAcquired::TimedOut,
        }
    }

    /// How long to wait after a failure.
    fn pause(&mut self, api: &Api, failure: &Failure) -> Result<Duration, NotAcquired> {
        let is_first = self.failing.is_none();
        let since = self.failing.as_ref().map_or_else(SinceBoot::now, |(since, _)| *since);
        self.failing = Some((since, failure.clone()));
        let is_foreign = matches!(failure, Failure::Foreign(_));
        if is_foreign || (since + self.retry).has_come() {
            return Err(NotAcquired::Failed(unreachable(api, failure)));
        }
        let message = format!("{}: {failure}; trying again", api.url());
        if is_first {
            self.pauses = Pauses::default();
            self.talk.tell(message);
        } else if self.pauses.are_long() {
            self.talk.warn(message);
        }
        Ok(self.pauses.next(failure.retry_after()))
    }
}

/// What an answer means.
enum Answer {
    Granted(Vec<Grant>),
    /// No longer than this.
    AskLess(u32),
    AskAgain,
}

async fn attempt(
    api: &Api,
    wish: &Wish,
    request: &str,
    timeout: Option<u32>,
    interval: Duration,
) -> (SinceBoot, Result<Reply, Failure>) {
    let mut body = json!({"locked_by": wish.key, "ttl": wish.ttl, "label": wish.label});
    if let Some(timeout) = timeout {
        body["timeout"] = timeout.into();
    }
    let (method, path) = match wish.names.as_slice() {
        [name] => (Method::PUT, path_of(name)),
        names => {
            body["resources"] = names.into();
            (Method::POST, "/locks/".to_owned())
        }
    };
    // When it ends another one has long taken its place.
    let time_max = match timeout {
        None => ASK_AGAIN_INTERVAL / 2,
        Some(_) => interval + ASK_AGAIN_INTERVAL / 2,
    };
    let question = Question::new(method, path).with_body(body).once(request);
    let began = SinceBoot::now();
    (began, api.ask(&question, time_max).await)
}

fn understand(wish: &Wish, began: SinceBoot, reply: &Reply) -> Result<Answer, NotAcquired> {
    if reply.status == 200 {
        return Ok(Answer::Granted(grants(wish, began, reply)?));
    }
    if let Some(timeout_max) = timeout_max(reply) {
        return Ok(Answer::AskLess(timeout_max));
    }
    if let Some(error) = refused(reply) {
        return Err(error.into());
    }
    match reply.status {
        400 => Err(NotAcquired::Held),
        409 if reply.is_error("Deadlock detected.") => Err(NotAcquired::Deadlock),
        // 408: the server lets nobody wait for as long as we do. 409: the same was asked again.
        _ => Ok(Answer::AskAgain),
    }
}

fn grants(wish: &Wish, began: SinceBoot, reply: &Reply) -> Result<Vec<Grant>, NotAcquired> {
    let grant = |name: &String, token: Option<i64>| {
        Some(Grant {
            name: name.clone(),
            fencing_token: token?,
            asked: began,
        })
    };
    let grants: Option<Vec<_>> = match wish.names.as_slice() {
        [name] => grant(name, reply.fencing_token).map(|grant| vec![grant]),
        names => {
            let tokens = reply.body["resources"].as_array();
            let token = |name: &String| {
                let mut resources = tokens?.iter();
                resources.find(|resource| resource["name"] == **name)?["fencing_token"].as_i64()
            };
            names.iter().map(|name| grant(name, token(name))).collect()
        }
    };
    grants.ok_or_else(|| {
        let message = "the server granted the lock without a fencing token; is it a lock server?";
        CommandError::client(crate::management::exit_code::UNREACHABLE, message).into()
    })
}

/// `{"timeout": ["Ensure this value is less than or equal to 3600."]}`
fn timeout_max(reply: &Reply) -> Option<u32> {
    let messages = reply.body["timeout"].as_array().filter(|_| reply.status == 400)?;
    let words = messages
        .iter()
        .filter_map(Value::as_str)
        .flat_map(str::split_whitespace);
    let mut number = words.filter_map(|word| word.trim_end_matches('.').parse().ok());
    number.next_back().filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: Value, fencing_token: Option<i64>) -> Reply {
        Reply {
            status,
            body,
            fencing_token,
            tag: None,
        }
    }

    fn wish(names: &[&str]) -> Wish {
        Wish {
            names: names.iter().map(ToString::to_string).collect(),
            key: "k".to_owned(),
            is_own_key: true,
            ttl: 30,
            label: String::new(),
        }
    }

    #[test]
    fn grants_have_the_tokens_of_their_names() {
        let began = SinceBoot::now();
        let tokens = |wish: &Wish, reply: &Reply| {
            let grants = grants(wish, began, reply).ok()?;
            Some(grants.iter().map(|grant| grant.fencing_token).collect::<Vec<_>>())
        };

        let one = reply(200, json!({"Success": "Resource is acquired."}), Some(7));
        assert_eq!(tokens(&wish(&["a"]), &one), Some(vec![7]));
        let body = json!({"resources": [{"name": "b", "fencing_token": 2}, {"name": "a", "fencing_token": 1}]});
        assert_eq!(
            tokens(&wish(&["a", "b"]), &reply(200, body.clone(), None)),
            Some(vec![1, 2])
        );
        assert_eq!(tokens(&wish(&["a", "c"]), &reply(200, body, None)), None);
        assert_eq!(tokens(&wish(&["a"]), &reply(200, json!({}), None)), None);
    }

    #[test]
    fn the_longest_wait_that_a_server_allows_is_learnt() {
        let message = |text: &str| reply(400, json!({"timeout": [text]}), None);

        let too_long = message("Ensure this value is less than or equal to 3600.");
        assert_eq!(timeout_max(&too_long), Some(3600));
        for other in [
            message("A valid integer is required."),
            message("Ensure this value is less than or equal to 0."),
            reply(
                400,
                json!({"ttl": ["Ensure this value is less than or equal to 5."]}),
                None,
            ),
            reply(200, json!({}), None),
        ] {
            assert_eq!(timeout_max(&other), None, "{other:?}");
        }
    }

    #[test]
    fn patience_is_told_in_whole_seconds_and_ends_itself() {
        let until = SinceBoot::now() + Duration::from_millis(2500);
        assert_eq!(Patience::Until(until).timeout(100), Some(3));
        assert_eq!(Patience::Until(until).timeout(2), Some(2));
        assert_eq!(Patience::Until(SinceBoot::now()).timeout(100), Some(1));
        assert_eq!(Patience::ForEver.timeout(100), Some(100));
        assert_eq!(Patience::None.timeout(100), None);
        assert_eq!(Patience::Until(until).end(), until);
    }
}
