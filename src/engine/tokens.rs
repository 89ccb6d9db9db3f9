//! Who may in, known without asking the database each time.
//!
//! A thread looks at the table once in TOKENS_LOOK_INTERVAL. What it saw is
//! believed for TOKENS_BELIEVED_MAX, counted from before the look: after that
//! whoever asks waits for the next look, for DECISION_WAIT_MAX at most. So a
//! token that was revoked is good for no longer than that, at every server, and
//! where the table cannot be read nobody is let in.
//!
//! Who was let in and waits is told when its token ends. All who wait are woken
//! then, and only then: a look that finds every token as good as before wakes
//! nobody, and no waiter has a timer for the end of its token.

use std::pin::Pin;
use std::sync::Arc;
use std::thread::{self, Builder};
use std::time::Instant;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::access::{KeyHash, Token};
use crate::clock::Timestamp;
use crate::db::{Catalog, StoreError, TokenList};
use crate::engine::Unavailable;
use crate::limits::{DECISION_WAIT_MAX, TOKENS_BELIEVED_MAX, TOKENS_LOOK_INTERVAL};

/// The tokens, as they were a moment ago. Cloning copies a pointer.
#[derive(Clone)]
pub struct Tokens {
    watched: Arc<Watched>,
}

/// What the thread writes and requests read.
struct Watched {
    seen: watch::Sender<Seen>,
    /// Notified after a look by which a token is good no more.
    ends: Notify,
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
        let (at, now) = (Instant::now(), Timestamp::wall_clock());
        let tokens = catalog.tokens(None)?.map(Arc::new).unwrap_or_default();
        let watched = Arc::new(Watched {
            seen: watch::Sender::new(Seen { tokens, at }),
            ends: Notify::new(),
        });
        let tokens = Self {
            watched: Arc::clone(&watched),
        };
        let thread = Builder::new().name("tokens".to_owned());
        thread
            .spawn(move || look_again_and_again(&catalog, &watched, now))
            .map_err(|e| StoreError::Failed(format!("cannot start a thread: {e}")))?;
        Ok(tokens)
    }

    /// The token whose key has this hash, if it is good for anything.
    ///
    /// Errors: the table could not be looked at lately.
    pub async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<Token>>, Unavailable> {
        self.require_belief().await?;
        let seen = self.watched.seen.borrow();
        Ok(seen.tokens.find_good(hash, Timestamp::wall_clock()).cloned())
    }

    /// The same by the number of the token, with the hash of its key.
    pub async fn find_by_id(&self, id: i64) -> Result<Option<(KeyHash, Arc<Token>)>, Unavailable> {
        self.require_belief().await?;
        let seen = self.watched.seen.borrow();
        Ok(seen.tokens.find_good_by_id(id, Timestamp::wall_clock()))
    }

    async fn require_belief(&self) -> Result<(), Unavailable> {
        if !self.watched.seen.borrow().is_believed() {
            // Apart, because it is seldom needed, and each request that waits would hold room for it.
            Box::pin(self.wait_for_a_look()).await?;
        }
        Ok(())
    }

    /// What comes of `waiting`; `None` if the token whose key has this hash ends
    /// before. That is seen within a look of its end.
    pub async fn while_good<T>(&self, hash: &KeyHash, waiting: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        tokio::select! {
            biased;
            done = waiting => Some(done),
            // Apart, so that where nobody asks for tokens those who wait do not hold room for it.
            () = Box::pin(self.end(hash)) => None,
        }
    }

    /// Returns when that token is not good any more, as far as it was seen.
    async fn end(&self, hash: &KeyHash) {
        let is_good = || {
            let seen = self.watched.seen.borrow();
            seen.tokens.find_good(hash, Timestamp::wall_clock()).is_some()
        };
        loop {
            // Made before the look, so that it hears of all that happens after it.
            let ends = self.watched.ends.notified();
            if !is_good() {
                return;
            }
            ends.await;
        }
    }

    async fn wait_for_a_look(&self) -> Result<(), Unavailable> {
        let mut seen = self.watched.seen.subscribe();
        match timeout(DECISION_WAIT_MAX, seen.wait_for(Seen::is_believed)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Unavailable::Store),
        }
    }
}

/// Until the process ends: nobody who is let in waits for this thread. What it
/// knows at first was looked at at `looked_at`.
fn look_again_and_again(catalog: &Catalog, watched: &Watched, mut looked_at: Timestamp) {
    let mut is_failing = false;
    loop {
        thread::sleep(TOKENS_LOOK_INTERVAL);
        let (at, now) = (Instant::now(), Timestamp::wall_clock());
        let known = Arc::clone(&watched.seen.borrow().tokens);
        match catalog.tokens(Some(known.number)) {
            Ok(changed) => {
                let tokens = changed.map_or_else(|| Arc::clone(&known), Arc::new);
                let any_ended = known
                    .good_at(looked_at)
                    .any(|hash| tokens.find_good(hash, now).is_none());
                watched.seen.send_replace(Seen { tokens, at });
                if any_ended {
                    watched.ends.notify_waiters();
                }
                looked_at = now;
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
