//! The view of the line for a resource.

use actix_web::http::Method;

use super::{look_up, ok, unavailable};
use crate::access::Verb;
use crate::lock::ResourceName;
use crate::resources::Context;
use crate::resources::bodies::{WaiterShown, in_line};
use crate::resources::filters::PAGES;
use crate::resources::permissions::Caller;
use crate::rest::exceptions::ApiException;
use crate::rest::{Renderer, Request, View, ViewResult};

/// `/resources/{name}/waiters/`.
pub struct WaitersView<'a> {
    /// What it works with.
    pub context: &'a Context,
    /// From the path, not validated.
    pub name: &'a str,
}

read_only_view!(WaitersView, "Waiters", &[Renderer::JSON]);

impl WaitersView<'_> {
    async fn get(&self, request: &Request, caller: Caller) -> ViewResult {
        caller.require_on(Verb::Read, self.name)?;
        let query = request.query();
        let page_size = PAGES.size(&query)?;
        let waiting = match ResourceName::new(self.name) {
            None => Vec::new(),
            Some(name) => self.waiting(name).await?,
        };
        let page = PAGES.page(&request.absolute_url()?, &query, page_size, waiting.len() as u64)?;
        let skipped = usize::try_from(page.offset).unwrap_or(usize::MAX);
        let shown = waiting.into_iter().skip(skipped).take(page.limit as usize);
        Ok(ok(page.response(shown.collect())))
    }

    /// Everybody in line: those here, of whom more is known, and on PostgreSQL
    /// those at other servers.
    async fn waiting(&self, name: ResourceName) -> Result<Vec<WaiterShown>, ApiException> {
        let catalog = self.context.catalog.clone();
        let here = self.context.engine.line_here(name.clone()).await.map_err(unavailable)?;
        let anywhere = look_up(move || catalog.line(&name)).await?;
        Ok(in_line(here, anywhere))
    }
}
