//! Who asks, and what they may do.

use std::pin::Pin;
use std::sync::Arc;

use crate::access::{KeyHash, Token, Verb};
use crate::engine::Tokens;
use crate::lock::{Owner, ResourceName};
use crate::resources::views::unavailable;
use crate::rest::Request;
use crate::rest::authentication::{invalid_token, key_of, not_authenticated};
use crate::rest::exceptions::ApiException;
use crate::rest::throttling::{Client, RequestRate};

/// Who is let in.
#[derive(Clone)]
pub enum Access {
    /// Everybody, who may do everything.
    Open,
    /// Whoever has a token, as far as it allows, and as often as each may ask.
    Tokens(Tokens, Option<Arc<RequestRate>>),
}

/// Who sent a request.
pub enum Caller {
    /// Nobody asks for a token.
    Anybody,
    /// Whoever has this token.
    Token(Arc<Token>, KeyHash),
}

impl Access {
    /// Who sent this request.
    ///
    /// Errors: 401 if they show no good token, 429 if they ask too often, 503 if
    /// nobody can know.
    pub(super) async fn caller(&self, request: &Request) -> Result<Caller, ApiException> {
        let caller = self.caller_at_any_rate(request).await;
        let Self::Tokens(_, request_rate) = self else {
            return caller;
        };
        if let Some(request_rate) = request_rate {
            // Who shows no good token is known by the address: so guesses are bounded.
            let client = caller
                .as_ref()
                .map_or(request.client(), |caller| caller.client(request));
            request_rate.require(client).await?;
        }
        caller
    }

    /// The same for what may be asked at any rate.
    pub(super) async fn caller_at_any_rate(&self, request: &Request) -> Result<Caller, ApiException> {
        match self {
            Self::Open => Ok(Caller::Anybody),
            Self::Tokens(tokens, _) => known(tokens, request).await,
        }
    }

    /// What comes of `waiting`, for somebody who may wait for it as long as their
    /// token is good.
    ///
    /// Errors: 401 as soon as it is not. Then `waiting` is to be dropped.
    pub(super) async fn while_good<T>(
        &self,
        caller: &Caller,
        waiting: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, ApiException> {
        match (self, caller) {
            (Self::Tokens(tokens, _), Caller::Token(_, hash)) => {
                tokens.while_good(hash, waiting).await.ok_or_else(invalid_token)
            }
            _ => Ok(waiting.await),
        }
    }

    /// The same as [`Access::caller`] for somebody who has waited since.
    pub(super) async fn require_still(&self, caller: &Caller) -> Result<(), ApiException> {
        match (self, caller) {
            (Self::Tokens(tokens, _), Caller::Token(_, hash)) => {
                find(tokens, hash).await?.map(drop).ok_or_else(invalid_token)
            }
            _ => Ok(()),
        }
    }
}

async fn known(tokens: &Tokens, request: &Request) -> Result<Caller, ApiException> {
    let key = key_of(request.authorization())?.ok_or_else(not_authenticated)?;
    let hash = KeyHash::of(&key);
    let token = find(tokens, &hash).await?.ok_or_else(invalid_token)?;
    Ok(Caller::Token(token, hash))
}

async fn find(tokens: &Tokens, hash: &KeyHash) -> Result<Option<Arc<Token>>, ApiException> {
    tokens.find(hash).await.map_err(unavailable)
}

impl Caller {
    /// Whose the locks are that are taken by this request.
    pub(super) fn owner(&self) -> Option<&Owner> {
        match self {
            Self::Anybody => None,
            Self::Token(token, _) => Some(&token.name),
        }
    }

    /// Who it is to those who count requests.
    pub(super) fn client(&self, request: &Request) -> Client {
        match self {
            Self::Anybody => request.client(),
            Self::Token(token, _) => Client::Token(token.id),
        }
    }

    /// Errors: 403 if this is not allowed.
    pub(super) fn require(&self, verb: Verb) -> Result<(), ApiException> {
        match self {
            Self::Token(token, _) if !token.verbs.allow(verb) => Err(ApiException::permission_denied()),
            _ => Ok(()),
        }
    }

    /// The same, to the resource of this name, which need not be valid.
    pub(super) fn require_on(&self, verb: Verb, name: &str) -> Result<(), ApiException> {
        self.require(verb)?;
        match self {
            Self::Token(token, _) if !token.is_for(name) => Err(ApiException::permission_denied()),
            _ => Ok(()),
        }
    }

    /// The same, to all of these.
    pub(super) fn require_on_each(&self, verb: Verb, names: &[ResourceName]) -> Result<(), ApiException> {
        names.iter().try_for_each(|name| self.require_on(verb, name.as_str()))
    }

    /// The prefixes of the names that are shown; `None` is all.
    pub(super) fn prefixes(&self) -> Option<Vec<String>> {
        match self {
            Self::Token(token, _) if !token.prefixes.is_empty() => Some(token.prefixes.clone()),
            _ => None,
        }
    }
}
