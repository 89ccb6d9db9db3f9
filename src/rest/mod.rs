//! What Django REST framework is to the original: one concept a file, named
//! as it names it.
//!
//! Knows nothing of locks. Apps implement [`View`] and hand requests to
//! [`dispatch`].

pub mod authentication;
mod body_room;
mod conditional;
pub mod exceptions;
pub mod fields;
#[cfg(test)]
mod fuzz;
mod hosts;
mod media_type;
mod negotiation;
mod origin;
mod pages;
pub mod pagination;
pub mod parsers;
mod prefer;
mod python;
mod query;
mod renderers;
mod request;
mod request_id;
mod response;
pub mod throttling;
mod view;

pub use body_room::BodyRoom;
pub use conditional::ETag;
pub use hosts::AllowedHosts;
pub use negotiation::prefers_page;
pub use origin::is_cross_site;
pub use query::Query;
pub use renderers::{Render, Rendered, Renderer, Syntax};
pub use request::{Request, give_up_body, skip_body};
pub use request_id::RequestId;
pub use response::Response;
pub use view::{Page, View, ViewResult, answer_by_page, dispatch, dispatch_to_page, error_response, html_page};
