//! Runs the command while the lock is held, and ends it when the lock is lost.
//!
//! What may happen between any two lines here: this process is stopped, or the
//! machine suspended, for any time. So before anything of the command goes on
//! after such a pause, the clock is looked at; and what the lock lasts for counts
//! from before a request was sent.

use std::io;
use std::process::Command;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::select_all;
use rustix::process::{Signal, getpid, kill_current_process_group, kill_process};

use super::Wish;
use super::keep::{Grant, Keeper, Loss};
use super::release::release;
use super::talk::Talk;
use crate::client::{Alarm, Api, SinceBoot};
use crate::limits::{GIVE_BACK_WAIT_MAX, RELEASE_WAIT_MAX};
use crate::management::CommandError;
use crate::management::exit_code::{LOST, NOT_EXECUTED};
use crate::supervise::{Change, Signals, Supervised};

/// How often who does not end is killed once more: somebody may have been born.
const KILL_AGAIN_INTERVAL: Duration = Duration::from_millis(10);

/// Stops us as the terminal would if we did not hear its signal. Not so where
/// nobody is there who could let us go on (no shell above us, as with `ssh -t` or
/// below `script`): the system passes over this one then, and not SIGSTOP.
const STOPPING: Signal = Signal::TTIN;

/// How long it takes at most to learn that we were stopped and go on.
const STOP_WAIT_MAX: Duration = Duration::from_millis(100);

/// Runs what `launcher` starts. `ends_at_once` is whether the lock is released
/// when that ends, whatever it has left running.
///
/// Answers with the exit code.
pub(super) async fn run(
    api: &Api,
    wish: &Wish,
    grants: Vec<Grant>,
    launcher: &mut Command,
    signals: Signals,
    ends_at_once: bool,
    talk: &Talk,
) -> Result<u8, CommandError> {
    let keepers: Vec<_> = grants.iter().map(|grant| Keeper::new(api, wish, grant)).collect();
    let trusted_until = || {
        let each = keepers.iter().map(Keeper::trusted_until);
        each.min().unwrap_or_else(SinceBoot::now)
    };
    // There before the command is: without them it would be lost at once.
    let alarms = grants.iter().map(|_| Alarm::new()).collect::<io::Result<Vec<_>>>();
    let started = alarms.and_then(|alarms| Ok((alarms, Running::start(launcher, signals, ends_at_once, talk)?)));
    let (alarms, mut running) = match started {
        Ok(started) => started,
        Err(error) => {
            release(api, wish, &grants, RELEASE_WAIT_MAX).await?;
            return Err(CommandError::client(
                NOT_EXECUTED,
                format!("cannot start the command: {error}"),
            ));
        }
    };
    let keeping = keepers.iter().zip(alarms);
    let losing = select_all(keeping.map(|(keeper, alarm)| keeper.keep(alarm).boxed_local()));
    let loss = running
        .until_end_or(losing.map(|(loss, ..)| loss), &trusted_until)
        .await;
    running.command.take_terminal();
    let Some((grant, loss)) = loss else {
        let code = running.command.ended().map_or(LOST, |ended| ended.exit_code());
        let losses = release(api, wish, &grants, RELEASE_WAIT_MAX).await?;
        return Ok(running.released(&losses, code, wish));
    };
    let (why, kill_at) = match &loss {
        Loss::NotTrusted(failure) => (
            format!("it could not be renewed: {failure}"),
            trusted_until() + wish.terms().grace(),
        ),
        Loss::Told(said) => (said.clone(), SinceBoot::now() + wish.terms().grace()),
    };
    talk.warn(format!("lost the lock on {}: {why}; ending the command", grant.name));
    running.end(kill_at).await;
    // Whatever is ours yet nobody needs any more.
    release(api, wish, &grants, GIVE_BACK_WAIT_MAX).await?;
    Ok(LOST)
}

/// A command while its lock is held.
struct Running<'t> {
    command: Supervised,
    signals: Signals,
    job_control: Signals,
    /// There before the command is: its end must not fail.
    kill_alarm: Alarm,
    ends_at_once: bool,
    talk: &'t Talk,
}

impl<'t> Running<'t> {
    /// Errors: the system has no room for the command. It does not run then.
    fn start(launcher: &mut Command, signals: Signals, ends_at_once: bool, talk: &'t Talk) -> io::Result<Self> {
        Ok(Self {
            // Not before the grant: by default they stop this process, which has nothing else to do then.
            job_control: Signals::hear(&[Signal::TSTP, Signal::CONT])?,
            kill_alarm: Alarm::new()?,
            command: Supervised::start(launcher)?,
            signals,
            ends_at_once,
            talk,
        })
    }

    /// Passes on what is heard until the command has ended, which is `None`, or
    /// `losing` says that the lock is lost.
    async fn until_end_or<L>(
        &mut self,
        losing: impl Future<Output = L>,
        trusted_until: &impl Fn() -> SinceBoot,
    ) -> Option<L> {
        let mut losing = std::pin::pin!(losing);
        loop {
            tokio::select! {
                biased;
                loss = &mut losing => return Some(loss),
                signal = self.job_control.next() => {
                    if signal == Signal::TSTP {
                        self.command.signal(Signal::TSTP);
                        let _ = kill_process(getpid(), STOPPING);
                        self.stopped().await;
                    }
                    self.go_on(trusted_until);
                }
                signal = self.signals.next() => self.command.signal(signal),
                change = self.command.change() => match change {
                    Change::WantsTerminal if self.command.give_terminal() => {}
                    Change::WantsTerminal => {
                        // We are in the background ourselves, as our shell has to learn.
                        // The same for all of the pipeline that we are in.
                        let _ = kill_current_process_group(STOPPING);
                        self.stopped().await;
                        self.go_on(trusted_until);
                    }
                    Change::StoppedByTerminal => {
                        self.command.take_terminal();
                        // The same for all of the pipeline that we are in.
                        let _ = kill_current_process_group(STOPPING);
                        self.stopped().await;
                        self.go_on(trusted_until);
                        self.command.give_terminal();
                    }
                    Change::Ended(_) if self.ends_at_once => return None,
                    Change::Ended(_) => {
                        self.command.take_terminal();
                        if self.command.is_alive() {
                            self.talk.tell("the command has ended; waiting for what it has started");
                        }
                    }
                    Change::Gone => return None,
                },
            }
        }
    }

    /// Returns when we have been stopped and go on, or were not.
    async fn stopped(&mut self) {
        let _ = tokio::time::timeout(STOP_WAIT_MAX, self.job_control.next()).await;
    }

    /// Lets the command go on after we were stopped, if the lock is still to be
    /// believed in; else none of it takes another step.
    fn go_on(&mut self, trusted_until: &impl Fn() -> SinceBoot) {
        if trusted_until().has_come() {
            self.command.kill();
        } else {
            self.command.signal(Signal::CONT);
        }
    }

    /// Ends the command and all that it has started: it is asked to, and at
    /// `kill_at` made to.
    async fn end(&mut self, kill_at: SinceBoot) {
        // Whoever is stopped goes on to hear it: not if it is too late for that.
        if !kill_at.has_come() {
            self.command.terminate();
        }
        tokio::select! {
            () = self.command.gone() => return,
            () = self.kill_alarm.until(kill_at) => {}
        }
        loop {
            self.command.kill();
            tokio::select! {
                () = self.command.gone() => return,
                () = tokio::time::sleep(KILL_AGAIN_INTERVAL) => {}
            }
        }
    }

    /// The exit code after a release.
    fn released(&self, losses: &[(&Grant, Loss)], code: u8, wish: &Wish) -> u8 {
        let mut was_lost = false;
        for (grant, loss) in losses {
            match loss {
                Loss::Told(said) => {
                    let name = &grant.name;
                    self.talk
                        .warn(format!("the lock on {name} was lost before the command ended: {said}"));
                    was_lost = true;
                }
                Loss::NotTrusted(failure) => self.talk.warn(format!(
                    "{} could not be released: {failure}; it is free in {} s at most",
                    grant.name, wish.ttl
                )),
            }
        }
        if was_lost { LOST } else { code }
    }
}
