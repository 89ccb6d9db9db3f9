//! The views of tokens, for who may change them: what `cls createtoken`,
//! `listtokens` and `revoketoken` do, as far as the own token goes.

use actix_web::http::{Method, StatusCode};

use super::{look_up, no_chance, ok};
use crate::access::{Token, TokenKey};
use crate::clock::Timestamp;
use crate::db::{NewToken, Which};
use crate::resources::Context;
use crate::resources::bodies::{NewTokenShown, TokenShown};
use crate::resources::filters::PAGES;
use crate::resources::permissions::Caller;
use crate::resources::token_fields::TokenFields;
use crate::rest::exceptions::ApiException;
use crate::rest::{Request, Response, View, ViewResult};

/// `/tokens/`.
pub struct TokenListView<'a> {
    /// What it works with.
    pub context: &'a Context,
}

/// `/tokens/{id}/`.
pub struct TokenView<'a> {
    /// What it works with.
    pub context: &'a Context,
    /// From the path, not validated.
    pub id: &'a str,
}

impl View for TokenListView<'_> {
    const NAME: &'static str = "Token List";
    const ALLOWED_METHODS: &'static str = "GET, POST, HEAD, OPTIONS";

    type User = Caller;

    async fn authenticate(&self, request: &Request) -> Result<Caller, ApiException> {
        self.context.access.caller(request).await
    }

    async fn handle(&self, request: &mut Request, caller: Caller) -> Option<ViewResult> {
        match *request.method() {
            Method::GET | Method::HEAD => Some(self.get(request, &caller).await),
            Method::POST => Some(self.post(request, &caller).await),
            _ => None,
        }
    }
}

impl TokenListView<'_> {
    /// Those that the caller may revoke, the newest first.
    async fn get(&self, request: &Request, caller: &Caller) -> ViewResult {
        let own = caller.administrator()?;
        let query = request.query();
        let page_size = PAGES.size(&query)?;
        let tokens = within(self.context, own).await?;
        let page = PAGES.page(&request.absolute_url()?, &query, page_size, tokens.len() as u64)?;
        let now = Timestamp::wall_clock();
        let skipped = usize::try_from(page.offset).unwrap_or(usize::MAX);
        let shown = tokens.iter().rev().skip(skipped).take(page.limit as usize);
        let shown = shown.map(|token| TokenShown::at(token, now)).collect();
        Ok(ok(page.response(shown)))
    }

    /// Makes one.
    async fn post(&self, request: &mut Request, caller: &Caller) -> ViewResult {
        let own = caller.administrator()?;
        let fields = {
            let data = self.context.data(request, caller).await?;
            TokenFields::read(&data).map_err(ApiException::validation_error)?
        };
        if !own.covers(fields.verbs, &fields.prefixes) {
            return Err(ApiException::permission_denied());
        }
        let key = TokenKey::generate().map_err(no_chance)?;
        let now = Timestamp::wall_clock();
        let new = NewToken {
            name: fields.name,
            key_hash: key.hash(),
            prefixes: fields.prefixes,
            verbs: fields.verbs,
            expires_at: fields.expires_in.map(|expires_in| now + expires_in),
        };
        let registrar = self.context.registrar.clone();
        let made = look_up(move || registrar.with_tokens(|tokens| Ok((tokens.create(&new)?, new))));
        let (id, new) = made.await?;
        log::info!("token {id} of {:?} was made with token {}", new.name.as_str(), own.id);
        let token = Token {
            id,
            name: new.name,
            prefixes: new.prefixes,
            verbs: new.verbs,
            created_at: now,
            expires_at: new.expires_at,
            revoked_at: None,
        };
        let shown = NewTokenShown {
            token: TokenShown::at(&token, now),
            key: key.reveal().to_owned(),
        };
        Ok(Response::new(StatusCode::CREATED, shown))
    }
}

impl View for TokenView<'_> {
    const NAME: &'static str = "Token";
    const ALLOWED_METHODS: &'static str = "DELETE, OPTIONS";

    type User = Caller;

    async fn authenticate(&self, request: &Request) -> Result<Caller, ApiException> {
        self.context.access.caller(request).await
    }

    async fn handle(&self, request: &mut Request, caller: Caller) -> Option<ViewResult> {
        match *request.method() {
            Method::DELETE => Some(self.delete(&caller).await),
            _ => None,
        }
    }
}

impl TokenView<'_> {
    /// Revokes it; one that is revoked already stays so.
    async fn delete(&self, caller: &Caller) -> ViewResult {
        let own = caller.administrator()?;
        let id: i64 = self.id.parse().map_err(|_| ApiException::not_found())?;
        let tokens = within(self.context, own).await?;
        if !tokens.iter().any(|token| token.id == id) {
            return Err(ApiException::not_found());
        }
        let registrar = self.context.registrar.clone();
        let revoked = look_up(move || registrar.with_tokens(|tokens| tokens.revoke(&Which::Id(id))));
        if revoked.await? > 0 {
            log::info!("token {id} was revoked with token {}", own.id);
        }
        Ok(Response::no_content())
    }
}

/// The tokens that may do no more than `own`, the oldest first.
async fn within(context: &Context, own: &Token) -> Result<Vec<Token>, ApiException> {
    let registrar = context.registrar.clone();
    let listed = look_up(move || registrar.with_tokens(|tokens| tokens.list())).await?;
    let readable = listed.into_iter().flatten();
    let tokens = readable.filter(|token| own.covers(token.verbs, &token.prefixes));
    Ok(tokens.collect())
}
