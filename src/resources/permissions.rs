//! Who asks, and what they may do.

use std::pin::Pin;
use std::sync::Arc;

use actix_web::http::header::HeaderName;
use actix_web::http::{Method, StatusCode};

use crate::access::{KeyHash, SessionId, Token, Verb};
use crate::db::Catalog;
use crate::engine::Tokens;
use crate::lock::{Owner, ResourceName};
use crate::resources::views::{look_up, unavailable};
use crate::rest::Request;
use crate::rest::authentication::{invalid_token, key_of, not_authenticated};
use crate::rest::exceptions::ApiException;
use crate::rest::throttling::{Client, RequestRate};

/// The cookie of a session at the operators' page.
pub const SESSION_COOKIE: &str = "cls_session";

/// In which a page of a session says that it is one: Django's.
const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrftoken");

/// Who is let in.
#[derive(Clone)]
pub enum Access {
    /// Everybody, who may do everything.
    Open,
    /// Whoever has a token, as far as it allows, and as often as each may ask; or
    /// a session that is in the catalog.
    Tokens(Tokens, Option<Arc<RequestRate>>, Catalog),
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
    /// Errors: 401 if they show no good token, 403 if a page of this session did
    /// not send it, 429 if they ask too often, 503 if nobody can know.
    pub async fn caller(&self, request: &Request) -> Result<Caller, ApiException> {
        if let (Self::Tokens(tokens, request_rate, catalog), Some(id)) = (self, session_of(request)) {
            if let Some(request_rate) = request_rate {
                // By the address, and first: whether it is one is looked for in the table.
                request_rate.require(request.client()).await?;
            }
            // Apart, because each request that waits would hold room for it.
            return Box::pin(known_by_session(tokens, catalog, request, &id)).await;
        }
        let caller = self.caller_at_any_rate(request).await;
        let Self::Tokens(_, request_rate, _) = self else {
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

    /// The same for what may be asked at any rate; without sessions, which are
    /// looked for in the table.
    pub(super) async fn caller_at_any_rate(&self, request: &Request) -> Result<Caller, ApiException> {
        match self {
            Self::Open => Ok(Caller::Anybody),
            Self::Tokens(tokens, ..) => known(tokens, request).await,
        }
    }

    /// Who shows this key to begin a session; `None` if it is none of a good
    /// token. Counted as a request of the address.
    ///
    /// Errors: 429 if they ask too often, 503 if nobody can know.
    pub async fn signs_in(&self, request: &Request, key: &str) -> Result<Option<Arc<Token>>, ApiException> {
        let Self::Tokens(tokens, request_rate, _) = self else {
            return Ok(None);
        };
        if let Some(request_rate) = request_rate {
            request_rate.require(request.client()).await?;
        }
        find(tokens, &KeyHash::of(key)).await
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
            (Self::Tokens(tokens, ..), Caller::Token(_, hash)) => {
                tokens.while_good(hash, waiting).await.ok_or_else(invalid_token)
            }
            _ => Ok(waiting.await),
        }
    }

    /// The same as [`Access::caller`] for somebody who has waited since.
    pub(super) async fn require_still(&self, caller: &Caller) -> Result<(), ApiException> {
        match (self, caller) {
            (Self::Tokens(tokens, ..), Caller::Token(_, hash)) => {
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

/// The session that a request shows; one with an `Authorization` header shows
/// none, whatever cookies it has.
pub fn session_of(request: &Request) -> Option<SessionId> {
    match request.authorization() {
        Some(_) => None,
        None => request.cookie(SESSION_COOKIE).map(SessionId::shown),
    }
}

/// The framework's `SessionAuthentication`.
async fn known_by_session(
    tokens: &Tokens,
    catalog: &Catalog,
    request: &Request,
    id: &SessionId,
) -> Result<Caller, ApiException> {
    let (catalog, id_hash) = (catalog.clone(), id.hash());
    let token_id = look_up(move || catalog.session(&id_hash)).await?;
    let token_id = token_id.ok_or_else(not_authenticated)?;
    let found = tokens.find_by_id(token_id).await.map_err(unavailable)?;
    let (hash, token) = found.ok_or_else(not_authenticated)?;
    if !matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    ) {
        require_csrf_token(id, request.header(CSRF_HEADER).as_deref())?;
    }
    Ok(Caller::Token(token, hash))
}

/// Errors: 403 if this is not what the pages of the session send.
pub fn require_csrf_token(id: &SessionId, shown: Option<&str>) -> Result<(), ApiException> {
    let problem = match shown {
        None | Some("") => "CSRF Failed: CSRF token missing.",
        Some(shown) if id.has_csrf_token(shown) => return Ok(()),
        Some(_) => "CSRF Failed: CSRF token from the 'X-Csrftoken' HTTP header incorrect.",
    };
    Err(ApiException::new(StatusCode::FORBIDDEN, problem))
}

async fn find(tokens: &Tokens, hash: &KeyHash) -> Result<Option<Arc<Token>>, ApiException> {
    tokens.find(hash).await.map_err(unavailable)
}

impl Caller {
    /// Whose the locks are that are taken by this request.
    pub fn owner(&self) -> Option<&Owner> {
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

    /// Whether this is allowed, to some resources at least.
    pub fn may(&self, verb: Verb) -> bool {
        self.require(verb).is_ok()
    }

    /// The token of whoever may change tokens.
    ///
    /// Errors: 403, also where no tokens are asked for: a token outlasts that.
    pub(super) fn administrator(&self) -> Result<&Token, ApiException> {
        match self {
            Self::Token(token, _) if token.verbs.allow(Verb::Admin) => Ok(token),
            _ => Err(ApiException::permission_denied()),
        }
    }

    /// The prefixes of the names that are shown; `None` is all.
    pub(super) fn prefixes(&self) -> Option<Vec<String>> {
        match self {
            Self::Token(token, _) if !token.prefixes.is_empty() => Some(token.prefixes.clone()),
            _ => None,
        }
    }
}
