//! The other side of the API: what `cls lock` and its like ask a server.
//!
//! Separate from everything that serves, because it runs on other machines and
//! knows of the server no more than the API says.

mod api;
mod pauses;
mod terms;
mod time;

pub use api::{Api, ApiError, Failure, Method, Question, Reply, Server, path_of};
pub use pauses::Pauses;
pub use terms::Terms;
pub use time::{Alarm, SinceBoot};
