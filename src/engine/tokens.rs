//! Who may in, known without asking the database each time.
//!
//! A thread looks at the table once in TOKENS_LOOK_INTERVAL. What it saw is
//! believed for TOKENS_BELIEVED_MAX, counted from before the look: after that
//! whoever asks has to look, and if that fails nobody is let in. So a token
//! that was revoked is good for no longer than that, at every server.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, Builder};
use std::time::Instant;

use crate::access::{KeyHash, Token};
use crate::clock::Timestamp;
use crate::db::{Catalog, StoreError, TokenList};
use crate::limits::{TOKENS_BELIEVED_MAX, TOKENS_LOOK_INTERVAL};

/// The tokens, as they were a moment ago. Cloning copies a pointer.
#[derive(Clone)]
pub struct Tokens {
    shared: Arc<Shared>,
}

struct Shared {
    catalog: Catalog,
    seen: RwLock<Seen>,
    /// Whoever looks; the others wait for what comes of it.
    looking: Mutex<()>,
}

struct Seen {
    tokens: Arc<TokenList>,
    /// When the look began; `None` before the first.
    at: Option<Instant>,
}

/// The tokens were not looked at lately: [`Tokens::look`].
#[derive(Debug)]
pub struct Outdated;

impl Tokens {
    /// Looks for the first time, and begins to do so again and again.
    ///
    /// Errors: the database fails, or there is no thread.
    pub fn watch(catalog: Catalog) -> Result<Self, StoreError> {
        let tokens = Self {
            shared: Arc::new(Shared {
                catalog,
                seen: RwLock::new(Seen {
                    tokens: Arc::default(),
                    at: None,
                }),
                looking: Mutex::new(()),
            }),
        };
        tokens.look()?;
        let watching = tokens.clone();
        let thread = Builder::new().name("tokens".to_owned());
        thread
            .spawn(move || watching.run())
            .map_err(|e| StoreError::Failed(format!("cannot start a thread: {e}")))?;
        Ok(tokens)
    }

    /// The token whose key has this hash, if it is good for anything.
    pub fn find(&self, hash: &KeyHash) -> Result<Option<Arc<Token>>, Outdated> {
        let seen = self.shared.seen.read().unwrap_or_else(PoisonError::into_inner);
        if !seen.is_believed() {
            return Err(Outdated);
        }
        let token = seen.tokens.find(hash);
        Ok(token.filter(|token| token.is_good_at(Timestamp::wall_clock())).cloned())
    }

    /// Looks at the table, unless somebody else has done so meanwhile.
    pub fn look(&self) -> Result<(), StoreError> {
        let _looking = self.shared.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let known = {
            let seen = self.shared.seen.read().unwrap_or_else(PoisonError::into_inner);
            if seen.at.is_some_and(|at| at.elapsed() < TOKENS_LOOK_INTERVAL / 2) {
                return Ok(());
            }
            seen.at.map(|_| seen.tokens.number)
        };
        let at = Instant::now();
        let changed = self.shared.catalog.tokens(known)?;
        let mut seen = self.shared.seen.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(changed) = changed {
            seen.tokens = Arc::new(changed);
        }
        seen.at = Some(at);
        Ok(())
    }

    /// Until the process ends: nobody who is let in waits for this thread.
    fn run(&self) {
        let mut is_failing = false;
        loop {
            thread::sleep(TOKENS_LOOK_INTERVAL);
            match self.look() {
                Ok(()) if is_failing => {
                    log::info!("tokens can be looked up again");
                    is_failing = false;
                }
                Ok(()) => {}
                Err(error) if !is_failing => {
                    log::warn!("tokens cannot be looked up, nobody is let in: {error}");
                    is_failing = true;
                }
                Err(error) => log::debug!("tokens cannot be looked up: {error}"),
            }
        }
    }
}

impl Seen {
    fn is_believed(&self) -> bool {
        self.at.is_some_and(|at| at.elapsed() < TOKENS_BELIEVED_MAX)
    }
}
