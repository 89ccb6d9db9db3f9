//! Who may do what: tokens, and the verbs and names that they are for.
//!
//! Pure: where tokens are stored, and how a request shows one, is for others.

mod at_rest;
mod hex;
mod key;
mod session;
mod token;

pub use at_rest::AtRest;
pub use key::{KeyHash, TokenKey};
pub use session::SessionId;
pub use token::{Token, UnknownVerb, Verb, Verbs, is_token_name, is_token_prefix};
