//! The app of the original, resources that are acquired with PUT and released
//! with DELETE, and what has been added to it.

mod bodies;
mod context;
mod event_filters;
mod filters;
#[cfg(test)]
mod fuzz;
mod lock_info;
mod permissions;
mod schema;
mod serializers;
mod token_fields;
pub mod urls;
mod views;

pub use context::{Context, CurrentLimits, RequestLimits};
pub use permissions::{Access, Caller, SESSION_COOKIE, require_csrf_token, session_of};
pub use views::{
    AcquireView, BreakView, CheckView, EventListView, EventStreamView, HealthView, HistoryView, LocksView, MetricsView,
    ReadyView, ReleaseView, RenewView, ResourceListView, ResourceView, SchemaView, TerraformView, TokenListView,
    TokenView, WaitersView,
};
