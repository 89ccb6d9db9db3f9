//! Gives locks back.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Wish;
use super::keep::{Grant, Loss};
use crate::client::{Api, Failure, Method, Pauses, Question, SinceBoot, path_of};
use crate::limits::GIVE_BACK_WAIT_MAX;
use crate::management::{CommandError, random_text};

/// Releases all of these, or tries to for `time_max`. Says of each that was not
/// released why.
pub(super) async fn release<'g>(
    api: &Api,
    wish: &Wish,
    grants: &'g [Grant],
    time_max: Duration,
) -> Result<Vec<(&'g Grant, Loss)>, CommandError> {
    let until = SinceBoot::now() + time_max;
    let request = random_text()?;
    let release_one = async |grant: &'g Grant| {
        let body = json!({"locked_by": wish.key, "fencing_token": grant.fencing_token});
        // One for each: the same for two resources would be two requests.
        let request = format!("{request}-{}", grant.fencing_token);
        let released = ask_to_release(api, &grant.name, body, &request, until).await;
        released.err().map(|loss| (grant, loss))
    };
    let losses = join_all(grants.iter().map(release_one)).await;
    Ok(losses.into_iter().flatten().collect())
}

/// Releases whatever the key of a wish holds, if it holds anything. Nobody else
/// may have the key.
pub(super) async fn give_back(api: &Api, wish: &Wish) {
    let until = SinceBoot::now() + GIVE_BACK_WAIT_MAX;
    let Ok(request) = random_text() else { return };
    let body = json!({"locked_by": wish.key});
    let give_back_one = async |(number, name): (usize, &String)| {
        // Most likely it holds nothing, and then that is the answer.
        let _ = ask_to_release(api, name, body.clone(), &format!("{request}-{number}"), until).await;
    };
    join_all(wish.names.iter().enumerate().map(give_back_one)).await;
}

async fn ask_to_release(api: &Api, name: &str, body: Value, request: &str, until: SinceBoot) -> Result<(), Loss> {
    let question = Question::new(Method::DELETE, path_of(name))
        .with_body(body)
        .once(request);
    let mut pauses = Pauses::default();
    loop {
        let time_max = (until.left() / 2).max(Duration::from_millis(500));
        let failure = match api.ask(&question, time_max).await {
            Ok(reply) if reply.status == 204 => return Ok(()),
            Ok(reply) if reply.body["Error"].is_string() => return Err(Loss::Told(reply.said())),
            Ok(reply) => Failure::Unreachable(reply.said()),
            Err(failure) => failure,
        };
        let pause = pauses.next(failure.retry_after());
        if SinceBoot::now() + pause >= until {
            return Err(Loss::NotTrusted(failure));
        }
        sleep(pause).await;
    }
}
