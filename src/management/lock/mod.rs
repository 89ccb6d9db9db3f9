//! `cls lock`: a command while a lock is held.

mod acquire;
mod hold;
mod keep;
mod release;
mod talk;
mod waiting;

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use rustix::process::Signal;

use self::acquire::{NotAcquired, Patience};
use self::keep::Grant;
use self::talk::Talk;
use crate::client::{Api, SinceBoot, Terms};
use crate::limits::{LABEL_CHARS_MAX, NAMES_TOGETHER_MAX, TTL_SECONDS_MAX};
use crate::management::exit_code::NOT_ACQUIRED;
use crate::management::server_options::{Key, ServerOptions, name, seconds};
use crate::management::{CommandError, in_runtime, random_text};
use crate::settings::user_name;
use crate::supervise::{Program, Signals};

/// What ends a command by default, and so the wait for the lock.
const ENDING: [Signal; 4] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];

/// What is passed on besides, and means nothing while there is no command.
const PASSED_ON: [Signal; 3] = [Signal::USR1, Signal::USR2, Signal::WINCH];

/// Run a command while holding a lock.
///
/// Waits in line for the lock, runs COMMAND, renews the lock meanwhile, and
/// releases it when COMMAND and all that it has started in its process group have
/// ended. If the lock is lost, COMMAND is ended before anybody else can have it.
///
/// Exits with the code of COMMAND (128+N if signal N ended it), or with 75 if the
/// lock was not to be had in time, 69 if no server answers, 77 if the token does
/// not allow it, 76 if the lock was lost, 126 or 127 if COMMAND cannot be executed,
/// 64 if it was asked wrongly.
#[derive(Debug, Args)]
#[command(override_usage = "cls lock [OPTIONS] NAME... -- COMMAND [ARG...]")]
pub struct Lock {
    /// Do not wait for the lock.
    #[arg(short = 'n', long, visible_alias = "nb", conflicts_with = "wait")]
    nonblock: bool,
    /// Wait so many seconds at most; without this, for ever.
    #[arg(short, long, visible_alias = "timeout", value_name = "SECS", value_parser = seconds)]
    wait: Option<Duration>,
    /// The exit code if the lock is not to be had in time.
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = NOT_ACQUIRED)]
    conflict_exit_code: u8,
    /// Release the lock when COMMAND ends, whatever it has left running.
    #[arg(short = 'o', long)]
    close: bool,
    /// Say what happens.
    #[arg(long)]
    verbose: bool,
    /// Seconds that the lock lasts if it is not renewed; it is, at a third of that.
    #[arg(long, value_name = "SECS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=TTL_SECONDS_MAX as i64))]
    ttl: u32,
    /// Who holds the lock and why, shown to all; by default USER@HOST:PID and the name of COMMAND.
    #[arg(long)]
    label: Option<String>,
    /// The key of the lock; by default by chance, so that no two runs have the same.
    #[arg(long, env = "CLS_KEY", hide_env_values = true)]
    key: Option<Key>,
    /// What to lock; of several names all or none.
    #[arg(required = true, value_name = "NAME", value_parser = name)]
    names: Vec<String>,
    /// What to run, and its arguments. No shell is between.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    server: ServerOptions,
}

/// What is wanted, for as long as it is.
pub(super) struct Wish {
    names: Vec<String>,
    key: String,
    /// Nobody else can have the key.
    is_own_key: bool,
    ttl: u32,
    label: String,
}

impl Wish {
    fn terms(&self) -> Terms {
        Terms::of_ttl(self.ttl)
    }

    /// For people.
    fn shown(&self) -> String {
        self.names.join(", ")
    }
}

impl Lock {
    /// The exit code is that of the command.
    pub(super) fn run(self) -> Result<u8, CommandError> {
        if self.names.len() > NAMES_TOGETHER_MAX {
            let message = format!("at most {NAMES_TOGETHER_MAX} names can be locked together");
            return Err(CommandError::client(super::exit_code::USAGE, message));
        }
        let api = self.server.api()?;
        // The main thread, with which the command dies.
        in_runtime(self.lock_and_run(&api))
    }

    async fn lock_and_run(self, api: &Api) -> Result<u8, CommandError> {
        let talk = &Talk::new(self.verbose)?;
        let mut signals = Signals::hear(&[ENDING.as_slice(), &PASSED_ON].concat())?;
        let program = Program {
            path: self.command[0].clone(),
            arguments: self.command[1..].to_vec(),
        };
        let key = match &self.key {
            Some(key) => key.reveal().to_owned(),
            None => random_text()?,
        };
        let wish = Wish {
            is_own_key: self.key.is_none(),
            key,
            ttl: self.ttl,
            label: self.label.clone().unwrap_or_else(|| default_label(&program)),
            names: self.names.clone(),
        };
        let asked = SinceBoot::now();
        let patience = match (self.nonblock, self.wait) {
            (true, _) => Patience::None,
            (_, Some(wait)) if wait.is_zero() => Patience::None,
            (_, Some(wait)) => Patience::Until(asked + wait),
            (_, None) => Patience::ForEver,
        };
        let acquired = {
            let acquiring = acquire::acquire(api, &wish, patience, self.server.retry, talk);
            tokio::select! {
                acquired = acquiring => acquired,
                signal = next_of(&mut signals, &ENDING) => Err(NotAcquired::Interrupted(signal)),
            }
        };
        let grants = match acquired {
            Ok(grants) => grants,
            Err(not_acquired) => return self.not_acquired(api, &wish, not_acquired, talk).await,
        };
        talk.tell(format!(
            "acquired {} after {:.1} s, fencing token {}",
            wish.shown(),
            (SinceBoot::now() - asked).as_secs_f64(),
            joined(&grants, ", ")
        ));
        let mut launcher = launcher(&program, &wish, &grants);
        hold::run(api, &wish, grants, &mut launcher, signals, self.close, talk).await
    }

    async fn not_acquired(
        &self,
        api: &Api,
        wish: &Wish,
        not_acquired: NotAcquired,
        talk: &Talk,
    ) -> Result<u8, CommandError> {
        // A grant may have been made whose answer was lost.
        if not_acquired.may_be_granted() && wish.is_own_key {
            release::give_back(api, wish).await;
        }
        match not_acquired {
            NotAcquired::Held => talk.tell(format!("{} is locked", wish.shown())),
            NotAcquired::TimedOut => talk.tell(format!("{} was not to be had in time", wish.shown())),
            NotAcquired::Deadlock => talk.warn(format!(
                "{} cannot be had: whoever has the key holds what another one waits for (deadlock)",
                wish.shown()
            )),
            NotAcquired::Interrupted(signal) => return Ok(128 + u8::try_from(signal.as_raw()).unwrap_or(0)),
            NotAcquired::Failed(error) => return Err(error),
        }
        Ok(self.conflict_exit_code)
    }
}

async fn next_of(signals: &mut Signals, wanted: &[Signal]) -> Signal {
    loop {
        let signal = signals.next().await;
        if wanted.contains(&signal) {
            return signal;
        }
    }
}

/// This program as what becomes the command.
fn launcher(program: &Program, wish: &Wish, grants: &[Grant]) -> Command {
    // Also where the file was replaced since.
    let mut launcher = Command::new(Path::new("/proc/self/exe"));
    launcher
        .arg("become")
        .arg(rustix::process::getpid().as_raw_nonzero().to_string())
        .arg(wish.terms().trusted_until(first_asked(grants)).as_nanos().to_string())
        .arg("--")
        .arg(&program.path)
        .args(&program.arguments)
        .env("CLS_RESOURCE", wish.names.join("\n"))
        .env("CLS_FENCING_TOKEN", joined(grants, "\n"))
        .env("CLS_EXPIRES_AT", expires_at(wish, grants));
    launcher
}

/// When the first request was begun that was granted.
fn first_asked(grants: &[Grant]) -> SinceBoot {
    let asked = grants.iter().map(|grant| grant.asked).min();
    asked.unwrap_or_else(SinceBoot::now)
}

fn joined(grants: &[Grant], separator: &str) -> String {
    let tokens: Vec<_> = grants.iter().map(|grant| grant.fencing_token.to_string()).collect();
    tokens.join(separator)
}

/// When the first of the locks ends unless it is renewed, by the wall clock of
/// this machine, as whoever reads it will.
fn expires_at(wish: &Wish, grants: &[Grant]) -> String {
    let left = (first_asked(grants) + Duration::from_secs(wish.ttl.into())).left();
    let ends = chrono::Utc::now().checked_add_signed(chrono::TimeDelta::from_std(left).unwrap_or_default());
    ends.unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// Not the arguments: they may hold secrets, and all are shown a label.
fn default_label(program: &Program) -> String {
    let user = user_name().unwrap_or_else(|| rustix::process::geteuid().as_raw().to_string());
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let command = Path::new(&program.path).file_name().unwrap_or(&program.path);
    let pid = std::process::id();
    let label = format!("{user}@{host}:{pid} {}", command.to_string_lossy());
    label
        .chars()
        .filter(|char| *char != '\0')
        .take(LABEL_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_says_who_and_what_and_no_argument() {
        let program = Program {
            path: "/usr/bin/deploy".into(),
            arguments: vec!["--password=hunter2".into()],
        };
        let label = default_label(&program);
        assert!(label.contains('@') && label.ends_with(" deploy"), "{label}");
        assert!(label.contains(&format!(":{}", std::process::id())));
        let long = Program {
            path: "x".repeat(300).into(),
            arguments: Vec::new(),
        };
        assert_eq!(default_label(&long).chars().count(), LABEL_CHARS_MAX);
    }
}
