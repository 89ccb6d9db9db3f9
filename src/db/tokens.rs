//! The table of tokens: made, listed and revoked by people, read by servers.

use std::collections::HashMap;
use std::sync::Arc;

use diesel::prelude::*;

use crate::access::{KeyHash, Token, Verbs};
use crate::clock::Timestamp;
use crate::db::StoreError;
use crate::db::catalog::{AnyConnection, failed};
use crate::db::schema::{token_changes, tokens};
use crate::lock::Owner;

/// A token that is to be made.
pub struct NewToken {
    /// What owns the locks that are taken with it.
    pub name: Owner,
    /// That of its key.
    pub key_hash: KeyHash,
    /// The resources that it is for are those whose names begin with one of
    /// these; all of them if there are none.
    pub prefixes: Vec<String>,
    /// What it may do.
    pub verbs: Verbs,
    /// The first instant at which it is good for nothing.
    pub expires_at: Option<Timestamp>,
}

/// Which tokens are meant.
pub enum Which {
    /// The one with this number.
    Id(i64),
    /// All of this name.
    Name(Owner),
}

/// All tokens, by the numbers of their keys' hashes.
#[derive(Default)]
pub struct TokenList {
    /// How many changes the table had seen.
    pub number: i64,
    tokens: HashMap<u64, Vec<(KeyHash, Arc<Token>)>>,
}

impl TokenList {
    pub(super) fn of(number: i64, rows: Vec<TokenRow>) -> Self {
        let mut tokens: HashMap<_, Vec<_>> = HashMap::new();
        for row in rows {
            match row.into_token() {
                Ok((hash, token)) => tokens.entry(hash.number()).or_default().push((hash, Arc::new(token))),
                Err(error) => log::warn!("a token is good for nothing: {error}"),
            }
        }
        Self { number, tokens }
    }

    /// The token whose key has this hash, if it is good for anything at `now`.
    pub fn find_good(&self, hash: &KeyHash, now: Timestamp) -> Option<&Arc<Token>> {
        let alike = self.tokens.get(&hash.number())?;
        let (_, token) = alike.iter().find(|(other, _)| other == hash)?;
        token.is_good_at(now).then_some(token)
    }

    /// The same by its number, with the hash of its key.
    pub fn find_good_by_id(&self, id: i64, now: Timestamp) -> Option<(KeyHash, Arc<Token>)> {
        let mut tokens = self.tokens.values().flatten();
        let (hash, token) = tokens.find(|(_, token)| token.id == id)?;
        token.is_good_at(now).then(|| (*hash, Arc::clone(token)))
    }

    /// The hashes of the keys whose tokens were good for something at `then`.
    pub fn good_at(&self, then: Timestamp) -> impl Iterator<Item = &KeyHash> {
        let tokens = self.tokens.values().flatten();
        tokens
            .filter(move |(_, token)| token.is_good_at(then))
            .map(|(hash, _)| hash)
    }
}

/// The table, open to be changed, and that of sessions.
pub struct TokenTable {
    pub(super) conn: AnyConnection,
}

/// A row as it is stored.
#[derive(Queryable)]
pub(super) struct TokenRow {
    id: i64,
    name: String,
    key_hash: String,
    prefixes: String,
    verbs: String,
    created_at_us: i64,
    expires_at_us: Option<i64>,
    revoked_at_us: Option<i64>,
}

impl TokenTable {
    pub(super) fn new(conn: AnyConnection) -> Self {
        Self { conn }
    }

    /// Makes a token, and answers with its number.
    ///
    /// Errors: the database fails, or is locked for long.
    pub fn create(&mut self, new: &NewToken) -> Result<i64, StoreError> {
        let values = (
            tokens::name.eq(new.name.as_str()),
            tokens::key_hash.eq(new.key_hash.to_hex()),
            tokens::prefixes.eq(serde_json::to_string(&new.prefixes).map_err(failed)?),
            tokens::verbs.eq(new.verbs.to_string()),
            tokens::created_at_us.eq(Timestamp::wall_clock().as_us()),
            tokens::expires_at_us.eq(new.expires_at.map(Timestamp::as_us)),
        );
        let insert = diesel::insert_into(tokens::table).values(values);
        insert.execute(&mut self.conn).map_err(failed)?;
        let made = tokens::table.filter(tokens::key_hash.eq(new.key_hash.to_hex()));
        made.select(tokens::id).get_result(&mut self.conn).map_err(failed)
    }

    /// All tokens in the order in which they were made, those that were revoked
    /// included; and in the place of each row that no command can have written,
    /// what is wrong with it.
    pub fn list(&mut self) -> Result<Vec<Result<Token, StoreError>>, StoreError> {
        let rows = rows(&mut self.conn).map_err(failed)?;
        let tokens = rows.into_iter().map(TokenRow::into_token);
        Ok(tokens.map(|token| Ok(token?.1)).collect())
    }

    /// Deletes those that were revoked, or expired, before `then`. Says how many
    /// that were.
    pub fn clear(&mut self, then: Timestamp) -> Result<usize, StoreError> {
        let ended = tokens::revoked_at_us
            .lt(then.as_us())
            .or(tokens::expires_at_us.lt(then.as_us()));
        let delete = diesel::delete(tokens::table.filter(ended));
        delete.execute(&mut self.conn).map_err(failed)
    }

    /// Revokes what is not revoked yet. Says how many tokens that were.
    pub fn revoke(&mut self, which: &Which) -> Result<usize, StoreError> {
        let now_us = Timestamp::wall_clock().as_us();
        let good = diesel::update(tokens::table)
            .filter(tokens::revoked_at_us.is_null())
            .set(tokens::revoked_at_us.eq(now_us));
        match which {
            Which::Id(id) => good.filter(tokens::id.eq(*id)).execute(&mut self.conn),
            Which::Name(name) => good.filter(tokens::name.eq(name.as_str())).execute(&mut self.conn),
        }
        .map_err(failed)
    }
}

/// The number of changes that the table has seen, and its rows, if that is not
/// `known`.
pub(super) fn changed_since(conn: &mut AnyConnection, known: Option<i64>) -> QueryResult<Option<(i64, Vec<TokenRow>)>> {
    // First the number: a change between the two is read, and then once more.
    let number: i64 = token_changes::table.select(token_changes::number).first(conn)?;
    if known == Some(number) {
        return Ok(None);
    }
    Ok(Some((number, rows(conn)?)))
}

fn rows(conn: &mut AnyConnection) -> QueryResult<Vec<TokenRow>> {
    tokens::table.order(tokens::id).load(conn)
}
impl TokenRow {
    fn into_token(self) -> Result<(KeyHash, Token), StoreError> {
        let id = self.id;
        let impossible = |column| StoreError::Failed(format!("row {id} of table tokens has an impossible {column}"));
        let hash = KeyHash::from_hex(&self.key_hash).ok_or_else(|| impossible("key_hash"))?;
        let token = Token {
            id,
            name: Owner::new(&self.name).ok_or_else(|| impossible("name"))?,
            prefixes: serde_json::from_str(&self.prefixes).map_err(|_| impossible("prefixes"))?,
            verbs: self.verbs.parse().map_err(|_| impossible("verbs"))?,
            created_at: Timestamp::from_us(self.created_at_us),
            expires_at: self.expires_at_us.map(Timestamp::from_us),
            revoked_at: self.revoked_at_us.map(Timestamp::from_us),
        };
        Ok((hash, token))
    }
}
