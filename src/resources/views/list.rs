//! The view of all resources: pages of them, and what a process does to
//! everything that it holds.

use actix_web::http::{Method, StatusCode};

use super::{look_up, ok, unavailable};
use crate::access::Verb;
use crate::db::ListQuery;
use crate::limits::HELD_BY_MAX;
use crate::lock::{LockedBy, Release, ResourceName};
use crate::resources::Context;
use crate::resources::bodies::{Released, Renewed, Representation};
use crate::resources::filters::Filters;
use crate::resources::permissions::Caller;
use crate::resources::serializers::Fields;
use crate::rest::exceptions::ApiException;
use crate::rest::{Request, View, ViewResult};

/// `/resources/`.
pub struct ResourceListView<'a> {
    /// What it works with.
    pub context: &'a Context,
}

impl View for ResourceListView<'_> {
    const NAME: &'static str = "Resource List";
    const ALLOWED_METHODS: &'static str = "GET, PATCH, DELETE, HEAD, OPTIONS";
    const ADVERTISED_TO_READERS: &'static str = "GET, HEAD, OPTIONS";

    type User = Caller;

    async fn authenticate(&self, request: &Request) -> Result<Caller, ApiException> {
        self.context.access.caller(request).await
    }

    async fn handle(&self, request: &mut Request, caller: Caller) -> Option<ViewResult> {
        match *request.method() {
            Method::GET | Method::HEAD => Some(self.get(request, &caller).await),
            Method::PATCH => Some(self.patch(request, &caller).await),
            Method::DELETE => Some(self.delete(request, &caller).await),
            _ => None,
        }
    }
}

impl ResourceListView<'_> {
    async fn get(&self, request: &Request, caller: &Caller) -> ViewResult {
        caller.require(Verb::Read)?;
        let query = request.query();
        let filters = Filters::read(&query)?;
        let catalog = self.context.catalog.clone();
        let wanted = ListQuery {
            within: caller.prefixes(),
            ..filters.wanted.clone()
        };
        let listed = look_up(move || catalog.list(&wanted)).await?;
        let page = filters.page(&request.absolute_url()?, &query, listed.count)?;
        let names = listed.rows.iter().map(|row| row.name.clone()).collect();
        let here = self.context.engine.waiting_here(names).await.map_err(unavailable)?;
        let rows = listed.rows.iter().zip(here);
        let results = rows.map(|(row, here)| Representation::listed(row, listed.now, here));
        Ok(ok(page.response(results.collect())))
    }

    async fn patch(&self, request: &mut Request, caller: &Caller) -> ViewResult {
        caller.require(Verb::Acquire)?;
        let mut renew = {
            let data = self.context.data(request, caller).await?;
            let renew = self
                .context
                .fields(&data, caller, None)
                .and_then(Fields::renewal_of_all);
            renew.map_err(ApiException::validation_error)?
        };
        renew.address = request.address();
        let names = self.held_by(renew.locked_by.clone(), caller).await?;
        let renewed = self.context.engine.renew_each(names, renew).await;
        Ok(ok(Renewed {
            renewed: renewed.map_err(unavailable)?,
        }))
    }

    async fn delete(&self, request: &mut Request, caller: &Caller) -> ViewResult {
        caller.require(Verb::Acquire)?;
        let locked_by = {
            let data = self.context.data(request, caller).await?;
            let locked_by = self
                .context
                .fields(&data, caller, None)
                .and_then(Fields::only_locked_by);
            locked_by.map_err(ApiException::validation_error)?
        };
        let names = self.held_by(locked_by.clone(), caller).await?;
        let release = Release {
            address: request.address(),
            ..Release::by(Some(locked_by))
        };
        let released = self.context.engine.release_each(names, release).await;
        Ok(ok(Released {
            released: released.map_err(unavailable)?,
        }))
    }

    /// What the key holds. Whatever it has been told of is among it: that was
    /// committed before.
    async fn held_by(&self, locked_by: LockedBy, caller: &Caller) -> Result<Vec<ResourceName>, ApiException> {
        let catalog = self.context.catalog.clone();
        let mut names = look_up(move || catalog.held_by(&locked_by)).await?;
        if names.len() > HELD_BY_MAX {
            let message = format!("This key holds more than {HELD_BY_MAX} resources; name them one by one.");
            return Err(ApiException::new(StatusCode::BAD_REQUEST, message));
        }
        // The token may have been for more names when these were acquired.
        names.retain(|name| caller.require_on(Verb::Acquire, name.as_str()).is_ok());
        Ok(names)
    }
}
