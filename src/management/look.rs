//! The commands that look at locks, and those that touch one without a command:
//! `cls status`, `cls watch`, `cls renew`, `cls release`.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Api, Method, Question, Reply, path_of};
use crate::limits::{LIST_PAGE_SIZE_MAX, TTL_SECONDS_MAX, WATCHED_WAIT};
use crate::management::exit_code::LOST;
use crate::management::server_options::{Key, ServerOptions, ask, name};
use crate::management::shown::table;
use crate::management::{CommandError, in_runtime, random_text};

/// Show what is held.
#[derive(Debug, Args)]
pub struct Status {
    /// Only resources whose names begin so.
    #[arg(value_name = "NAME|PREFIX")]
    prefix: Option<String>,
    /// Free ones too.
    #[arg(short, long)]
    all: bool,
    /// A JSON list, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

/// Show what becomes of a resource, a line at each change, until it is stopped.
#[derive(Debug, Args)]
pub struct Watch {
    /// Which resource.
    #[arg(value_parser = name)]
    name: String,
    /// A JSON object at each change, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

/// Renew a lock that was acquired with a key that is known.
#[derive(Debug, Args)]
pub struct Renew {
    #[command(flatten)]
    held: Held,
    /// Seconds from now on that it lasts; without this, as long as before.
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..=i64::from(TTL_SECONDS_MAX)))]
    ttl: Option<u32>,
    /// The resource as it is then, in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

/// Release a lock that was acquired with a key that is known.
#[derive(Debug, Args)]
pub struct Release {
    #[command(flatten)]
    held: Held,
    #[command(flatten)]
    server: ServerOptions,
}

/// A lock, and the proof that it is ours.
#[derive(Debug, Args)]
struct Held {
    /// Which resource.
    #[arg(value_parser = name)]
    name: String,
    /// The key (`locked_by`) of the lock. Others see the arguments of a process: the variable is better.
    #[arg(long, env = "CLS_KEY", hide_env_values = true)]
    key: Key,
    /// Only if this is the grant that stands.
    #[arg(long, value_name = "TOKEN")]
    fencing_token: Option<i64>,
}

impl Status {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let api = self.server.api()?;
        let resources = in_runtime(self.all_pages(&api))?;
        let text = match self.json {
            true => Value::from(resources).to_string() + "\n",
            false => table(&resources, chrono::Utc::now()),
        };
        Ok(io::stdout().write_all(text.as_bytes())?)
    }

    async fn all_pages(&self, api: &Api) -> Result<Vec<Value>, CommandError> {
        let mut resources = Vec::new();
        for page in 1_u32.. {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("ordering", "name");
            query.append_pair("page", &page.to_string());
            query.append_pair("page_size", &LIST_PAGE_SIZE_MAX.to_string());
            if !self.all {
                query.append_pair("locked", "true");
            }
            if let Some(prefix) = &self.prefix {
                query.append_pair("prefix", prefix);
            }
            let question = Question::new(Method::GET, format!("/resources/?{}", query.finish()));
            let mut reply = ask(api, &question, self.server.retry).await?;
            if let Value::Array(results) = reply.body["results"].take() {
                resources.extend(results);
            }
            if reply.body["next"].is_null() {
                break;
            }
        }
        Ok(resources)
    }
}

impl Watch {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let api = self.server.api()?;
        in_runtime(self.show_changes(&api))
    }

    /// Returns if it cannot go on. What changes between two questions is seen,
    /// because the second one says what the first one has shown.
    async fn show_changes(&self, api: &Api) -> Result<(), CommandError> {
        let mut tag: Option<String> = None;
        let mut wait = String::new();
        loop {
            let question = Question::new(Method::GET, path_of(&self.name) + &wait).unless(tag.as_deref());
            let reply = ask(api, &question, self.server.retry).await?;
            match reply.status {
                200 => {
                    self.show(&reply)?;
                    tag = reply.tag;
                }
                // As it was.
                304 => {}
                // Nobody has ever acquired it: until somebody does.
                _ => tag = None,
            }
            wait = format!("?wait={}", WATCHED_WAIT.as_secs());
        }
    }

    fn show(&self, reply: &Reply) -> Result<(), CommandError> {
        let mut stdout = io::stdout();
        if self.json {
            writeln!(stdout, "{}", reply.body)?;
        } else {
            let now = chrono::Utc::now();
            let table = table(std::slice::from_ref(&reply.body), now);
            let line = table.lines().nth(1).unwrap_or_default();
            writeln!(stdout, "{}  {line}", now.format("%Y-%m-%dT%H:%M:%SZ"))?;
        }
        Ok(stdout.flush()?)
    }
}

impl Held {
    fn body(&self) -> Value {
        let mut body = json!({"locked_by": self.key.reveal()});
        if let Some(token) = self.fencing_token {
            body["fencing_token"] = token.into();
        }
        body
    }

    fn not_held(&self, reply: &Reply) -> CommandError {
        CommandError::client(LOST, format!("{}: {}", self.name, reply.said()))
    }
}

impl Renew {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let api = self.server.api()?;
        let mut body = self.held.body();
        if let Some(ttl) = self.ttl {
            body["ttl"] = ttl.into();
        }
        let question = Question::new(Method::PATCH, path_of(&self.held.name)).with_body(body);
        let reply = in_runtime(ask(&api, &question, self.server.retry))?;
        if reply.status != 200 {
            return Err(self.held.not_held(&reply));
        }
        if self.json {
            writeln!(io::stdout(), "{}", reply.body)?;
        }
        Ok(())
    }
}

impl Release {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let api = self.server.api()?;
        let request = random_text()?;
        let question = Question::new(Method::DELETE, path_of(&self.held.name));
        let question = question.with_body(self.held.body()).once(&request);
        let reply = in_runtime(ask(&api, &question, self.server.retry))?;
        match reply.status {
            204 => Ok(()),
            _ => Err(self.held.not_held(&reply)),
        }
    }
}
