//! What clients asked of the server, what they were answered, and when: the
//! history that is judged.

use std::fmt;

use serde_json::Value;

/// Microseconds since the test began, by the clock of all its clients.
pub type Us = i64;

/// Who holds a lock is known by its key; several attempts and several locks may
/// have the same.
pub type Key = u32;

/// One wish to have a lock: all attempts with the same `Idempotency-Key` are
/// one. It is the label of the lock, so whoever looks learns it.
pub type Wish = u32;

/// One operation of one client on one resource.
#[derive(Clone, Debug)]
pub struct Operation {
    pub client: usize,
    pub asked: Asked,
    pub sent: Us,
    pub answer: Answer,
    /// When the answer was there; or when the client stopped waiting for one.
    pub ended: Us,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Acquire {
        key: Key,
        wish: Wish,
        ttl: Option<Us>,
        /// For how long it waits; 0 is not at all.
        timeout: Us,
    },
    Release {
        key: Key,
        token: Option<i64>,
        /// The `Idempotency-Key`, if there was one.
        request: Option<u32>,
    },
    Renew {
        key: Key,
        /// `None` is as long as before.
        ttl: Option<Us>,
        token: Option<i64>,
    },
    Look,
    Check {
        token: i64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Granted {
        token: i64,
    },
    Locked,
    TimedOut,
    Released,
    NotAcquired,
    /// "Invalid unlock request" or "Invalid renew request".
    Invalid,
    /// Of a renewal or of a look.
    Seen(Seen),
    Checked {
        valid: bool,
        latest: i64,
    },
    /// It may have happened at any time since it was sent, or never: no answer,
    /// or 503.
    Unknown(&'static str),
}

/// A resource as the server shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub held: Option<SeenLock>,
    /// Of the latest grant; 0 if there was none.
    pub token: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenLock {
    pub wish: Wish,
    /// `None` lasts until it is released.
    pub expires_in: Option<Us>,
}

impl Seen {
    /// Reads a representation.
    pub fn read(shown: &Value) -> Self {
        let label = shown["label"].as_str();
        let held = shown["locked"].as_bool().expect("it says so").then(|| SeenLock {
            wish: label
                .and_then(|label| label.parse().ok())
                .expect("each lock is labelled"),
            expires_in: shown["expires_in"].as_f64().map(|seconds| (seconds * 1e6) as Us),
        });
        Self {
            held,
            token: shown["fencing_token"].as_i64().expect("a number"),
        }
    }
}

impl Operation {
    /// Whether the resource is the same afterwards, whatever it was.
    pub fn is_observation(&self) -> bool {
        match (&self.asked, &self.answer) {
            (_, Answer::Unknown(_)) => false,
            (Asked::Look | Asked::Check { .. }, _) => true,
            (_, answer) => matches!(
                answer,
                Answer::Locked | Answer::TimedOut | Answer::NotAcquired | Answer::Invalid
            ),
        }
    }
}

/// One line: client, from when to when, what, and what came of it.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |us: Us| us as f64 / 1e6;
        let (sent, ended) = (seconds(self.sent), seconds(self.ended));
        write!(f, "{sent:10.4} {ended:10.4}  c{:<3} {} -> ", self.client, self.asked)?;
        match &self.answer {
            Answer::Granted { token } => write!(f, "granted, token {token}"),
            Answer::Locked => f.write_str("locked"),
            Answer::TimedOut => f.write_str("timed out"),
            Answer::Released => f.write_str("released"),
            Answer::NotAcquired => f.write_str("not acquired"),
            Answer::Invalid => f.write_str("held by somebody else"),
            Answer::Seen(Seen { held: None, token }) => write!(f, "free, latest token {token}"),
            Answer::Seen(Seen {
                held: Some(held),
                token,
            }) => {
                write!(f, "held for wish {}, token {token}", held.wish)?;
                match held.expires_in {
                    None => f.write_str(", for ever"),
                    Some(left) => write!(f, ", {:.4} s left", seconds(left)),
                }
            }
            Answer::Checked { valid, latest } => write!(f, "valid: {valid}, latest token {latest}"),
            Answer::Unknown(why) => write!(f, "? ({why})"),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |us: &Us| us / 1_000_000;
        match self {
            Self::Acquire {
                key,
                wish,
                ttl,
                timeout,
            } => {
                write!(f, "acquire key {key} wish {wish}")?;
                if let Some(ttl) = ttl {
                    write!(f, " ttl {}", seconds(ttl))?;
                }
                if *timeout > 0 {
                    write!(f, " timeout {}", seconds(timeout))?;
                }
                Ok(())
            }
            Self::Release { key, token, request } => {
                write!(f, "release key {key}")?;
                if let Some(token) = token {
                    write!(f, " token {token}")?;
                }
                if let Some(request) = request {
                    write!(f, " request {request}")?;
                }
                Ok(())
            }
            Self::Renew { key, ttl, token } => {
                write!(f, "renew key {key}")?;
                if let Some(ttl) = ttl {
                    write!(f, " ttl {}", seconds(ttl))?;
                }
                if let Some(token) = token {
                    write!(f, " token {token}")?;
                }
                Ok(())
            }
            Self::Look => f.write_str("look"),
            Self::Check { token } => write!(f, "check token {token}"),
        }
    }
}
