//! What Django REST framework is to the original: one concept a file, named
//! as it names it.
//!
//! Knows nothing of locks. Apps implement [`View`] and hand requests to
//! [`dispatch`].

mod conditional;
pub mod exceptions;
pub mod fields;
#[cfg(test)]
mod fuzz;
mod media_type;
mod negotiation;
mod pages;
pub mod pagination;
pub mod parsers;
mod prefer;
mod python;
mod query;
mod renderers;
mod request;
mod response;
mod view;

pub use conditional::ETag;
pub use query::Query;
pub use renderers::{Render, Rendered, Renderer, Syntax};
pub use request::{Request, give_up_body};
pub use response::Response;
pub use view::{View, ViewResult, dispatch, error_response, html_page};
