//! The app of the original: one resource, acquired with PUT and released with
//! DELETE.

mod serializers;
pub mod urls;
mod views;

pub use views::ResourceView;
