//! The numbers that a session gives: fencing tokens, and places in line.
//!
//! Both come from blocks of sequence `fencing_tokens`: the migration says why
//! they rise for each resource, whichever server gives them.

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::db::StoreError;
use crate::db::postgres::failed;
use crate::limits::{PLACES_PER_BATCH, PLACES_STEP, TOKENS_PER_BATCH, TOKENS_STEP};
use crate::lock::{FencingCounter, FencingToken, Place, Rows};

/// What one server has given.
#[derive(Default)]
pub(super) struct Numbers {
    /// The first of TOKENS_STEP numbers that this session took from the sequence;
    /// 0 if it took none. Another session may take the same ones after a crash
    /// of the database, but not while this session lasts.
    block: i64,
    /// No token up to this one is granted again, whatever the sequence says:
    /// somebody may have set it back.
    tokens_floor: i64,
    /// The last place in line that was given here, or a later one that was seen.
    last_place: i64,
}

/// What others gave, as far as a transaction sees it.
pub(super) struct Known {
    /// The highest token of the rows.
    pub(super) token: Option<FencingToken>,
    /// The highest of the places in their lines that are known.
    pub(super) place: i64,
}

impl Numbers {
    /// The session is a new one.
    pub(super) fn forget_block(&mut self) {
        self.block = 0;
    }

    /// The block to ask for: the one that is there, if a batch finds room in it.
    pub(super) fn wanted_block(&self) -> i64 {
        if self.has_room(self.tokens_floor + 1) {
            self.block
        } else {
            0
        }
    }

    /// Takes `block` for a batch: the counter of tokens, and the last place that
    /// is not to be given. Both are beyond all that is known, even if somebody
    /// has set the sequence back.
    pub(super) fn begin(
        &mut self,
        conn: &mut PgConnection,
        block: i64,
        known: Known,
    ) -> Result<(FencingCounter, Place), StoreError> {
        let highest = known.token.map_or(0, FencingToken::as_i64).max(self.tokens_floor);
        self.last_place = self.last_place.max(known.place);
        self.block = block;
        if !self.has_room(highest + 1) {
            log::warn!("sequence fencing_tokens was behind the tokens granted; it goes on after {highest}");
            // Two that set it at once would go on with the same numbers.
            conn.batch_execute("LOCK TABLE token_timeline IN EXCLUSIVE MODE")
                .map_err(failed)?;
            self.block = sql::<BigInt>("SELECT setval('fencing_tokens', GREATEST(last_value, ")
                .bind::<BigInt, _>(highest.max(self.last_place))
                .sql(") + ")
                .bind::<BigInt, _>(TOKENS_STEP)
                .sql(") FROM fencing_tokens")
                .get_result(conn)
                .map_err(failed)?;
        }
        let first_token = self.block.max(highest + 1);
        let tokens = FencingCounter::continuing_after(FencingToken::new(first_token - 1));
        Ok((tokens, Place::new(self.first_place() - 1)))
    }

    /// Notes which tokens and places a batch took.
    pub(super) fn note_taken(&mut self, rows: &Rows) -> Result<(), StoreError> {
        self.last_place = rows.last_place().as_i64();
        if let Some(tokens) = rows.tokens_taken() {
            self.tokens_floor = tokens.highest().as_i64();
        }
        if self.tokens_floor >= self.tokens_end() || self.last_place >= self.block + TOKENS_STEP {
            return Err(StoreError::Failed(
                "a batch took more tokens or places than it has".to_owned(),
            ));
        }
        Ok(())
    }

    /// The first place that may be given from the block.
    fn first_place(&self) -> i64 {
        (self.last_place + 1).max(self.tokens_end())
    }

    /// Tokens are below it, places are not.
    fn tokens_end(&self) -> i64 {
        self.block + TOKENS_STEP - PLACES_STEP
    }

    /// Whether a batch that begins with such a token stays within the block.
    fn has_room(&self, first_token: i64) -> bool {
        self.block > 0
            && first_token + TOKENS_PER_BATCH <= self.tokens_end()
            && self.first_place() + PLACES_PER_BATCH <= self.block + TOKENS_STEP
    }
}
