//! How the commands that ask a server find it, and who they are to it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::client::{Api, Failure, Pauses, Question, Reply, Server, SinceBoot};
use crate::limits::NAME_CHARS_MAX;
use crate::management::CommandError;
use crate::management::exit_code::{NOT_ALLOWED, UNREACHABLE, USAGE};

/// How long one answer may take.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

/// Where the server is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(super) struct ServerOptions {
    /// Where the server is.
    #[arg(long, env = "CLS_URL", default_value = "http://127.0.0.1:8000")]
    url: String,
    /// The key of a token. Others see the arguments of a process: a file is better.
    #[arg(long, value_name = "KEY")]
    token: Option<Key>,
    /// A file with the key of a token; if not said, CLS_TOKEN is the key, or CLS_TOKEN_FILE the file.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// The variables apart, because an option goes before both.
    #[arg(long, hide = true, env = "CLS_TOKEN", hide_env = true)]
    token_set: Option<Key>,
    #[arg(long, hide = true, env = "CLS_TOKEN_FILE")]
    token_file_set: Option<OsString>,
    /// Certificates (PEM) of who signed the server's, beside those that this machine knows.
    #[arg(long, env = "CLS_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The certificate (PEM) to show to the server.
    #[arg(long, env = "CLS_CERT", value_name = "FILE", requires = "cert_key")]
    cert: Option<PathBuf>,
    /// The key (PEM, PKCS #8) of that certificate.
    #[arg(long, env = "CLS_CERT_KEY", value_name = "FILE", requires = "cert")]
    cert_key: Option<PathBuf>,
    /// Seconds to go on asking a server that does not answer.
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = seconds)]
    pub(super) retry: Duration,
}

/// A secret argument. It cannot be printed.
#[derive(Clone)]
pub(super) struct Key(String);

impl Key {
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl ServerOptions {
    /// What can be asked. Connects to nobody.
    ///
    /// Errors: an option cannot be used.
    pub(super) fn api(&self) -> Result<Api, CommandError> {
        // A variable that is set to nothing is none.
        let key_set = self.token_set.as_ref().filter(|key| !key.reveal().is_empty());
        let file_set = self.token_file_set.as_ref().filter(|path| !path.is_empty());
        let token = match (
            &self.token,
            self.token_file.as_deref(),
            key_set,
            file_set.map(Path::new),
        ) {
            (Some(key), ..) | (None, None, Some(key), _) => Some(key.reveal().to_owned()),
            (None, Some(path), ..) | (None, None, None, Some(path)) => Some(first_line(path)?),
            (None, None, None, None) => None,
        };
        let server = Server {
            url: self.url.clone(),
            token,
            ca_file: self.ca_file.clone(),
            identity: self.cert.clone().zip(self.cert_key.clone()),
        };
        Api::new(&server).map_err(|error| CommandError::client(USAGE, error))
    }
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| *seconds >= 0.0);
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| "write a number of seconds, for example 30 or 0.5".to_owned())
}

pub(super) fn name(text: &str) -> Result<String, String> {
    match text {
        "." | ".." => Err("no path leads to such a name".to_owned()),
        text if text.is_empty() || text.chars().count() > NAME_CHARS_MAX => {
            Err(format!("a name has 1 to {NAME_CHARS_MAX} characters"))
        }
        text => Ok(text.to_owned()),
    }
}

fn first_line(path: &Path) -> Result<String, CommandError> {
    let cannot_use = |why: String| CommandError::client(USAGE, format!("cannot use {}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| cannot_use(error.to_string()))?;
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.map(str::to_owned)
        .ok_or_else(|| cannot_use("it is empty".to_owned()))
}

/// Asks until there is an answer, for as long as `retry` if there is none.
///
/// Errors: there was none, or it refuses the request as such.
pub(super) async fn ask(api: &Api, question: &Question<'_>, retry: Duration) -> Result<Reply, CommandError> {
    let until = SinceBoot::now() + retry;
    let mut pauses = Pauses::default();
    loop {
        let failure = match api.ask(question, ANSWER_WAIT_MAX).await {
            Ok(reply) => return refused(&reply).map_or(Ok(reply), Err),
            Err(failure) => failure,
        };
        let pause = pauses.next(failure.retry_after());
        if matches!(failure, Failure::Foreign(_)) || SinceBoot::now() + pause >= until {
            return Err(unreachable(api, &failure));
        }
        tokio::time::sleep(pause).await;
    }
}

/// What a failed request ends a command with.
pub(super) fn unreachable(api: &Api, failure: &Failure) -> CommandError {
    let message = match failure {
        Failure::Unreachable(_) => format!(
            "cannot reach {}: {failure}; is the server there? --url and CLS_URL say where",
            api.url()
        ),
        Failure::Busy { .. } => format!("{} cannot answer now: {failure}", api.url()),
        Failure::Foreign(_) => format!("{}: {failure}; --url and CLS_URL say where the server is", api.url()),
    };
    CommandError::client(UNREACHABLE, message)
}

/// What an answer ends a command with that refuses the request as such; `None` if
/// it does not.
pub(super) fn refused(reply: &Reply) -> Option<CommandError> {
    match reply.status {
        401 => Some(CommandError::client(
            NOT_ALLOWED,
            format!("{} Give the key of a token by --token-file or CLS_TOKEN.", reply.said()),
        )),
        403 => Some(CommandError::client(NOT_ALLOWED, reply.said())),
        400 if reply.body["Error"].is_string() => None,
        400 | 402 | 405..=407 | 410..=499 if !reply.body["Error"].is_string() => {
            Some(CommandError::client(USAGE, field_errors(reply)))
        }
        _ => None,
    }
}

/// `{"ttl": ["…"]}` as people write it.
fn field_errors(reply: &Reply) -> String {
    let Some(fields) = reply.body.as_object().filter(|body| !body.contains_key("detail")) else {
        return reply.said();
    };
    let messages = fields.iter().map(|(field, messages)| {
        let text = messages.as_array().and_then(|messages| messages.first()?.as_str());
        format!("{field}: {}", text.map_or_else(|| messages.to_string(), str::to_owned))
    });
    messages.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reply(status: u16, body: serde_json::Value) -> Reply {
        Reply {
            status,
            body,
            fencing_token: None,
            tag: None,
        }
    }

    #[test]
    fn what_refuses_a_request_as_such_is_told_from_what_answers_it() {
        for (status, body, code) in [
            (200, json!({}), None),
            (400, json!({"Error": "Resource is locked."}), None),
            (408, json!({"Error": "Request timed out."}), None),
            (409, json!({"Error": "Deadlock detected."}), None),
            (400, json!({"ttl": ["A valid integer is required."]}), Some(USAGE)),
            (
                422,
                json!({"detail": "This Idempotency-Key was used for another request."}),
                Some(USAGE),
            ),
            (401, json!({"detail": "Invalid token."}), Some(NOT_ALLOWED)),
            (403, json!({"detail": "No."}), Some(NOT_ALLOWED)),
        ] {
            let refused = refused(&reply(status, body.clone()));
            assert_eq!(refused.map(|error| error.exit_code()), code, "{status} {body}");
        }
        let two = json!({"name": ["Too long."], "ttl": ["Too large."]});
        assert_eq!(field_errors(&reply(400, two)), "name: Too long. ttl: Too large.");
    }

    #[test]
    fn seconds_may_have_parts() {
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["", "-1", "x", "NaN", "1e99", "inf"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_cannot_be_printed() {
        assert!(!format!("{:?}", Key::from("hunter2".to_owned())).contains("hunter2"));
    }
}
