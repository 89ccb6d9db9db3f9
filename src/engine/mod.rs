//! Everything that runs: one thread that decides and commits, and the handle
//! through which requests reach it.
//!
//! ```text
//! request ──submit──▶ queue ──▶ batcher thread: load, decide, save, COMMIT; then read
//!    ▲                               │ Locked, and a timeout is given
//!    │                               ▼
//!    └────answer (oneshot)◀── waiting lines (owned by the batcher thread)
//!                                    ▲
//! other servers ──NOTIFY──▶ listener thread: where to look
//! ```
//!
//! # Who may do what between two lines
//!
//! The batcher thread alone touches the store, the waiting lines and the
//! timers, so none of them needs a lock. A request and the batcher share one
//! oneshot channel, and the two ways in which they may disagree are settled by
//! it:
//!
//! * *The client leaves, or its time is over, while the batcher grants.* The
//!   request closes its end first. Either the answer is already in the channel,
//!   then the request finds it and gives the grant back; or the batcher finds
//!   the channel closed, then the batcher gives it back. Exactly one of the
//!   two happens, because closing and sending are atomic to each other.
//! * *The batcher asks whether somebody still waits, and they leave just
//!   after.* That is the same case: the grant comes back in the next batch, and
//!   the next in line is served then.
//!
//! * *The same request is sent again while the first waits.* It gets the place,
//!   and the first is told so; whichever of them leaves later leaves by its own
//!   channel, and the place goes only if that is the one that has it.
//! * *It is sent again as the first is granted.* Either the grant was given back
//!   before, then it is a new one; or it is told the same grant, and the row says
//!   so. From then on the first does not give it back, whatever became of its
//!   answer; nor does the second: one of the two may have arrived. If both were
//!   lost the lock stands until it is asked for once more, or its ttl is over.
//! * *Somebody begins to watch a resource as it changes.* A watch is registered
//!   before it looks, and woken after each commit that changed the resource: it
//!   sees the change or is woken by it.
//!
//! What happens outside of the process is settled by the store's transactions:
//!
//! * *Another server on the same database does something.* Nothing in memory is
//!   about resources or their locks, but for hints when to look: what is decided
//!   is decided by rows that were locked and read for it. The lines in memory
//!   are of those whose connections are here, and nobody else serves them; how
//!   several servers keep one order stands with the store that several can
//!   share (`db::postgres::lines`). A hint that is late, twice or wrong costs a
//!   transaction that changes nothing.
//! * *The process is stopped and goes on*, anywhere. If it was in a transaction,
//!   PostgreSQL has ended that meanwhile, and COMMIT fails; if it was about to
//!   answer, the grant stands as long as its ttl, and an answer later than that
//!   is not sent.
//!
//! * *A token is revoked while requests are being let in.* See [`Tokens`]: what
//!   is believed was read after an instant that is kept beside it.
//!
//! A deadline is kept by the request's own timer, so a slow disk delays no
//! 408. Answers are sent only after COMMIT has returned.

mod batcher;
mod counting;
mod decisions;
mod feed;
mod handle;
mod hearing;
mod listening;
mod look_timers;
mod messages;
mod policy;
mod readiness;
mod shared;
mod suspects;
mod tasks;
mod time;
mod tokens;
mod watches;

pub use batcher::Batcher;
pub use feed::{Feed, Subscription};
pub use handle::{Answer, Engine, Unavailable, Untold};
pub use messages::InLine;
pub use policy::Policy;
pub use readiness::{Readiness, Unready};
pub use tokens::Tokens;
