//! What is said on stderr while a lock is held or waited for.
//!
//! A thread of its own says it: whoever is to read may not do so (a pager, a full
//! disk, a terminal at ^S), and the end of a command whose lock is lost cannot
//! wait for that.

use std::io::{self, Write, stderr};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

/// How many messages wait for a reader. Later ones are lost.
const UNREAD_MAX: usize = 64;

/// How long the last ones are waited for at the end.
const LAST_WAIT_MAX: Duration = Duration::from_secs(1);

/// Says things on stderr, in their order, and waits for nobody who reads them.
pub(super) struct Talk {
    is_verbose: bool,
    /// `None` when all is said.
    messages: Option<SyncSender<String>>,
    /// Tells by its end that all was written.
    written: Receiver<()>,
}

impl Talk {
    /// Errors: there is no room for a thread.
    pub(super) fn new(is_verbose: bool) -> io::Result<Self> {
        let (messages, unread) = sync_channel::<String>(UNREAD_MAX);
        let (writing, written) = channel();
        thread::Builder::new().spawn(move || {
            let _writing: std::sync::mpsc::Sender<()> = writing;
            for message in unread {
                // Where it cannot be written nobody reads it.
                let _ = writeln!(stderr(), "cls: {message}");
            }
        })?;
        Ok(Self {
            is_verbose,
            messages: Some(messages),
            written,
        })
    }

    /// What somebody has to know.
    pub(super) fn warn(&self, message: impl Into<String>) {
        if let Some(messages) = &self.messages {
            let _ = messages.try_send(message.into());
        }
    }

    /// What is said with `--verbose` only.
    pub(super) fn tell(&self, message: impl Into<String>) {
        if self.is_verbose {
            self.warn(message);
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.messages = None;
        let _ = self.written.recv_timeout(LAST_WAIT_MAX);
    }
}
