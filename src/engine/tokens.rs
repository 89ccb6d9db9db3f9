//! Who may in, known without asking the database each time.
//!
//! A thread looks at the table once in TOKENS_LOOK_INTERVAL. What it saw is
//! believed for TOKENS_BELIEVED_MAX, counted from before the look: after that
//! whoever asks waits for the next look, for DECISION_WAIT_MAX at most. So a
//! token that was revoked is good for no longer than that, at every server, and
//! where the table cannot be read nobody is let in.

use std::sync::Arc;
use std::thread::{self, Builder};
use std::time::Instant;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::access::{KeyHash, Token};
use crate::clock::Timestamp;
use crate::db::{Catalog, StoreError, TokenList};
use crate::engine::Unavailable;
use crate::limits::{DECISION_WAIT_MAX, TOKENS_BELIEVED_MAX, TOKENS_LOOK_INTERVAL};

/// The tokens, as they were a moment ago. Cloning copies a pointer.
#[derive(Clone)]
pub struct Tokens {
    seen: Arc<watch::Sender<Seen>>,
}

struct Seen {
    tokens: Arc<TokenList>,
    /// When the look began.
    at: Instant,
}

impl Tokens {
    /// Looks for the first time, and begins to do so again and again.
    ///
    /// Errors: the database fails, or there is no thread.
    pub fn watch(catalog: Catalog) -> Result<Self, StoreError> {
        let at = Instant::now();
        let tokens = catalog.tokens(None)?.map(Arc::new).unwrap_or_default();
        let seen = Arc::new(watch::Sender::new(Seen { tokens, at }));
        let tokens = Self {
            seen: Arc::clone(&seen),
        };
        let thread = Builder::new().name("tokens".to_owned());
        thread
            .spawn(move || look_again_and_again(&catalog, &seen))
            .map_err(|e| StoreError::Failed(format!("cannot start a thread: {e}")))?;
        Ok(tokens)
    }

    /// The token whose key has this hash, if it is good for anything.
    ///
    /// Errors: the table could not be looked at lately.
    pub async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<Token>>, Unavailable> {
        if !self.seen.borrow().is_believed() {
            // Apart, because it is seldom needed, and each request that waits would hold room for it.
            Box::pin(self.wait_for_a_look()).await?;
        }
        let seen = self.seen.borrow();
        let token = seen.tokens.find(hash);
        Ok(token.filter(|token| token.is_good_at(Timestamp::wall_clock())).cloned())
    }

    async fn wait_for_a_look(&self) -> Result<(), Unavailable> {
        let mut seen = self.seen.subscribe();
        match timeout(DECISION_WAIT_MAX, seen.wait_for(Seen::is_believed)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Unavailable::Store),
        }
    }
}

/// Until the process ends: nobody who is let in waits for this thread.
fn look_again_and_again(catalog: &Catalog, seen: &watch::Sender<Seen>) {
    let mut is_failing = false;
    loop {
        thread::sleep(TOKENS_LOOK_INTERVAL);
        let at = Instant::now();
        let known = seen.borrow().tokens.number;
        match catalog.tokens(Some(known)) {
            Ok(changed) => {
                seen.send_modify(|seen| {
                    seen.at = at;
                    if let Some(changed) = changed {
                        seen.tokens = Arc::new(changed);
                    }
                });
                if is_failing {
                    log::info!("tokens can be looked up again");
                    is_failing = false;
                }
            }
            Err(error) if !is_failing => {
                log::warn!("tokens cannot be looked up, nobody is let in: {error}");
                is_failing = true;
            }
            Err(error) => log::debug!("tokens cannot be looked up: {error}"),
        }
    }
}

impl Seen {
    fn is_believed(&self) -> bool {
        self.at.elapsed() < TOKENS_BELIEVED_MAX
    }
}
