//! A server's batcher on a thread of its own, of which only one runs at a time.
//!
//! The batcher calls the store and waits for it, so it needs a stack of its own;
//! but nothing here may depend on which thread is quicker. So a thread runs only
//! between two messages: it is told to go on, runs until it has to wait for
//! something, and says for what. Meanwhile the one who told it waits.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::time::Instant;

/// For what a thread waits.
#[derive(Debug)]
pub enum Wait {
    /// For time to pass.
    For(Duration),
    /// For rows that somebody else has locked, until then.
    ForRows(Instant),
    /// For work; there is some then even if nobody asks, or at once.
    ForWork(Option<std::time::Instant>),
}

/// What a thread says.
#[derive(Debug)]
pub enum Said {
    Waits(Wait),
    /// It has done what it was to do.
    Ended,
    /// It panicked.
    Panicked(String),
}

/// The thread's end. Cloning copies a pointer.
#[derive(Clone)]
pub struct Baton(Arc<Mutex<Ends>>);

struct Ends {
    goes_on: Receiver<()>,
    says: SyncSender<Said>,
}

/// The end of whoever lets it run.
pub struct Runner {
    go_on: Option<SyncSender<()>>,
    said: Receiver<Said>,
    thread: Option<JoinHandle<()>>,
}

/// By what a thread unwinds whose server is killed.
struct Killed;

impl Baton {
    /// Waits. Does not come back if the server is killed meanwhile.
    pub fn wait(&self, wait: Wait) {
        let is_killed = {
            let ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            ends.says.send(Said::Waits(wait)).is_err() || ends.goes_on.recv().is_err()
        };
        if is_killed && !thread::panicking() {
            panic::resume_unwind(Box::new(Killed));
        }
    }
}

impl Runner {
    /// A thread that does `work`, once it is told to go on.
    pub fn start(work: impl FnOnce(Baton) + Send + 'static) -> Self {
        let (go_on, goes_on) = sync_channel(1);
        let (says, said) = sync_channel(1);
        let run = move || {
            if goes_on.recv().is_err() {
                return;
            }
            let ends = says.clone();
            let baton = Baton(Arc::new(Mutex::new(Ends { goes_on, says })));
            let result = panic::catch_unwind(AssertUnwindSafe(|| work(baton)));
            let last = match result {
                Ok(()) => Said::Ended,
                Err(panic) if panic.is::<Killed>() => Said::Ended,
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                    Said::Panicked(text.unwrap_or_default())
                }
            };
            // Nobody hears it who has killed the server.
            let _ = ends.send(last);
        };
        let thread = thread::Builder::new().stack_size(1 << 20).spawn(run);
        Self {
            go_on: Some(go_on),
            said,
            thread: Some(thread.expect("a thread can be started")),
        }
    }

    /// Lets it run until it has to wait.
    pub fn go_on(&self) -> Said {
        let go_on = self.go_on.as_ref().expect("it was not killed");
        match go_on.send(()) {
            Ok(()) => self.said.recv().unwrap_or(Said::Ended),
            Err(_) => Said::Ended,
        }
    }
}

impl Drop for Runner {
    /// Ends it wherever it waits.
    fn drop(&mut self) {
        self.go_on = None;
        if let Some(thread) = self.thread.take() {
            // What it had to say was said.
            let _ = thread.join();
        }
    }
}
